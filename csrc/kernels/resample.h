// Weighted sums of a few elements: one axis of a resized tensor.
#pragma once

#include <cstdint>

namespace pyinfer {

struct ResampleKernels {
  // y(i) = sum_t weight(t,i) * x(index(t,i)), i in [0, n): index and weight are [taps, n]. taps >= 1.
  // One chain of fused multiply-adds, t ascending. No overlap.
  void (*gather)(const float* x, const int32_t* index, const float* weight, int64_t taps, int64_t n,
                 float* y);

  // y(j) = sum_t weight(t) * x(offset(t) + j), j in [0, n). taps >= 1. One chain, t ascending. No overlap.
  void (*rows)(const float* x, const int64_t* offset, const float* weight, int64_t taps, int64_t n, float* y);
};

}  // namespace pyinfer
