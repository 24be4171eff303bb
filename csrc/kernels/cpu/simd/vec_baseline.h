// F32 in portable C++, for CPUs without fused multiply-add: a * b + c is rounded twice here, so this
// instruction set alone may differ in the last bits from the others.
#pragma once

#include <cstdint>

namespace pyinfer {
namespace {

struct F32 {
  static constexpr int kLanes = 16;
  float v[16];
};

inline F32 splat(float x) {
  F32 r;
  for (float& e : r.v) e = x;
  return r;
}
inline F32 zero_f32() {
  return splat(0.0f);
}
inline F32 load(const float* p) {
  F32 r;
  for (int i = 0; i < 16; ++i) r.v[i] = p[i];
  return r;
}
inline void store(float* p, F32 v) {
  for (int i = 0; i < 16; ++i) p[i] = v.v[i];
}
// Loads the first n lanes (1 <= n <= 16), zero in the rest; reads nothing past them.
inline F32 load_n(const float* p, int n) {
  F32 r = zero_f32();
  for (int i = 0; i < n; ++i) r.v[i] = p[i];
  return r;
}
inline void store_n(float* p, F32 v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v.v[i];
}

#define PYINFER_VEC_OP(op)                                  \
  inline F32 operator op(F32 a, F32 b) {                    \
    for (int i = 0; i < 16; ++i) a.v[i] = a.v[i] op b.v[i]; \
    return a;                                               \
  }
PYINFER_VEC_OP(+)
PYINFER_VEC_OP(-)
PYINFER_VEC_OP(*)
PYINFER_VEC_OP(/)
#undef PYINFER_VEC_OP
inline F32 fma(F32 a, F32 b, F32 c) {
  return a * b + c;
}

// min and max, the second operand when either is NaN.
inline F32 lesser(F32 a, F32 b) {
  for (int i = 0; i < 16; ++i) a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return a;
}
inline F32 greater(F32 a, F32 b) {
  for (int i = 0; i < 16; ++i) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return a;
}

// F32 values a matrix kernel may keep in registers beside its operands.
constexpr int kAccumulators = 3;

// dst(j,i) = src(i,j) for 16 x 16 floats; no overlap.
inline void transpose_16x16(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  for (int j = 0; j < 16; ++j) {
    for (int i = 0; i < 16; ++i) dst[j * dst_stride + i] = src[i * src_stride + j];
  }
}

}  // namespace
}  // namespace pyinfer
