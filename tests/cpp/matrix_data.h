// Data for the tests of the matrix kernels.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "base/cpu_features.h"
#include "kernels/epilogue.h"
#include "kernels/kernel_table.h"
#include "kernels/window.h"

namespace pyinfer::test {

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int64_t integer(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  float real() { return std::uniform_real_distribution<float>(-1.0f, 1.0f)(engine_); }
  std::vector<float> floats(int64_t count) {
    std::vector<float> v(static_cast<size_t>(count));
    for (float& e : v) e = real();
    return v;
  }

 private:
  std::mt19937 engine_;
};

// Calls f(kernel table) for every instruction set this CPU has.
template <class F>
void for_each_isa(F f) {
  for (Isa isa : available_isas()) f(kernel_table(isa));
}

struct Axis {
  int64_t input, kernel, stride = 1, dilation = 1, pad = 0, pad_end = 0;
};

inline Window window(const std::vector<Axis>& axes) {
  Window w;
  w.rank = static_cast<int>(axes.size());
  for (int d = 0; d < w.rank; ++d) {
    const Axis& a = axes[d];
    w.input[d] = a.input;
    w.kernel[d] = a.kernel;
    w.stride[d] = a.stride;
    w.dilation[d] = a.dilation;
    w.pad[d] = a.pad;
    w.output[d] = (a.input + a.pad + a.pad_end - a.dilation * (a.kernel - 1) - 1) / a.stride + 1;
  }
  return w;
}

// A small axis on which the window fits at least once.
inline Axis random_axis(Random& random) {
  for (;;) {
    const Axis a{random.integer(1, 12), random.integer(1, 5), random.integer(1, 3),
                 random.integer(1, 2),  random.integer(0, 3), random.integer(0, 3)};
    if (a.input + a.pad + a.pad_end >= a.dilation * (a.kernel - 1) + 1) return a;
  }
}

// One epilogue per activation, without bias or residual.
inline std::vector<Epilogue> all_activations() {
  return {
      {},
      {.activation = Activation::kRelu},
      {.activation = Activation::kClip, .alpha = -0.5f, .beta = 0.75f},
      {.activation = Activation::kLeakyRelu, .alpha = 0.125f},
      {.activation = Activation::kHardSigmoid, .alpha = 0.2f, .beta = 0.5f},
      {.activation = Activation::kHardSwish},
      {.activation = Activation::kSigmoid},
      {.activation = Activation::kTanh},
      {.activation = Activation::kSilu},
      {.activation = Activation::kSwish, .alpha = 1.5f},
      {.activation = Activation::kGeluErf},
      {.activation = Activation::kGeluTanh},
      {.activation = Activation::kMish},
      {.activation = Activation::kSoftplus},
      {.activation = Activation::kElu, .alpha = 0.75f},
  };
}

}  // namespace pyinfer::test
