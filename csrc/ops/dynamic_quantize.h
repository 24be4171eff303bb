// Quantization of a tensor to uint8 by its own range:
//   scale = (max(x, 0) - min(x, 0)) / 255, or 1 / 255 when x is all zero;  zero = saturate(round(-min /
//   scale))
#pragma once

#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "kernels/kernel_table.h"
#include "ops/elementwise.h"

namespace pyinfer {

struct DynamicGrid {
  float scale;
  int32_t zero;
};

// Floats of scratch that dynamic_grid() needs for n elements.
inline int64_t dynamic_scratch(int64_t n) {
  return 2 * ceil_div(n, kElementwiseGrain);
}

inline DynamicGrid dynamic_grid(const RunContext& ctx, const float* x, int64_t n, float* scratch) {
  // Minima and maxima are the same however x is cut.
  const int64_t chunks = ceil_div(n, kElementwiseGrain);
  float *lows = scratch, *highs = lows + chunks;
  ctx.parallel(n, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
    const int64_t chunk = begin / kElementwiseGrain;
    kernels().quantize.range_with_zero(x + begin, end - begin, lows + chunk, highs + chunk);
  });
  float low = 0.0f, high = 0.0f;
  for (int64_t i = 0; i < chunks; ++i) {
    low = std::min(low, lows[i]);
    high = std::max(high, highs[i]);
  }
  const float scale = (low == high ? 1.0f : high - low) / 255.0f;
  const float offset = std::clamp(0.0f - low / scale, 0.0f, 255.0f);
  return {scale, offset == offset ? static_cast<int32_t>(std::nearbyint(offset)) : 0};
}

inline void dynamic_quantize(const RunContext& ctx, const DynamicGrid& grid, const float* x, int64_t n,
                             uint8_t* y) {
  ctx.parallel(n, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
    kernels().quantize.quantize(x + begin, &grid.scale, 0, &grid.zero, 0, DType::kUInt8, y + begin,
                                end - begin);
  });
}

}  // namespace pyinfer
