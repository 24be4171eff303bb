#include "kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/kernel_table.h"
#include "kernels/math_f64.h"
#include "tensor/float_types.h"

namespace pyinfer {
namespace {

double gelu(double x) {
  return 0.5 * x * (1.0 + f64::erf(x * M_SQRT1_2));
}
double sigmoid(double x) {
  return 1.0 / (1.0 + f64::exp(-x));
}
double softplus(double x) {
  return std::max(x, 0.0) + f64::log1p(f64::exp(-std::abs(x)));
}

double unary_f64(UnaryKind kind, double x, double a, double b) {
  switch (kind) {
    case UnaryKind::kIdentity: return x;
    case UnaryKind::kAbs: return std::abs(x);
    case UnaryKind::kNeg: return -x;
    case UnaryKind::kSign: return x > 0 ? 1.0 : x < 0 ? -1.0 : x;
    case UnaryKind::kSquare: return x * x;
    case UnaryKind::kReciprocal: return 1.0 / x;
    case UnaryKind::kSqrt: return std::sqrt(x);
    case UnaryKind::kRsqrt: return 1.0 / std::sqrt(x);
    case UnaryKind::kFloor: return std::floor(x);
    case UnaryKind::kCeil: return std::ceil(x);
    case UnaryKind::kRound: return std::nearbyint(x);
    case UnaryKind::kTrunc: return std::trunc(x);
    case UnaryKind::kExp: return f64::exp(x);
    case UnaryKind::kExpm1: return f64::expm1(x);
    case UnaryKind::kLog: return f64::log(x);
    case UnaryKind::kErf: return f64::erf(x);
    case UnaryKind::kSin: return f64::sin(x);
    case UnaryKind::kCos: return f64::cos(x);
    case UnaryKind::kTan: return f64::tan(x);
    case UnaryKind::kAsin: return f64::asin(x);
    case UnaryKind::kAcos: return f64::acos(x);
    case UnaryKind::kAtan: return f64::atan(x);
    case UnaryKind::kSinh: return f64::sinh(x);
    case UnaryKind::kCosh: return f64::cosh(x);
    case UnaryKind::kTanh: return f64::tanh(x);
    case UnaryKind::kAsinh: return f64::asinh(x);
    case UnaryKind::kAcosh: return f64::acosh(x);
    case UnaryKind::kAtanh: return f64::atanh(x);
    case UnaryKind::kAffine: return a * x + b;
    case UnaryKind::kRelu: return x < 0 ? 0.0 : x;
    case UnaryKind::kLeakyRelu: return x < 0 ? a * x : x;
    case UnaryKind::kThresholdedRelu: return x > a ? x : 0.0;
    case UnaryKind::kSigmoid: return sigmoid(x);
    case UnaryKind::kHardSigmoid: return std::clamp(a * x + b, 0.0, 1.0);
    case UnaryKind::kHardSwish: return x * std::clamp(x / 6.0 + 0.5, 0.0, 1.0);
    case UnaryKind::kElu: return x < 0 ? a * f64::expm1(x) : x;
    case UnaryKind::kSelu: return b * (x < 0 ? a * f64::expm1(x) : x);
    case UnaryKind::kCelu: return std::max(x, 0.0) + std::min(a * f64::expm1(x / a), 0.0);
    case UnaryKind::kSoftplus: return softplus(x);
    case UnaryKind::kSoftsign: return x / (1.0 + std::abs(x));
    case UnaryKind::kGeluErf: return gelu(x);
    case UnaryKind::kGeluTanh: return x * sigmoid(2.0 * 0.79788456080286536 * (x + 0.044715 * x * x * x));
    case UnaryKind::kQuickGelu: return x * sigmoid(1.702 * x);
    case UnaryKind::kSilu: return x * sigmoid(x);
    case UnaryKind::kSwish: return x * sigmoid(a * x);
    case UnaryKind::kMish: return x * f64::tanh(softplus(x));
    case UnaryKind::kShrink: return x < -b ? x + a : x > b ? x - a : 0.0;
    default: return x;
  }
}

// Integers, and bool for kNot. -INT_MIN wraps to INT_MIN.
template <class T>
void unary_integer(UnaryKind kind, const void* x, void* y, int64_t n) {
  using U = std::make_unsigned_t<T>;
  const T* p = static_cast<const T*>(x);
  T* out = static_cast<T*>(y);
  const auto each = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(f(p[i]));
  };
  switch (kind) {
    case UnaryKind::kAbs:
      return each(
          [](T v) { return v > T{0} ? static_cast<U>(v) : static_cast<U>(U{0} - static_cast<U>(v)); });
    case UnaryKind::kNeg: return each([](T v) { return static_cast<U>(U{0} - static_cast<U>(v)); });
    case UnaryKind::kSign:
      return each([](T v) { return (v > T{0} ? 1 : 0) - (v != T{0} && !(v > T{0}) ? 1 : 0); });
    case UnaryKind::kSquare:
      return each([](T v) { return static_cast<uint64_t>(v) * static_cast<uint64_t>(v); });
    case UnaryKind::kRelu: return each([](T v) { return v > T{0} ? v : T{0}; });
    case UnaryKind::kBitwiseNot: return each([](T v) { return static_cast<U>(~static_cast<U>(v)); });
    case UnaryKind::kNot: return each([](T v) { return v == T{0}; });
    default: return each([](T v) { return v; });
  }
}

bool exact_on_integers(UnaryKind kind) {
  switch (kind) {
    case UnaryKind::kIdentity:
    case UnaryKind::kAbs:
    case UnaryKind::kNeg:
    case UnaryKind::kSign:
    case UnaryKind::kSquare:
    case UnaryKind::kFloor:
    case UnaryKind::kCeil:
    case UnaryKind::kRound:
    case UnaryKind::kTrunc:
    case UnaryKind::kRelu:
    case UnaryKind::kBitwiseNot: return true;
    default: return false;
  }
}

template <class Half>
void unary_half(UnaryKind kind, const void* x, void* y, int64_t n, const UnaryParams& params,
                void (*to_f32)(const Half*, float*, int64_t),
                void (*from_f32)(const float*, Half*, int64_t)) {
  constexpr int64_t kBlock = 512;
  float block[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = std::min(kBlock, n - i);
    to_f32(static_cast<const Half*>(x) + i, block, m);
    kernels().elementwise.unary(kind, block, block, m, params);
    from_f32(block, static_cast<Half*>(y) + i, m);
  }
}

}  // namespace

bool unary_supported(UnaryKind kind, DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kFloat16:
    case DType::kBFloat16: return kind < UnaryKind::kNot;
    case DType::kFloat64: return kind < UnaryKind::kNot && kind != UnaryKind::kClip;
    case DType::kBool: return kind == UnaryKind::kNot || kind == UnaryKind::kIdentity;
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kUInt8:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64: return exact_on_integers(kind);
    default: return false;
  }
}

void unary(UnaryKind kind, DType dtype, const void* x, void* y, int64_t n, const UnaryParams& params) {
  const ConvertKernels& convert = kernels().convert;
  switch (dtype) {
    case DType::kFloat32:
      return kernels().elementwise.unary(kind, static_cast<const float*>(x), static_cast<float*>(y), n,
                                         params);
    case DType::kFloat16: return unary_half(kind, x, y, n, params, convert.f16_to_f32, convert.f32_to_f16);
    case DType::kBFloat16: return unary_half(kind, x, y, n, params, convert.bf16_to_f32, convert.f32_to_bf16);
    case DType::kFloat64: {
      const double* p = static_cast<const double*>(x);
      double* out = static_cast<double*>(y);
      for (int64_t i = 0; i < n; ++i) out[i] = unary_f64(kind, p[i], params.a, params.b);
      return;
    }
    case DType::kBool:
    case DType::kUInt8: return unary_integer<uint8_t>(kind, x, y, n);
    case DType::kInt8: return unary_integer<int8_t>(kind, x, y, n);
    case DType::kInt16: return unary_integer<int16_t>(kind, x, y, n);
    case DType::kInt32: return unary_integer<int32_t>(kind, x, y, n);
    case DType::kInt64: return unary_integer<int64_t>(kind, x, y, n);
    case DType::kUInt16: return unary_integer<uint16_t>(kind, x, y, n);
    case DType::kUInt32: return unary_integer<uint32_t>(kind, x, y, n);
    case DType::kUInt64: return unary_integer<uint64_t>(kind, x, y, n);
    default: return;
  }
}

bool writes_bool(BinaryKind kind) {
  return kind >= BinaryKind::kEqual && kind <= BinaryKind::kXor;
}

}  // namespace pyinfer
