// Sine, cosine, tangent and their inverses.
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "kernels/double_double.h"
#include "kernels/math_f64.h"

namespace pyinfer::f64 {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr DoubleDouble kHalfPi{0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};

// From here down the next term of sin, tan, asin and atan is below 2^-57 of x.
constexpr double kTiny = 0x1p-28;

// A word of zeros, then the bits of 2/pi.
constexpr uint64_t kTwoOverPi[] = {0,
                                   0xa2f9836e4e441529,
                                   0xfc2757d1f534ddc0,
                                   0xdb6295993c439041,
                                   0xfe5163abdebbc561,
                                   0xb7246e3a424dd2e0,
                                   0x06492eea09d1921c,
                                   0xfe1deb1cb129a73e,
                                   0xe88235f52ebb4484,
                                   0xe99c7026b45f7e41,
                                   0x3991d639835339f4,
                                   0x9c845f8bbdf9283b,
                                   0x1ff897ffde05980f,
                                   0xef2f118b5a0a6d1f,
                                   0x6d367ecf27cb09b7,
                                   0x4f463f669e5fea2d,
                                   0x7527bac7ebe5f17b,
                                   0x3d0739f78a5292ea,
                                   0x6bfb5fb11f8d5d08,
                                   0x56033046fc7b6bab};

// quarter pi/2 + r, the quarter modulo 4.
struct Angle {
  int quarter;
  DoubleDouble r;
};

// Any finite x >= 1/2, with |r| <= pi/4 (Payne and Hanek, "Radian reduction for trigonometric functions",
// 1983): the 53 bits of x times the 192 bits of 2/pi from the first that is not a multiple of 4 quarters. No
// double is nearer to a multiple of pi/2 than 2^-62, so that 64 bits of r are right, and as a rule all of a
// DoubleDouble.
inline Angle reduce_large(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const uint64_t mantissa = (bits & 0xfffffffffffff) | 0x10000000000000;
  // x = mantissa 2^e; the bit of 2/pi that weighs 2^(1 - e) is the first.
  const int e = static_cast<int>(bits >> 52) - 1075, first = 64 + (e - 1) - 1;
  uint64_t word[3];
  for (int i = 0; i < 3; ++i) {
    const auto at = static_cast<unsigned>(first) / 64 + static_cast<unsigned>(i);
    const unsigned __int128 two = static_cast<unsigned __int128>(kTwoOverPi[at]) << 64 | kTwoOverPi[at + 1];
    word[i] = static_cast<uint64_t>(two >> (64 - first % 64));
  }
  // 2 bits of whole quarters and 126 of a fraction.
  const unsigned __int128 turns = (static_cast<unsigned __int128>(mantissa * word[0]) << 64) +
                                  static_cast<unsigned __int128>(mantissa) * word[1] +
                                  (static_cast<unsigned __int128>(mantissa) * word[2] >> 64);
  const unsigned __int128 quarter = (turns + (static_cast<unsigned __int128>(1) << 125)) >> 126;
  const auto fraction = static_cast<__int128>(turns - (quarter << 126));
  // Three parts that doubles hold exactly.
  const auto high = static_cast<double>(static_cast<int64_t>(fraction >> 80));
  const auto middle = static_cast<double>(static_cast<int64_t>(fraction >> 32 & 0xffffffffffff));
  const auto low = static_cast<double>(static_cast<int64_t>(fraction & 0xffffffff));
  const DoubleDouble sum = two_sum(high * 0x1p80, middle * 0x1p32);
  constexpr DoubleDouble kUnit{kHalfPi.hi * 0x1p-126, kHalfPi.lo * 0x1p-126};
  return {static_cast<int>(quarter & 3), quick_two_sum(sum.hi, sum.lo + low) * kUnit};
}

// x >= 0, |r| <= pi/4.
inline Angle reduce(double x) {
  return x <= 0.78125 ? Angle{0, x} : reduce_large(x);
}

struct SineCosine {
  DoubleDouble sine;
  DoubleDouble cosine;
};

// At i/64, to pi/4.
constexpr int kSineSteps = 64, kSineLast = 51;
constexpr auto kSineTable = [] {
  std::array<SineCosine, kSineLast + 1> table;
  for (int i = 0; i <= kSineLast; ++i) {
    const double x = static_cast<double>(i) / kSineSteps;
    DoubleDouble part[2] = {0.0, 0.0}, term = 1.0;  // of cosine and sine
    for (int n = 0; n < 28; ++n) {
      part[n & 1] = n & 2 ? part[n & 1] - term : part[n & 1] + term;
      term = term * x / static_cast<double>(n + 1);
    }
    table[static_cast<size_t>(i)] = {part[1], part[0]};
  }
  return table;
}();

// s cos h + c sin h = s + c h + (s (cos h - 1) + c (sin h - h)), to about 2^-65 of it, for |h| <= 1/128.
inline DoubleDouble sine_of_sum(DoubleDouble s, DoubleDouble c, DoubleDouble h) {
  const double t = h.hi * h.hi;
  const double cosine = t * (-1.0 / 2 + t * (1.0 / 24 + t * (-1.0 / 720 + t * (1.0 / 40320))));
  const double sine = t * h.hi * (-1.0 / 6 + t * (1.0 / 120 + t * (-1.0 / 5040)));
  const DoubleDouble linear = two_product(c.hi, h.hi), sum = two_sum(s.hi, linear.hi);
  const double low = s.lo + (linear.lo + (c.hi * h.lo + c.lo * h.hi)) + (s.hi * cosine + c.hi * sine);
  return quick_two_sum(sum.hi, sum.lo + low);
}

// A point of the table near |r| and the way from there to |r|, for |r| <= pi/4.
struct NearSine {
  const SineCosine& at;
  DoubleDouble h;
};
inline NearSine near_sine(DoubleDouble r) {
  if (r.hi < 0.0) r = -r;
  const auto i = static_cast<int>(nearest(r.hi * kSineSteps));
  return {kSineTable[static_cast<size_t>(i)], two_sum(r.hi - static_cast<double>(i) / kSineSteps, r.lo)};
}
inline DoubleDouble sine(DoubleDouble r) {
  const NearSine n = near_sine(r);
  const DoubleDouble y = sine_of_sum(n.at.sine, n.at.cosine, n.h);
  return r.hi < 0.0 ? -y : y;
}
inline DoubleDouble cosine(DoubleDouble r) {
  const NearSine n = near_sine(r);
  return sine_of_sum(n.at.cosine, -n.at.sine, n.h);
}
// sin(quarter pi/2 + r).
inline DoubleDouble sine(const Angle& angle) {
  const DoubleDouble y = angle.quarter & 1 ? cosine(angle.r) : sine(angle.r);
  return angle.quarter & 2 ? -y : y;
}

// atan(i/64), each from the one before: atan a = atan b + atan((a - b) / (1 + a b)).
constexpr int kAtanSteps = 64;
constexpr auto kAtanTable = [] {
  std::array<DoubleDouble, kAtanSteps + 1> table;
  for (int i = 1; i <= kAtanSteps; ++i) {
    const DoubleDouble z =
        DoubleDouble(kAtanSteps) / static_cast<double>(kAtanSteps * kAtanSteps + i * (i - 1));
    DoubleDouble sum = 0.0, power = z;
    for (int n = 1; n < 20; n += 2) {
      const DoubleDouble term = power / static_cast<double>(n);
      sum = n & 2 ? sum - term : sum + term;
      power = power * z * z;
    }
    table[static_cast<size_t>(i)] = table[static_cast<size_t>(i - 1)] + sum;
  }
  return table;
}();

// atan(y / x) for x, y >= 0, not both zero, to about 2^-65 of it.
inline DoubleDouble atan_of_ratio(DoubleDouble y, DoubleDouble x) {
  const bool steep = y.hi > x.hi;
  if (steep) std::swap(x, y);
  const auto i = static_cast<int>(nearest(y.hi / x.hi * kAtanSteps));
  const double c = static_cast<double>(i) / kAtanSteps;
  const DoubleDouble z = (y - x * c) / (x + y * c);
  const double t = z.hi * z.hi;
  const double rest = z.hi * t * (-1.0 / 3 + t * (1.0 / 5 + t * (-1.0 / 7 + t * (1.0 / 9))));
  const DoubleDouble& base = kAtanTable[static_cast<size_t>(i)];
  const DoubleDouble sum = two_sum(base.hi, z.hi);
  const DoubleDouble angle = quick_two_sum(sum.hi, sum.lo + (base.lo + z.lo + rest));
  return steep ? kHalfPi - angle : angle;
}

}  // namespace

double sin(double x) {
  const double a = std::abs(x);
  if (!(a > kTiny)) return x;
  if (!(a < std::numeric_limits<double>::infinity())) return kNaN;
  const double y = rounded(sine(reduce(a)));
  return x < 0.0 ? -y : y;
}

double cos(double x) {
  const double a = std::abs(x);
  if (!(a < std::numeric_limits<double>::infinity())) return kNaN;
  Angle angle = reduce(a);
  ++angle.quarter;
  return rounded(sine(angle));
}

double tan(double x) {
  const double a = std::abs(x);
  if (!(a > kTiny)) return x;
  if (!(a < std::numeric_limits<double>::infinity())) return kNaN;
  const Angle angle = reduce(a);
  const DoubleDouble s = sine(angle.r), c = cosine(angle.r);
  const double y = rounded(angle.quarter & 1 ? -c / s : s / c);
  return x < 0.0 ? -y : y;
}

double asin(double x) {
  const double a = std::abs(x);
  if (!(a > kTiny)) return x;
  if (!(a <= 1.0)) return kNaN;
  return std::copysign(rounded(atan_of_ratio(a, sqrt(-two_product(a, a) + 1.0))), x);
}

// acos x = 2 atan sqrt((1 - x) / (1 + x)).
double acos(double x) {
  if (!(std::abs(x) <= 1.0)) return kNaN;
  return 2.0 * rounded(atan_of_ratio(sqrt(two_sum(1.0, -x)), sqrt(two_sum(1.0, x))));
}

double atan(double x) {
  const double a = std::abs(x);
  if (!(a > kTiny)) return x;
  // From here on the result rounds to pi/2; products stay finite.
  return std::copysign(rounded(atan_of_ratio(a < 0x1p60 ? a : 0x1p60, 1.0)), x);
}

}  // namespace pyinfer::f64
