// The vector types of the kernel bodies, always 16 virtual lanes (two AVX2 registers, one AVX-512, four
// NEON, four 16-byte compiler vectors in the portable baseline), so that every instruction set runs the
// same arithmetic in the same order. Exactly one instruction set is chosen by the flags under which a
// kernels/cpu/isa_*.cc file is compiled; everything lives in an anonymous namespace.
//
// Every instruction set provides, with the same results in every lane (the baseline's fma excepted):
//
//   F32   16 floats             I32   16 int32, two's complement
//   F64   16 doubles            M32   16 truth values, from comparisons
//
//   splat zero_f32 load store load_n store_n     one F32; the _n forms touch only the first n lanes,
//   load_f16 load_bf16 store_f16 store_bf16 .._n 1 <= n <= 16, and load zero in the rest
//   store_half_n                                 store_n of at most 8 lanes: needs only the lower half
//   splat_i32 load_i32 store_i32 iota_i32
//   + - * / unary- fma(a,b,c)=a*b+c  fnma(a,b,c)=c-a*b
//   add_product(c,a,b)           fma(a,b,c) that keeps c in its register
//   abs sqrt round (to nearest, ties to even) floor ceil trunc copysign(magnitude, sign)
//   lesser(a,b)  a < b ? a : b   b when either is NaN; one instruction on x86
//   greater(a,b) a > b ? a : b   likewise
//   min max      NaN when either is NaN
//   < <= > >= == !=              as IEEE: only != is true on NaN
//   is_nan first_lanes(n)        M32;  & | ! on M32;  any(m) all(m)
//   select(m,a,b)                m ? a : b, for F32, I32 and F64;  clear(m,a)  m ? +0 : a, for F32
//   as_i32 as_f32                the same bits
//   to_f32(I32)  to_i32(F32)     the latter rounds to nearest even; out of range and NaN: INT32_MIN
//   I32: + - & | ^  shift_left<k> shift_right<k> (arithmetic) shift_right_logical<k>  == >
//   widen(F32) narrow(F64) to_f64(I32) to_i32(F64) splat_f64 + - * / fma fnma sqrt lesser greater on F64
//   Narrow                       kLanes = 8 floats, 16 with AVX-512: 16 of them fit the registers
//   splat_narrow load_narrow store_narrow + fma lesser greater     on Narrow
//   exp2_f64(I32)                2^n as F64, -1022 <= n <= 1023
//   lane0(F32)                   lane 0 as a float
//   reduce_add reduce_mul reduce_min reduce_max
//       the tree: lanes i and i+8, then i and i+4, i and i+2, i and i+1. min and max propagate NaN.
//
// and for the matrix kernels
//   kAccumulators                F32 values that fit in registers beside the operands of a tile of one panel
//   kWideAccumulators            F32 values that fit beside the operands of a tile of several panels
//   transpose_16x16              I32 *    store_n_i32
//   load_bytes<is signed> store_bytes     16 bytes as I32; its low bytes. Their _n forms follow below
//   S8Value S8Group kS8Group kS8Centred load_s8_group splat_s8_group add_dot_s8     see cpu/gemm_s8.inl.h
//                                what splat_s8_group returns is whatever add_dot_s8 takes for A
//   kS8WideAccumulators          I32 values, likewise
#pragma once

#if defined(PYINFER_ISA_AVX512)
  #include "kernels/cpu/simd/vec_avx512.h"
#elif defined(PYINFER_ISA_AVX2)
  #include "kernels/cpu/simd/vec_avx2.h"
#elif defined(PYINFER_ISA_NEON)
  #include "kernels/cpu/simd/vec_neon.h"
#else
  #include "kernels/cpu/simd/vec_baseline.h"
#endif

namespace pyinfer {
namespace {

inline F32 load_n(const float* p, int n, F32 rest) {
  return select(first_lanes(n), load_n(p, n), rest);
}

#if !defined(PYINFER_ISA_AVX512)
constexpr bool kPacksBytes = false;
struct BytePacking {
  BytePacking(int32_t, int32_t, int32_t) {}
  void store(uint8_t*, uint8_t*, I32, I32, I32, I32) const {}
};
#endif

inline void store_bytes_n(uint8_t* p, I32 v, int n) {
  uint8_t buffer[16];
  store_bytes(buffer, v);
  for (int i = 0; i < n; ++i) p[i] = buffer[i];
}
template <bool kSigned>
inline I32 load_bytes_n(const uint8_t* p, int n) {
  uint8_t buffer[16] = {};
  for (int i = 0; i < n; ++i) buffer[i] = p[i];
  return load_bytes<kSigned>(buffer);
}

#define PYINFER_HALF_TAIL(T, suffix)                          \
  inline F32 load_##suffix##_n(const T* p, int n) {           \
    uint16_t buffer[16] = {};                                 \
    for (int i = 0; i < n; ++i) buffer[i] = p[i].bits;        \
    return load_##suffix(reinterpret_cast<const T*>(buffer)); \
  }                                                           \
  inline void store_##suffix##_n(T* p, F32 v, int n) {        \
    uint16_t buffer[16];                                      \
    store_##suffix(reinterpret_cast<T*>(buffer), v);          \
    for (int i = 0; i < n; ++i) p[i].bits = buffer[i];        \
  }
PYINFER_HALF_TAIL(Float16, f16)
PYINFER_HALF_TAIL(BFloat16, bf16)
#undef PYINFER_HALF_TAIL

// A scalar function of the same bits as the vector one: lanes are independent.
template <class Fn>
inline float scalar(Fn fn, float x) {
  return lane0(fn(splat(x)));
}

}  // namespace
}  // namespace pyinfer
