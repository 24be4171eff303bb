// F32 and its companions on AVX2 + FMA + F16C: lanes 0-7 in `lo`, 8-15 in `hi`. The contract is in vec.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tensor/float_types.h"

namespace pyinfer {
namespace {

struct F32 {
  static constexpr int kLanes = 16;
  __m256 lo, hi;
};
struct I32 {
  __m256i lo, hi;
};
struct M32 {
  __m256 lo, hi;  // all ones or all zeros in each lane
};
struct F64 {
  __m256d v[4];
};

// Loads and stores.

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
inline float lane0(F32 v) {
  return _mm256_cvtss_f32(v.lo);
}

inline I32 splat_i32(int32_t v) {
  return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)};
}
inline I32 iota_i32() {
  return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
inline I32 load_i32(const int32_t* p) {
  const auto* q = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
inline void store_i32(int32_t* p, I32 v) {
  auto* q = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(q, v.lo);
  _mm256_storeu_si256(q + 1, v.hi);
}

// Masks whose first n (of 16) lanes are set.
struct Tail {
  __m256i lo, hi;
};
inline Tail tail_mask(int n) {
  const I32 iota = iota_i32();
  const __m256i count = _mm256_set1_epi32(n);
  return {_mm256_cmpgt_epi32(count, iota.lo), _mm256_cmpgt_epi32(count, iota.hi)};
}
inline M32 first_lanes(int n) {
  const Tail t = tail_mask(n);
  return {_mm256_castsi256_ps(t.lo), _mm256_castsi256_ps(t.hi)};
}
inline F32 load_n(const float* p, int n) {
  if (n == 8) return {_mm256_loadu_ps(p), _mm256_setzero_ps()};
  const Tail t = tail_mask(n);
  return {_mm256_maskload_ps(p, t.lo), _mm256_maskload_ps(p + 8, t.hi)};
}
// Stores under a mask take tens of cycles on AMD's cores.
inline void store_half_n(float* p, F32 v, int n) {
  if (n == 8) return _mm256_storeu_ps(p, v.lo);
  __m128 rest = _mm256_castps256_ps128(v.lo);
  if (n & 4) {
    _mm_storeu_ps(p, rest);
    p += 4;
    rest = _mm256_extractf128_ps(v.lo, 1);
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    p += 2;
    rest = _mm_movehl_ps(rest, rest);
  }
  if (n & 1) _mm_store_ss(p, rest);
}
inline void store_n(float* p, F32 v, int n) {
  if (n <= 8) return store_half_n(p, v, n);
  _mm256_storeu_ps(p, v.lo);
  store_half_n(p + 8, {v.hi, v.hi}, n - 8);
}

// Arithmetic.

#define PYINFER_F32_BINARY(name, op)                                     \
  inline F32 name(F32 a, F32 b) {                                        \
    return {_mm256_##op##_ps(a.lo, b.lo), _mm256_##op##_ps(a.hi, b.hi)}; \
  }
PYINFER_F32_BINARY(operator+, add)
PYINFER_F32_BINARY(operator-, sub)
PYINFER_F32_BINARY(operator*, mul)
PYINFER_F32_BINARY(operator/, div)
PYINFER_F32_BINARY(lesser, min)
PYINFER_F32_BINARY(greater, max)
#undef PYINFER_F32_BINARY

// a * b + c, rounded once.
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
// In place, as an instruction: of an unrolled loop GCC 12 else moves the sums about, and runs out of
// registers.
inline F32 add_product(F32 c, F32 a, F32 b) {
  asm("vfmadd231ps %2, %1, %0" : "+x"(c.lo) : "x"(a.lo), "x"(b.lo));
  asm("vfmadd231ps %2, %1, %0" : "+x"(c.hi) : "x"(a.hi), "x"(b.hi));
  return c;
}
// c - a * b, rounded once.
inline F32 fnma(F32 a, F32 b, F32 c) {
  return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
inline F32 sqrt(F32 a) {
  return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)};
}

#define PYINFER_F32_ROUND(name, mode)                         \
  inline F32 name(F32 a) {                                    \
    return {_mm256_round_ps(a.lo, mode | _MM_FROUND_NO_EXC),  \
            _mm256_round_ps(a.hi, mode | _MM_FROUND_NO_EXC)}; \
  }
PYINFER_F32_ROUND(round, _MM_FROUND_TO_NEAREST_INT)
PYINFER_F32_ROUND(floor, _MM_FROUND_TO_NEG_INF)
PYINFER_F32_ROUND(ceil, _MM_FROUND_TO_POS_INF)
PYINFER_F32_ROUND(trunc, _MM_FROUND_TO_ZERO)
#undef PYINFER_F32_ROUND

inline F32 operator-(F32 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(a.lo, sign), _mm256_xor_ps(a.hi, sign)};
}
inline F32 abs(F32 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
inline F32 copysign(F32 magnitude, F32 sign_of) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, magnitude.lo), _mm256_and_ps(sign, sign_of.lo)),
          _mm256_or_ps(_mm256_andnot_ps(sign, magnitude.hi), _mm256_and_ps(sign, sign_of.hi))};
}

// Comparisons and selection.

#define PYINFER_F32_COMPARE(op, code)                                          \
  inline M32 operator op(F32 a, F32 b) {                                       \
    return {_mm256_cmp_ps(a.lo, b.lo, code), _mm256_cmp_ps(a.hi, b.hi, code)}; \
  }
PYINFER_F32_COMPARE(<, _CMP_LT_OQ)
PYINFER_F32_COMPARE(<=, _CMP_LE_OQ)
PYINFER_F32_COMPARE(>, _CMP_GT_OQ)
PYINFER_F32_COMPARE(>=, _CMP_GE_OQ)
PYINFER_F32_COMPARE(==, _CMP_EQ_OQ)
PYINFER_F32_COMPARE(!=, _CMP_NEQ_UQ)
#undef PYINFER_F32_COMPARE
inline M32 is_nan(F32 a) {
  return a != a;
}

inline M32 operator&(M32 a, M32 b) {
  return {_mm256_and_ps(a.lo, b.lo), _mm256_and_ps(a.hi, b.hi)};
}
inline M32 operator|(M32 a, M32 b) {
  return {_mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi)};
}
inline M32 operator!(M32 a) {
  const __m256 ones = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
  return {_mm256_xor_ps(a.lo, ones), _mm256_xor_ps(a.hi, ones)};
}
inline bool any(M32 m) {
  return _mm256_movemask_ps(_mm256_or_ps(m.lo, m.hi)) != 0;
}
inline bool all(M32 m) {
  return _mm256_movemask_ps(_mm256_and_ps(m.lo, m.hi)) == 0xff;
}

inline F32 select(M32 m, F32 a, F32 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)};
}
inline F32 clear(M32 m, F32 a) {
  return {_mm256_andnot_ps(m.lo, a.lo), _mm256_andnot_ps(m.hi, a.hi)};
}
inline F32 min(F32 a, F32 b) {
  return select(is_nan(a), a, lesser(a, b));
}
inline F32 max(F32 a, F32 b) {
  return select(is_nan(a), a, greater(a, b));
}

// Integers.

inline I32 as_i32(F32 a) {
  return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}
inline F32 as_f32(I32 a) {
  return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)};
}
inline F32 to_f32(I32 a) {
  return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}
inline I32 to_i32(F32 a) {
  return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)};
}

#define PYINFER_I32_BINARY(name, op)                           \
  inline I32 name(I32 a, I32 b) {                              \
    return {_mm256_##op(a.lo, b.lo), _mm256_##op(a.hi, b.hi)}; \
  }
PYINFER_I32_BINARY(operator+, add_epi32)
PYINFER_I32_BINARY(operator-, sub_epi32)
PYINFER_I32_BINARY(operator&, and_si256)
PYINFER_I32_BINARY(operator|, or_si256)
PYINFER_I32_BINARY(operator^, xor_si256)
#undef PYINFER_I32_BINARY

template <int kBits>
inline I32 shift_left(I32 a) {
  return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
}
template <int kBits>
inline I32 shift_right(I32 a) {
  return {_mm256_srai_epi32(a.lo, kBits), _mm256_srai_epi32(a.hi, kBits)};
}
template <int kBits>
inline I32 shift_right_logical(I32 a) {
  return {_mm256_srli_epi32(a.lo, kBits), _mm256_srli_epi32(a.hi, kBits)};
}
inline M32 operator==(I32 a, I32 b) {
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.lo, b.lo)),
          _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.hi, b.hi))};
}
inline M32 operator>(I32 a, I32 b) {
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.lo, b.lo)),
          _mm256_castsi256_ps(_mm256_cmpgt_epi32(a.hi, b.hi))};
}
inline I32 select(M32 m, I32 a, I32 b) {
  return as_i32(select(m, as_f32(a), as_f32(b)));
}

// Doubles.

inline F64 splat_f64(double x) {
  const __m256d v = _mm256_set1_pd(x);
  return {{v, v, v, v}};
}
inline F64 widen(F32 a) {
  return {{_mm256_cvtps_pd(_mm256_castps256_ps128(a.lo)), _mm256_cvtps_pd(_mm256_extractf128_ps(a.lo, 1)),
           _mm256_cvtps_pd(_mm256_castps256_ps128(a.hi)), _mm256_cvtps_pd(_mm256_extractf128_ps(a.hi, 1))}};
}
inline F32 narrow(F64 a) {
  return {_mm256_set_m128(_mm256_cvtpd_ps(a.v[1]), _mm256_cvtpd_ps(a.v[0])),
          _mm256_set_m128(_mm256_cvtpd_ps(a.v[3]), _mm256_cvtpd_ps(a.v[2]))};
}
inline F64 to_f64(I32 a) {
  return {{_mm256_cvtepi32_pd(_mm256_castsi256_si128(a.lo)),
           _mm256_cvtepi32_pd(_mm256_extracti128_si256(a.lo, 1)),
           _mm256_cvtepi32_pd(_mm256_castsi256_si128(a.hi)),
           _mm256_cvtepi32_pd(_mm256_extracti128_si256(a.hi, 1))}};
}
inline I32 to_i32(F64 a) {
  return {_mm256_set_m128i(_mm256_cvtpd_epi32(a.v[1]), _mm256_cvtpd_epi32(a.v[0])),
          _mm256_set_m128i(_mm256_cvtpd_epi32(a.v[3]), _mm256_cvtpd_epi32(a.v[2]))};
}
#define PYINFER_F64_BINARY(name, op)                                               \
  inline F64 name(F64 a, F64 b) {                                                  \
    return {{_mm256_##op##_pd(a.v[0], b.v[0]), _mm256_##op##_pd(a.v[1], b.v[1]),   \
             _mm256_##op##_pd(a.v[2], b.v[2]), _mm256_##op##_pd(a.v[3], b.v[3])}}; \
  }
PYINFER_F64_BINARY(operator+, add)
PYINFER_F64_BINARY(operator-, sub)
PYINFER_F64_BINARY(operator*, mul)
PYINFER_F64_BINARY(operator/, div)
PYINFER_F64_BINARY(lesser, min)
PYINFER_F64_BINARY(greater, max)
#undef PYINFER_F64_BINARY
#define PYINFER_F64_FMA(name, op)                                                                  \
  inline F64 name(F64 a, F64 b, F64 c) {                                                           \
    return {{_mm256_##op##_pd(a.v[0], b.v[0], c.v[0]), _mm256_##op##_pd(a.v[1], b.v[1], c.v[1]),   \
             _mm256_##op##_pd(a.v[2], b.v[2], c.v[2]), _mm256_##op##_pd(a.v[3], b.v[3], c.v[3])}}; \
  }
PYINFER_F64_FMA(fma, fmadd)
PYINFER_F64_FMA(fnma, fnmadd)
#undef PYINFER_F64_FMA
inline F64 sqrt(F64 a) {
  return {{_mm256_sqrt_pd(a.v[0]), _mm256_sqrt_pd(a.v[1]), _mm256_sqrt_pd(a.v[2]), _mm256_sqrt_pd(a.v[3])}};
}
inline F64 select(M32 m, F64 a, F64 b) {
  const auto blend = [](__m256d x, __m256d y, __m128 mask) {
    return _mm256_blendv_pd(y, x, _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm_castps_si128(mask))));
  };
  return {{blend(a.v[0], b.v[0], _mm256_castps256_ps128(m.lo)),
           blend(a.v[1], b.v[1], _mm256_extractf128_ps(m.lo, 1)),
           blend(a.v[2], b.v[2], _mm256_castps256_ps128(m.hi)),
           blend(a.v[3], b.v[3], _mm256_extractf128_ps(m.hi, 1))}};
}
inline F64 exp2_f64(I32 n) {
  const I32 e = n + splat_i32(1023);
  const auto place = [](__m128i x) {
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_cvtepi32_epi64(x), 52));
  };
  return {{place(_mm256_castsi256_si128(e.lo)), place(_mm256_extracti128_si256(e.lo, 1)),
           place(_mm256_castsi256_si128(e.hi)), place(_mm256_extracti128_si256(e.hi, 1))}};
}

// Half precision in memory.

inline F32 load_f16(const Float16* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
inline void store_f16(Float16* p, F32 v) {
  auto* q = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(q, _mm256_cvtps_ph(v.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(q + 1, _mm256_cvtps_ph(v.hi, _MM_FROUND_TO_NEAREST_INT));
}
inline F32 load_bf16(const BFloat16* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return as_f32(I32{_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), 16),
                    _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1)), 16)});
}
inline void store_bf16(BFloat16* p, F32 v) {
  const I32 bits = as_i32(v);
  const I32 odd = shift_right_logical<16>(bits) & splat_i32(1);
  const I32 rounded = shift_right_logical<16>(bits + splat_i32(0x7fff) + odd);
  const I32 quiet = shift_right_logical<16>(bits) | splat_i32(0x40);
  const I32 r = select(is_nan(v), quiet, rounded);
  // packus works within 128-bit halves: 0-3 8-11 4-7 12-15.
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(r.lo, r.hi), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
}

// Reductions.

#define PYINFER_F32_REDUCE(name, op)                                       \
  inline float name(F32 v) {                                               \
    const __m256 a = op(v.lo, v.hi);                                       \
    __m128 b = op(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); \
    b = op(b, _mm_movehl_ps(b, b));                                        \
    return _mm_cvtss_f32(op(b, _mm_movehdup_ps(b)));                       \
  }
namespace tree {
inline __m256 add(__m256 a, __m256 b) {
  return _mm256_add_ps(a, b);
}
inline __m128 add(__m128 a, __m128 b) {
  return _mm_add_ps(a, b);
}
inline __m256 mul(__m256 a, __m256 b) {
  return _mm256_mul_ps(a, b);
}
inline __m128 mul(__m128 a, __m128 b) {
  return _mm_mul_ps(a, b);
}
inline __m256 min(__m256 a, __m256 b) {
  return _mm256_blendv_ps(_mm256_min_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
inline __m128 min(__m128 a, __m128 b) {
  return _mm_blendv_ps(_mm_min_ps(a, b), a, _mm_cmpunord_ps(a, a));
}
inline __m256 max(__m256 a, __m256 b) {
  return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
inline __m128 max(__m128 a, __m128 b) {
  return _mm_blendv_ps(_mm_max_ps(a, b), a, _mm_cmpunord_ps(a, a));
}
}  // namespace tree
PYINFER_F32_REDUCE(reduce_add, tree::add)
PYINFER_F32_REDUCE(reduce_mul, tree::mul)
PYINFER_F32_REDUCE(reduce_min, tree::min)
PYINFER_F32_REDUCE(reduce_max, tree::max)
#undef PYINFER_F32_REDUCE

// Matrix kernels.

// F32 values a matrix kernel may keep in registers beside its operands.
constexpr int kAccumulators = 6;
constexpr int kWideAccumulators = 6;

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

// The low halves of the products.
inline I32 operator*(I32 a, I32 b) {
  return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)};
}
inline void store_n_i32(int32_t* p, I32 v, int n) {
  store_n(reinterpret_cast<float*>(p), as_f32(v), n);
}

template <bool kSigned>
inline I32 load_bytes(const uint8_t* p) {
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), h = _mm_srli_si128(b, 8);
  if constexpr (kSigned) return {_mm256_cvtepi8_epi32(b), _mm256_cvtepi8_epi32(h)};
  return {_mm256_cvtepu8_epi32(b), _mm256_cvtepu8_epi32(h)};
}
inline void store_bytes(uint8_t* p, I32 v) {
  const __m256i low = _mm256_set1_epi32(0xff);
  const __m256i pairs = _mm256_packus_epi32(_mm256_and_si256(v.lo, low), _mm256_and_si256(v.hi, low));
  const __m256i words = _mm256_permute4x64_epi64(pairs, 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

// 8-bit products: B's 16 columns by 2 k, widened to int16; A's 2 values of k, less the zero point, in int16.
using S8Value = int16_t;
constexpr int kS8WideAccumulators = 4;
constexpr int kS8Group = 2;
constexpr bool kS8Centred = true;
struct S8Group {
  __m256i lo, hi;
};
inline S8Group load_s8_group(const int8_t* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(q)), _mm256_cvtepi8_epi16(_mm_loadu_si128(q + 1))};
}
inline S8Group splat_s8_group(const S8Value* p) {
  int32_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return {_mm256_set1_epi32(bits), _mm256_set1_epi32(bits)};
}
// Per lane, c + sum of a_l * b_l modulo 2^32.
inline I32 add_dot_s8(I32 c, S8Group a, S8Group b) {
  // The empty statements keep each sum with its product: GCC 12 would form all products of a tile before it
  // adds any, and run out of registers.
  c.lo = _mm256_add_epi32(c.lo, _mm256_madd_epi16(a.lo, b.lo));
  asm volatile("" : "+x"(c.lo));
  c.hi = _mm256_add_epi32(c.hi, _mm256_madd_epi16(a.hi, b.hi));
  asm volatile("" : "+x"(c.hi));
  return c;
}

// Half of F32: a chain of sums in one register.

struct Narrow {
  static constexpr int kLanes = 8;
  __m256 v;
};
inline Narrow splat_narrow(float x) {
  return {_mm256_set1_ps(x)};
}
inline Narrow load_narrow(const float* p) {
  return {_mm256_loadu_ps(p)};
}
inline void store_narrow(float* p, Narrow a) {
  _mm256_storeu_ps(p, a.v);
}
inline Narrow operator+(Narrow a, Narrow b) {
  return {_mm256_add_ps(a.v, b.v)};
}
inline Narrow fma(Narrow a, Narrow b, Narrow c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
inline Narrow lesser(Narrow a, Narrow b) {
  return {_mm256_min_ps(a.v, b.v)};
}
inline Narrow greater(Narrow a, Narrow b) {
  return {_mm256_max_ps(a.v, b.v)};
}

}  // namespace
}  // namespace pyinfer
