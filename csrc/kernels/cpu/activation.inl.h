// The activations of an epilogue over the vector type, and over rows in place.
#pragma once

#include "kernels/cpu/math.inl.h"
#include "kernels/epilogue.h"

namespace pyinfer {
namespace {

template <class F>
void map_rows(float* c, int64_t ldc, int rows, int64_t columns, F f) {
  for (int r = 0; r < rows; ++r, c += ldc) {
    int64_t j = 0;
    for (; j + 16 <= columns; j += 16) store(c + j, f(load(c + j)));
    const int rest = static_cast<int>(columns - j);
    if (rest > 0) store_n(c + j, f(load_n(c + j, rest)), rest);
  }
}

// c(i,j) = activation(c(i,j)) on `rows` rows, ldc floats apart.
inline void activate_rows(float* c, int64_t ldc, int rows, int64_t columns, const Epilogue& e) {
  const float alpha = e.alpha, beta = e.beta;
  switch (e.activation) {
    case Activation::kNone: break;
    case Activation::kRelu: map_rows(c, ldc, rows, columns, [](F32 x) { return relu(x); }); break;
    case Activation::kClip:
      map_rows(c, ldc, rows, columns, [=](F32 x) { return at_most(at_least(x, alpha), beta); });
      break;
    case Activation::kLeakyRelu:
      map_rows(c, ldc, rows, columns, [=](F32 x) { return leaky_relu(x, alpha); });
      break;
    case Activation::kHardSigmoid:
      map_rows(c, ldc, rows, columns, [=](F32 x) { return hard_sigmoid(x, alpha, beta); });
      break;
    case Activation::kHardSwish: map_rows(c, ldc, rows, columns, [](F32 x) { return hard_swish(x); }); break;
  }
}

}  // namespace
}  // namespace pyinfer
