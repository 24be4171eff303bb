// The elementary functions of double against <cmath> in long double, over all magnitudes and special values;
// and their bits, which every build must share.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "kernels/elementwise.h"
#include "kernels/math_f64.h"

using namespace pyinfer;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kSmallest = 0x1p-1074;

// |got - want| in units of the last place of `want` as a double; 0 when both are the same special value.
double ulp_error(double got, long double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e30;
  const auto nearest = static_cast<double>(want);
  if (std::isinf(nearest) || std::isinf(got) || nearest == 0.0)
    return got == nearest && std::signbit(got) == std::signbit(nearest) ? 0 : 1e30;
  int exponent;
  std::frexp(want, &exponent);
  return static_cast<double>(std::abs(got - want) / std::ldexp(1.0L, std::max(exponent - 53, -1074)));
}

double random_double(std::mt19937_64& rng) {
  return std::bit_cast<double>(rng());
}
// In (-scale, scale), for a power of two.
double moderate(std::mt19937_64& rng, double scale) {
  return static_cast<double>(static_cast<int64_t>(rng()) >> 10) * 0x1p-53 * scale;
}

// Special values, NaN of several payloads, any bits, moderate numbers, and neighbours of what functions pivot
// on.
std::vector<double> sample(size_t n) {
  std::vector<double> xs = {0.0,
                            kSmallest,
                            0x1p-1022,
                            0x1.fffffffffffffp-1023,
                            0x1.fffffffffffffp+1023,
                            kInf,
                            kNan,
                            std::bit_cast<double>(0x7ff0000000000001),
                            std::bit_cast<double>(0x7fffffffffffffff)};
  for (double pivot : {0x1p-28,
                       0.0078125,
                       0.25,
                       0.5,
                       0.707106781186547524,
                       0.78125,
                       0.785398163397448310,
                       1.0,
                       1.57079632679489662,
                       2.0,
                       3.14159265358979324,
                       6.0,
                       22.0,
                       40.0,
                       709.782712893383973,
                       710.475860073943863,
                       745.13321910194111,
                       0x1p30,
                       0x1p60,
                       0x1.6ac5b262ca1ffp+849 /* the nearest to a multiple of pi/2 */})
    for (double step : {0.0, 1.0, 2.0, -1.0, -2.0}) xs.push_back(pivot * (1.0 + step * 0x1p-52));
  for (int k = 1; k < 64; ++k) xs.push_back(k * 1.57079632679489662), xs.push_back(k / 128.0);
  std::mt19937_64 rng(1);
  while (xs.size() < n) {
    xs.push_back(random_double(rng));
    for (double scale : {1.0, 4.0, 32.0, 1024.0, 0x1p40}) xs.push_back(moderate(rng, scale));
  }
  const size_t count = xs.size();
  for (size_t i = 0; i < count; ++i) xs.push_back(-xs[i]);
  return xs;
}

using Real = long double;

void scan(const char* name, double (*function)(double), Real (*exact)(Real), const std::vector<double>& xs) {
  double worst = 0, at = 0;
  std::vector<double> ys;
  for (double x : xs) {
    ys.push_back(function(x));
    const Real want = exact(x);
    // Double rounding of subnormal results costs up to a quarter more.
    const double error = ulp_error(ys.back(), want) - (std::abs(want) < 0x1p-1022L ? 0.25 : 0.0);
    if (error > worst) worst = error, at = x;
  }
  test::report_bits("any", ys);
  if (worst > 0.53 || worst < 0.4) {
    std::ostringstream os;
    os << name << ": " << worst << " ulp at " << std::hexfloat << at << ", expected about a half";
    test::report_failure(__FILE__, __LINE__, os.str());
  }
}

}  // namespace

TEST(same_bits_float64_functions) {
  const std::vector<double> xs = sample(20000);
  scan("exp", f64::exp, std::exp, xs);
  scan("expm1", f64::expm1, std::expm1, xs);
  scan("log", f64::log, std::log, xs);
  scan("log1p", f64::log1p, std::log1p, xs);
  scan("sinh", f64::sinh, std::sinh, xs);
  scan("cosh", f64::cosh, std::cosh, xs);
  scan("tanh", f64::tanh, std::tanh, xs);
  scan("asinh", f64::asinh, std::asinh, xs);
  scan("acosh", f64::acosh, std::acosh, xs);
  scan("atanh", f64::atanh, std::atanh, xs);
  scan("sin", f64::sin, std::sin, xs);
  scan("cos", f64::cos, std::cos, xs);
  scan("tan", f64::tan, std::tan, xs);
  scan("asin", f64::asin, std::asin, xs);
  scan("acos", f64::acos, std::acos, xs);
  scan("atan", f64::atan, std::atan, xs);
  scan("erf", f64::erf, std::erf, xs);
}

TEST(same_bits_float64_pow) {
  std::vector<double> a, b;
  const std::vector<double> specials = {0.0,
                                        1.0,
                                        2.0,
                                        3.0,
                                        0.5,
                                        1.5,
                                        kInf,
                                        kNan,
                                        kSmallest,
                                        0x1p-1022,
                                        1e300,
                                        1e19,
                                        0x1p53,
                                        0x1p53 - 1,
                                        1 + 0x1p-52,
                                        1 - 0x1p-53,
                                        0x1p52 + 0.5,
                                        1e-300,
                                        0x1p70,
                                        1023,
                                        1074,
                                        1075,
                                        0x1.fffffffffffffp+1023};
  for (double x : specials)
    for (double y : specials)
      for (double sx : {1.0, -1.0})
        for (double sy : {1.0, -1.0}) a.push_back(sx * x), b.push_back(sy * y);
  std::mt19937_64 rng(2);
  for (int i = 0; i < 10000; ++i) {
    // Not the C library's logarithm: the bits are to be the same everywhere.
    const double x = std::abs(random_double(rng)), power = moderate(rng, 1024.0);
    const double y = power / std::max(std::abs(f64::log(x)), 1e-3);
    a.push_back(x), b.push_back(y);
    a.push_back(-x), b.push_back(std::nearbyint(y));
    a.push_back(std::abs(moderate(rng, 2.0))), b.push_back(moderate(rng, 256.0));
    a.push_back(1.0 + moderate(rng, 0x1p-20)), b.push_back(moderate(rng, 0x1p28));
  }
  std::vector<double> ys;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ys.push_back(f64::pow(a[i], b[i]));
    const Real want = std::pow(Real{a[i]}, Real{b[i]});
    const double error = ulp_error(ys.back(), want) - (std::abs(want) < 0x1p-1022L ? 0.25 : 0.0);
    worst = std::max(worst, error);
    if (error > 0.53) {
      std::ostringstream os;
      os << std::hexfloat << "pow(" << a[i] << ", " << b[i] << ") = " << ys.back() << ": " << error << " ulp";
      test::report_failure(__FILE__, __LINE__, os.str());
    }
  }
  CHECK(worst > 0.4);
  test::report_bits("any", ys);
}

// What the operators compute of doubles: every kind, through the functions above.
TEST(same_bits_float64_unary) {
  const std::vector<double> xs = sample(3000);
  std::vector<double> ys(xs.size());
  for (int kind = 0; kind < static_cast<int>(UnaryKind::kNot); ++kind) {
    if (!unary_supported(static_cast<UnaryKind>(kind), DType::kFloat64)) continue;
    unary(static_cast<UnaryKind>(kind), DType::kFloat64, xs.data(), ys.data(),
          static_cast<int64_t>(xs.size()), {0.7f, 1.3f});
    test::report_bits("any", ys);
  }
}
