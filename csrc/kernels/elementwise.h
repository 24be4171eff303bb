// Elementwise kernels on contiguous runs. The caller walks broadcast shapes (kernels/broadcast.h) and splits
// ranges between threads wherever it likes: each element depends on its own operands alone, and its bits
// on nothing else. `y` may be exactly an operand (in place) when their elements have one size; else it
// must not overlap one. No alignment is asked for; n may be 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace pyinfer {

// y = f(x). `a`, `b` are the parameters of the kinds that name them.
enum class UnaryKind : uint8_t {
  kIdentity,
  kAbs,
  kNeg,
  kSign,
  kSquare,
  kReciprocal,
  kSqrt,
  kRsqrt,
  kFloor,
  kCeil,
  kRound /* ties to even */,
  kTrunc,
  kExp,
  kExpm1,
  kLog,
  kErf,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kTanh,
  kAsinh,
  kAcosh,
  kAtanh,
  kAffine /* a x + b */,
  kClip /* to [a, b]; NaN stays; other types: kMax, then kMin */,
  kRelu,
  kLeakyRelu /* slope a */,
  kThresholdedRelu /* above a */,
  kSigmoid,
  kHardSigmoid /* a x + b in [0, 1] */,
  kHardSwish,
  kElu /* a */,
  kSelu /* alpha a, gamma b */,
  kCelu /* a */,
  kSoftplus,
  kSoftsign,
  kGeluErf,
  kGeluTanh,
  kQuickGelu /* x sigmoid(1.702 x) */,
  kSilu,
  kSwish /* x sigmoid(a x) */,
  kMish,
  kShrink /* bias a, lambda b */,
  kNot /* bool only */,
  kBitwiseNot /* integers only */,
  kCount,
};

struct UnaryParams {
  float a = 0.0f;
  float b = 0.0f;
};

// y = f(a, b). Integers wrap; x / 0 and x mod 0 are 0; kMod has the sign of b (Python), kFMod that of a (C).
// Minima and maxima are NaN when an operand is. Comparisons and logic write bool, the rest the operands'
// type.
enum class BinaryKind : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,
  kMax,
  kPow,
  kMod,
  kFMod,
  kPRelu /* a < 0 ? a b : a; floats only */,
  kEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kAnd,
  kOr,
  kXor /* bool */,
  kBitwiseAnd,
  kBitwiseOr,
  kBitwiseXor,
  kShiftLeft,
  kShiftRight /* integers; by the width or more: 0 */,
  kCount,
};

using BinaryFn = void (*)(const void* a, const void* b, void* y, int64_t n);

// The three inner loops of a broadcast binary operation. `scalar` operands are one element, read once.
struct BinaryFns {
  BinaryFn vector_vector = nullptr;
  BinaryFn vector_scalar = nullptr;
  BinaryFn scalar_vector = nullptr;
  explicit operator bool() const { return vector_vector != nullptr; }
};

struct ElementwiseKernels {
  // float32, any kind but the last two.
  void (*unary)(UnaryKind kind, const float* x, float* y, int64_t n, const UnaryParams& params);

  // The loops of one operation on one type, to be looked up once and called often. Empty when the type has
  // no such operation. float32, float64, float16 and bfloat16 (computed in float32, rounded once), integers
  // of 8 to 64 bits, bool.
  BinaryFns (*binary)(BinaryKind kind, DType dtype);

  // y[i] = c[i] ? a[i] : b[i] for elements of 1, 2, 4, 8 or 16 bytes. A step is 1, or 0 for an operand that
  // is one element for the whole run.
  void (*where)(size_t element_size, const bool* c, int c_step, const void* a, int a_step, const void* b,
                int b_step, void* y, int64_t n);

  // y[i] = x[i] is NaN; y[i] = x[i] is +inf (when `positive`) or -inf (when `negative`).
  void (*is_nan)(const float* x, bool* y, int64_t n);
  void (*is_inf)(const float* x, bool* y, int64_t n, bool positive, bool negative);
};

// Whether unary() below has the operation on the type: every kind on floats of 16 to 64 bits (but kClip on
// float64), those that are exact on integers of 8 to 64 bits, kNot on bool.
bool unary_supported(UnaryKind kind, DType dtype);
// y = f(x) with the kernels in use. float16 and bfloat16 are computed in float32 and rounded once, float64
// through kernels/math_f64.h. Precondition: unary_supported(kind, dtype).
void unary(UnaryKind kind, DType dtype, const void* x, void* y, int64_t n, const UnaryParams& params = {});

// True for kinds whose result is bool whatever the operands are.
bool writes_bool(BinaryKind kind);

}  // namespace pyinfer
