// F32 on AVX2 + FMA: lanes 0-7 in `lo`, 8-15 in `hi`.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace pyinfer {
namespace {

struct F32 {
  static constexpr int kLanes = 16;
  __m256 lo, hi;
};

inline F32 zero_f32() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
inline F32 splat(float v) {
  return {_mm256_set1_ps(v), _mm256_set1_ps(v)};
}
inline F32 load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline void store(float* p, F32 v) {
  _mm256_storeu_ps(p, v.lo);
  _mm256_storeu_ps(p + 8, v.hi);
}

// Masks whose first n (of 16) lanes are set.
struct Tail {
  __m256i lo, hi;
};
inline Tail tail_mask(int n) {
  const __m256i iota = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(n), iota), _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), iota)};
}
// Loads the first n lanes (1 <= n <= 16), zero in the rest; reads nothing past them.
inline F32 load_n(const float* p, int n) {
  const Tail t = tail_mask(n);
  return {_mm256_maskload_ps(p, t.lo), _mm256_maskload_ps(p + 8, t.hi)};
}
inline void store_n(float* p, F32 v, int n) {
  const Tail t = tail_mask(n);
  _mm256_maskstore_ps(p, t.lo, v.lo);
  _mm256_maskstore_ps(p + 8, t.hi, v.hi);
}

inline F32 operator+(F32 a, F32 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
inline F32 operator-(F32 a, F32 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
inline F32 operator*(F32 a, F32 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
inline F32 operator/(F32 a, F32 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
// a * b + c, rounded once.
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

// min and max, the second operand when either is NaN.
inline F32 lesser(F32 a, F32 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
inline F32 greater(F32 a, F32 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

// F32 values a matrix kernel may keep in registers beside its operands.
constexpr int kAccumulators = 6;

inline void transpose_8x8(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  __m256 r[8], t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // 4x4 blocks change places on the way in
    const float* p = src + i * src_stride;
    const float* q = p + 4 * src_stride;
    r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(q), 1);
    r[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + 4)), _mm_loadu_ps(q + 4), 1);
  }
#pragma GCC unroll 2
  for (int h = 0; h < 8; h += 4) {
    t[h] = _mm256_unpacklo_ps(r[h], r[h + 1]);
    t[h + 1] = _mm256_unpackhi_ps(r[h], r[h + 1]);
    t[h + 2] = _mm256_unpacklo_ps(r[h + 2], r[h + 3]);
    t[h + 3] = _mm256_unpackhi_ps(r[h + 2], r[h + 3]);
    r[h] = _mm256_shuffle_ps(t[h], t[h + 2], 0x44);
    r[h + 1] = _mm256_shuffle_ps(t[h], t[h + 2], 0xee);
    r[h + 2] = _mm256_shuffle_ps(t[h + 1], t[h + 3], 0x44);
    r[h + 3] = _mm256_shuffle_ps(t[h + 1], t[h + 3], 0xee);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) _mm256_storeu_ps(dst + i * dst_stride, r[i]);
}
// dst(j,i) = src(i,j) for 16 x 16 floats; no overlap.
inline void transpose_16x16(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  for (int i = 0; i < 16; i += 8) {
    for (int j = 0; j < 16; j += 8) {
      transpose_8x8(src + i * src_stride + j, src_stride, dst + j * dst_stride + i, dst_stride);
    }
  }
}

}  // namespace
}  // namespace pyinfer
