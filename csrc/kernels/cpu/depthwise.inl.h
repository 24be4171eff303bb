// Depthwise convolution (contract: kernels/conv.h), 16 channels by 4 output pixels at a time.
#pragma once

#include "kernels/conv.h"
#include "kernels/cpu/activation.inl.h"
#include "kernels/cpu/depthwise_lines.inl.h"
#include "kernels/cpu/window.inl.h"

namespace pyinfer {
namespace {

constexpr int kDepthwisePixels = 4;

// Tap t of pixel i is at table[t * kDepthwisePixels + i]. All kDepthwisePixels pixels are computed, the first
// `count` stored. `y` and `residual` (or null) point at the first pixel's row.
inline void depthwise_pixels(const ConvArgs& args, const float* const* table, int64_t taps, int count,
                             float* y, const float* residual) {
  const int64_t channels = args.shape.in_channels;
  const Epilogue& e = args.epilogue;
  const bool clamped = is_clamp(e);
  const Clamp clamp(e);
  const auto block = [&](int64_t c, auto get, auto put) {
    F32 acc[kDepthwisePixels];
#pragma GCC unroll 4
    for (int i = 0; i < kDepthwisePixels; ++i) acc[i] = zero_f32();
    const float* w = args.weights + c;
    for (int64_t t = 0; t < taps; ++t, w += channels) {
      const F32 weight = get(w);
      const float* const* pixel = table + t * kDepthwisePixels;
#pragma GCC unroll 4
      for (int i = 0; i < kDepthwisePixels; ++i) acc[i] = fma(get(pixel[i] + c), weight, acc[i]);
    }
    const F32 bias = e.bias != nullptr ? get(e.bias + c) : zero_f32();
#pragma GCC unroll 4
    for (int i = 0; i < kDepthwisePixels; ++i) {
      if (i < count) {
        if (e.bias != nullptr) acc[i] = acc[i] + bias;
        if (residual != nullptr) acc[i] = acc[i] + get(residual + i * e.residual_stride + c);
        if (clamped) acc[i] = clamp(acc[i]);
        put(y + i * args.y_stride + c, acc[i]);
      }
    }
  };
  int64_t c = 0;
  const auto whole = [&](int64_t at) {
    block(
        at, [](const float* p) { return load(p); }, [](float* p, F32 v) { store(p, v); });
  };
  for (; c + 16 <= channels; c += 16) whole(c);
  if (const int rest = static_cast<int>(channels - c); rest > 0 && c > 0 && residual == nullptr) {
    whole(channels - 16);  // overlaps the block before: what both compute is the same
  } else if (rest > 0) {
    block(
        c, [rest](const float* p) { return load_n(p, rest); },
        [rest](float* p, F32 v) { store_n(p, v, rest); });
  }
  if (takes_second_pass(e)) e.activate_rows(y, args.y_stride, count, channels, e);
}

inline int64_t depthwise_zeros(const ConvArgs& args) {
  return div_up(args.shape.in_channels, 16) * 16;
}
inline size_t depthwise_scratch_bytes(const ConvArgs& args) {
  const Window& w = args.shape.window;
  const int64_t lines = volume(w.kernel, w.rank - 1), taps = lines * w.kernel[w.rank - 1];
  const int64_t pointers = max_of(kDepthwisePixels * taps, lines * depthwise_group_inputs(w));
  return static_cast<size_t>(depthwise_zeros(args) * 4 + pointers * 8);
}

inline void conv_run_depthwise(const ConvArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  if (row_begin >= row_end) return;
  const Window& w = args.shape.window;
  float* zeros = static_cast<float*>(scratch);
  for (int64_t i = 0; i < depthwise_zeros(args); ++i) zeros[i] = 0.0f;
  const float** table = reinterpret_cast<const float**>(zeros + depthwise_zeros(args));
  if (const DepthwiseGroupKernel kernel = depthwise_group_kernel(args))
    return run_depthwise_groups(args, kernel, row_begin, row_end, zeros, table);
  const int64_t taps = volume(w.kernel, w.rank);
  const int64_t image_size = volume(w.input, w.rank) * args.x_stride;
  const Epilogue& e = args.epilogue;
  PixelCursor pixel = pixel_at(w, row_begin);
  for (int64_t row = row_begin; row < row_end; row += kDepthwisePixels) {
    const int count = static_cast<int>(min_of(kDepthwisePixels, row_end - row));
    for (int i = 0; i < kDepthwisePixels; ++i) {
      if (i < count) {
        const float* image = args.x + pixel.image * image_size;
        gather_taps(w, pixel, image, args.x_stride, zeros, table + i, kDepthwisePixels);
        advance(w, pixel);
      } else {
        for (int64_t t = 0; t < taps; ++t) table[t * kDepthwisePixels + i] = zeros;
      }
    }
    depthwise_pixels(args, table, taps, count, args.y + row * args.y_stride,
                     e.residual != nullptr ? e.residual + row * e.residual_stride : nullptr);
  }
}

}  // namespace
}  // namespace pyinfer
