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

inline F32 zero_f32() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F32 splat(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
inline F32 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
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

inline F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
// a * b + c, rounded once.
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

}  // namespace
}  // namespace pyinfer
