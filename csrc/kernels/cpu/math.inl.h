// Elementary functions on F32: polynomials of our own (tools/fit_polynomials.py) with explicit fused
// multiply-adds, so that every instruction set that has them gives the same bits, in every lane alone.
//
// Errors against the exact value, in units of the last place (ulp), with fused multiply-add:
//   exp log pow and the functions through double 1, sin cos 1.6, x^3 1.6, erf 6, expm1 tanh sigmoid 3, the
//   rest 4, or 8e-7 absolute where the formula cancels (GELU by erf). Infinities, NaN, signed zeros of odd
//   functions through copysign, overflow and subnormal inputs behave as in C's <math.h>; exp_flush and what
//   is built on it return zero where the exponential falls below 2^-126.
#pragma once

#include "kernels/cpu/simd/vec.h"

namespace pyinfer {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr float kNaN = __builtin_nanf("");
constexpr float kLog2E = 1.44269504f;
// ln 2 in two parts: the first has so few bits that its product with an exponent is exact.
constexpr float kLn2Head = 0.693359375f;
constexpr float kLn2Rest = -0.000212194442f;
// Adding 1.5 * 2^23 leaves the nearest integer in the low 22 bits of the sum.
constexpr float kRoundMagic = 12582912.0f;

// c0 + c1 x + c2 x^2 + ..., by Horner's rule.
inline F32 polynomial(F32, float c0) {
  return splat(c0);
}
template <class... Rest>
inline F32 polynomial(F32 x, float c0, Rest... rest) {
  return fma(polynomial(x, rest...), x, splat(c0));
}
inline F64 polynomial(F64, double c0) {
  return splat_f64(c0);
}
template <class... Rest>
inline F64 polynomial(F64 x, double c0, Rest... rest) {
  return fma(polynomial(x, rest...), x, splat_f64(c0));
}

// value, but `bound` where value is outside; NaN stays.
inline F32 at_most(F32 value, float bound) {
  return lesser(splat(bound), value);
}
inline F32 at_least(F32 value, float bound) {
  return greater(splat(bound), value);
}
inline F64 at_most(F64 value, double bound) {
  return lesser(splat_f64(bound), value);
}
inline F64 at_least(F64 value, double bound) {
  return greater(splat_f64(bound), value);
}

// 2^n for -126 <= n <= 127.
inline F32 exp2_i32(I32 n) {
  return as_f32(shift_left<23>(n + splat_i32(127)));
}

// x = n ln 2 + r with |r| <= ln 2 / 2. The exponent field of `shifted` is n + bias: with 127 it is 2^n
// itself, with 0 it is to be added to the bits of a number that is to be scaled.
template <int bias>
struct ExpReduced {
  F32 sum, r;
  I32 shifted() const { return shift_left<23>(as_i32(sum)); }
};
template <int bias>
ExpReduced<bias> exp_reduce(F32 x) {
  const F32 magic = splat(kRoundMagic + bias), sum = fma(x, splat(kLog2E), magic);
  const F32 n = sum - magic;
  return {sum, fnma(n, splat(kLn2Rest), fnma(n, splat(kLn2Head), x))};
}
// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2.
inline F32 exp_tail(F32 r) {
  return polynomial(r, 0.49999997f, 0.16666545f, 0.0416675545f, 0.0083663892f, 0.00138595677f);
}
inline F32 exp_polynomial(F32 r) {
  return fma(fma(exp_tail(r), r, splat(1.0f)), r, splat(1.0f));
}

inline F32 exp(F32 x) {
  const auto e = exp_reduce<0>(at_least(at_most(x, 89.0f), -104.0f));
  const I32 n = as_i32(e.sum) - as_i32(splat(kRoundMagic));
  // Two factors: 2^n alone may be out of range although the result is not.
  const I32 half = shift_right<1>(n);
  return exp_polynomial(e.r) * exp2_i32(half) * exp2_i32(n - half);
}

// exp for x <= 88, zero where the result would be subnormal. Cheaper: the exponent is added to the bits.
inline F32 exp_flush(F32 x) {
  const auto e = exp_reduce<0>(x);
  const F32 y = as_f32(as_i32(exp_polynomial(e.r)) + e.shifted());
  // The sum may turn a NaN into a number: below the bound and for NaN, the result is max(x, 0) instead.
  return select(x >= splat(-87.3f), y, greater(zero_f32(), x));
}

// exp(x) - 1 for x <= 88, without cancellation near zero.
inline F32 expm1_bounded(F32 x) {
  const auto e = exp_reduce<127>(at_least(x, -20.0f));
  const F32 q = fma(e.r * e.r, exp_tail(e.r), e.r);
  const F32 s = as_f32(e.shifted());
  return fma(s, q, s - splat(1.0f));
}
inline F32 expm1(F32 x) {
  return select(x > splat(64.0f), exp(x), expm1_bounded(x));
}

// ln((1 + f) 2^e) for sqrt(1/2) <= 1 + f <= sqrt(2).
inline F32 log_reduced(F32 f, F32 e) {
  const F32 p = polynomial(f, 0.333333135f, -0.250000119f, 0.20002073f, -0.166678458f, 0.142202243f,
                           -0.124084309f, 0.11886549f, -0.116591223f, 0.0673014373f);
  const F32 square = f * f;
  F32 t = fma(square * f, p, e * splat(kLn2Rest));
  t = fnma(square, splat(0.5f), t);
  return fma(e, splat(kLn2Head), f + t);
}

// x = mantissa * 2^exponent with sqrt(1/2) <= mantissa < sqrt(2), for finite x > 0.
struct LogReduced {
  F32 mantissa;
  F32 exponent;
};
inline LogReduced log_reduce(F32 x) {
  const M32 subnormal = x < splat(0x1p-126f);
  const I32 bits = as_i32(select(subnormal, x * splat(0x1p23f), x));
  const I32 n = shift_right<23>(bits - splat_i32(0x3f3504f3));
  const F32 exponent = to_f32(n) - select(subnormal, splat(23.0f), zero_f32());
  return {as_f32(bits - shift_left<23>(n)), exponent};
}

inline F32 log(F32 x) {
  const LogReduced d = log_reduce(x);
  F32 y = log_reduced(d.mantissa - splat(1.0f), d.exponent);
  y = select(x < splat(kInfinity), y, x);
  y = select(x < zero_f32(), splat(kNaN), y);
  return select(x == zero_f32(), splat(-kInfinity), y);
}

// ln(1 + t) for 0 <= t <= 1, to the last place however small t is.
inline F32 log1p_unit(F32 t) {
  const M32 upper = t > splat(0.414213562f);
  const F32 f = select(upper, (t - splat(1.0f)) * splat(0.5f), t);
  return log_reduced(f, select(upper, splat(1.0f), zero_f32()));
}

// Below this the logistic function counts as zero.
constexpr float kLogisticZero = -88.0f;
// 1 + exp(-x), and anything below kLogisticZero: as exp_reduce<127> and exp_polynomial do for -x, without a
// change of sign.
inline F32 logistic_divisor(F32 x) {
  const F32 bounded = at_most(x, 87.0f);
  const F32 magic = splat(kRoundMagic + 127.0f), sum = fnma(bounded, splat(kLog2E), magic);
  const F32 n = sum - magic;
  const F32 minus_r = fma(n, splat(kLn2Rest), fma(n, splat(kLn2Head), bounded));
  const F32 p = polynomial(minus_r, 1.0f, -1.0f, 0.49999997f, -0.16666545f, 0.0416675545f, -0.0083663892f,
                           0.00138595677f);
  return fma(p, as_f32(shift_left<23>(as_i32(sum))), splat(1.0f));
}
inline F32 sigmoid(F32 x) {
  return clear(x < splat(kLogisticZero), splat(1.0f) / logistic_divisor(x));
}

// tanh |x| = -m / (2 + m) with m = exp(-2|x|) - 1.
inline F32 tanh(F32 x) {
  const F32 m = expm1_bounded(abs(x) * splat(-2.0f));
  return copysign(-m / (splat(2.0f) + m), x);
}

// x P(x^2) / Q(x^2) up to 3.92, from where the function rounds to 1.
inline F32 erf(F32 x) {
  const F32 a = at_most(abs(x), 3.92f);
  const F32 t = a * a;
  const F32 p = polynomial(t, 1.12837915f, 0.190370656f, 0.0527433037f, 0.00376388801f, 0.000284811701f,
                           2.04994484e-06f);
  const F32 q =
      polynomial(t, 1.0f, 0.502044354f, 0.114093689f, 0.0149657874f, 0.00116205588f, 3.80865178e-05f);
  return copysign(select(a == splat(3.92f), splat(1.0f), at_most(a * p / q, 1.0f)), x);
}

// x = k pi/2 + r, |r| <= pi/4, in the scalar arithmetic that any finite x needs: 96 bits of 2/pi from the
// first that is not a multiple of 4 quarter turns, times the 24 bits of x, modulo 4 (Payne and Hanek).
[[gnu::noinline, maybe_unused]] void reduce_huge_angle(float x, int32_t* k, float* r) {
  constexpr uint32_t kTwoOverPi[8] = {0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0,
                                      0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561};
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const int exponent = static_cast<int>(bits >> 23 & 0xff);
  if (exponent == 0xff) {
    *k = 0;
    *r = x - x;
    return;
  }
  // x = mantissa * 2^shift, shift >= 5 here; bit i (from 1) of 2/pi weighs 2^(shift - i) turns of a quarter.
  const uint64_t mantissa = (bits & 0x7fffff) | 0x800000;
  const int first = exponent - 150 - 2;
  uint64_t word[3];
  for (int i = 0; i < 3; ++i) {
    const int at = first + 32 * i;
    const uint64_t pair = static_cast<uint64_t>(kTwoOverPi[at / 32]) << 32 | kTwoOverPi[at / 32 + 1];
    word[i] = pair >> (32 - at % 32) & 0xffffffffu;
  }
  const uint64_t low = mantissa * word[2];
  const uint64_t middle = mantissa * word[1] + (low >> 32);
  const uint64_t turns = ((mantissa * word[0] + (middle >> 32)) << 32) | (middle & 0xffffffffu);
  // The two top bits of `turns` are the quarter, the rest its fraction; round to the nearest quarter.
  const uint64_t quarter = (turns + (uint64_t{1} << 61)) >> 62;
  const auto rest = static_cast<int64_t>(turns - (quarter << 62));
  const double angle = static_cast<double>(rest) * (1.5707963267948966 / 4611686018427387904.0);
  const bool negative = (bits >> 31) != 0;
  *k = negative ? -static_cast<int32_t>(quarter & 3) : static_cast<int32_t>(quarter & 3);
  *r = static_cast<float>(negative ? -angle : angle);
}

struct Angle {
  I32 k;
  F32 r;
};
// x = k pi/2 + r with |r| <= pi/4.
inline Angle reduce_angle(F32 x) {
  const M32 small = abs(x) < splat(0x1p28f);
  const F64 wide = widen(select(small, x, zero_f32()));
  Angle a;
  a.k = to_i32(wide * splat_f64(0.63661977236758134));
  const F64 k = to_f64(a.k);
  // The first part of pi/2 has 24 bits: its product with k is exact.
  a.r = narrow(fnma(k, splat_f64(1.5893254773528196e-08), fnma(k, splat_f64(1.5707963109016418), wide)));
  if (!all(small)) {
    float xs[16], rs[16];
    int32_t ks[16];
    store(xs, select(small, splat(0x1p28f), x));
    for (int i = 0; i < 16; ++i) reduce_huge_angle(xs[i], &ks[i], &rs[i]);
    a.k = select(small, a.k, load_i32(ks));
    a.r = select(small, a.r, load(rs));
  }
  return a;
}
inline F32 sin_quarter(F32 r) {
  const F32 t = r * r;
  return fma(t * r, polynomial(t, -0.166666552f, 0.00833218917f, -0.000195182889f), r);
}
inline F32 cos_quarter(F32 r) {
  const F32 t = r * r;
  const F32 tail = polynomial(t, 0.0416666456f, -0.00138873106f, 2.44325638e-05f);
  return fma(t * t, tail, fnma(t, splat(0.5f), splat(1.0f)));
}
// sin(k pi/2 + r).
inline F32 sin_of(I32 k, F32 r) {
  const M32 odd = (k & splat_i32(1)) == splat_i32(1);
  const F32 y = select(odd, cos_quarter(r), sin_quarter(r));
  return as_f32(as_i32(y) ^ shift_left<30>(k & splat_i32(2)));
}
inline F32 sin(F32 x) {
  const Angle a = reduce_angle(x);
  return select(x == zero_f32(), x, sin_of(a.k, a.r));  // keeps the sign of zero
}
inline F32 cos(F32 x) {
  const Angle a = reduce_angle(x);
  return sin_of(a.k + splat_i32(1), a.r);
}
inline F32 tan(F32 x) {
  const Angle a = reduce_angle(x);
  const F32 s = sin_quarter(a.r), c = cos_quarter(a.r);
  const M32 odd = (a.k & splat_i32(1)) == splat_i32(1);
  return select(x == zero_f32(), x, select(odd, -c, s) / select(odd, s, c));
}

// Functions that need more than a float inside.

// ln x for finite x > 0, to about 2^-44 of it.
inline F64 log_f64(F32 x) {
  const LogReduced d = log_reduce(x);
  const F64 m = widen(d.mantissa), one = splat_f64(1.0);
  const F64 s = (m - one) / (m + one);
  const F64 p = polynomial(s * s, 1.9999999999999476, 0.66666666679575826, 0.3999999489311723,
                           0.28572165890411677, 0.22174264444247399, 0.19607847863296679);
  return fma(widen(d.exponent), splat_f64(0.69314718055994531), p * s);
}
// e^x to about 2^-39 of it; x is clamped to +-200.
inline F64 exp_f64(F64 x) {
  x = at_least(at_most(x, 200.0), -200.0);
  const I32 n = to_i32(x * splat_f64(1.4426950408889634));
  const F64 r = fnma(to_f64(n), splat_f64(0.69314718055994531), x);
  const F64 p = polynomial(r, 1.0, 1.0, 0.50000000004257683, 0.16666666784507567, 0.041666664409506504,
                           0.0083332817932884207, 0.0013889196563686439, 0.00019908946592706777,
                           2.4708507966838549e-05);
  return p * exp2_f64(n);
}

// x^y with the special cases of C's pow. y = 2, 3 and 1/2 are products and a square root, in every lane
// alike, so that a caller may take the same shortcut for a whole tensor.
inline F32 pow(F32 x, F32 y) {
  const F32 one = splat(1.0f), zero = zero_f32(), inf = splat(kInfinity);
  const F32 a = abs(x);
  F32 r = narrow(exp_f64(widen(y) * log_f64(a)));
  r = select(a == zero, select(y < zero, inf, zero), r);
  r = select(a == inf, select(y < zero, zero, inf), r);
  r = select(a == one, one, r);
  r = select(y == splat(2.0f), a * a, r);
  r = select(y == splat(3.0f), a * a * a, r);
  r = select(y == splat(0.5f), sqrt(a), r);
  const M32 integer = trunc(y) == y;
  const F32 half = y * splat(0.5f);
  const M32 odd = integer & (trunc(half) != half);
  const F32 sign = as_f32(as_i32(x) & splat_i32(INT32_MIN));
  r = select(odd, copysign(r, sign), r);
  r = select((x < zero) & (a != inf) & !integer, splat(kNaN), r);
  r = select(is_nan(x) | is_nan(y), splat(kNaN), r);
  return select((x == one) | (y == zero), one, r);
}

// atan(low / high) for 0 <= low <= high.
inline F64 atan_ratio(F64 low, F64 high) {
  const F64 z = low / high, t = z * z;
  const F64 p =
      polynomial(t, -0.33333332139530775, 0.19999927476568885, -0.14284170718883454, 0.11094530424343892,
                 -0.089855592524399341, 0.072597753387795644, -0.054522050900637699, 0.034482929475858237,
                 -0.016304529358891613, 0.00492842327839145, -0.00069832043577401041);
  return fma(t * z, p, z);
}
// atan(y / x) for y, x >= 0, not both zero. `steep` says y > x; where they are almost equal it may be wrong.
inline F64 atan_quadrant(F64 y, F64 x, M32 steep) {
  const F64 a = atan_ratio(select(steep, x, y), select(steep, y, x));
  return select(steep, splat_f64(1.5707963267948966) - a, a);
}
inline F32 atan(F32 x) {
  const F32 a = abs(x);
  const F64 angle = atan_quadrant(widen(at_most(a, 0x1p30f)), splat_f64(1.0), a > splat(1.0f));
  return copysign(narrow(angle), x);
}
inline F32 asin(F32 x) {
  const F32 a = abs(x);
  const F64 w = widen(a), one = splat_f64(1.0);
  return copysign(narrow(atan_quadrant(w, sqrt((one - w) * (one + w)), a > splat(0.707106781f))), x);
}
inline F32 acos(F32 x) {
  const F64 w = widen(x), one = splat_f64(1.0);
  const F64 half = atan_quadrant(sqrt(one - w), sqrt(one + w), x < zero_f32());
  return narrow(half + half);
}

inline F32 sinh(F32 x) {
  const F32 a = abs(x);
  const F64 w = widen(a), t = w * w;
  const F64 e = exp_f64(w);
  const F64 large = (e - splat_f64(1.0) / e) * splat_f64(0.5);
  const F64 small =
      fma(w * t, polynomial(t, 1.0 / 6, 1.0 / 120, 1.0 / 5040, 1.0 / 362880, 1.0 / 39916800), w);
  return copysign(narrow(select(a < splat(1.0f), small, large)), x);
}
inline F32 cosh(F32 x) {
  const F64 e = exp_f64(widen(abs(x)));
  return narrow((e + splat_f64(1.0) / e) * splat_f64(0.5));
}

// ln v for a v whose nearest float is normal: ln of that float and the first order of what it lacks.
inline F64 log_f64(F64 v) {
  const F32 head = narrow(v);
  const F64 wide = widen(head);
  return log_f64(head) + (v - wide) / wide;
}
inline F32 asinh(F32 x) {
  const F32 a = abs(x);
  const F64 w = widen(a), t = w * w, half = splat_f64(0.5);
  const F64 large = log_f64((w + sqrt(t + splat_f64(1.0))) * half) + splat_f64(0.69314718055994531);
  const F64 small = fma(w * t, polynomial(t, -1.0 / 6, 3.0 / 40, -15.0 / 336, 105.0 / 3456), w);
  const F32 y = narrow(select(a < splat(0.0625f), small, large));
  return copysign(select(a == splat(kInfinity), a, y), x);
}
inline F32 acosh(F32 x) {
  const F64 w = widen(x), one = splat_f64(1.0), half = splat_f64(0.5);
  const F64 y = log_f64((w + sqrt((w - one) * (w + one))) * half) + splat_f64(0.69314718055994531);
  const F32 r = select(x == splat(kInfinity), x, narrow(y));
  return select(x < splat(1.0f), splat(kNaN), r);
}
inline F32 atanh(F32 x) {
  const F32 a = abs(x);
  const F64 w = widen(a), t = w * w, one = splat_f64(1.0);
  const F64 large = log_f64((one + w) / (one - w)) * splat_f64(0.5);
  const F64 small = fma(w * t, polynomial(t, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9), w);
  F32 y = narrow(select(a < splat(0.0625f), small, large));
  y = select(a == splat(1.0f), splat(kInfinity), y);
  return select(a > splat(1.0f), splat(kNaN), copysign(y, x));
}

// Activations.

inline F32 relu(F32 x) {
  return at_least(x, 0.0f);
}
inline F32 softplus(F32 x) {
  return relu(x) + log1p_unit(exp_flush(-abs(x)));
}
// x * gate, but 0 where the gate is closed, also for an infinite x.
inline F32 gated(F32 x, F32 gate) {
  return clear(gate == zero_f32(), x * gate);
}
inline F32 swish(F32 x, float alpha) {
  return gated(x, sigmoid(x * splat(alpha)));
}
// This also closes the gate of an infinite x.
inline F32 silu(F32 x) {
  return clear(x < splat(kLogisticZero), x / logistic_divisor(x));
}
// x/2 (1 + erf(x / sqrt 2)); -16 stands for all below, where the result is 0.
inline F32 gelu_erf(F32 x) {
  const F32 half = at_least(x, -16.0f) * splat(0.5f);
  return fma(half, erf(x * splat(0.707106781f)), half);
}
// x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
inline F32 gelu_tanh(F32 x) {
  const F32 b = at_least(x, -16.0f);
  const F32 u2 = b * fma(b * b, splat(0.0713548163f), splat(1.59576912f));
  return b * sigmoid(u2);
}
// x tanh(softplus x): with e = exp(-|x|), (1 + 2e) / (1 + 2e + 2e^2) for x >= 0, (e^2 + 2e) / (e^2 + 2e + 2)
// below.
inline F32 mish(F32 x) {
  const F32 e = exp_flush(-abs(x)), two = splat(2.0f);
  const M32 negative = x < zero_f32();
  const F32 numerator = select(negative, e * (e + two), fma(e, two, splat(1.0f)));
  const F32 denominator = numerator + select(negative, two, two * e * e);
  return gated(x, numerator / denominator);
}
inline F32 hard_sigmoid(F32 x, float alpha, float beta) {
  return at_least(at_most(fma(x, splat(alpha), splat(beta)), 1.0f), 0.0f);
}
inline F32 hard_swish(F32 x) {
  return x * hard_sigmoid(x, 1.0f / 6.0f, 0.5f);
}
inline F32 elu(F32 x, float alpha) {
  return select(x < zero_f32(), splat(alpha) * expm1_bounded(at_most(x, 0.0f)), x);
}
inline F32 selu(F32 x, float alpha, float gamma) {
  return splat(gamma) * elu(x, alpha);
}
inline F32 celu(F32 x, float alpha) {
  return relu(x) + at_most(splat(alpha) * expm1(x / splat(alpha)), 0.0f);
}
inline F32 leaky_relu(F32 x, float alpha) {
  return select(x < zero_f32(), x * splat(alpha), x);
}
inline F32 softsign(F32 x) {
  return x / (splat(1.0f) + abs(x));
}
inline F32 sign(F32 x) {
  return select(x > zero_f32(), splat(1.0f), select(x < zero_f32(), splat(-1.0f), x));
}
inline F32 shrink(F32 x, float bias, float lambda) {
  const F32 above = select(x > splat(lambda), x - splat(bias), zero_f32());
  return select(x < splat(-lambda), x + splat(bias), above);
}

}  // namespace
}  // namespace pyinfer
