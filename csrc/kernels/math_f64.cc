#include "kernels/math_f64.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/double_double.h"

namespace pyinfer::f64 {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr DoubleDouble kLn2{0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
constexpr DoubleDouble kTwoOverSqrtPi{0x1.20dd750429b6dp+0, 0x1.1ae3a914fed80p-56};

// From here down the term after x of sinh, tanh, asinh and atanh, and after x^2 of expm1 and log1p, is below
// 2^-58 of x.
constexpr double kTiny = 0x1p-29;

constexpr uint64_t bits_of(double x) {
  return std::bit_cast<uint64_t>(x);
}
// 2^n for -1022 <= n <= 1023.
constexpr double exp2_int(int n) {
  return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52);
}
// x 2^n, rounded once, for 1/2 <= |x| <= 4 and -1100 <= n <= 1100: the first product is exact.
constexpr double scale(double x, int n) {
  const int half = n >> 1;
  return x * exp2_int(half) * exp2_int(n - half);
}

// e^x by Taylor's series, for tables: |x| < 1.
constexpr DoubleDouble exp_series(DoubleDouble x) {
  DoubleDouble sum = 1.0, term = 1.0;
  for (int n = 1; n < 30; ++n) {
    term = term * x / static_cast<double>(n);
    sum = sum + term;
  }
  return sum;
}

// 2^(i/64).
constexpr int kExpSteps = 64;
constexpr auto kExpTable = [] {
  std::array<DoubleDouble, kExpSteps> table;
  for (int i = 0; i < kExpSteps; ++i)
    table[static_cast<size_t>(i)] = exp_series(kLn2 * (static_cast<double>(i) / kExpSteps));
  return table;
}();

// e^x = 2^n power (1 + r + rest), |r| <= ln 2 / 128.
struct ExpParts {
  int n;
  DoubleDouble power;
  DoubleDouble r;
  double rest;
};
// |x| < 2^10.
inline ExpParts exp_parts(DoubleDouble x) {
  // ln 2 / 64 in two parts: the first has so few bits that its products with an integer are exact.
  constexpr double kHead = 0x1.62e42fefp-7;
  constexpr double kTail = ((kLn2 - kHead * 64.0) / 64.0).hi;
  const double multiple = nearest(x.hi * (kExpSteps / kLn2.hi));
  const auto k = static_cast<int>(multiple);
  const DoubleDouble r = two_sum(x.hi - multiple * kHead, x.lo - multiple * kTail);
  const double s = r.hi;
  const double p =
      1.0 / 2 + s * (1.0 / 6 + s * (1.0 / 24 + s * (1.0 / 120 + s * (1.0 / 720 + s * (1.0 / 5040)))));
  return {k >> 6, kExpTable[static_cast<size_t>(k & 63)], r, s * s * p};
}

// y 2^n.
struct Scaled {
  DoubleDouble y;
  int n;
};
// e^x with 1/2 < y < 4, to about 2^-66 of it; |x| < 2^10.
inline Scaled exp_scaled(DoubleDouble x) {
  const ExpParts e = exp_parts(x);
  const DoubleDouble product = two_product(e.power.hi, e.r.hi);
  const DoubleDouble y = quick_two_sum(e.power.hi, product.hi);
  const double low = e.power.lo + e.power.lo * e.r.hi + (product.lo + e.power.hi * (e.r.lo + e.rest));
  return {quick_two_sum(y.hi, y.lo + low), e.n};
}
// e^x rounded; 0 or infinite where that is so.
inline double exp_rounded(DoubleDouble x) {
  if (x.hi > 710.0) return kInfinity;
  if (x.hi < -746.0) return 0.0;
  const ExpParts e = exp_parts(x);
  return scale(e.power.hi + (e.power.lo + e.power.hi * (e.r.hi + (e.r.lo + e.rest))), e.n);
}

// ln x by the series of 2 atanh((x - 1) / (x + 1)), for a table: 1/2 < x < 2.
constexpr DoubleDouble log_series(double x) {
  const DoubleDouble s = two_sum(x, -1.0) / two_sum(x, 1.0), square = s * s;
  DoubleDouble sum = 0.0, power = s * 2.0;
  for (int n = 1; n < 70; n += 2) {
    sum = sum + power / static_cast<double>(n);
    power = power * square;
  }
  return sum;
}

// For each i/128 in [sqrt(1/2), sqrt(2)]: about its reciprocal, in 11 bits, and minus the logarithm of that.
struct LogEntry {
  double reciprocal;
  DoubleDouble log;
};
constexpr int kLogSteps = 128, kLogFirst = 90, kLogLast = 182;
constexpr auto kLogTable = [] {
  std::array<LogEntry, kLogLast - kLogFirst + 1> table;
  for (int i = kLogFirst; i <= kLogLast; ++i) {
    const double c = nearest(1024.0 * kLogSteps / i) / 1024.0;
    table[static_cast<size_t>(i - kLogFirst)] = {c, -log_series(c)};
  }
  return table;
}();

// ln v = base + r + r^2 (-1/2) + rest.
struct LogParts {
  DoubleDouble base;
  DoubleDouble r;
  double rest;
};
// v 2^n for a normal v > 0.
inline LogParts log_parts(DoubleDouble v, int n) {
  const auto e = static_cast<int>(static_cast<int64_t>(bits_of(v.hi) - bits_of(0x1.6a09e667f3bcdp-1)) >> 52);
  const double m = std::bit_cast<double>(bits_of(v.hi) - (static_cast<uint64_t>(e) << 52));
  const double m_lo = v.lo == 0.0 ? 0.0 : v.lo * exp2_int(-e);
  const LogEntry& entry =
      kLogTable[static_cast<size_t>(static_cast<int>(nearest(m * kLogSteps)) - kLogFirst)];
  const double c = entry.reciprocal;
  // Both products are exact: one factor has 26 or 27 bits, the other 11.
  const double high = std::bit_cast<double>(bits_of(m) & ~uint64_t{0x7ffffff});
  const DoubleDouble most = two_sum(high * c - 1.0, (m - high) * c);
  const DoubleDouble r = quick_two_sum(most.hi, most.lo + m_lo * c);
  // ln 2 in two parts, so that the exponent's multiple of the first is exact.
  constexpr double kHead = 0x1.62e42fefa38p-1;
  constexpr double kTail = (kLn2 - kHead).hi;
  const auto exponent = static_cast<double>(n + e);
  DoubleDouble base = two_sum(exponent * kHead, entry.log.hi);
  base.lo += exponent * kTail + entry.log.lo;
  const double s = r.hi;
  const double p =
      1.0 / 3 - s * (1.0 / 4 - s * (1.0 / 5 - s * (1.0 / 6 - s * (1.0 / 7 - s * (1.0 / 8 - s * (1.0 / 9))))));
  return {base, r, s * s * s * p};
}

// ln(v 2^n) to about 2^-67 of it, for a normal v > 0.
inline DoubleDouble log_precise(DoubleDouble v, int n = 0) {
  const LogParts l = log_parts(v, n);
  const DoubleDouble square = two_product(l.r.hi, l.r.hi);
  const DoubleDouble first = two_sum(l.base.hi, l.r.hi), second = two_sum(first.hi, -0.5 * square.hi);
  const double low = l.base.lo + (l.r.lo - (l.r.hi * l.r.lo + 0.5 * square.lo)) + l.rest;
  return quick_two_sum(second.hi, (first.lo + second.lo) + low);
}
// A normal double and the exponent that it lacks: x = v 2^n, for x > 0.
struct Normal {
  double v;
  int n;
};
inline Normal normal(double x) {
  return x < 0x1p-1022 ? Normal{x * 0x1p54, -54} : Normal{x, 0};
}

// (e^a + sign e^-a) / 2 for a > 0.
inline double half_sum_of_exponentials(double a, double sign) {
  if (a > 711.0) return kInfinity;
  const Scaled grows = exp_scaled(a), falls = exp_scaled(-a);
  DoubleDouble y = grows.y;
  if (const int n = falls.n - grows.n; n > -128) y = y + falls.y * (sign * exp2_int(n));
  return scale(rounded(y), grows.n - 1);
}

}  // namespace

double exp(double x) {
  return std::isnan(x) ? x : exp_rounded(x);
}

double expm1(double x) {
  if (!(std::abs(x) > kTiny)) return x == 0.0 ? x : x + 0.5 * x * x;
  if (x > 710.0) return kInfinity;
  if (x < -40.0) return -1.0;
  const Scaled e = exp_scaled(x);
  if (e.n > 128) return scale(rounded(e.y), e.n);
  const double factor = exp2_int(e.n);
  return rounded(DoubleDouble{e.y.hi * factor, e.y.lo * factor} + -1.0);
}

double log(double x) {
  if (!(x > 0.0) || x == kInfinity) return x == 0.0 ? -kInfinity : x > 0.0 ? x : kNaN;
  const Normal d = normal(x);
  const LogParts l = log_parts(d.v, d.n);
  const DoubleDouble sum = two_sum(l.base.hi, l.r.hi);
  return sum.hi + (sum.lo + l.base.lo + (l.r.lo + (l.rest - 0.5 * l.r.hi * l.r.hi)));
}

double log1p(double x) {
  if (!(std::abs(x) > kTiny)) return x == 0.0 ? x : x - 0.5 * x * x;
  if (!(x > -1.0) || x == kInfinity) return x == -1.0 ? -kInfinity : x > 0.0 ? x : kNaN;
  return rounded(log_precise(two_sum(1.0, x)));
}

double pow(double x, double y) {
  if (x == 1.0 || y == 0.0) return 1.0;
  if (std::isnan(x) || std::isnan(y)) return kNaN;
  const double a = std::abs(x), half = 0.5 * y;
  const bool integer = std::abs(y) >= 0x1p53 || std::trunc(y) == y;
  if (x < 0.0 && a != kInfinity && !integer && std::abs(y) != kInfinity) return kNaN;
  const bool odd = integer && std::abs(y) < 0x1p53 && std::trunc(half) != half;
  const double sign = odd && std::signbit(x) ? -1.0 : 1.0;
  if (a == 1.0) return sign;
  if (a == 0.0 || a == kInfinity || std::abs(y) == kInfinity)
    return (a > 1.0) == (y > 0.0) ? sign * kInfinity : sign * 0.0;
  // Beyond 2^70 any power but that of 1 is 0 or infinite.
  const double bounded = std::abs(y) < 0x1p70 ? y : std::copysign(0x1p70, y);
  const Normal d = normal(a);
  return sign * exp_rounded(log_precise(d.v, d.n) * bounded);
}

double sinh(double x) {
  const double a = std::abs(x);
  return a > kTiny ? std::copysign(half_sum_of_exponentials(a, -1.0), x) : x;
}

double cosh(double x) {
  return std::isnan(x) ? x : half_sum_of_exponentials(std::abs(x), 1.0);
}

// (1 - m) / (1 + m) with m = e^(-2a).
double tanh(double x) {
  const double a = std::abs(x);
  if (!(a > kTiny)) return x;
  if (a > 20.0) return std::copysign(1.0, x);
  const Scaled e = exp_scaled(-2.0 * a);
  const DoubleDouble m = e.y * exp2_int(e.n);
  return std::copysign(rounded((-m + 1.0) / (m + 1.0)), x);
}

double asinh(double x) {
  const double a = std::abs(x);
  if (!(a > kTiny) || a == kInfinity) return x;
  const DoubleDouble y = a > 0x1p30 ? log_precise(a, 1) : log_precise(sqrt(two_product(a, a) + 1.0) + a);
  return std::copysign(rounded(y), x);
}

double acosh(double x) {
  if (!(x > 1.0)) return x == 1.0 ? 0.0 : kNaN;
  if (x == kInfinity) return x;
  return rounded(x > 0x1p30 ? log_precise(x, 1) : log_precise(sqrt(two_product(x, x) + -1.0) + x));
}

double atanh(double x) {
  const double a = std::abs(x);
  if (!(a > kTiny)) return x;
  if (!(a < 1.0)) return a == 1.0 ? std::copysign(kInfinity, x) : kNaN;
  return std::copysign(0.5 * rounded(log_precise(two_sum(1.0, a) / two_sum(1.0, -a))), x);
}

namespace {

// At i/16: erf, and its derivative.
struct ErfEntry {
  DoubleDouble value;
  DoubleDouble slope;
};
constexpr int kErfSteps = 16, kErfLast = 96;
// erf c = slope(c) (c + 2 c^3 / 3 + 4 c^5 / 15 + ...): no term is negative. From one point to the next the
// slope changes by e^(-(2i + 1)/256).
constexpr auto kErfTable = [] {
  std::array<ErfEntry, kErfLast + 1> table;
  constexpr double kStep = 1.0 / (kErfSteps * kErfSteps);
  const DoubleDouble factor_change = exp_series(-2.0 * kStep);
  DoubleDouble slope = kTwoOverSqrtPi, factor = exp_series(-kStep);
  for (int i = 0; i <= kErfLast; ++i) {
    const double c = static_cast<double>(i) / kErfSteps;
    DoubleDouble sum = c, term = c;
    for (int n = 3; term.hi > sum.hi * 0x1p-70; n += 2) {
      term = term * (2.0 * c * c) / static_cast<double>(n);
      sum = sum + term;
    }
    table[static_cast<size_t>(i)] = {slope * sum, slope};
    slope = slope * factor;
    factor = factor * factor_change;
  }
  return table;
}();

}  // namespace

// erf(c + h) = erf c + slope(c) (integral of e^(-2ct - t^2) dt from 0 to h).
double erf(double x) {
  const double a = std::abs(x);
  if (!(a > kTiny)) return x == 0.0 ? x : rounded(kTwoOverSqrtPi * (x * 0x1p64)) * 0x1p-64;
  if (a >= 6.0) return std::copysign(1.0, x);
  const auto i = static_cast<int>(nearest(a * kErfSteps));
  const ErfEntry& entry = kErfTable[static_cast<size_t>(i)];
  const double c = static_cast<double>(i) / kErfSteps, h = a - c;
  const double p = -2.0 * c * h, q = -2.0 * h * h;
  // The coefficients of the integrand's series, times h^n: (n + 1) a(n + 1) = p a(n) + q a(n - 1).
  double before = 1.0, term = p, sum = p / 2;
  for (int n = 1; n < 11; ++n) {
    const double next = (p * term + q * before) * (1.0 / (n + 1));
    sum += next * (1.0 / (n + 2));
    before = term;
    term = next;
  }
  const DoubleDouble linear = two_product(entry.slope.hi, h);
  const DoubleDouble y = two_sum(entry.value.hi, linear.hi);
  const double low = entry.value.lo + (linear.lo + entry.slope.lo * h) + linear.hi * sum;
  return std::copysign(y.hi + (y.lo + low), x);
}

}  // namespace pyinfer::f64
