// Body of kernels/elementwise.h.
#pragma once

#include "kernels/cpu/convert.inl.h"
#include "kernels/cpu/elementwise_scalar.inl.h"
#include "kernels/cpu/math.inl.h"
#include "kernels/cpu/runs.inl.h"
#include "kernels/elementwise.h"

namespace pyinfer {
namespace {

// Kind and expression in x, p.a, p.b.
// clang-format off
#define PYINFER_UNARY_F32(X) \
  X(kIdentity, x) \
  X(kAbs, abs(x)) \
  X(kNeg, -x) \
  X(kSign, sign(x)) \
  X(kSquare, x * x) \
  X(kReciprocal, splat(1.0f) / x) \
  X(kSqrt, sqrt(x)) \
  X(kRsqrt, splat(1.0f) / sqrt(x)) \
  X(kFloor, floor(x)) \
  X(kCeil, ceil(x)) \
  X(kRound, round(x)) \
  X(kTrunc, trunc(x)) \
  X(kExp, exp(x)) \
  X(kExpm1, expm1(x)) \
  X(kLog, log(x)) \
  X(kErf, erf(x)) \
  X(kSin, sin(x)) \
  X(kCos, cos(x)) \
  X(kTan, tan(x)) \
  X(kAsin, asin(x)) \
  X(kAcos, acos(x)) \
  X(kAtan, atan(x)) \
  X(kSinh, sinh(x)) \
  X(kCosh, cosh(x)) \
  X(kTanh, tanh(x)) \
  X(kAsinh, asinh(x)) \
  X(kAcosh, acosh(x)) \
  X(kAtanh, atanh(x)) \
  X(kAffine, fma(x, splat(p.a), splat(p.b))) \
  X(kClip, at_most(at_least(x, p.a), p.b)) \
  X(kRelu, relu(x)) \
  X(kLeakyRelu, leaky_relu(x, p.a)) \
  X(kThresholdedRelu, select(x > splat(p.a), x, zero_f32())) \
  X(kSigmoid, sigmoid(x)) \
  X(kHardSigmoid, hard_sigmoid(x, p.a, p.b)) \
  X(kHardSwish, hard_swish(x)) \
  X(kElu, elu(x, p.a)) \
  X(kSelu, selu(x, p.a, p.b)) \
  X(kCelu, celu(x, p.a)) \
  X(kSoftplus, softplus(x)) \
  X(kSoftsign, softsign(x)) \
  X(kGeluErf, gelu_erf(x)) \
  X(kGeluTanh, gelu_tanh(x)) \
  X(kQuickGelu, swish(x, 1.702f)) \
  X(kSilu, silu(x)) \
  X(kSwish, swish(x, p.a)) \
  X(kMish, mish(x)) \
  X(kShrink, shrink(x, p.a, p.b))
// clang-format on

// Calls use(op) with the F32 -> F32 function of `kind`: one instance of `use` per kind.
template <class Use>
inline void with_unary(UnaryKind kind, const UnaryParams& p, Use use) {
  switch (kind) {
#define PYINFER_CASE(name, expression) \
  case UnaryKind::name: return use([&]([[maybe_unused]] F32 x) { return expression; });
    PYINFER_UNARY_F32(PYINFER_CASE)
#undef PYINFER_CASE
    default: return;
  }
}

void unary_f32(UnaryKind kind, const float* x, float* y, int64_t n, const UnaryParams& params) {
  const UnaryParams p = params;
  with_unary(kind, p, [&](auto op) { map_run(x, y, n, op); });
}

// Binary operations.

// An operand of a run: consecutive elements, or one element for all.
struct VectorOperand {
  const float* p;
  F32 at(int64_t i, int n) const { return load_upto(p + i, n); }
};
struct ScalarOperand {
  F32 value;
  F32 at(int64_t, int) const { return value; }
};
template <class A, class B, class Op>
[[gnu::flatten]] void map_run(A a, B b, float* y, int64_t n, Op op) {
  each_vector(n, [&](int64_t i, int count) { store_upto(y + i, op(a.at(i, count), b.at(i, count)), count); });
}
template <class Op>
struct F32Loops {
  static void vv(const void* a, const void* b, void* y, int64_t n) {
    map_run(VectorOperand{static_cast<const float*>(a)}, VectorOperand{static_cast<const float*>(b)},
            static_cast<float*>(y), n, Op{});
  }
  static void vs(const void* a, const void* b, void* y, int64_t n) {
    map_run(VectorOperand{static_cast<const float*>(a)}, ScalarOperand{splat(*static_cast<const float*>(b))},
            static_cast<float*>(y), n, Op{});
  }
  static void sv(const void* a, const void* b, void* y, int64_t n) {
    map_run(ScalarOperand{splat(*static_cast<const float*>(a))}, VectorOperand{static_cast<const float*>(b)},
            static_cast<float*>(y), n, Op{});
  }
  static constexpr BinaryFns fns() { return {vv, vs, sv}; }
};

// a mod b with the sign of a, exact. While the quotient is below 2^29 one step in double is: its product with
// b then has at most 53 bits, and only the last place of the quotient may be one too high.
inline float fmod_f32(float a, float b) {
  double r = __builtin_fabs(static_cast<double>(a));
  const double m = __builtin_fabs(static_cast<double>(b));
  if (!(r < static_cast<double>(kInfinity)) || !(m > 0.0)) return kNaN;
  if (m > r) return a;
  while (r >= m) {
    double unit = m;
    while (r >= unit * 268435456.0) unit *= 268435456.0;
    const double q = static_cast<double>(static_cast<int64_t>(r / unit));
    r -= q * unit;
    if (r < 0.0) r += unit;
  }
  return static_cast<float>(a < 0.0f ? -r : r);
}
inline float mod_f32(float a, float b) {
  const float r = fmod_f32(a, b);
  if (r == 0.0f) return b < 0.0f ? -0.0f : 0.0f;
  return (r < 0.0f) != (b < 0.0f) ? r + b : r;
}
// Lane by lane: for operations that are not worth a vector form.
template <float (*kFn)(float, float)>
inline F32 each_lane(F32 a, F32 b) {
  float x[16], y[16];
  store(x, a);
  store(y, b);
  for (int i = 0; i < 16; ++i) x[i] = kFn(x[i], y[i]);
  return load(x);
}

#define PYINFER_F32_OP(Name, expression)                      \
  struct Name {                                               \
    F32 operator()(F32 a, F32 b) const { return expression; } \
  };
PYINFER_F32_OP(AddF32, a + b)
PYINFER_F32_OP(SubF32, a - b)
PYINFER_F32_OP(MulF32, a* b)
PYINFER_F32_OP(DivF32, a / b)
PYINFER_F32_OP(MinF32, min(a, b))
PYINFER_F32_OP(MaxF32, max(a, b))
PYINFER_F32_OP(PowF32, pow(a, b))
PYINFER_F32_OP(ModF32, each_lane<mod_f32>(a, b))
PYINFER_F32_OP(FModF32, each_lane<fmod_f32>(a, b))
PYINFER_F32_OP(PReluF32, select(a < zero_f32(), a* b, a))
#undef PYINFER_F32_OP

// x^2, x^3 and the root cost no logarithm; pow() gives these bits in every lane.
void pow_vector_scalar(const void* a, const void* b, void* y, int64_t n) {
  const float exponent = *static_cast<const float*>(b);
  const auto* x = static_cast<const float*>(a);
  auto* out = static_cast<float*>(y);
  if (exponent == 2.0f) return map_run(x, out, n, [](F32 v) { return v * v; });
  if (exponent == 3.0f) return map_run(x, out, n, [](F32 v) { return v * v * v; });
  F32Loops<PowF32>::vs(a, b, y, n);
}

BinaryFns binary_f32(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::kAdd: return F32Loops<AddF32>::fns();
    case BinaryKind::kSub: return F32Loops<SubF32>::fns();
    case BinaryKind::kMul: return F32Loops<MulF32>::fns();
    case BinaryKind::kDiv: return F32Loops<DivF32>::fns();
    case BinaryKind::kMin: return F32Loops<MinF32>::fns();
    case BinaryKind::kMax: return F32Loops<MaxF32>::fns();
    case BinaryKind::kPow: return {F32Loops<PowF32>::vv, pow_vector_scalar, F32Loops<PowF32>::sv};
    case BinaryKind::kMod: return F32Loops<ModF32>::fns();
    case BinaryKind::kFMod: return F32Loops<FModF32>::fns();
    case BinaryKind::kPRelu: return F32Loops<PReluF32>::fns();
    default: return comparison<float>(kind);
  }
}

// Half precision: both operands to float32, the float32 loop, and back unless the result is bool.
template <class H>
[[gnu::noinline]] void half_loop(BinaryKind kind, const void* a, bool a_is_scalar, const void* b,
                                 bool b_is_scalar, void* y, int64_t n) {
  constexpr int64_t kBlock = 256;
  const BinaryFns f = binary_f32(kind);
  const BinaryFn loop = a_is_scalar ? f.scalar_vector : b_is_scalar ? f.vector_scalar : f.vector_vector;
  const bool is_bool = kind >= BinaryKind::kEqual && kind <= BinaryKind::kGreaterOrEqual;
  const H *p = static_cast<const H*>(a), *q = static_cast<const H*>(b);
  float fa[kBlock], fb[kBlock], fy[kBlock];
  if (a_is_scalar) convert_run(p, fa, 1);
  if (b_is_scalar) convert_run(q, fb, 1);
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = n - i < kBlock ? n - i : kBlock;
    if (!a_is_scalar) convert_run(p + i, fa, m);
    if (!b_is_scalar) convert_run(q + i, fb, m);
    if (is_bool) {
      loop(fa, fb, static_cast<bool*>(y) + i, m);
    } else {
      loop(fa, fb, fy, m);
      convert_run(fy, static_cast<H*>(y) + i, m);
    }
  }
}
template <class H, BinaryKind kKind>
struct HalfLoops {
  static void vv(const void* a, const void* b, void* y, int64_t n) {
    half_loop<H>(kKind, a, false, b, false, y, n);
  }
  static void vs(const void* a, const void* b, void* y, int64_t n) {
    half_loop<H>(kKind, a, false, b, true, y, n);
  }
  static void sv(const void* a, const void* b, void* y, int64_t n) {
    half_loop<H>(kKind, a, true, b, false, y, n);
  }
  static constexpr BinaryFns fns() { return {vv, vs, sv}; }
};

template <class H>
BinaryFns binary_half(BinaryKind kind) {
  switch (kind) {
#define PYINFER_CASE(name) \
  case BinaryKind::name: return HalfLoops<H, BinaryKind::name>::fns();
    PYINFER_CASE(kAdd)
    PYINFER_CASE(kSub)
    PYINFER_CASE(kMul)
    PYINFER_CASE(kDiv)
    PYINFER_CASE(kMin)
    PYINFER_CASE(kMax)
    PYINFER_CASE(kPow)
    PYINFER_CASE(kMod)
    PYINFER_CASE(kFMod)
    PYINFER_CASE(kPRelu)
    PYINFER_CASE(kEqual)
    PYINFER_CASE(kLess)
    PYINFER_CASE(kLessOrEqual)
    PYINFER_CASE(kGreater)
    PYINFER_CASE(kGreaterOrEqual)
#undef PYINFER_CASE
    default: return {};
  }
}

BinaryFns binary_f64(BinaryKind kind) {
  if (kind == BinaryKind::kPRelu) return ScalarLoops<PRelu, double, double>::fns();
  const BinaryFns compare = comparison<double>(kind);
  return compare ? compare : arithmetic<double>(kind);
}

BinaryFns binary_any(BinaryKind kind, DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return binary_f32(kind);
    case DType::kFloat64: return binary_f64(kind);
    case DType::kFloat16: return binary_half<Float16>(kind);
    case DType::kBFloat16: return binary_half<BFloat16>(kind);
    case DType::kInt8: return binary_integer<int8_t>(kind);
    case DType::kInt16: return binary_integer<int16_t>(kind);
    case DType::kInt32: return binary_integer<int32_t>(kind);
    case DType::kInt64: return binary_integer<int64_t>(kind);
    case DType::kUInt8: return binary_integer<uint8_t>(kind);
    case DType::kUInt16: return binary_integer<uint16_t>(kind);
    case DType::kUInt32: return binary_integer<uint32_t>(kind);
    case DType::kUInt64: return binary_integer<uint64_t>(kind);
    case DType::kBool: return binary_bool(kind);
    default: return {};
  }
}

// Where.

struct Bytes16 {
  uint64_t low, high;
};

template <class T, int kA, int kB>
void where_run(const bool* c, int c_step, const T* a, const T* b, T* y, int64_t n) {
  if (c_step == 0) {
    if (*c) {
      for (int64_t i = 0; i < n; ++i) y[i] = a[i * kA];
    } else {
      for (int64_t i = 0; i < n; ++i) y[i] = b[i * kB];
    }
    return;
  }
  const T a0 = *a, b0 = *b;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const T va = kA ? a[i] : a0, vb = kB ? b[i] : b0;
    if constexpr (sizeof(T) == 16) {
      y[i] = c[i] ? va : vb;
    } else {
      // All ones or none: compilers vectorise this where they would branch on c[i].
      const T mask = static_cast<T>(T{0} - static_cast<T>(c[i]));
      y[i] = static_cast<T>((va & mask) | (vb & static_cast<T>(~mask)));
    }
  }
}
template <class T>
void where_sized(const bool* c, int c_step, const void* a, int a_step, const void* b, int b_step, void* y,
                 int64_t n) {
  if (n == 0) return;
  const T* p = static_cast<const T*>(a);
  const T* q = static_cast<const T*>(b);
  T* out = static_cast<T*>(y);
  if (a_step != 0 && b_step != 0) return where_run<T, 1, 1>(c, c_step, p, q, out, n);
  if (a_step != 0) return where_run<T, 1, 0>(c, c_step, p, q, out, n);
  if (b_step != 0) return where_run<T, 0, 1>(c, c_step, p, q, out, n);
  where_run<T, 0, 0>(c, c_step, p, q, out, n);
}
void where_any(size_t element_size, const bool* c, int c_step, const void* a, int a_step, const void* b,
               int b_step, void* y, int64_t n) {
  switch (element_size) {
    case 1: return where_sized<uint8_t>(c, c_step, a, a_step, b, b_step, y, n);
    case 2: return where_sized<uint16_t>(c, c_step, a, a_step, b, b_step, y, n);
    case 4: return where_sized<uint32_t>(c, c_step, a, a_step, b, b_step, y, n);
    case 8: return where_sized<uint64_t>(c, c_step, a, a_step, b, b_step, y, n);
    case 16: return where_sized<Bytes16>(c, c_step, a, a_step, b, b_step, y, n);
    default: return;
  }
}

void is_nan_run(const float* x, bool* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] != x[i];
}
void is_inf_run(const float* x, bool* y, int64_t n, bool positive, bool negative) {
  // Infinities that are not asked for are compared with a NaN instead.
  const float up = positive ? kInfinity : kNaN, down = negative ? -kInfinity : kNaN;
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] == up) | (x[i] == down);
}

constexpr ElementwiseKernels kElementwise = {
    .unary = unary_f32, .binary = binary_any, .where = where_any, .is_nan = is_nan_run, .is_inf = is_inf_run};

}  // namespace
}  // namespace pyinfer
