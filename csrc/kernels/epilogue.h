// What rides on the store of a matrix product or convolution:
//   Y(i,j) = act(acc(i,j) + bias + residual(i,j))
// in this order, each step rounded to fp32.
#pragma once

#include <cstdint>

namespace pyinfer {

// Each has the bits of the elementwise kernel of the same name, so that fusing it changes nothing.
enum class Activation : uint8_t {
  kNone,
  kRelu,         // max(x, 0); NaN stays NaN
  kClip,         // min(max(x, alpha), beta); NaN stays NaN
  kLeakyRelu,    // x >= 0 ? x : alpha * x
  kHardSigmoid,  // max(0, min(1, alpha * x + beta)), the inner step fused
  kHardSwish,    // x * hard_sigmoid(x) with alpha = 1/6, beta = 1/2
  kSigmoid,
  kTanh,
  kSilu,      // x * sigmoid(x)
  kSwish,     // x * sigmoid(alpha * x)
  kGeluErf,   // x / 2 * (1 + erf(x / sqrt 2))
  kGeluTanh,  // its approximation by tanh
  kMish,      // x * tanh(softplus(x))
  kSoftplus,  // ln(1 + exp x)
  kElu,       // x > 0 ? x : alpha * (exp(x) - 1)
};

struct Epilogue;
// c(i,j) = activation(c(i,j)) on `rows` rows of `columns` floats, ldc floats apart.
using ActivateRows = void (*)(float* c, int64_t ldc, int rows, int64_t columns, const Epilogue& e);

struct Epilogue {
  const float* bias = nullptr;  // one per column, or one per row
  bool bias_per_row = false;
  // Rows as Y's, `residual_stride` floats apart. May be Y itself (same address, same stride);
  // must not overlap Y in any other way.
  const float* residual = nullptr;
  int64_t residual_stride = 0;
  Activation activation = Activation::kNone;
  float alpha = 0.0f, beta = 0.0f;
  // KernelTable::activate_rows, for activations that take a second pass over what was stored: all after
  // kClip. It may be of other instructions than the products: the bits are the same, and a CPU may be faster.
  ActivateRows activate_rows = nullptr;
};

}  // namespace pyinfer
