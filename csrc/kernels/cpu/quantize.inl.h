// Body of kernels/quantize.h: plain loops that the compiler vectorises.
#pragma once

#include "kernels/cpu/runs.inl.h"
#include "kernels/cpu/simd/vec.h"
#include "kernels/quantize.h"

namespace pyinfer {
namespace {

// The range of an integer type of at most 16 bits.
struct IntegerRange {
  int32_t low = 0, high = 0;
};
constexpr IntegerRange integer_range(DType dtype) {
  switch (dtype) {
    case DType::kInt8: return {-128, 127};
    case DType::kUInt8: return {0, 255};
    case DType::kInt16: return {-32768, 32767};
    case DType::kUInt16: return {0, 65535};
    case DType::kInt4: return {-8, 7};
    case DType::kUInt4: return {0, 15};
    case DType::kInt2: return {-2, 1};
    case DType::kUInt2: return {0, 3};
    default: return {};
  }
}

// Adding and taking away 1.5 * 2^23 rounds |q| < 2^22 to an integer, ties to even. Clamping first, to
// integers, keeps q in that range and does not change the result.
template <class T, int kS, int kZ>
void quantize_loop(const float* x, const float* s, const int32_t* z, IntegerRange range, T* y, int64_t n) {
  constexpr float kRounder = 12582912.0f;
  const float s0 = *s;
  const int32_t z0 = *z;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t zero = kZ ? z[i] : z0;
    const float low = static_cast<float>(range.low - zero), high = static_cast<float>(range.high - zero);
    float q = x[i] / (kS ? s[i] : s0);
    q = q > low ? q : low;
    q = q < high ? q : high;
    q = (q + kRounder) - kRounder;
    y[i] = static_cast<T>(static_cast<int32_t>(q) + zero);
  }
}

template <class T>
void quantize_to(const float* x, const float* s, int s_step, const int32_t* z, int z_step, IntegerRange range,
                 void* y, int64_t n) {
  if (n == 0) return;
  T* out = static_cast<T*>(y);
  if (s_step == 0 && z_step == 0) return quantize_loop<T, 0, 0>(x, s, z, range, out, n);
  if (s_step == 0) return quantize_loop<T, 0, 1>(x, s, z, range, out, n);
  if (z_step == 0) return quantize_loop<T, 1, 0>(x, s, z, range, out, n);
  quantize_loop<T, 1, 1>(x, s, z, range, out, n);
}

void quantize_run(const float* x, const float* s, int s_step, const int32_t* z, int z_step, DType to, void* y,
                  int64_t n) {
  const IntegerRange range = integer_range(to);
  switch (to) {
    case DType::kInt16: return quantize_to<int16_t>(x, s, s_step, z, z_step, range, y, n);
    case DType::kUInt16: return quantize_to<uint16_t>(x, s, s_step, z, z_step, range, y, n);
    case DType::kUInt8:
    case DType::kUInt4:
    case DType::kUInt2: return quantize_to<uint8_t>(x, s, s_step, z, z_step, range, y, n);
    default: return quantize_to<int8_t>(x, s, s_step, z, z_step, range, y, n);
  }
}

template <class T, int kS, int kZ>
void dequantize_loop(const T* x, const float* s, const float* z, float* y, int64_t n) {
  const float s0 = *s, z0 = *z;
  for (int64_t i = 0; i < n; ++i) y[i] = (static_cast<float>(x[i]) - (kZ ? z[i] : z0)) * (kS ? s[i] : s0);
}

template <class T>
void dequantize_from(const void* x, const float* s, int s_step, const float* z, int z_step, float* y,
                     int64_t n) {
  if (n == 0) return;
  const T* p = static_cast<const T*>(x);
  if (s_step == 0 && z_step == 0) return dequantize_loop<T, 0, 0>(p, s, z, y, n);
  if (s_step == 0) return dequantize_loop<T, 0, 1>(p, s, z, y, n);
  if (z_step == 0) return dequantize_loop<T, 1, 0>(p, s, z, y, n);
  dequantize_loop<T, 1, 1>(p, s, z, y, n);
}

void dequantize_run(DType from, const void* x, const float* s, int s_step, const float* z, int z_step,
                    float* y, int64_t n) {
  switch (from) {
    case DType::kFloat32: return dequantize_from<float>(x, s, s_step, z, z_step, y, n);
    case DType::kInt32: return dequantize_from<int32_t>(x, s, s_step, z, z_step, y, n);
    case DType::kInt16: return dequantize_from<int16_t>(x, s, s_step, z, z_step, y, n);
    case DType::kUInt16: return dequantize_from<uint16_t>(x, s, s_step, z, z_step, y, n);
    case DType::kUInt8:
    case DType::kUInt4:
    case DType::kUInt2: return dequantize_from<uint8_t>(x, s, s_step, z, z_step, y, n);
    default: return dequantize_from<int8_t>(x, s, s_step, z, z_step, y, n);
  }
}

template <bool kSigned>
F32 term_at(const ByteTerm& t, int64_t i, int count) {
  const uint8_t* x = t.x + i * t.step;
  const I32 q = t.step == 0   ? splat_i32(kSigned ? int{static_cast<int8_t>(*x)} : int{*x})
                : count == 16 ? load_bytes<kSigned>(x)
                              : load_bytes_n<kSigned>(x, count);
  return to_f32(q - splat_i32(t.zero)) * splat(t.factor);
}

template <bool kSigned>
void combine_bytes_as(ByteCombination kind, const ByteTerm& a, const ByteTerm& b, int32_t y_zero, uint8_t* y,
                      int64_t n) {
  const int32_t low = kSigned ? -128 : 0;
  const F32 least = splat(static_cast<float>(low - y_zero)),
            most = splat(static_cast<float>(low + 255 - y_zero));
  const I32 zero = splat_i32(y_zero);
  const auto combine = [&](auto f) {
    each_vector(n, [&](int64_t i, int count) {
      const F32 v = f(term_at<kSigned>(a, i, count), term_at<kSigned>(b, i, count));
      const I32 r = to_i32(lesser(greater(v, least), most)) + zero;
      if (count == 16) {
        store_bytes(y + i, r);
      } else {
        store_bytes_n(y + i, r, count);
      }
    });
  };
  if (kind == ByteCombination::kSum) {
    combine([](F32 u, F32 v) { return u + v; });
  } else {
    combine([](F32 u, F32 v) { return u * v; });
  }
}

void combine_bytes(ByteCombination kind, const ByteTerm& a, const ByteTerm& b, int32_t y_zero, bool is_signed,
                   uint8_t* y, int64_t n) {
  if (is_signed) return combine_bytes_as<true>(kind, a, b, y_zero, y, n);
  combine_bytes_as<false>(kind, a, b, y_zero, y, n);
}

void range_with_zero(const float* x, int64_t n, float* low, float* high) {
  F32 least = zero_f32(), most = zero_f32();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F32 v = load(x + i);
    least = lesser(v, least);
    most = greater(v, most);
  }
  if (i < n) {
    const F32 v = load_n(x + i, static_cast<int>(n - i));
    least = lesser(v, least);
    most = greater(v, most);
  }
  *low = reduce_min(least);
  *high = reduce_max(most);
}

constexpr QuantizeKernels kQuantize = {.quantize = quantize_run,
                                       .dequantize = dequantize_run,
                                       .combine_bytes = combine_bytes,
                                       .range_with_zero = range_with_zero};

}  // namespace
}  // namespace pyinfer
