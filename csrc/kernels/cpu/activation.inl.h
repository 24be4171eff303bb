// The activations of an epilogue over the vector type, and over rows in place.
#pragma once

#include "kernels/cpu/math.inl.h"
#include "kernels/cpu/runs.inl.h"
#include "kernels/epilogue.h"

namespace pyinfer {
namespace {

template <class F>
inline void map_rows(float* c, int64_t ldc, int rows, int64_t columns, F f) {
  for (int r = 0; r < rows; ++r, c += ldc) map_run(c, c, columns, f);
}

inline void activate_rows(float* c, int64_t ldc, int rows, int64_t columns, const Epilogue& e) {
  const float alpha = e.alpha, beta = e.beta;
  const auto map = [&](auto f) { map_rows(c, ldc, rows, columns, f); };
  switch (e.activation) {
    case Activation::kNone: break;
    case Activation::kRelu: map([](F32 x) { return relu(x); }); break;
    case Activation::kClip: map([=](F32 x) { return at_most(at_least(x, alpha), beta); }); break;
    case Activation::kLeakyRelu: map([=](F32 x) { return leaky_relu(x, alpha); }); break;
    case Activation::kHardSigmoid: map([=](F32 x) { return hard_sigmoid(x, alpha, beta); }); break;
    case Activation::kHardSwish: map([](F32 x) { return hard_swish(x); }); break;
    case Activation::kSigmoid: map([](F32 x) { return sigmoid(x); }); break;
    case Activation::kTanh: map([](F32 x) { return tanh(x); }); break;
    case Activation::kSilu: map([](F32 x) { return silu(x); }); break;
    case Activation::kSwish: map([=](F32 x) { return swish(x, alpha); }); break;
    case Activation::kGeluErf: map([](F32 x) { return gelu_erf(x); }); break;
    case Activation::kGeluTanh: map([](F32 x) { return gelu_tanh(x); }); break;
    case Activation::kMish: map([](F32 x) { return mish(x); }); break;
    case Activation::kSoftplus: map([](F32 x) { return softplus(x); }); break;
    case Activation::kElu: map([=](F32 x) { return elu(x, alpha); }); break;
  }
}

inline bool takes_second_pass(const Epilogue& e) {
  return e.activation > Activation::kClip;
}
// The activations cheap enough to apply before the first store: min(max(x, low), high), NaN when x is.
inline bool is_clamp(const Epilogue& e) {
  return e.activation == Activation::kRelu || e.activation == Activation::kClip;
}
inline float clamp_low(const Epilogue& e) {
  return e.activation == Activation::kClip ? e.alpha : 0.0f;
}
inline float clamp_high(const Epilogue& e) {
  return e.activation == Activation::kClip ? e.beta : kInfinity;
}
struct Clamp {
  F32 low, high;
  explicit Clamp(const Epilogue& e) : low(splat(clamp_low(e))), high(splat(clamp_high(e))) {}
  F32 operator()(F32 x) const { return lesser(high, greater(low, x)); }
};

}  // namespace
}  // namespace pyinfer
