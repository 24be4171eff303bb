// Body of kernels/convert.h.
#pragma once

#include "kernels/convert.h"
#include "kernels/cpu/convert_plain.inl.h"
#include "kernels/cpu/simd/vec.h"

namespace pyinfer {
namespace {

// One name for the three storage types that compute in F32.
inline F32 load_as_f32(const float* p) {
  return load(p);
}
inline F32 load_as_f32(const Float16* p) {
  return load_f16(p);
}
inline F32 load_as_f32(const BFloat16* p) {
  return load_bf16(p);
}
inline F32 load_as_f32_n(const float* p, int n) {
  return load_n(p, n);
}
inline F32 load_as_f32_n(const Float16* p, int n) {
  return load_f16_n(p, n);
}
inline F32 load_as_f32_n(const BFloat16* p, int n) {
  return load_bf16_n(p, n);
}
inline void store_f32_as(float* p, F32 v) {
  store(p, v);
}
inline void store_f32_as(Float16* p, F32 v) {
  store_f16(p, v);
}
inline void store_f32_as(BFloat16* p, F32 v) {
  store_bf16(p, v);
}
inline void store_f32_as_n(float* p, F32 v, int n) {
  store_n(p, v, n);
}
inline void store_f32_as_n(Float16* p, F32 v, int n) {
  store_f16_n(p, v, n);
}
inline void store_f32_as_n(BFloat16* p, F32 v, int n) {
  store_bf16_n(p, v, n);
}

template <class From, class To>
void convert_run(const From* x, To* y, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_f32_as(y + i, load_as_f32(x + i));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    store_f32_as_n(y + i, load_as_f32_n(x + i, rest), rest);
  }
}

constexpr ConvertKernels kConvert = {.f16_to_f32 = convert_run<Float16, float>,
                                     .bf16_to_f32 = convert_run<BFloat16, float>,
                                     .f32_to_f16 = convert_run<float, Float16>,
                                     .f32_to_bf16 = convert_run<float, BFloat16>,
                                     .plain = convert_plain};

}  // namespace
}  // namespace pyinfer
