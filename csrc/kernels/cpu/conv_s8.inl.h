// Body of the conv_s8 family (contract: kernels/conv_s8.h): pixels under a window are gathered while they are
// prepared for the product of kernels/cpu/gemm_s8.inl.h, which has to be done anyway.
#pragma once

#include "kernels/conv_s8.h"
#include "kernels/cpu/gemm_s8.inl.h"
#include "kernels/cpu/window.inl.h"

namespace pyinfer {
namespace {

inline int64_t conv_s8_depth(const ConvShape& s) {
  return volume(s.window.kernel, s.window.rank) * (s.in_channels / s.groups);
}
inline int64_t conv_s8_group_size(const ConvShape& s) {
  return gemm_s8_packed_size(conv_s8_depth(s), s.out_channels / s.groups);
}
inline int64_t conv_s8_packed_size(const ConvShape& s) {
  return s.groups * conv_s8_group_size(s);
}
inline size_t conv_s8_scratch_bytes(const ConvShape& s) {
  return s8_scratch_bytes(conv_s8_depth(s));
}

inline void conv_s8_pack(const PackConvS8Args& args) {
  const ConvShape& s = args.shape;
  const int64_t taps = volume(s.window.kernel, s.window.rank);
  const int64_t channels = s.in_channels / s.groups, outputs = s.out_channels / s.groups;
  const int64_t depth = taps * channels;
  for (int64_t g = 0; g < s.groups; ++g) {
    for (int64_t panel = 0; panel < div_up(outputs, 16); ++panel) {
      const uint8_t* in = static_cast<const uint8_t*>(args.weights) + (g * outputs + panel * 16) * depth;
      s8_pack_panel(
          depth, min_of(16, outputs - panel * 16), args.w_signed,
          args.packed + g * conv_s8_group_size(s) + panel * s8_panel_bytes(depth),
          [&](int64_t k, int64_t j) { return in + (j * channels + k % channels) * taps + k / channels; });
    }
  }
}

// Prepares the channels of one group under the window of p; returns the sum of (x - zero) modulo 2^32.
inline uint32_t conv_s8_gather(const Window& w, const PixelCursor& p, const uint8_t* image,
                               int64_t pixel_stride, int64_t channels, S8Source source, S8Value* out) {
  const int last = w.rank - 1;
  const int64_t begin = last_axis_begin(w, p), width = w.input[last], dilation = w.dilation[last];
  const bool adjacent = dilation == 1 && pixel_stride == channels;
  uint32_t sum = 0;
  for_each_input_row(w, p, [&](int64_t row) {
    const uint8_t* pixels = image + row * width * pixel_stride;
    if (row >= 0 && adjacent && begin >= 0 && begin + w.kernel[last] <= width) {
      sum += s8_prepare(pixels + begin * channels, w.kernel[last] * channels, source, out);
      out += w.kernel[last] * channels;
      return;
    }
    for (int64_t k = 0, i = begin; k < w.kernel[last]; ++k, i += dilation, out += channels) {
      if (row >= 0 && i >= 0 && i < width) {
        sum += s8_prepare(pixels + i * pixel_stride, channels, source, out);
      } else {
        s8_fill(channels, source, out);
      }
    }
  });
  return sum;
}

inline void conv_s8_run(const ConvS8Args& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                        int64_t panel_end, void* scratch) {
  const ConvShape& s = args.shape;
  const Window& w = s.window;
  const int64_t channels = s.in_channels / s.groups, outputs = s.out_channels / s.groups;
  const int64_t panels = div_up(outputs, 16), depth = conv_s8_depth(s);
  const int64_t image_size = volume(w.input, w.rank) * args.x_stride;
  const S8Source source{.is_signed = args.x_signed, .zero = args.x_zero};
  const S8Rows rows = s8_rows(depth, scratch);
  const int64_t block = s8_block_rows(depth);
  if (panels == 0) return;
  for (int64_t g = panel_begin / panels; g < s.groups && g * panels < panel_end; ++g) {
    const int32_t* w_zero = args.w_zero;
    if (w_zero != nullptr && args.w_zero_per_channel) w_zero += g * outputs;
    const GemmS8Args product{.m = 0,
                             .n = outputs,
                             .k = depth,
                             .b = args.weights + g * conv_s8_group_size(s),
                             .b_signed = args.w_signed,
                             .b_zero = w_zero,
                             .b_zero_per_column = args.w_zero_per_channel,
                             .c = args.y + g * outputs,
                             .ldc = args.y_stride};
    for (int64_t row = row_begin; row < row_end; row += block) {
      const int64_t count = min_of(block, row_end - row);
      PixelCursor pixel = pixel_at(w, row);
      for (int64_t i = 0; i < count; ++i, advance(w, pixel)) {
        const uint8_t* image = static_cast<const uint8_t*>(args.x) + pixel.image * image_size + g * channels;
        S8Value* out = rows.values + i * rows.stride;
        rows.sums[i] = conv_s8_gather(w, pixel, image, args.x_stride, channels, source, out);
        rows.zeros[i] = source.value_zero();
        for (int64_t k = depth; k < rows.stride; ++k) out[k] = 0;
      }
      s8_block(product, rows, row, count, max_of(panel_begin - g * panels, 0),
               min_of(panel_end - g * panels, panels));
    }
  }
}

constexpr ConvS8Kernels kConvS8Kernels = {
    .packed_size = conv_s8_packed_size,
    .pack = conv_s8_pack,
    .scratch_bytes = conv_s8_scratch_bytes,
    .run = conv_s8_run,
};

}  // namespace
}  // namespace pyinfer
