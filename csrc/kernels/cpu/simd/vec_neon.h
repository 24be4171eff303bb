// F32 and its companions on AArch64's NEON: quarter i holds lanes 4i to 4i+3. The contract is in vec.h.
// vminq_f32 and its kin are not used: they order the two zeros, which the other instruction sets do not.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "tensor/float_types.h"

namespace pyinfer {
namespace {

struct F32 {
  static constexpr int kLanes = 16;
  float32x4_t q[4];
};
struct I32 {
  int32x4_t q[4];
};
struct M32 {
  uint32x4_t q[4];  // all ones or all zeros in each lane
};
struct F64 {
  float64x2_t v[8];
};

// R of applying f to the quarters of one, two, three vectors. Written out: loops over an indexed result
// would go through memory.
template <class R, class A, class F>
inline R map(const A& x, F f) {
  return {{f(x.q[0]), f(x.q[1]), f(x.q[2]), f(x.q[3])}};
}
template <class R, class A, class B, class F>
inline R map(const A& x, const B& y, F f) {
  return {{f(x.q[0], y.q[0]), f(x.q[1], y.q[1]), f(x.q[2], y.q[2]), f(x.q[3], y.q[3])}};
}
template <class R, class A, class B, class C, class F>
inline R map(const A& x, const B& y, const C& z, F f) {
  return {{f(x.q[0], y.q[0], z.q[0]), f(x.q[1], y.q[1], z.q[1]), f(x.q[2], y.q[2], z.q[2]),
           f(x.q[3], y.q[3], z.q[3])}};
}
// The same for the eighths of F64, which are numbered in the order of their lanes.
template <class F>
inline F64 map_f64(F f) {
  return {{f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)}};
}
inline float32x2_t pair(const F32& a, int eighth) {
  return eighth % 2 == 0 ? vget_low_f32(a.q[eighth / 2]) : vget_high_f32(a.q[eighth / 2]);
}
inline int32x2_t pair(const I32& a, int eighth) {
  return eighth % 2 == 0 ? vget_low_s32(a.q[eighth / 2]) : vget_high_s32(a.q[eighth / 2]);
}

// Loads and stores.

inline F32 splat(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {{v, v, v, v}};
}
inline F32 zero_f32() {
  return splat(0.0f);
}
inline F32 load(const float* p) {
  return {{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}
inline void store(float* p, F32 v) {
  vst1q_f32(p, v.q[0]);
  vst1q_f32(p + 4, v.q[1]);
  vst1q_f32(p + 8, v.q[2]);
  vst1q_f32(p + 12, v.q[3]);
}
inline float lane0(F32 v) {
  return vgetq_lane_f32(v.q[0], 0);
}

inline I32 splat_i32(int32_t x) {
  const int32x4_t v = vdupq_n_s32(x);
  return {{v, v, v, v}};
}
inline I32 iota_i32() {
  return {{int32x4_t{0, 1, 2, 3}, int32x4_t{4, 5, 6, 7}, int32x4_t{8, 9, 10, 11}, int32x4_t{12, 13, 14, 15}}};
}
inline I32 load_i32(const int32_t* p) {
  return {{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
}
inline void store_i32(int32_t* p, I32 v) {
  vst1q_s32(p, v.q[0]);
  vst1q_s32(p + 4, v.q[1]);
  vst1q_s32(p + 8, v.q[2]);
  vst1q_s32(p + 12, v.q[3]);
}

// One quarter's share of n lanes: all of it, its first 1 to 3 lanes, or none.
inline int32x4_t load_quarter(const int32_t* p, int n) {
  if (n >= 4) return vld1q_s32(p);
  int32x4_t v = vdupq_n_s32(0);
  if (n >= 1) v = vld1q_lane_s32(p, v, 0);
  if (n >= 2) v = vld1q_lane_s32(p + 1, v, 1);
  if (n >= 3) v = vld1q_lane_s32(p + 2, v, 2);
  return v;
}
inline void store_quarter(int32_t* p, int32x4_t v, int n) {
  if (n >= 4) {
    vst1q_s32(p, v);
    return;
  }
  if (n >= 1) vst1q_lane_s32(p, v, 0);
  if (n >= 2) vst1q_lane_s32(p + 1, v, 1);
  if (n >= 3) vst1q_lane_s32(p + 2, v, 2);
}
inline void store_n_i32(int32_t* p, I32 v, int n) {
  store_quarter(p, v.q[0], n);
  store_quarter(p + 4, v.q[1], n - 4);
  store_quarter(p + 8, v.q[2], n - 8);
  store_quarter(p + 12, v.q[3], n - 12);
}

// Integers, and the same bits as floats.

inline I32 as_i32(F32 a) {
  return map<I32>(a, [](float32x4_t x) { return vreinterpretq_s32_f32(x); });
}
inline F32 as_f32(I32 a) {
  return map<F32>(a, [](int32x4_t x) { return vreinterpretq_f32_s32(x); });
}
inline F32 load_n(const float* p, int n) {
  const auto* bits = reinterpret_cast<const int32_t*>(p);
  return as_f32({{load_quarter(bits, n), load_quarter(bits + 4, n - 4), load_quarter(bits + 8, n - 8),
                  load_quarter(bits + 12, n - 12)}});
}
inline void store_n(float* p, F32 v, int n) {
  store_n_i32(reinterpret_cast<int32_t*>(p), as_i32(v), n);
}
inline void store_half_n(float* p, F32 v, int n) {
  store_n(p, {{v.q[0], v.q[1], v.q[0], v.q[1]}}, n);
}

#define PYINFER_BINARY(T, Q, R, name, op)                   \
  inline R name(T x, T y) {                                 \
    return map<R>(x, y, [](Q a, Q b) { return op(a, b); }); \
  }
PYINFER_BINARY(I32, int32x4_t, I32, operator+, vaddq_s32)
PYINFER_BINARY(I32, int32x4_t, I32, operator-, vsubq_s32)
PYINFER_BINARY(I32, int32x4_t, I32, operator*, vmulq_s32)
PYINFER_BINARY(I32, int32x4_t, I32, operator&, vandq_s32)
PYINFER_BINARY(I32, int32x4_t, I32, operator|, vorrq_s32)
PYINFER_BINARY(I32, int32x4_t, I32, operator^, veorq_s32)
PYINFER_BINARY(I32, int32x4_t, M32, operator==, vceqq_s32)
PYINFER_BINARY(I32, int32x4_t, M32, operator>, vcgtq_s32)
PYINFER_BINARY(F32, float32x4_t, F32, operator+, vaddq_f32)
PYINFER_BINARY(F32, float32x4_t, F32, operator-, vsubq_f32)
PYINFER_BINARY(F32, float32x4_t, F32, operator*, vmulq_f32)
PYINFER_BINARY(F32, float32x4_t, F32, operator/, vdivq_f32)
PYINFER_BINARY(F32, float32x4_t, M32, operator<, vcltq_f32)
PYINFER_BINARY(F32, float32x4_t, M32, operator<=, vcleq_f32)
PYINFER_BINARY(F32, float32x4_t, M32, operator>, vcgtq_f32)
PYINFER_BINARY(F32, float32x4_t, M32, operator>=, vcgeq_f32)
PYINFER_BINARY(F32, float32x4_t, M32, operator==, vceqq_f32)
PYINFER_BINARY(M32, uint32x4_t, M32, operator&, vandq_u32)
PYINFER_BINARY(M32, uint32x4_t, M32, operator|, vorrq_u32)
#undef PYINFER_BINARY

template <int kBits>
inline I32 shift_left(I32 a) {
  return map<I32>(a, [](int32x4_t x) { return vshlq_n_s32(x, kBits); });
}
template <int kBits>
inline I32 shift_right(I32 a) {
  return map<I32>(a, [](int32x4_t x) { return vshrq_n_s32(x, kBits); });
}
template <int kBits>
inline I32 shift_right_logical(I32 a) {
  return map<I32>(
      a, [](int32x4_t x) { return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), kBits)); });
}

// Arithmetic.

// a * b + c, rounded once.
inline F32 fma(F32 a, F32 b, F32 c) {
  return map<F32>(a, b, c, [](float32x4_t x, float32x4_t y, float32x4_t z) { return vfmaq_f32(z, x, y); });
}
inline F32 add_product(F32 c, F32 a, F32 b) {
  return fma(a, b, c);
}
// c - a * b, rounded once.
inline F32 fnma(F32 a, F32 b, F32 c) {
  return map<F32>(a, b, c, [](float32x4_t x, float32x4_t y, float32x4_t z) { return vfmsq_f32(z, x, y); });
}

#define PYINFER_UNARY(name, op)                              \
  inline F32 name(F32 a) {                                   \
    return map<F32>(a, [](float32x4_t x) { return op(x); }); \
  }
PYINFER_UNARY(operator-, vnegq_f32)
PYINFER_UNARY(abs, vabsq_f32)
PYINFER_UNARY(sqrt, vsqrtq_f32)
PYINFER_UNARY(round, vrndnq_f32)
PYINFER_UNARY(floor, vrndmq_f32)
PYINFER_UNARY(ceil, vrndpq_f32)
PYINFER_UNARY(trunc, vrndq_f32)
#undef PYINFER_UNARY
inline F32 copysign(F32 magnitude, F32 sign_of) {
  const uint32x4_t sign = vdupq_n_u32(0x80000000u);
  return map<F32>(magnitude, sign_of, [sign](float32x4_t m, float32x4_t s) { return vbslq_f32(sign, s, m); });
}

// Comparisons and selection.

inline M32 operator!(M32 m) {
  return map<M32>(m, [](uint32x4_t x) { return vmvnq_u32(x); });
}
inline M32 operator!=(F32 a, F32 b) {
  return !(a == b);
}
inline M32 is_nan(F32 a) {
  return a != a;
}
inline M32 first_lanes(int n) {
  return splat_i32(n) > iota_i32();
}
inline bool any(M32 m) {
  return vmaxvq_u32(vorrq_u32(vorrq_u32(m.q[0], m.q[1]), vorrq_u32(m.q[2], m.q[3]))) != 0;
}
inline bool all(M32 m) {
  return vminvq_u32(vandq_u32(vandq_u32(m.q[0], m.q[1]), vandq_u32(m.q[2], m.q[3]))) != 0;
}

inline F32 select(M32 m, F32 a, F32 b) {
  return map<F32>(m, a, b, [](uint32x4_t k, float32x4_t x, float32x4_t y) { return vbslq_f32(k, x, y); });
}
inline F32 clear(M32 m, F32 a) {
  return map<F32>(m, a, [](uint32x4_t k, float32x4_t x) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), k));
  });
}
inline I32 select(M32 m, I32 a, I32 b) {
  return map<I32>(m, a, b, [](uint32x4_t k, int32x4_t x, int32x4_t y) { return vbslq_s32(k, x, y); });
}
inline F32 lesser(F32 a, F32 b) {
  return select(a < b, a, b);
}
inline F32 greater(F32 a, F32 b) {
  return select(a > b, a, b);
}
inline F32 min(F32 a, F32 b) {
  return select(is_nan(a), a, lesser(a, b));
}
inline F32 max(F32 a, F32 b) {
  return select(is_nan(a), a, greater(a, b));
}

// The instruction saturates, which is INT32_MIN below; above and for NaN that has to be chosen.
inline F32 to_f32(I32 a) {
  return map<F32>(a, [](int32x4_t x) { return vcvtq_f32_s32(x); });
}
inline I32 to_i32(F32 a) {
  const I32 n = map<I32>(a, [](float32x4_t x) { return vcvtnq_s32_f32(x); });
  return select(a < splat(0x1p31f), n, splat_i32(INT32_MIN));
}

// Doubles.

inline F64 splat_f64(double x) {
  const float64x2_t v = vdupq_n_f64(x);
  return {{v, v, v, v, v, v, v, v}};
}
inline F64 widen(F32 a) {
  return map_f64([&a](int i) { return vcvt_f64_f32(pair(a, i)); });
}
inline F32 narrow(F64 a) {
  const auto join = [&a](int i) { return vcombine_f32(vcvt_f32_f64(a.v[i]), vcvt_f32_f64(a.v[i + 1])); };
  return {{join(0), join(2), join(4), join(6)}};
}
inline F64 to_f64(I32 a) {
  return map_f64([&a](int i) { return vcvtq_f64_s64(vmovl_s32(pair(a, i))); });
}
inline I32 to_i32(F64 a) {
  // As for floats: both conversions saturate.
  const auto half = [&a](int i) {
    const int32x2_t n = vqmovn_s64(vcvtnq_s64_f64(a.v[i]));
    const uint32x2_t fits = vmovn_u64(vcltq_f64(a.v[i], vdupq_n_f64(2147483647.5)));
    return vbsl_s32(fits, n, vdup_n_s32(INT32_MIN));
  };
  const auto join = [&half](int i) { return vcombine_s32(half(i), half(i + 1)); };
  return {{join(0), join(2), join(4), join(6)}};
}
#define PYINFER_F64_BINARY(name, expr)          \
  inline F64 name(F64 x, F64 y) {               \
    return map_f64([&x, &y](int i) {            \
      const float64x2_t a = x.v[i], b = y.v[i]; \
      return expr;                              \
    });                                         \
  }
PYINFER_F64_BINARY(operator+, vaddq_f64(a, b))
PYINFER_F64_BINARY(operator-, vsubq_f64(a, b))
PYINFER_F64_BINARY(operator*, vmulq_f64(a, b))
PYINFER_F64_BINARY(operator/, vdivq_f64(a, b))
PYINFER_F64_BINARY(lesser, vbslq_f64(vcltq_f64(a, b), a, b))
PYINFER_F64_BINARY(greater, vbslq_f64(vcgtq_f64(a, b), a, b))
#undef PYINFER_F64_BINARY
inline F64 fma(F64 a, F64 b, F64 c) {
  return map_f64([&](int i) { return vfmaq_f64(c.v[i], a.v[i], b.v[i]); });
}
inline F64 fnma(F64 a, F64 b, F64 c) {
  return map_f64([&](int i) { return vfmsq_f64(c.v[i], a.v[i], b.v[i]); });
}
inline F64 sqrt(F64 a) {
  return map_f64([&a](int i) { return vsqrtq_f64(a.v[i]); });
}
inline F64 select(M32 m, F64 a, F64 b) {
  const I32 lanes = map<I32>(m, [](uint32x4_t x) { return vreinterpretq_s32_u32(x); });
  return map_f64(
      [&](int i) { return vbslq_f64(vreinterpretq_u64_s64(vmovl_s32(pair(lanes, i))), a.v[i], b.v[i]); });
}
inline F64 exp2_f64(I32 n) {
  const I32 e = n + splat_i32(1023);
  return map_f64([&e](int i) { return vreinterpretq_f64_s64(vshlq_n_s64(vmovl_s32(pair(e, i)), 52)); });
}

// Half precision in memory.

inline F32 load_f16(const Float16* p) {
  const auto* q = reinterpret_cast<const uint16_t*>(p);
  const auto quarter = [q](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(q + 4 * i))); };
  return {{quarter(0), quarter(1), quarter(2), quarter(3)}};
}
inline void store_f16(Float16* p, F32 v) {
  auto* q = reinterpret_cast<uint16_t*>(p);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) vst1_u16(q + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v.q[i])));
}
inline F32 load_bf16(const BFloat16* p) {
  const auto* q = reinterpret_cast<const uint16_t*>(p);
  const auto quarter = [q](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(q + 4 * i), 16)); };
  return {{quarter(0), quarter(1), quarter(2), quarter(3)}};
}
inline void store_bf16(BFloat16* p, F32 v) {
  const I32 bits = as_i32(v);
  const I32 odd = shift_right_logical<16>(bits) & splat_i32(1);
  const I32 rounded = bits + splat_i32(0x7fff) + odd;
  const I32 r = select(is_nan(v), bits | splat_i32(0x400000), rounded);
  auto* q = reinterpret_cast<uint16_t*>(p);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) vst1_u16(q + 4 * i, vshrn_n_u32(vreinterpretq_u32_s32(r.q[i]), 16));
}

// Reductions.

namespace tree {
inline float32x4_t min(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vceqq_f32(a, a), vbslq_f32(vcltq_f32(a, b), a, b), a);
}
inline float32x4_t max(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vceqq_f32(a, a), vbslq_f32(vcgtq_f32(a, b), a, b), a);
}
}  // namespace tree
#define PYINFER_F32_REDUCE(name, op)                                  \
  inline float name(F32 v) {                                          \
    const float32x4_t a = op(op(v.q[0], v.q[2]), op(v.q[1], v.q[3])); \
    const float32x4_t b = op(a, vextq_f32(a, a, 2));                  \
    return vgetq_lane_f32(op(b, vextq_f32(b, b, 1)), 0);              \
  }
PYINFER_F32_REDUCE(reduce_add, vaddq_f32)
PYINFER_F32_REDUCE(reduce_mul, vmulq_f32)
PYINFER_F32_REDUCE(reduce_min, tree::min)
PYINFER_F32_REDUCE(reduce_max, tree::max)
#undef PYINFER_F32_REDUCE

// Matrix kernels.

// F32 values a matrix kernel may keep in registers beside its operands.
constexpr int kAccumulators = 6;
constexpr int kWideAccumulators = 4;

// dst(j,i) = src(i,j) for 4 x 4 floats.
inline void transpose_4x4(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  const float32x4_t a = vld1q_f32(src), b = vld1q_f32(src + src_stride);
  const float32x4_t c = vld1q_f32(src + 2 * src_stride), d = vld1q_f32(src + 3 * src_stride);
  const float64x2_t ab_even = vreinterpretq_f64_f32(vtrn1q_f32(a, b));
  const float64x2_t ab_odd = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
  const float64x2_t cd_even = vreinterpretq_f64_f32(vtrn1q_f32(c, d));
  const float64x2_t cd_odd = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
  vst1q_f32(dst, vreinterpretq_f32_f64(vtrn1q_f64(ab_even, cd_even)));
  vst1q_f32(dst + dst_stride, vreinterpretq_f32_f64(vtrn1q_f64(ab_odd, cd_odd)));
  vst1q_f32(dst + 2 * dst_stride, vreinterpretq_f32_f64(vtrn2q_f64(ab_even, cd_even)));
  vst1q_f32(dst + 3 * dst_stride, vreinterpretq_f32_f64(vtrn2q_f64(ab_odd, cd_odd)));
}
// dst(j,i) = src(i,j) for 16 x 16 floats; no overlap.
inline void transpose_16x16(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  for (int j = 0; j < 16; j += 4) {
    for (int i = 0; i < 16; i += 4) {
      transpose_4x4(src + i * src_stride + j, src_stride, dst + j * dst_stride + i, dst_stride);
    }
  }
}

template <bool kSigned>
inline I32 load_bytes(const uint8_t* p) {
  const uint8x16_t b = vld1q_u8(p);
  int16x8_t lo, hi;
  if constexpr (kSigned) {
    lo = vmovl_s8(vget_low_s8(vreinterpretq_s8_u8(b)));
    hi = vmovl_high_s8(vreinterpretq_s8_u8(b));
  } else {
    lo = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(b)));
    hi = vreinterpretq_s16_u16(vmovl_high_u8(b));
  }
  return {{vmovl_s16(vget_low_s16(lo)), vmovl_high_s16(lo), vmovl_s16(vget_low_s16(hi)), vmovl_high_s16(hi)}};
}
inline void store_bytes(uint8_t* p, I32 v) {
  const int16x8_t lo = vcombine_s16(vmovn_s32(v.q[0]), vmovn_s32(v.q[1]));
  const int16x8_t hi = vcombine_s16(vmovn_s32(v.q[2]), vmovn_s32(v.q[3]));
  vst1q_u8(p, vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(lo), vmovn_s16(hi))));
}

// 8-bit products, for every AArch64 (dot products of bytes came later): B's 16 columns of one k, widened to
// int16; A's value, less the zero point, in int16.
using S8Value = int16_t;
constexpr int kS8WideAccumulators = 6;
constexpr int kS8Group = 1;
constexpr bool kS8Centred = true;
struct S8Group {
  int16x8_t lo, hi;
};
struct S8Factor {
  int16_t v;
};
inline S8Group load_s8_group(const int8_t* p) {
  const int8x16_t b = vld1q_s8(p);
  return {vmovl_s8(vget_low_s8(b)), vmovl_high_s8(b)};
}
inline S8Factor splat_s8_group(const S8Value* p) {
  return {*p};
}
// Per lane, c + a * b modulo 2^32.
inline I32 add_dot_s8(I32 c, S8Factor a, S8Group b) {
  return {{vmlal_n_s16(c.q[0], vget_low_s16(b.lo), a.v), vmlal_high_n_s16(c.q[1], b.lo, a.v),
           vmlal_n_s16(c.q[2], vget_low_s16(b.hi), a.v), vmlal_high_n_s16(c.q[3], b.hi, a.v)}};
}

// Half of F32: 16 of them fit the registers.

struct Narrow {
  static constexpr int kLanes = 8;
  float32x4_t lo, hi;
};
inline Narrow splat_narrow(float x) {
  return {vdupq_n_f32(x), vdupq_n_f32(x)};
}
inline Narrow load_narrow(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4)};
}
inline void store_narrow(float* p, Narrow a) {
  vst1q_f32(p, a.lo);
  vst1q_f32(p + 4, a.hi);
}
inline Narrow operator+(Narrow a, Narrow b) {
  return {vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)};
}
inline Narrow fma(Narrow a, Narrow b, Narrow c) {
  return {vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)};
}
inline Narrow lesser(Narrow a, Narrow b) {
  return {vbslq_f32(vcltq_f32(a.lo, b.lo), a.lo, b.lo), vbslq_f32(vcltq_f32(a.hi, b.hi), a.hi, b.hi)};
}
inline Narrow greater(Narrow a, Narrow b) {
  return {vbslq_f32(vcgtq_f32(a.lo, b.lo), a.lo, b.lo), vbslq_f32(vcgtq_f32(a.hi, b.hi), a.hi, b.hi)};
}

}  // namespace
}  // namespace pyinfer
