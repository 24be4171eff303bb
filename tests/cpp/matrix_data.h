// Data for the tests of the matrix kernels.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/epilogue.h"

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

// One epilogue per activation, without bias or residual.
inline std::vector<Epilogue> all_activations() {
  return {
      {},
      {.activation = Activation::kRelu},
      {.activation = Activation::kClip, .alpha = -0.5f, .beta = 0.75f},
      {.activation = Activation::kLeakyRelu, .alpha = 0.125f},
      {.activation = Activation::kHardSigmoid, .alpha = 0.2f, .beta = 0.5f},
      {.activation = Activation::kHardSwish},
  };
}

}  // namespace pyinfer::test
