// From exact int32 sums back to 8 bits: y = saturate(round(sum * multiplier) + zero), ties to even.
#pragma once

#include <cmath>
#include <cstdint>

#include "ops/run_context.h"

namespace pyinfer {

// The least and the greatest of what an 8-bit output may hold.
struct ByteRange {
  int32_t low = 0, high = 255;
  static ByteRange of(DType dtype) { return dtype == DType::kInt8 ? ByteRange{-128, 127} : ByteRange{}; }
};

// y[i] = x[i] * (one multiplier each, or one for all when step is 0), for n elements of int8 or uint8.
inline void requantize(const int32_t* x, const float* multiplier, int step, int32_t zero, ByteRange range,
                       void* y, int64_t n) {
  const auto [low, high] = range;
  // Clamping first keeps the sum with this constant, whose unit is 1, exact to the nearest integer.
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23
  const float least = static_cast<float>(low - zero), most = static_cast<float>(high - zero);
  auto* bytes = static_cast<uint8_t*>(y);
  for (int64_t i = 0; i < n; ++i) {
    const float v = static_cast<float>(x[i]) * multiplier[i * step];
    const float clamped = v > least ? (v < most ? v : most) : least;  // NaN: least
    bytes[i] = static_cast<uint8_t>(static_cast<int32_t>((clamped + kRound) - kRound) + zero);
  }
}

// Element i of a tensor of an 8-bit integer type.
inline int32_t byte_at(const TensorView& t, int64_t i) {
  return t.dtype == DType::kInt8 ? t.as<int8_t>()[i] : t.as<uint8_t>()[i];
}

}  // namespace pyinfer
