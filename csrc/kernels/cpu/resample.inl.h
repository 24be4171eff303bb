// Body of the resample family (contract: kernels/resample.h).
#pragma once

#include "kernels/cpu/simd/vec.h"
#include "kernels/resample.h"

namespace pyinfer {
namespace {

inline F32 load_indexed(const float* x, const int32_t* index, int n) {
  float lanes[16] = {};
  for (int i = 0; i < n; ++i) lanes[i] = x[index[i]];
  return load(lanes);
}

inline void resample_gather(const float* x, const int32_t* index, const float* weight, int64_t taps,
                            int64_t n, float* y) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    F32 sum = load(weight + i) * load_indexed(x, index + i, 16);
    for (int64_t t = 1; t < taps; ++t)
      sum = fma(load(weight + t * n + i), load_indexed(x, index + t * n + i, 16), sum);
    store(y + i, sum);
  }
  if (i == n) return;
  const int rest = static_cast<int>(n - i);
  F32 sum = load_n(weight + i, rest) * load_indexed(x, index + i, rest);
  for (int64_t t = 1; t < taps; ++t)
    sum = fma(load_n(weight + t * n + i, rest), load_indexed(x, index + t * n + i, rest), sum);
  store_n(y + i, sum, rest);
}

inline void resample_rows(const float* x, const int64_t* offset, const float* weight, int64_t taps, int64_t n,
                          float* y) {
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) {
    F32 sum = splat(weight[0]) * load(x + offset[0] + j);
    for (int64_t t = 1; t < taps; ++t) sum = fma(splat(weight[t]), load(x + offset[t] + j), sum);
    store(y + j, sum);
  }
  if (j == n) return;
  const int rest = static_cast<int>(n - j);
  F32 sum = splat(weight[0]) * load_n(x + offset[0] + j, rest);
  for (int64_t t = 1; t < taps; ++t) sum = fma(splat(weight[t]), load_n(x + offset[t] + j, rest), sum);
  store_n(y + j, sum, rest);
}

constexpr ResampleKernels kResampleKernels = {.gather = resample_gather, .rows = resample_rows};

}  // namespace
}  // namespace pyinfer
