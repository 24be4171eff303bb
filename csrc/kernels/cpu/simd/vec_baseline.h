// F32 and its companions over 16-byte compiler vectors, for CPUs without fused multiply-add: a * b + c is
// rounded twice here, so this instruction set alone may differ in the last bits from the others. The
// contract is in vec.h.
#pragma once

#include <cstdint>

#include "tensor/float_types.h"

namespace pyinfer {
namespace {

using Float2 = float __attribute__((vector_size(8)));
using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));
using UInt4 = uint32_t __attribute__((vector_size(16)));
using Double2 = double __attribute__((vector_size(16)));

struct F32 {
  static constexpr int kLanes = 16;
  Float4 q[4];
};
struct I32 {
  UInt4 q[4];  // unsigned, so that wrapping is defined
};
struct M32 {
  Int4 q[4];  // all ones or all zeros in each lane
};
struct F64 {
  Double2 q[8];
};

// Element i of 16.
inline float get(const F32& v, int i) {
  return v.q[i / 4][i % 4];
}
inline int32_t get(const I32& v, int i) {
  return static_cast<int32_t>(v.q[i / 4][i % 4]);
}

// Loads and stores.

inline F32 splat(float x) {
  const Float4 v{x, x, x, x};
  return {{v, v, v, v}};
}
inline F32 zero_f32() {
  return splat(0.0f);
}
inline F32 load(const float* p) {
  F32 r;
  __builtin_memcpy(&r, p, sizeof r);
  return r;
}
inline void store(float* p, F32 v) {
  __builtin_memcpy(p, &v, sizeof v);
}
inline F32 load_n(const float* p, int n) {
  float buffer[16] = {};
  for (int i = 0; i < n; ++i) buffer[i] = p[i];
  return load(buffer);
}
inline void store_n(float* p, F32 v, int n) {
  float buffer[16];
  store(buffer, v);
  for (int i = 0; i < n; ++i) p[i] = buffer[i];
}
inline void store_half_n(float* p, F32 v, int n) {
  store_n(p, {{v.q[0], v.q[1], v.q[0], v.q[1]}}, n);
}
inline float lane0(F32 v) {
  return v.q[0][0];
}

inline I32 splat_i32(int32_t x) {
  const auto u = static_cast<uint32_t>(x);
  const UInt4 v{u, u, u, u};
  return {{v, v, v, v}};
}
inline I32 load_i32(const int32_t* p) {
  I32 r;
  __builtin_memcpy(&r, p, sizeof r);
  return r;
}
inline void store_i32(int32_t* p, I32 v) {
  __builtin_memcpy(p, &v, sizeof v);
}
inline I32 iota_i32() {
  return {{UInt4{0, 1, 2, 3}, UInt4{4, 5, 6, 7}, UInt4{8, 9, 10, 11}, UInt4{12, 13, 14, 15}}};
}

// Arithmetic. Results are built quarter by quarter: loops over an indexed result would go through memory.

#define PYINFER_BINARY(T, name, expr)                                                      \
  inline T name(T x, T y) {                                                                \
    const auto f = [](auto a, auto b) { return expr; };                                    \
    return {{f(x.q[0], y.q[0]), f(x.q[1], y.q[1]), f(x.q[2], y.q[2]), f(x.q[3], y.q[3])}}; \
  }
PYINFER_BINARY(F32, operator+, a + b)
PYINFER_BINARY(F32, operator-, a - b)
PYINFER_BINARY(F32, operator*, a* b)
PYINFER_BINARY(F32, operator/, a / b)
PYINFER_BINARY(F32, lesser, a < b ? a : b)
PYINFER_BINARY(F32, greater, a > b ? a : b)
PYINFER_BINARY(I32, operator+, a + b)
PYINFER_BINARY(I32, operator-, a - b)
PYINFER_BINARY(I32, operator&, a& b)
PYINFER_BINARY(I32, operator|, a | b)
PYINFER_BINARY(I32, operator^, a ^ b)
PYINFER_BINARY(M32, operator&, a& b)
PYINFER_BINARY(M32, operator|, a | b)
#undef PYINFER_BINARY
inline F32 fma(F32 a, F32 b, F32 c) {
  return a * b + c;
}
inline F32 add_product(F32 c, F32 a, F32 b) {
  return fma(a, b, c);
}
inline F32 fnma(F32 a, F32 b, F32 c) {
  return c - a * b;
}

// R of applying f to the quarters of one, two vectors.
template <class R, class A, class F>
inline R map(const A& x, F f) {
  return {{f(x.q[0]), f(x.q[1]), f(x.q[2]), f(x.q[3])}};
}
template <class R, class A, class F>
inline R map(const A& x, const A& y, F f) {
  return {{f(x.q[0], y.q[0]), f(x.q[1], y.q[1]), f(x.q[2], y.q[2]), f(x.q[3], y.q[3])}};
}

inline I32 as_i32(F32 a) {
  return map<I32>(a, [](Float4 x) { return reinterpret_cast<UInt4>(x); });
}
inline F32 as_f32(I32 a) {
  return map<F32>(a, [](UInt4 x) { return reinterpret_cast<Float4>(x); });
}
inline F32 operator-(F32 a) {
  return as_f32(as_i32(a) ^ splat_i32(INT32_MIN));
}
inline F32 abs(F32 a) {
  return as_f32(as_i32(a) & splat_i32(INT32_MAX));
}
inline F32 copysign(F32 magnitude, F32 sign) {
  return as_f32((as_i32(magnitude) & splat_i32(INT32_MAX)) | (as_i32(sign) & splat_i32(INT32_MIN)));
}
inline F32 sqrt(F32 a) {
  return map<F32>(a, [](Float4 x) {
    return Float4{__builtin_sqrtf(x[0]), __builtin_sqrtf(x[1]), __builtin_sqrtf(x[2]), __builtin_sqrtf(x[3])};
  });
}

// Comparisons and selection.

#define PYINFER_COMPARE(T, Q, op)                                                   \
  inline M32 operator op(T x, T y) {                                                \
    return map<M32>(x, y, [](Q a, Q b) { return reinterpret_cast<Int4>(a op b); }); \
  }
PYINFER_COMPARE(F32, Float4, <)
PYINFER_COMPARE(F32, Float4, <=)
PYINFER_COMPARE(F32, Float4, >)
PYINFER_COMPARE(F32, Float4, >=)
PYINFER_COMPARE(F32, Float4, ==)
PYINFER_COMPARE(F32, Float4, !=)
PYINFER_COMPARE(I32, UInt4, ==)
#undef PYINFER_COMPARE
inline M32 operator>(I32 x, I32 y) {
  return map<M32>(x, y, [](UInt4 a, UInt4 b) {
    return reinterpret_cast<Int4>(reinterpret_cast<Int4>(a) > reinterpret_cast<Int4>(b));
  });
}
inline M32 operator!(M32 m) {
  return map<M32>(m, [](Int4 x) { return ~x; });
}
inline M32 is_nan(F32 a) {
  return a != a;
}
inline M32 first_lanes(int n) {
  return splat_i32(n) > iota_i32();
}
inline bool any(M32 m) {
  const Int4 o = m.q[0] | m.q[1] | m.q[2] | m.q[3];
  return (o[0] | o[1] | o[2] | o[3]) != 0;
}
inline bool all(M32 m) {
  return !any(!m);
}

inline I32 select(M32 m, I32 a, I32 b) {
  const I32 mask = map<I32>(m, [](Int4 x) { return reinterpret_cast<UInt4>(x); });
  return b ^ ((a ^ b) & mask);
}
inline F32 select(M32 m, F32 a, F32 b) {
  return as_f32(select(m, as_i32(a), as_i32(b)));
}
inline F32 clear(M32 m, F32 a) {
  return select(m, F32{}, a);
}
inline F32 min(F32 a, F32 b) {
  return select(is_nan(a), a, lesser(a, b));
}
inline F32 max(F32 a, F32 b) {
  return select(is_nan(a), a, greater(a, b));
}

// Rounding. Adding and subtracting 2^23 leaves the nearest integer; larger magnitudes are integers already.

inline F32 round(F32 a) {
  const F32 big = splat(8388608.0f);
  const F32 magnitude = abs(a);
  return select(magnitude < big, copysign((magnitude + big) - big, a), a);
}
inline F32 floor(F32 a) {
  const F32 r = round(a);
  return select(r > a, r - splat(1.0f), r);
}
inline F32 ceil(F32 a) {
  return -floor(-a);
}
inline F32 trunc(F32 a) {
  return copysign(floor(abs(a)), a);
}

// Integers.

template <int kBits>
inline I32 shift_left(I32 a) {
  return map<I32>(a, [](UInt4 x) { return x << kBits; });
}
template <int kBits>
inline I32 shift_right(I32 a) {
  return map<I32>(a, [](UInt4 x) { return reinterpret_cast<UInt4>(reinterpret_cast<Int4>(x) >> kBits); });
}
template <int kBits>
inline I32 shift_right_logical(I32 a) {
  return map<I32>(a, [](UInt4 x) { return x >> kBits; });
}
inline F32 to_f32(I32 a) {
  return map<F32>(a, [](UInt4 x) { return __builtin_convertvector(reinterpret_cast<Int4>(x), Float4); });
}
inline I32 to_i32(F32 a) {
  const F32 r = round(a);
  const M32 fits = (r >= splat(-2147483648.0f)) & (r < splat(2147483648.0f));
  const I32 n = map<I32>(select(fits, r, zero_f32()),
                         [](Float4 x) { return reinterpret_cast<UInt4>(__builtin_convertvector(x, Int4)); });
  return select(fits, n, splat_i32(INT32_MIN));
}

// Doubles.

inline F64 splat_f64(double x) {
  const Double2 v{x, x};
  return {{v, v, v, v, v, v, v, v}};
}
// Through whole-vector conversions: GCC 12 drops the rounding of a double narrowed and widened by element.
inline F64 widen(F32 a) {
  const auto lower = [](Float4 x) {
    return __builtin_convertvector(__builtin_shufflevector(x, x, 0, 1), Double2);
  };
  const auto upper = [](Float4 x) {
    return __builtin_convertvector(__builtin_shufflevector(x, x, 2, 3), Double2);
  };
  return {{lower(a.q[0]), upper(a.q[0]), lower(a.q[1]), upper(a.q[1]), lower(a.q[2]), upper(a.q[2]),
           lower(a.q[3]), upper(a.q[3])}};
}
inline F32 narrow(F64 a) {
  const auto join = [](Double2 x, Double2 y) {
    return __builtin_shufflevector(__builtin_convertvector(x, Float2), __builtin_convertvector(y, Float2), 0,
                                   1, 2, 3);
  };
  return {{join(a.q[0], a.q[1]), join(a.q[2], a.q[3]), join(a.q[4], a.q[5]), join(a.q[6], a.q[7])}};
}
template <class F>
inline F64 map_f64(const F64& x, const F64& y, F f) {
  return {{f(x.q[0], y.q[0]), f(x.q[1], y.q[1]), f(x.q[2], y.q[2]), f(x.q[3], y.q[3]), f(x.q[4], y.q[4]),
           f(x.q[5], y.q[5]), f(x.q[6], y.q[6]), f(x.q[7], y.q[7])}};
}
#define PYINFER_F64_BINARY(name, expr)                               \
  inline F64 name(F64 x, F64 y) {                                    \
    return map_f64(x, y, [](Double2 a, Double2 b) { return expr; }); \
  }
PYINFER_F64_BINARY(operator+, a + b)
PYINFER_F64_BINARY(operator-, a - b)
PYINFER_F64_BINARY(operator*, a* b)
PYINFER_F64_BINARY(operator/, a / b)
PYINFER_F64_BINARY(lesser, a < b ? a : b)
PYINFER_F64_BINARY(greater, a > b ? a : b)
#undef PYINFER_F64_BINARY
inline F64 fma(F64 a, F64 b, F64 c) {
  return a * b + c;
}
inline F64 fnma(F64 a, F64 b, F64 c) {
  return c - a * b;
}
inline F64 sqrt(F64 a) {
  return map_f64(a, a, [](Double2 x, Double2) {
    return Double2{__builtin_sqrt(x[0]), __builtin_sqrt(x[1])};
  });
}
inline F64 to_f64(I32 a) {
  F64 r;
  for (int i = 0; i < 16; ++i) r.q[i / 2][i % 2] = static_cast<double>(get(a, i));
  return r;
}
inline I32 to_i32(F64 a) {
  int32_t out[16];
  for (int i = 0; i < 16; ++i) {
    const double x = a.q[i / 2][i % 2];
    const bool fits = x >= -2147483648.5 && x < 2147483647.5;
    // Adding 1.5 * 2^52 rounds to the nearest integer.
    const double r = ((fits ? x : 0.0) + 6755399441055744.0) - 6755399441055744.0;
    out[i] = fits ? static_cast<int32_t>(r) : INT32_MIN;
  }
  return load_i32(out);
}
inline F64 select(M32 m, F64 a, F64 b) {
  F64 r;
  for (int i = 0; i < 16; ++i)
    r.q[i / 2][i % 2] = m.q[i / 4][i % 4] != 0 ? a.q[i / 2][i % 2] : b.q[i / 2][i % 2];
  return r;
}
inline F64 exp2_f64(I32 n) {
  F64 r;
  for (int i = 0; i < 16; ++i) {
    const auto bits = static_cast<uint64_t>(get(n, i) + 1023) << 52;
    double x;
    __builtin_memcpy(&x, &bits, sizeof x);
    r.q[i / 2][i % 2] = x;
  }
  return r;
}

// Half precision in memory. binary16: bits shifted into place are the value times 2^-112.

inline F32 load_f16(const Float16* p) {
  int32_t wide[16];
  for (int i = 0; i < 16; ++i) wide[i] = p[i].bits;
  const I32 h = load_i32(wide);
  const I32 sign = shift_left<16>(h & splat_i32(0x8000));
  const I32 magnitude = shift_left<13>(h & splat_i32(0x7fff));
  const I32 finite = as_i32(as_f32(magnitude) * splat(0x1p112f));
  const M32 special = magnitude > splat_i32(0x0f7fffff);
  // A NaN is made quiet, as the F16C instructions do.
  const M32 nan = magnitude > splat_i32(0x0f800000);
  const I32 huge = magnitude | splat_i32(0x7f800000) | select(nan, splat_i32(0x400000), splat_i32(0));
  return as_f32(sign | select(special, huge, finite));
}
inline void store_u16(uint16_t* p, I32 v) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<uint16_t>(v.q[i / 4][i % 4]);
}
inline void store_f16(Float16* p, F32 v) {
  const I32 bits = as_i32(v);
  const I32 magnitude = bits & splat_i32(INT32_MAX);
  const I32 odd = shift_right_logical<13>(magnitude) & splat_i32(1);
  const I32 normal = shift_right_logical<13>(magnitude + odd + splat_i32(0xfff - (112 << 23)));
  // The last place of numbers near 0.5 is binary16's smallest subnormal: the addition rounds.
  const I32 subnormal = as_i32(abs(v) + splat(0.5f)) - as_i32(splat(0.5f));
  I32 r = select(splat_i32(0x38800000) > magnitude, subnormal, normal);
  r = select(magnitude > splat_i32(0x477fefff), splat_i32(0x7c00), r);
  const I32 nan = (shift_right_logical<13>(magnitude) & splat_i32(0x3ff)) | splat_i32(0x7e00);
  r = select(is_nan(v), nan, r);
  store_u16(reinterpret_cast<uint16_t*>(p), r | shift_right_logical<16>(bits & splat_i32(INT32_MIN)));
}
inline F32 load_bf16(const BFloat16* p) {
  int32_t wide[16];
  for (int i = 0; i < 16; ++i) wide[i] = p[i].bits;
  return as_f32(shift_left<16>(load_i32(wide)));
}
inline void store_bf16(BFloat16* p, F32 v) {
  const I32 bits = as_i32(v);
  const I32 odd = shift_right_logical<16>(bits) & splat_i32(1);
  const I32 rounded = shift_right_logical<16>(bits + splat_i32(0x7fff) + odd);
  const I32 quiet = shift_right_logical<16>(bits) | splat_i32(0x40);
  store_u16(reinterpret_cast<uint16_t*>(p), select(is_nan(v), quiet, rounded));
}

// Reductions.

#define PYINFER_REDUCE(name, expr)                                 \
  inline float name(F32 v) {                                       \
    const auto f = [](float a, float b) -> float { return expr; }; \
    float x[16];                                                   \
    store(x, v);                                                   \
    for (int half = 8; half > 0; half /= 2)                        \
      for (int i = 0; i < half; ++i) x[i] = f(x[i], x[i + half]);  \
    return x[0];                                                   \
  }
PYINFER_REDUCE(reduce_add, a + b)
PYINFER_REDUCE(reduce_mul, a* b)
PYINFER_REDUCE(reduce_min, a != a || a < b ? a : b)
PYINFER_REDUCE(reduce_max, a != a || a > b ? a : b)
#undef PYINFER_REDUCE

// Matrix kernels.

// F32 values a matrix kernel may keep in registers beside its operands.
constexpr int kAccumulators = 3;
constexpr int kWideAccumulators = 3;

// dst(j,i) = src(i,j) for 16 x 16 floats; no overlap.
inline void transpose_16x16(const float* src, int64_t src_stride, float* dst, int64_t dst_stride) {
  for (int j = 0; j < 16; ++j) {
    for (int i = 0; i < 16; ++i) dst[j * dst_stride + i] = src[i * src_stride + j];
  }
}

// The low halves of the products.
inline I32 operator*(I32 a, I32 b) {
  return {{a.q[0] * b.q[0], a.q[1] * b.q[1], a.q[2] * b.q[2], a.q[3] * b.q[3]}};
}
inline void store_n_i32(int32_t* p, I32 v, int n) {
  for (int i = 0; i < n; ++i) p[i] = get(v, i);
}

template <bool kSigned>
inline I32 load_bytes(const uint8_t* p) {
  int32_t values[16];
  for (int i = 0; i < 16; ++i) values[i] = kSigned ? static_cast<int8_t>(p[i]) : p[i];
  return load_i32(values);
}
inline void store_bytes(uint8_t* p, I32 v) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<uint8_t>(get(v, i));
}

// 8-bit products: B's 16 columns of one k; A's value, less the zero point.
using S8Value = int16_t;
constexpr int kS8WideAccumulators = 2;
constexpr int kS8Group = 1;
constexpr bool kS8Centred = true;
using S8Group = I32;
inline S8Group load_s8_group(const int8_t* p) {
  using Char4 = int8_t __attribute__((vector_size(4)));
  const auto quarter = [p](int i) {
    Char4 v;
    __builtin_memcpy(&v, p + 4 * i, sizeof v);
    return (UInt4) __builtin_convertvector(v, Int4);
  };
  return {{quarter(0), quarter(1), quarter(2), quarter(3)}};
}
inline S8Group splat_s8_group(const S8Value* p) {
  return splat_i32(*p);
}
// Per lane, c + a * b modulo 2^32.
inline I32 add_dot_s8(I32 c, S8Group a, S8Group b) {
  return c + a * b;
}

// Half of F32.

struct Narrow {
  static constexpr int kLanes = 8;
  Float4 lo, hi;
};
inline Narrow splat_narrow(float x) {
  const Float4 v{x, x, x, x};
  return {v, v};
}
inline Narrow load_narrow(const float* p) {
  Narrow r;
  __builtin_memcpy(&r, p, sizeof r);
  return r;
}
inline void store_narrow(float* p, Narrow a) {
  __builtin_memcpy(p, &a, sizeof a);
}
inline Narrow operator+(Narrow a, Narrow b) {
  return {a.lo + b.lo, a.hi + b.hi};
}
inline Narrow fma(Narrow a, Narrow b, Narrow c) {
  return {a.lo * b.lo + c.lo, a.hi * b.hi + c.hi};
}
inline Narrow lesser(Narrow a, Narrow b) {
  return {a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi};
}
inline Narrow greater(Narrow a, Narrow b) {
  return {a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
}

}  // namespace
}  // namespace pyinfer
