// Elementwise kernels: every length and misalignment, every form, hostile integers, broadcasting.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "check.h"
#include "kernels/broadcast.h"
#include "kernels/kernel_table.h"

using namespace pyinfer;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> random_floats(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0, 3);
  std::vector<float> v(n);
  for (float& x : v) x = d(rng);
  return v;
}

bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, 4) == 0;
}

template <class T>
std::vector<T> hostile_integers() {
  using L = std::numeric_limits<T>;
  return {0,
          1,
          2,
          3,
          7,
          31,
          100,
          L::max(),
          static_cast<T>(L::max() - 1),
          L::min(),
          static_cast<T>(L::min() + 1),
          static_cast<T>(-1),
          static_cast<T>(-2),
          static_cast<T>(-5)};
}

// What the contract says, by mathematical definition on 128-bit integers, then wrapped.
template <class T>
T expected(BinaryKind kind, T a, T b) {
  const __int128 x = a, y = b;
  switch (kind) {
    case BinaryKind::kAdd: return static_cast<T>(x + y);
    case BinaryKind::kSub: return static_cast<T>(x - y);
    case BinaryKind::kMul:
      return static_cast<T>(static_cast<unsigned __int128>(x) * static_cast<unsigned __int128>(y));
    case BinaryKind::kDiv: return y == 0 ? T{0} : static_cast<T>(x / y);
    case BinaryKind::kMin: return static_cast<T>(std::min(x, y));
    case BinaryKind::kMax: return static_cast<T>(std::max(x, y));
    case BinaryKind::kMod: return y == 0 ? T{0} : static_cast<T>(((x % y) + y) % y);
    case BinaryKind::kFMod: return y == 0 ? T{0} : static_cast<T>(x % y);
    case BinaryKind::kPow: {
      if (y < 0) return x == 1 ? T{1} : x == -1 ? (y % 2 == 0 ? T{1} : static_cast<T>(-1)) : T{0};
      unsigned __int128 r = 1;
      unsigned __int128 square = static_cast<unsigned __int128>(x);
      for (__int128 e = y; e > 0; e /= 2, square *= square)
        if (e % 2 != 0) r *= square;
      return static_cast<T>(r);
    }
    default: return T{0};
  }
}

template <class T>
void check_integers(Isa isa, DType dtype) {
  const std::vector<T> v = hostile_integers<T>();
  std::vector<T> a, b;
  for (T x : v)
    for (T y : v) a.push_back(x), b.push_back(y);
  const auto n = static_cast<int64_t>(a.size());
  const ElementwiseKernels& k = kernel_table(isa).elementwise;
  for (BinaryKind kind :
       {BinaryKind::kAdd, BinaryKind::kSub, BinaryKind::kMul, BinaryKind::kDiv, BinaryKind::kMin,
        BinaryKind::kMax, BinaryKind::kMod, BinaryKind::kFMod, BinaryKind::kPow}) {
    std::vector<T> y(a.size());
    k.binary(kind, dtype).vector_vector(a.data(), b.data(), y.data(), n);
    for (size_t i = 0; i < a.size(); ++i) CHECK_EQ(+y[i], +expected(kind, a[i], b[i]));
    for (T s : v) {
      k.binary(kind, dtype).vector_scalar(a.data(), &s, y.data(), n);
      for (size_t i = 0; i < a.size(); ++i) CHECK_EQ(+y[i], +expected(kind, a[i], s));
      k.binary(kind, dtype).scalar_vector(&s, b.data(), y.data(), n);
      for (size_t i = 0; i < a.size(); ++i) CHECK_EQ(+y[i], +expected(kind, s, b[i]));
    }
  }
  std::vector<uint8_t> y(a.size());
  const auto compare = [&](BinaryKind kind, auto f) {
    k.binary(kind, dtype).vector_vector(a.data(), b.data(), y.data(), n);
    for (size_t i = 0; i < a.size(); ++i) CHECK_EQ(y[i] != 0, f(a[i], b[i]));
  };
  compare(BinaryKind::kEqual, std::equal_to<T>());
  compare(BinaryKind::kLess, std::less<T>());
  compare(BinaryKind::kLessOrEqual, std::less_equal<T>());
  compare(BinaryKind::kGreater, std::greater<T>());
  compare(BinaryKind::kGreaterOrEqual, std::greater_equal<T>());
  std::vector<T> z(a.size());
  k.binary(BinaryKind::kShiftLeft, dtype).vector_vector(a.data(), b.data(), z.data(), n);
  for (size_t i = 0; i < a.size(); ++i) {
    const auto s = static_cast<uint64_t>(b[i]);
    CHECK_EQ(+z[i], +(s < 8 * sizeof(T) ? static_cast<T>(static_cast<uint64_t>(a[i]) << s) : T{0}));
  }
}

}  // namespace

// Each element's bits depend on its value alone: not on its place, the length or the alignment; nothing
// outside the run is written; in place works.
TEST(elementwise_unary_lengths_offsets_and_in_place) {
  const std::vector<float> x = random_floats(128, 1);
  const UnaryParams params{0.7f, 0.3f};
  for (Isa isa : available_isas()) {
    const ElementwiseKernels& k = kernel_table(isa).elementwise;
    for (int kind = 0; kind < static_cast<int>(UnaryKind::kNot); ++kind) {
      const auto u = static_cast<UnaryKind>(kind);
      std::vector<float> whole(x.size());
      for (size_t i = 0; i < x.size(); ++i) k.unary(u, &x[i], &whole[i], 1, params);
      for (int64_t n = 0; n <= 35; ++n) {
        for (int64_t offset : {0, 1, 7, 13}) {
          std::vector<float> y(64, 1234.5f), z(x.begin() + offset, x.end());
          k.unary(u, x.data() + offset, y.data() + 1, n, params);
          k.unary(u, z.data(), z.data(), n, params);
          bool ok = y[0] == 1234.5f && y[static_cast<size_t>(n) + 1] == 1234.5f &&
                    same_bits(z[static_cast<size_t>(n)], x[static_cast<size_t>(offset + n)]);
          for (int64_t i = 0; i < n; ++i) {
            const float want = whole[static_cast<size_t>(offset + i)];
            ok = ok && (std::isnan(want) || (same_bits(y[static_cast<size_t>(i) + 1], want) &&
                                             same_bits(z[static_cast<size_t>(i)], want)));
          }
          if (!ok) test::report_failure(__FILE__, __LINE__, "unary kind " + std::to_string(kind));
        }
      }
    }
  }
}

TEST(elementwise_unary_formulas) {
  const std::vector<float> specials = {0.0f, -0.0f, kInf, -kInf, kNan};
  std::vector<float> x = random_floats(300, 2);
  x.insert(x.end(), specials.begin(), specials.end());
  const double a = 0.7f, b = 0.3f;
  const auto n = static_cast<int64_t>(x.size());
  struct Formula {
    UnaryKind kind;
    double (*f)(double x, double a, double b);
  };
  const Formula formulas[] = {
      {UnaryKind::kAffine, [](double v, double p, double q) { return v * p + q; }},
      {UnaryKind::kClip,
       [](double v, double p, double q) { return std::isnan(v) ? v : std::min(std::max(v, p), q); }},
      {UnaryKind::kRelu, [](double v, double, double) { return v < 0 ? 0 : v; }},
      {UnaryKind::kLeakyRelu, [](double v, double p, double) { return v < 0 ? p * v : v; }},
      {UnaryKind::kThresholdedRelu, [](double v, double p, double) { return v > p ? v : 0; }},
      {UnaryKind::kHardSigmoid,
       [](double v, double p, double q) { return std::isnan(v) ? v : std::clamp(p * v + q, 0.0, 1.0); }},
      {UnaryKind::kElu, [](double v, double p, double) { return v < 0 ? p * std::expm1(v) : v; }},
      {UnaryKind::kSelu, [](double v, double p, double q) { return q * (v < 0 ? p * std::expm1(v) : v); }},
      {UnaryKind::kCelu,
       [](double v, double p, double) {
         return std::isnan(v) ? v : std::max(v, 0.0) + std::min(p * std::expm1(v / p), 0.0);
       }},
      {UnaryKind::kSoftsign, [](double v, double, double) { return v / (1 + std::abs(v)); }},
      {UnaryKind::kSwish,
       [](double v, double p, double) { return v == -INFINITY ? 0 : v / (1 + std::exp(-p * v)); }},
      {UnaryKind::kQuickGelu,
       [](double v, double, double) { return v == -INFINITY ? 0 : v / (1 + std::exp(-1.702 * v)); }},
      {UnaryKind::kShrink,
       [](double v, double p, double q) {
         return v < -q ? v + p : v > q ? v - p : std::isnan(v) ? 0 : 0;
       }},
      {UnaryKind::kSign, [](double v, double, double) { return v > 0   ? 1
                                                               : v < 0 ? -1
                                                                       : v; }},
      {UnaryKind::kReciprocal, [](double v, double, double) { return 1 / v; }},
      {UnaryKind::kRsqrt, [](double v, double, double) { return 1 / std::sqrt(v); }},
  };
  for (Isa isa : available_isas()) {
    for (const Formula& f : formulas) {
      std::vector<float> y(x.size());
      kernel_table(isa).elementwise.unary(f.kind, x.data(), y.data(), n,
                                          {0.7f, f.kind == UnaryKind::kClip ? 1.3f : 0.3f});
      for (size_t i = 0; i < x.size(); ++i) {
        const double want = f.f(x[i], a, f.kind == UnaryKind::kClip ? 1.3f : b);
        CHECK_NEAR(y[i], want, 1e-6 * std::max(1.0, std::abs(want)));
      }
    }
  }
}

TEST(elementwise_binary_f32_forms) {
  std::vector<float> a = random_floats(80, 3), b = random_floats(80, 4);
  a[5] = kNan, b[6] = kNan, a[7] = kInf, b[8] = -kInf, a[9] = 0.0f, b[10] = 0.0f;
  struct Formula {
    BinaryKind kind;
    float (*f)(float, float);
  };
  const Formula formulas[] = {
      {BinaryKind::kAdd, [](float x, float y) { return x + y; }},
      {BinaryKind::kSub, [](float x, float y) { return x - y; }},
      {BinaryKind::kMul, [](float x, float y) { return x * y; }},
      {BinaryKind::kDiv, [](float x, float y) { return x / y; }},
      {BinaryKind::kMin,
       [](float x, float y) { return std::isnan(x) || std::isnan(y) ? kNan : std::min(x, y); }},
      {BinaryKind::kMax,
       [](float x, float y) { return std::isnan(x) || std::isnan(y) ? kNan : std::max(x, y); }},
      {BinaryKind::kMod,
       [](float x, float y) {
         const float r = std::fmod(x, y);
         return r != 0 && (r < 0) != (y < 0) ? r + y : r;
       }},
      {BinaryKind::kFMod, [](float x, float y) { return std::fmod(x, y); }},
      {BinaryKind::kPRelu, [](float x, float y) { return x < 0 ? x * y : x; }},
  };
  const auto same = [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); };
  for (Isa isa : available_isas()) {
    for (const Formula& f : formulas) {
      const BinaryFns fns = kernel_table(isa).elementwise.binary(f.kind, DType::kFloat32);
      for (int64_t n = 0; n <= 40; ++n) {
        for (int64_t offset : {0, 1, 3}) {
          const float *p = a.data() + offset, *q = b.data() + 2 * offset;
          std::vector<float> y(64, -77.0f);
          fns.vector_vector(p, q, y.data(), n);
          for (int64_t i = 0; i < n; ++i) CHECK(same(y[static_cast<size_t>(i)], f.f(p[i], q[i])));
          CHECK_EQ(y[static_cast<size_t>(n)], -77.0f);
          fns.vector_scalar(p, q, y.data(), n);
          for (int64_t i = 0; i < n; ++i) CHECK(same(y[static_cast<size_t>(i)], f.f(p[i], *q)));
          fns.scalar_vector(p, q, y.data(), n);
          for (int64_t i = 0; i < n; ++i) CHECK(same(y[static_cast<size_t>(i)], f.f(*p, q[i])));
          std::copy(q, q + n, y.begin());
          fns.vector_vector(p, y.data(), y.data(), n);
          for (int64_t i = 0; i < n; ++i) CHECK(same(y[static_cast<size_t>(i)], f.f(p[i], q[i])));
        }
      }
    }
  }
}

TEST(elementwise_half_precision_rounds_once) {
  const std::vector<float> a = random_floats(600, 5), b = random_floats(600, 6);
  std::vector<Float16> ha(600), hb(600), hy(600);
  std::vector<BFloat16> ba(600), bb(600), by(600);
  for (size_t i = 0; i < 600; ++i) {
    ha[i] = Float16(a[i]), hb[i] = Float16(b[i]);
    ba[i] = BFloat16(a[i]), bb[i] = BFloat16(b[i]);
  }
  for (Isa isa : available_isas()) {
    const ElementwiseKernels& k = kernel_table(isa).elementwise;
    for (int64_t n : {0, 1, 17, 255, 256, 600}) {
      k.binary(BinaryKind::kMul, DType::kFloat16).vector_vector(ha.data(), hb.data(), hy.data(), n);
      k.binary(BinaryKind::kAdd, DType::kBFloat16).vector_scalar(ba.data(), bb.data(), by.data(), n);
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
        CHECK_EQ(hy[i].bits, Float16(static_cast<float>(ha[i]) * static_cast<float>(hb[i])).bits);
        CHECK_EQ(by[i].bits, BFloat16(static_cast<float>(ba[i]) + static_cast<float>(bb[0])).bits);
      }
    }
    std::vector<uint8_t> less(600);
    k.binary(BinaryKind::kLess, DType::kFloat16).scalar_vector(ha.data(), hb.data(), less.data(), 600);
    for (size_t i = 0; i < 600; ++i)
      CHECK_EQ(less[i] != 0, static_cast<float>(ha[0]) < static_cast<float>(hb[i]));
  }
  unary(UnaryKind::kExp, DType::kFloat16, ha.data(), hy.data(), 600);
  for (size_t i = 0; i < 600; ++i)
    CHECK_NEAR(static_cast<float>(hy[i]), std::exp(static_cast<double>(static_cast<float>(ha[i]))),
               1e-3 * std::exp(static_cast<double>(static_cast<float>(ha[i]))));
}

TEST(elementwise_integers_never_trap) {
  for (Isa isa : available_isas()) {
    check_integers<int8_t>(isa, DType::kInt8);
    check_integers<int16_t>(isa, DType::kInt16);
    check_integers<int32_t>(isa, DType::kInt32);
    check_integers<int64_t>(isa, DType::kInt64);
    check_integers<uint8_t>(isa, DType::kUInt8);
    check_integers<uint16_t>(isa, DType::kUInt16);
    check_integers<uint32_t>(isa, DType::kUInt32);
    check_integers<uint64_t>(isa, DType::kUInt64);
  }
  const std::vector<int32_t> v = hostile_integers<int32_t>();
  std::vector<int32_t> y(v.size());
  const auto n = static_cast<int64_t>(v.size());
  unary(UnaryKind::kAbs, DType::kInt32, v.data(), y.data(), n);
  for (size_t i = 0; i < v.size(); ++i)
    CHECK_EQ(y[i], static_cast<int32_t>(std::abs(static_cast<int64_t>(v[i]))));
  unary(UnaryKind::kSign, DType::kInt32, v.data(), y.data(), n);
  for (size_t i = 0; i < v.size(); ++i) CHECK_EQ(y[i], (v[i] > 0) - (v[i] < 0));
  CHECK(!unary_supported(UnaryKind::kExp, DType::kInt32));
  CHECK(!kernels().elementwise.binary(BinaryKind::kAnd, DType::kFloat32));
}

TEST(elementwise_where_steps) {
  const std::vector<float> a = random_floats(50, 8), b = random_floats(50, 9);
  std::vector<uint8_t> c(50);
  for (size_t i = 0; i < 50; ++i) c[i] = a[i] > b[i];
  for (Isa isa : available_isas()) {
    for (int form = 0; form < 8; ++form) {
      const int cs = form & 1, as = form >> 1 & 1, bs = form >> 2 & 1;
      for (int64_t n = 0; n <= 40; ++n) {
        std::vector<float> y(50, -5.0f);
        kernel_table(isa).elementwise.where(4, reinterpret_cast<const bool*>(c.data()), cs, a.data(), as,
                                            b.data(), bs, y.data(), n);
        for (int64_t i = 0; i < n; ++i)
          CHECK_EQ(y[static_cast<size_t>(i)], c[static_cast<size_t>(i * cs)]
                                                  ? a[static_cast<size_t>(i * as)]
                                                  : b[static_cast<size_t>(i * bs)]);
        CHECK_EQ(y[static_cast<size_t>(n)], -5.0f);
      }
    }
  }
}

TEST(elementwise_float_classes) {
  const std::vector<float> x = {0.0f, kInf, -kInf, kNan, -kNan, 3.0f};
  uint8_t y[6];
  auto* out = reinterpret_cast<bool*>(y);
  for (Isa isa : available_isas()) {
    const ElementwiseKernels& k = kernel_table(isa).elementwise;
    k.is_nan(x.data(), out, 6);
    CHECK(!y[0] && !y[1] && !y[2] && y[3] && y[4] && !y[5]);
    k.is_inf(x.data(), out, 6, true, false);
    CHECK(!y[0] && y[1] && !y[2] && !y[3] && !y[5]);
    k.is_inf(x.data(), out, 6, true, true);
    CHECK(!y[0] && y[1] && y[2] && !y[3] && !y[5]);
  }
}

// Random shapes, every split: each output element meets exactly its operands.
TEST(broadcast_walks_any_range) {
  std::mt19937 rng(11);
  for (int trial = 0; trial < 600; ++trial) {
    const int rank = static_cast<int>(rng() % 6);
    std::vector<int64_t> out;
    for (int d = 0; d < rank; ++d) out.push_back(rng() % 12 == 0 ? 0 : 1 + static_cast<int64_t>(rng() % 4));
    const auto operand = [&] {
      const size_t drop = rng() % (static_cast<size_t>(rank) + 1);
      std::vector<int64_t> dims(out.begin() + static_cast<int64_t>(drop), out.end());
      for (int64_t& d : dims)
        if (rng() % 3 == 0) d = 1;
      return Shape(dims);
    };
    const Shape y(out), shapes[] = {operand(), operand(), operand()};
    const BroadcastWalk<3> loops(y, {&shapes[0], &shapes[1], &shapes[2]});
    CHECK_EQ(loops.count(), y.count());
    for (int k = 0; k < 3; ++k) CHECK(loops.step(k) == 0 || loops.step(k) == 1);
    // The reference: unravel the output's index, drop the coordinates an operand repeats.
    const auto source = [&](int64_t index, const Shape& s) {
      int64_t at = 0, stride = 1;
      for (int d = y.rank() - 1; d >= 0; --d) {
        const int sd = d - (y.rank() - s.rank());
        if (sd >= 0) {
          if (s[sd] != 1) at += index % y[d] * stride;
          stride *= s[sd];
        }
        index /= y[d];
      }
      return at;
    };
    const int64_t cut =
        y.count() > 0 ? static_cast<int64_t>(rng() % static_cast<uint64_t>(y.count() + 1)) : 0;
    int64_t next = 0;
    for (const auto& [begin, end] : {std::pair{int64_t{0}, cut}, std::pair{cut, y.count()}}) {
      loops.walk(begin, end, [&](const std::array<int64_t, 3>& offsets, int64_t at, int64_t n) {
        CHECK_EQ(at, next);
        for (int64_t i = 0; i < n; ++i)
          for (int k = 0; k < 3; ++k)
            CHECK_EQ(offsets[static_cast<size_t>(k)] + i * loops.step(k), source(at + i, shapes[k]));
        next += n;
      });
    }
    CHECK_EQ(next, y.count());
  }
}

TEST(broadcast_collapses) {
  const auto run = [](const Shape& y, const Shape& a, const Shape& b) {
    return BroadcastWalk<2>(y, {&a, &b}).run();
  };
  CHECK_EQ(run(Shape{2, 3, 4}, Shape{2, 3, 4}, Shape{2, 3, 4}), 24);
  CHECK_EQ(run(Shape{2, 3, 4}, Shape{2, 3, 4}, Shape{}), 24);
  CHECK_EQ(run(Shape{2, 3, 4, 5}, Shape{2, 3, 4, 5}, Shape{3, 1, 1}), 20);
  CHECK_EQ(run(Shape{2, 3, 4, 5}, Shape{2, 3, 4, 5}, Shape{5}), 5);
}
