// Depthwise convolution (contract: kernels/conv.h), 16 channels by 4 output pixels at a time.
#pragma once

#include "kernels/conv.h"
#include "kernels/cpu/activation.inl.h"
#include "kernels/cpu/window.inl.h"

namespace pyinfer {
namespace {

constexpr int kDepthwisePixels = 4;

// Where the taps of neighbouring output pixels of one line are, none of which reads padding along the last
// axis: at fixed distances, 0 for taps whose line of input is padding.
struct DepthwiseLine {
  const float* const* first;  // of the taps: the first pixel's
  const int64_t* step;        // of the taps: floats to the next pixel's
  // Of one tap at channel c: the pixels' addresses.
  auto tap(int64_t t, int64_t c) const {
    return [p = first[t] + c, gap = step[t]](int pixel) { return p + pixel * gap; };
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
  if (e.activation > Activation::kClip) activate_rows(y, args.y_stride, count, channels, e);
}

inline int64_t depthwise_zeros(const ConvArgs& args) {
  return div_up(args.shape.in_channels, 16) * 16;
}
inline size_t depthwise_scratch_bytes(const ConvArgs& args) {
  const int64_t taps = volume(args.shape.window.kernel, args.shape.window.rank);
  return static_cast<size_t>(depthwise_zeros(args) * 4 + (kDepthwisePixels + 2) * taps * 8);
}

// The taps of the output pixels from `pixel` on, for DepthwiseLine.
inline void line_taps(const ConvArgs& args, const PixelCursor& pixel, const float* zeros, const float** first,
                      int64_t* step) {
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  const float* image = args.x + pixel.image * volume(w.input, w.rank) * args.x_stride;
  const int64_t begin = last_axis_begin(w, pixel), width = w.input[last];
  for_each_input_row(w, pixel, [&](int64_t row) {
    for (int64_t k = 0; k < w.kernel[last]; ++k) {
      *first++ = row < 0 ? zeros : image + (row * width + begin + k * w.dilation[last]) * args.x_stride;
      *step++ = row < 0 ? 0 : w.stride[last] * args.x_stride;
    }
  });
}

inline void conv_run_depthwise(const ConvArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  if (row_begin >= row_end) return;
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  const int64_t taps = volume(w.kernel, w.rank);
  const int64_t image_size = volume(w.input, w.rank) * args.x_stride;
  float* zeros = static_cast<float*>(scratch);
  for (int64_t i = 0; i < depthwise_zeros(args); ++i) zeros[i] = 0.0f;
  int64_t* step = reinterpret_cast<int64_t*>(zeros + depthwise_zeros(args));
  const float** first = reinterpret_cast<const float**>(step + taps);
  const float** table = first + taps;
  const Interior interior = interior_of(w);
  const int64_t low = interior.low[last], high = min_of(interior.high[last], w.output[last]);
  const Epilogue& e = args.epilogue;

  PixelCursor pixel = pixel_at(w, row_begin);
  int64_t continued = -1;  // the row whose taps `first` holds
  for (int64_t row = row_begin; row < row_end; row += kDepthwisePixels) {
    const int count = static_cast<int>(min_of(kDepthwisePixels, row_end - row));
    float* y = args.y + row * args.y_stride;
    const float* residual = e.residual != nullptr ? e.residual + row * e.residual_stride : nullptr;
    if (count == kDepthwisePixels && pixel.at[last] >= low && pixel.at[last] + kDepthwisePixels <= high) {
      if (row != continued) line_taps(args, pixel, zeros, first, step);
      depthwise_pixels(args, DepthwiseLine{first, step}, taps, count, y, residual);
      pixel.at[last] += kDepthwisePixels - 1;
      advance(w, pixel);
      continued = pixel.at[last] == 0 ? -1 : row + kDepthwisePixels;
      if (continued >= 0)
        for (int64_t t = 0; t < taps; ++t) first[t] += kDepthwisePixels * step[t];
      continue;
    }
    for (int i = 0; i < kDepthwisePixels; ++i) {
      if (i < count) {
        const float* image = args.x + pixel.image * image_size;
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
