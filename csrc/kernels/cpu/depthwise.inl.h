// Depthwise convolution (contract: kernels/conv.h), 16 channels by 4 output pixels at a time.
#pragma once

#include "kernels/conv.h"
#include "kernels/cpu/activation.inl.h"
#include "kernels/cpu/window.inl.h"

namespace pyinfer {
namespace {

constexpr int kDepthwisePixels = 4;

// Where the taps of neighbouring output pixels of the interior are: at fixed offsets.
struct DepthwiseOffsets {
  const float* first;      // the first pixel's first tap
  const int64_t* offsets;  // of the taps
  int64_t step;            // floats between the windows of two output pixels
  // Of one tap at channel c: the pixels' addresses.
  auto tap(int64_t t, int64_t c) const {
    return [p = first + offsets[t] + c, gap = step](int pixel) { return p + pixel * gap; };
  }
};
// The same for any output pixels: through a table.
struct DepthwiseTable {
  const float* const* table;
  auto tap(int64_t t, int64_t c) const {
    return [row = table + t * kDepthwisePixels, c](int pixel) { return row[pixel] + c; };
  }
};

// All kDepthwisePixels pixels are computed, the first `count` stored. `y` and `residual` (or null) point
// at the first pixel's row.
template <class Address>
void depthwise_pixels(const ConvArgs& args, Address at, int64_t taps, int count, float* y,
                      const float* residual) {
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
      const auto pixel = at.tap(t, c);
#pragma GCC unroll 4
      for (int i = 0; i < kDepthwisePixels; ++i) acc[i] = fma(get(pixel(i)), weight, acc[i]);
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
  for (; c + 16 <= channels; c += 16) {
    block(
        c, [](const float* p) { return load(p); }, [](float* p, F32 v) { store(p, v); });
  }
  if (const int rest = static_cast<int>(channels - c); rest > 0) {
    block(
        c, [rest](const float* p) { return load_n(p, rest); },
        [rest](float* p, F32 v) { store_n(p, v, rest); });
  }
  if (e.activation > Activation::kClip) activate_rows(y, args.y_stride, count, channels, e);
}

inline int64_t depthwise_zeros(const ConvArgs& args) {
  return div_up(args.shape.in_channels, 16) * 16;
}
inline size_t depthwise_scratch_bytes(const ConvArgs& args) {
  const int64_t taps = volume(args.shape.window.kernel, args.shape.window.rank);
  return static_cast<size_t>(depthwise_zeros(args) * 4 + (kDepthwisePixels + 1) * taps * 8);
}

inline void conv_run_depthwise(const ConvArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  if (row_begin >= row_end) return;
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  const int64_t taps = volume(w.kernel, w.rank);
  const int64_t image_size = volume(w.input, w.rank) * args.x_stride;
  float* zeros = static_cast<float*>(scratch);
  for (int64_t i = 0; i < depthwise_zeros(args); ++i) zeros[i] = 0.0f;
  int64_t* offsets = reinterpret_cast<int64_t*>(zeros + depthwise_zeros(args));
  const float** table = reinterpret_cast<const float**>(offsets + taps);
  tap_offsets(w, w.rank, args.x_stride, offsets);
  const Interior interior = interior_of(w);
  const Epilogue& e = args.epilogue;

  PixelCursor pixel = pixel_at(w, row_begin);
  for (int64_t row = row_begin; row < row_end; row += kDepthwisePixels) {
    const int count = static_cast<int>(min_of(kDepthwisePixels, row_end - row));
    float* y = args.y + row * args.y_stride;
    const float* residual = e.residual != nullptr ? e.residual + row * e.residual_stride : nullptr;
    const float* image = args.x + pixel.image * image_size;
    if (count == kDepthwisePixels && contains(interior, w, pixel) &&
        pixel.at[last] + kDepthwisePixels <= interior.high[last] &&
        pixel.at[last] + kDepthwisePixels <= w.output[last]) {
      const DepthwiseOffsets at{.first = image + first_pixel(w, pixel) * args.x_stride,
                                .offsets = offsets,
                                .step = w.stride[last] * args.x_stride};
      depthwise_pixels(args, at, taps, count, y, residual);
      pixel.at[last] += kDepthwisePixels - 1;
      advance(w, pixel);
      continue;
    }
    for (int i = 0; i < kDepthwisePixels; ++i) {
      if (i < count) {
        image = args.x + pixel.image * image_size;
        gather_taps(w, pixel, image, args.x_stride, zeros, table + i, kDepthwisePixels);
        advance(w, pixel);
      } else {
        for (int64_t t = 0; t < taps; ++t) table[t * kDepthwisePixels + i] = zeros;
      }
    }
    depthwise_pixels(args, DepthwiseTable{table}, taps, count, y, residual);
  }
}

}  // namespace
}  // namespace pyinfer
