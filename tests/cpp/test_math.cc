// The elementary functions against <cmath> in double, over all magnitudes, signs and special values.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "kernels/kernel_table.h"

using namespace pyinfer;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// |got - want| in units of the last place of `want` as a float; 0 when both are the same special value.
double ulp_error(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e30;
  const float rounded = static_cast<float>(want);
  if (std::isinf(rounded) || std::isinf(got)) {
    if (got == rounded) return 0;
    // Just beyond the largest float either neighbour is one ulp away.
    const double largest = std::numeric_limits<float>::max();
    return std::abs(std::isinf(got) ? want : double(got)) >= largest * (1 - 1e-6) ? 1 : 1e30;
  }
  int exponent;
  std::frexp(want, &exponent);
  return std::abs(double(got) - want) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

// Floats whose bit patterns are `step` apart between `low` and `high` (any signs), and the special ones.
std::vector<float> sample(float low, float high, uint32_t step) {
  std::vector<float> xs;
  for (float x : {0.0f, -0.0f, 1.0f, -1.0f, 0.5f, -0.5f, 2.0f, 1e-45f, -1e-45f, 1.1754944e-38f, 3.4028235e38f,
                  -3.4028235e38f, kInf, -kInf, kNan})
    xs.push_back(x);
  // NaN of every payload: arithmetic on bits must not make numbers of them.
  for (uint32_t payload = 1; payload < 0x800000u; payload += payload < 1024 ? 1 : 65537) {
    xs.push_back(std::bit_cast<float>(0x7f800000u | payload));
    xs.push_back(std::bit_cast<float>(0xff800000u | payload));
  }
  for (uint64_t bits = 0; bits < 0x7f800000u; bits += step) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (x >= low && x <= high) xs.push_back(x);
    if (-x >= low && -x <= high) xs.push_back(-x);
  }
  return xs;
}

struct Scan {
  const char* name;
  UnaryKind kind;
  double (*exact)(double);
  double ulps;      // allowed where the exact value is not tiny
  double absolute;  // or this much
  float low = -kInf, high = kInf;
};

// The baseline rounds a * b + c twice: it is allowed a little more.
void scan(const Scan& s, uint32_t step = 9973) {
  const std::vector<float> xs = sample(s.low, s.high, step);
  std::vector<float> ys(xs.size());
  for (Isa isa : available_isas()) {
    kernel_table(isa).elementwise.unary(s.kind, xs.data(), ys.data(), static_cast<int64_t>(xs.size()), {});
    test::report_bits(isa_name(isa), ys);
    const bool fused = isa != Isa::kBaseline;
    const double allowed = s.ulps + (fused ? 0.0 : 2.0), absolute = s.absolute * (fused ? 1.0 : 1.5);
    double worst = 0;
    float at = 0;
    for (size_t i = 0; i < xs.size(); ++i) {
      if (!(xs[i] >= s.low && xs[i] <= s.high) && !std::isnan(xs[i])) continue;
      const double want = s.exact(xs[i]);
      if (std::abs(double(ys[i]) - want) <= absolute) continue;
      const double error = ulp_error(ys[i], want);
      if (error > worst) worst = error, at = xs[i];
    }
    if (std::getenv("PYINFER_SHOW_ULPS"))
      std::cerr << s.name << " " << isa_name(isa) << " " << worst << " at " << at << "\n";
    if (!(worst <= allowed)) {
      std::ostringstream os;
      os << s.name << " on " << isa_name(isa) << ": " << worst << " ulp at " << at << ", allowed " << allowed;
      test::report_failure(__FILE__, __LINE__, os.str());
    }
  }
}

double exact_sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double exact_softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}
double exact_silu(double x) {
  return x == -INFINITY ? 0 : x * exact_sigmoid(x);
}
double exact_gelu(double x) {
  return x == -INFINITY ? 0 : 0.5 * x * std::erfc(-x * M_SQRT1_2);
}
double exact_gelu_tanh(double x) {
  return x < -1e3 ? 0 : x * exact_sigmoid(2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
}
double exact_mish(double x) {
  return x == -INFINITY ? 0 : x * std::tanh(exact_softplus(x));
}

}  // namespace

TEST(math_exponentials_and_logarithm) {
  scan({"exp", UnaryKind::kExp, std::exp, 1.0, 0});
  scan({"expm1", UnaryKind::kExpm1, std::expm1, 3.0, 0});
  scan({"log", UnaryKind::kLog, std::log, 1.0, 0});
  scan({"sigmoid", UnaryKind::kSigmoid, exact_sigmoid, 3.0, 1.2e-38});
  scan({"softplus", UnaryKind::kSoftplus, exact_softplus, 3.0, 1.2e-38});
  scan({"tanh", UnaryKind::kTanh, std::tanh, 3.0, 0});
  scan({"erf", UnaryKind::kErf, std::erf, 6.0, 0});
}

TEST(math_trigonometry_over_all_magnitudes) {
  scan({"sin", UnaryKind::kSin, std::sin, 1.6, 0});
  scan({"cos", UnaryKind::kCos, std::cos, 1.6, 0});
  scan({"tan", UnaryKind::kTan, std::tan, 4.0, 0});
  // Huge angles one by one: their reduction is a path of its own.
  scan({"sin huge", UnaryKind::kSin, std::sin, 1.6, 0, 0x1p27f, kInf}, 997);
  scan({"cos huge", UnaryKind::kCos, std::cos, 1.6, 0, -kInf, -0x1p27f}, 997);
  scan({"asin", UnaryKind::kAsin, std::asin, 1.0, 0});
  scan({"acos", UnaryKind::kAcos, std::acos, 1.0, 0});
  scan({"atan", UnaryKind::kAtan, std::atan, 1.0, 0});
}

TEST(math_hyperbolic) {
  scan({"sinh", UnaryKind::kSinh, std::sinh, 1.0, 0});
  scan({"cosh", UnaryKind::kCosh, std::cosh, 1.0, 0});
  scan({"asinh", UnaryKind::kAsinh, std::asinh, 1.0, 0});
  scan({"acosh", UnaryKind::kAcosh, std::acosh, 1.0, 0});
  scan({"atanh", UnaryKind::kAtanh, std::atanh, 1.0, 0});
}

TEST(math_activations) {
  scan({"silu", UnaryKind::kSilu, exact_silu, 4.0, 1.2e-36});
  scan({"gelu erf", UnaryKind::kGeluErf, exact_gelu, 4.0, 8e-7});
  scan({"gelu tanh", UnaryKind::kGeluTanh, exact_gelu_tanh, 4.0, 3e-7});
  scan({"mish", UnaryKind::kMish, exact_mish, 4.0, 1.2e-36});
}

TEST(math_exact_roundings) {
  scan({"round", UnaryKind::kRound, std::nearbyint, 0, 0});
  scan({"floor", UnaryKind::kFloor, std::floor, 0, 0});
  scan({"ceil", UnaryKind::kCeil, std::ceil, 0, 0});
  scan({"trunc", UnaryKind::kTrunc, std::trunc, 0, 0});
  scan({"sqrt", UnaryKind::kSqrt, std::sqrt, 0.5, 0});
  scan({"abs", UnaryKind::kAbs, std::fabs, 0, 0});
}

// Every pair of special values, and random ones whose result is in range.
TEST(math_pow) {
  std::vector<float> a, b;
  const std::vector<float> specials = {0.0f,        -0.0f,  1.0f,    -1.0f,       2.0f,       -2.0f,
                                       3.0f,        -3.0f,  0.5f,    -0.5f,       kInf,       -kInf,
                                       kNan,        1e-45f, -1e-45f, 1e30f,       -1e30f,     16777215.0f,
                                       16777217.0f, 1.5f,   -1.5f,   0.99999994f, 1.0000001f, -0.99999994f};
  for (float x : specials)
    for (float y : specials) a.push_back(x), b.push_back(y);
  std::mt19937 rng(7);
  std::uniform_real_distribution<float> exponent(-126, 128), fraction(1, 2), power(-150, 150);
  for (int i = 0; i < 400000; ++i) {
    const float x = std::ldexp(fraction(rng), static_cast<int>(exponent(rng)));
    const float y = static_cast<float>(power(rng) / std::max(std::abs(std::log2(double(x))), 1e-3));
    a.push_back(x), b.push_back(y);
    a.push_back(-x), b.push_back(std::nearbyint(y));
    a.push_back(fraction(rng)), b.push_back(power(rng));
  }
  const auto n = static_cast<int64_t>(a.size());
  for (Isa isa : available_isas()) {
    const BinaryFns pow = kernel_table(isa).elementwise.binary(BinaryKind::kPow, DType::kFloat32);
    std::vector<float> y(a.size());
    pow.vector_vector(a.data(), b.data(), y.data(), n);
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double want = std::pow(double(a[i]), double(b[i]));
      const double error = ulp_error(y[i], want);
      worst = std::max(worst, error);
      // x^3 is two products.
      if (error > (b[i] == 3.0f ? 1.6 : 1.01)) {
        std::ostringstream os;
        os << isa_name(isa) << " pow(" << a[i] << ", " << b[i] << ") = " << y[i] << ", expected " << want;
        test::report_failure(__FILE__, __LINE__, os.str());
      }
      if (want == 0 && error == 0) CHECK_EQ(std::signbit(y[i]), std::signbit(want));
    }
    CHECK(worst > 0);
    // A scalar exponent gives the bits of a vector of it.
    for (float p : {2.0f, 3.0f, 0.5f, -1.0f, 0.0f, 1.7f}) {
      std::vector<float> exponents(a.size(), p), z(a.size());
      pow.vector_vector(a.data(), exponents.data(), y.data(), n);
      pow.vector_scalar(a.data(), &p, z.data(), n);
      for (size_t i = 0; i < a.size(); ++i)
        CHECK(std::memcmp(&y[i], &z[i], 4) == 0 || (std::isnan(y[i]) && std::isnan(z[i])));
    }
  }
}

TEST(math_remainders_are_exact) {
  const std::vector<float> xs = sample(-kInf, kInf, 50000017);
  for (Isa isa : available_isas()) {
    const ElementwiseKernels& k = kernel_table(isa).elementwise;
    for (float b : xs) {
      std::vector<float> y(xs.size());
      k.binary(BinaryKind::kFMod, DType::kFloat32)
          .vector_scalar(xs.data(), &b, y.data(), static_cast<int64_t>(xs.size()));
      for (size_t i = 0; i < xs.size(); ++i) CHECK(ulp_error(y[i], std::fmod(xs[i], b)) == 0);
    }
  }
}
