// F32 and its companions on AVX-512 (F, BW, DQ, VL, VNNI): one register. The contract is in vec.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tensor/float_types.h"

namespace pyinfer {
namespace {

struct F32 {
  static constexpr int kLanes = 16;
  __m512 v;
};
struct I32 {
  __m512i v;
};
struct M32 {
  __mmask16 m;
};
struct F64 {
  __m512d lo, hi;
};

// Loads and stores.

inline F32 zero_f32() {
  return {_mm512_setzero_ps()};
}
inline F32 splat(float v) {
  return {_mm512_set1_ps(v)};
}
inline F32 load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
inline void store(float* p, F32 a) {
  _mm512_storeu_ps(p, a.v);
}
inline float lane0(F32 a) {
  return _mm512_cvtss_f32(a.v);
}

inline I32 splat_i32(int32_t v) {
  return {_mm512_set1_epi32(v)};
}
inline I32 iota_i32() {
  return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}
inline I32 load_i32(const int32_t* p) {
  return {_mm512_loadu_si512(p)};
}
inline void store_i32(int32_t* p, I32 a) {
  _mm512_storeu_si512(p, a.v);
}

inline M32 first_lanes(int n) {
  return {static_cast<__mmask16>((1u << n) - 1)};
}
inline F32 load_n(const float* p, int n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n).m, p)};
}
inline void store_n(float* p, F32 a, int n) {
  _mm512_mask_storeu_ps(p, first_lanes(n).m, a.v);
}
inline void store_half_n(float* p, F32 a, int n) {
  store_n(p, a, n);
}

// Arithmetic.

#define PYINFER_F32_BINARY(name, op)     \
  inline F32 name(F32 a, F32 b) {        \
    return {_mm512_##op##_ps(a.v, b.v)}; \
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
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
// In place, as an instruction: of an unrolled loop GCC 12 else moves the sums about, and runs out of
// registers.
inline F32 add_product(F32 c, F32 a, F32 b) {
  asm("vfmadd231ps %2, %1, %0" : "+v"(c.v) : "v"(a.v), "v"(b.v));
  return c;
}
// c - a * b, rounded once.
inline F32 fnma(F32 a, F32 b, F32 c) {
  return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
inline F32 sqrt(F32 a) {
  return {_mm512_sqrt_ps(a.v)};
}

#define PYINFER_F32_ROUND(name, mode)                               \
  inline F32 name(F32 a) {                                          \
    return {_mm512_roundscale_ps(a.v, (mode) | _MM_FROUND_NO_EXC)}; \
  }
PYINFER_F32_ROUND(round, _MM_FROUND_TO_NEAREST_INT)
PYINFER_F32_ROUND(floor, _MM_FROUND_TO_NEG_INF)
PYINFER_F32_ROUND(ceil, _MM_FROUND_TO_POS_INF)
PYINFER_F32_ROUND(trunc, _MM_FROUND_TO_ZERO)
#undef PYINFER_F32_ROUND

inline F32 operator-(F32 a) {
  return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))};
}
inline F32 abs(F32 a) {
  return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)};
}
inline F32 copysign(F32 magnitude, F32 sign_of) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(sign, magnitude.v), _mm512_and_ps(sign, sign_of.v))};
}

// Comparisons and selection.

#define PYINFER_F32_COMPARE(op, code)            \
  inline M32 operator op(F32 a, F32 b) {         \
    return {_mm512_cmp_ps_mask(a.v, b.v, code)}; \
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
  return {static_cast<__mmask16>(a.m & b.m)};
}
inline M32 operator|(M32 a, M32 b) {
  return {static_cast<__mmask16>(a.m | b.m)};
}
inline M32 operator!(M32 a) {
  return {static_cast<__mmask16>(~a.m)};
}
inline bool any(M32 m) {
  return m.m != 0;
}
inline bool all(M32 m) {
  return m.m == 0xffff;
}

inline F32 select(M32 m, F32 a, F32 b) {
  return {_mm512_mask_blend_ps(m.m, b.v, a.v)};
}
inline F32 clear(M32 m, F32 a) {
  return {_mm512_maskz_mov_ps(static_cast<__mmask16>(~m.m), a.v)};
}
inline F32 min(F32 a, F32 b) {
  return select(is_nan(a), a, lesser(a, b));
}
inline F32 max(F32 a, F32 b) {
  return select(is_nan(a), a, greater(a, b));
}

// Integers.

inline I32 as_i32(F32 a) {
  return {_mm512_castps_si512(a.v)};
}
inline F32 as_f32(I32 a) {
  return {_mm512_castsi512_ps(a.v)};
}
inline F32 to_f32(I32 a) {
  return {_mm512_cvtepi32_ps(a.v)};
}
inline I32 to_i32(F32 a) {
  return {_mm512_cvtps_epi32(a.v)};
}

#define PYINFER_I32_BINARY(name, op) \
  inline I32 name(I32 a, I32 b) {    \
    return {_mm512_##op(a.v, b.v)};  \
  }
PYINFER_I32_BINARY(operator+, add_epi32)
PYINFER_I32_BINARY(operator-, sub_epi32)
PYINFER_I32_BINARY(operator*, mullo_epi32)
PYINFER_I32_BINARY(operator&, and_si512)
PYINFER_I32_BINARY(operator|, or_si512)
PYINFER_I32_BINARY(operator^, xor_si512)
#undef PYINFER_I32_BINARY

template <int kBits>
inline I32 shift_left(I32 a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline I32 shift_right(I32 a) {
  return {_mm512_srai_epi32(a.v, kBits)};
}
template <int kBits>
inline I32 shift_right_logical(I32 a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}
inline M32 operator==(I32 a, I32 b) {
  return {_mm512_cmpeq_epi32_mask(a.v, b.v)};
}
inline M32 operator>(I32 a, I32 b) {
  return {_mm512_cmpgt_epi32_mask(a.v, b.v)};
}
inline I32 select(M32 m, I32 a, I32 b) {
  return {_mm512_mask_blend_epi32(m.m, b.v, a.v)};
}

// Doubles: lanes 0-7 in `lo`, 8-15 in `hi`.

inline __m256 low_half(__m512 v) {
  return _mm512_castps512_ps256(v);
}
inline __m256 high_half(__m512 v) {
  return _mm512_extractf32x8_ps(v, 1);
}
inline __m256i low_half(__m512i v) {
  return _mm512_castsi512_si256(v);
}
inline __m256i high_half(__m512i v) {
  return _mm512_extracti32x8_epi32(v, 1);
}

inline F64 splat_f64(double x) {
  return {_mm512_set1_pd(x), _mm512_set1_pd(x)};
}
inline F64 widen(F32 a) {
  return {_mm512_cvtps_pd(low_half(a.v)), _mm512_cvtps_pd(high_half(a.v))};
}
inline F32 narrow(F64 a) {
  return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a.lo)), _mm512_cvtpd_ps(a.hi), 1)};
}
inline F64 to_f64(I32 a) {
  return {_mm512_cvtepi32_pd(low_half(a.v)), _mm512_cvtepi32_pd(high_half(a.v))};
}
inline I32 to_i32(F64 a) {
  return {_mm512_inserti32x8(_mm512_castsi256_si512(_mm512_cvtpd_epi32(a.lo)), _mm512_cvtpd_epi32(a.hi), 1)};
}
#define PYINFER_F64_BINARY(name, op)                                     \
  inline F64 name(F64 a, F64 b) {                                        \
    return {_mm512_##op##_pd(a.lo, b.lo), _mm512_##op##_pd(a.hi, b.hi)}; \
  }
PYINFER_F64_BINARY(operator+, add)
PYINFER_F64_BINARY(operator-, sub)
PYINFER_F64_BINARY(operator*, mul)
PYINFER_F64_BINARY(operator/, div)
PYINFER_F64_BINARY(lesser, min)
PYINFER_F64_BINARY(greater, max)
#undef PYINFER_F64_BINARY
inline F64 fma(F64 a, F64 b, F64 c) {
  return {_mm512_fmadd_pd(a.lo, b.lo, c.lo), _mm512_fmadd_pd(a.hi, b.hi, c.hi)};
}
inline F64 fnma(F64 a, F64 b, F64 c) {
  return {_mm512_fnmadd_pd(a.lo, b.lo, c.lo), _mm512_fnmadd_pd(a.hi, b.hi, c.hi)};
}
inline F64 sqrt(F64 a) {
  return {_mm512_sqrt_pd(a.lo), _mm512_sqrt_pd(a.hi)};
}
inline F64 select(M32 m, F64 a, F64 b) {
  return {_mm512_mask_blend_pd(static_cast<__mmask8>(m.m), b.lo, a.lo),
          _mm512_mask_blend_pd(static_cast<__mmask8>(m.m >> 8), b.hi, a.hi)};
}
inline F64 exp2_f64(I32 n) {
  const I32 e = n + splat_i32(1023);
  const auto place = [](__m256i x) {
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_cvtepi32_epi64(x), 52));
  };
  return {place(low_half(e.v)), place(high_half(e.v))};
}

// Half precision in memory.

inline F32 load_f16(const Float16* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline void store_f16(Float16* p, F32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline F32 load_bf16(const BFloat16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return as_f32(I32{_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)});
}
inline void store_bf16(BFloat16* p, F32 a) {
  const I32 bits = as_i32(a);
  const I32 odd = shift_right_logical<16>(bits) & splat_i32(1);
  const I32 rounded = shift_right_logical<16>(bits + splat_i32(0x7fff) + odd);
  const I32 quiet = shift_right_logical<16>(bits) | splat_i32(0x40);
  const I32 r = select(is_nan(a), quiet, rounded);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(r.v));
}

// Reductions.

#define PYINFER_F32_REDUCE(name, op)                                       \
  inline float name(F32 v) {                                               \
    const __m256 a = op(low_half(v.v), high_half(v.v));                    \
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
constexpr int kAccumulators = 24;
constexpr int kWideAccumulators = 24;

// dst(j,i) = src(i,j) for 16 x 16 floats; no overlap.
inline void transpose_16x16(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  __m512 r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(src + i * src_stride);
    // 4x4 blocks inside each quarter of the registers ...
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512 a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
    const __m512 c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
    t[i] = _mm512_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
  }
  // ... then the 4x4 of quarters: quarter q of t[4 g + i] becomes quarter g of row 4 q + i.
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x44),
                 b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xee);
    const __m512 c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x44);
    const __m512 d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xee);
    _mm512_storeu_ps(dst + i * dst_stride, _mm512_shuffle_f32x4(a, c, 0x88));
    _mm512_storeu_ps(dst + (i + 4) * dst_stride, _mm512_shuffle_f32x4(a, c, 0xdd));
    _mm512_storeu_ps(dst + (i + 8) * dst_stride, _mm512_shuffle_f32x4(b, d, 0x88));
    _mm512_storeu_ps(dst + (i + 12) * dst_stride, _mm512_shuffle_f32x4(b, d, 0xdd));
  }
}

inline void store_n_i32(int32_t* p, I32 a, int n) {
  _mm512_mask_storeu_epi32(p, first_lanes(n).m, a.v);
}

template <bool kSigned>
inline I32 load_bytes(const uint8_t* p) {
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {kSigned ? _mm512_cvtepi8_epi32(b) : _mm512_cvtepu8_epi32(b)};
}
inline void store_bytes(uint8_t* p, I32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v.v));
}

// Two rows of 32 integers as bytes: added to `zero`, cut to [low, high], where that is not above zero.
constexpr bool kPacksBytes = true;
class BytePacking {
 public:
  BytePacking(int32_t zero, int32_t low, int32_t high)
      : is_signed_(low < 0),
        zero_(_mm512_set1_epi16(static_cast<int16_t>(zero))),
        low_(_mm512_set1_epi8(static_cast<char>(low))),
        high_(_mm512_set1_epi8(static_cast<char>(high))) {}
  void store(uint8_t* y, uint8_t* z, I32 y0, I32 y1, I32 z0, I32 z1) const {
    const __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(y0.v, y1.v), zero_);
    const __m512i second = _mm512_adds_epi16(_mm512_packs_epi32(z0.v, z1.v), zero_);
    __m512i bytes;
    if (is_signed_) {
      bytes = _mm512_packs_epi16(first, second);
      bytes = _mm512_max_epi8(_mm512_min_epi8(bytes, high_), low_);
    } else {
      bytes = _mm512_packus_epi16(first, second);
      bytes = _mm512_max_epu8(_mm512_min_epu8(bytes, high_), low_);
    }
    // Of each quarter, four bytes are of y0, then y1, z0, z1.
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    bytes = _mm512_permutexvar_epi32(order, bytes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(bytes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(z), _mm512_extracti64x4_epi64(bytes, 1));
  }

 private:
  bool is_signed_;
  __m512i zero_, low_, high_;
};

// 8-bit products: B's 16 columns by 4 k as stored, A's 4 values of k in uint8.
using S8Value = uint8_t;
constexpr int kS8WideAccumulators = 24;
constexpr int kS8Group = 4;
constexpr bool kS8Centred = false;
struct S8Group {
  __m512i v;
};
inline S8Group load_s8_group(const int8_t* p) {
  return {_mm512_loadu_si512(p)};
}
inline S8Group splat_s8_group(const S8Value* p) {
  int32_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return {_mm512_set1_epi32(bits)};
}
// Per lane, c + sum of a_l * b_l modulo 2^32.
inline I32 add_dot_s8(I32 c, S8Group a, S8Group b) {
  c.v = _mm512_dpbusd_epi32(c.v, a.v, b.v);
  asm volatile("" : "+v"(c.v));  // or GCC 12 copies the sums about, and runs out of registers
  return c;
}

// F32 fills one register.

using Narrow = F32;
inline Narrow splat_narrow(float x) {
  return splat(x);
}
inline Narrow load_narrow(const float* p) {
  return load(p);
}
inline void store_narrow(float* p, Narrow a) {
  store(p, a);
}

}  // namespace
}  // namespace pyinfer
