// Body of the roofline family (contract: kernels/roofline.h).
#pragma once

#include "kernels/cpu/simd/vec.h"
#include "kernels/roofline.h"

namespace pyinfer {
namespace {

inline float roofline_multiply_add(int64_t rounds, float x) {
  F32 acc[kAccumulators];
  const F32 a = splat(x);
  // All lanes differ, or the compiler would compute equal registers of one F32 once.
#pragma GCC unroll 32
  for (int i = 0; i < kAccumulators; ++i) acc[i] = to_f32(iota_i32()) + splat(static_cast<float>(16 * i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 32
    for (int i = 0; i < kAccumulators; ++i) acc[i] = fma(acc[i], a, a);
  }
  F32 sum = zero_f32();
#pragma GCC unroll 32
  for (int i = 0; i < kAccumulators; ++i) sum = sum + acc[i];
  return reduce_add(sum);
}

inline float roofline_read(const float* src, int64_t n) {
  F32 a = zero_f32(), b = zero_f32(), c = zero_f32();
  for (int64_t i = 0; i < n; i += kRooflineBlock) {
    a = a + load(src + i);
    b = b + load(src + i + 16);
    c = c + load(src + i + 32);
  }
  return reduce_add(a + b + c);
}

inline void roofline_copy(const float* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; i += kRooflineBlock) {
    const F32 a = load(src + i), b = load(src + i + 16), c = load(src + i + 32);
    store(dst + i, a);
    store(dst + i + 16, b);
    store(dst + i + 32, c);
  }
}

constexpr RooflineKernels kRooflineKernels = {
    .multiply_add = roofline_multiply_add,
    .flops_per_round = int64_t{2} * F32::kLanes * kAccumulators,
    .read = roofline_read,
    .copy = roofline_copy,
};

}  // namespace
}  // namespace pyinfer
