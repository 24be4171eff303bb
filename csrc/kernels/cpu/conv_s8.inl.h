// Body of the conv_s8 family (contract: kernels/conv_s8.h): the product of kernels/cpu/gemm_s8.inl.h, whose
// rows are pixels where they lie if they are what its dot products take, else gathered while they are
// prepared.
#pragma once

#include "kernels/conv_s8.h"
#include "kernels/cpu/depthwise_s8.inl.h"
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

// Of rows that lie in the image: their pointers; before them a pixel of padding and the zero points of rows.
constexpr int64_t kS8DirectRows = 96;
inline int64_t s8_padding_bytes(const ConvShape& s) {
  return div_up(s.in_channels, 64) * 64;
}
inline size_t conv_s8_scratch_bytes(const ConvShape& s) {
  const size_t prepared = s8_scratch_bytes(conv_s8_depth(s)), depthwise = s8_depthwise_scratch_bytes(s);
  const int64_t direct = s8_padding_bytes(s) + 4 * kS8DirectRows +
                         8 * (kS8DirectRows + 1) * volume(s.window.kernel, s.window.rank);
  const size_t most = prepared > depthwise ? prepared : depthwise;
  return kS8Centred || most > static_cast<size_t>(direct) ? most : static_cast<size_t>(direct);
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

// Prepares the channels of one group under the window of p, `padding` around the image; returns the sum of
// (x - zero) modulo 2^32.
template <class Prepare>
uint32_t conv_s8_gather(const Window& w, const PixelCursor& p, const uint8_t* image, int64_t pixel_stride,
                        int64_t channels, int32_t padding, S8Value* out, Prepare prepare) {
  const int last = w.rank - 1;
  const int64_t begin = last_axis_begin(w, p), width = w.input[last], dilation = w.dilation[last];
  const bool adjacent = dilation == 1 && pixel_stride == channels;
  uint32_t sum = 0;
  for_each_input_row(w, p, [&](int64_t row) {
    const uint8_t* pixels = image + row * width * pixel_stride;
    if (row >= 0 && adjacent && begin >= 0 && begin + w.kernel[last] <= width) {
      sum += prepare(pixels + begin * channels, w.kernel[last] * channels, out);
      out += w.kernel[last] * channels;
      return;
    }
    for (int64_t k = 0, i = begin; k < w.kernel[last]; ++k, i += dilation, out += channels) {
      if (row >= 0 && i >= 0 && i < width) {
        sum += prepare(pixels + i * pixel_stride, channels, out);
      } else {
        for (int64_t c = 0; c < channels; ++c) out[c] = static_cast<S8Value>(padding);
      }
    }
  });
  return sum;
}

// Where direct rows find their pixels.
struct S8Pointers {
  uint8_t* padding;  // a pixel of it
  int32_t* zeros;    // of rows
  int64_t* offsets;  // of taps from a window's first pixel
  const uint8_t** table;
  S8Pointers(const ConvShape& s, void* scratch) {
    padding = static_cast<uint8_t*>(scratch);
    zeros = reinterpret_cast<int32_t*>(padding + s8_padding_bytes(s));
    offsets = reinterpret_cast<int64_t*>(zeros + kS8DirectRows);
    table = reinterpret_cast<const uint8_t**>(offsets + volume(s.window.kernel, s.window.rank));
  }
};

// Fills the tables of the tiles of `count` output pixels from `row` on.
inline void conv_s8_point(const ConvS8Args& args, int64_t row, int64_t count, int64_t first_channel,
                          const S8Pointers& to) {
  const Window& w = args.shape.window;
  const int64_t taps = volume(w.kernel, w.rank), image_size = volume(w.input, w.rank) * args.x_stride;
  const uint8_t* x = static_cast<const uint8_t*>(args.x) + first_channel;
  if (is_pointwise(w)) {
    for (int64_t i = 0; i < count; ++i) to.table[i] = x + (row + i) * args.x_stride;
    return;
  }
  const Interior interior = interior_of(w);
  const RowSplit split(count);
  const uint8_t** table = to.table;
  PixelCursor pixel = pixel_at(w, row);
  for (int64_t i = 0; i < split.tiles; ++i) {
    const int height = split.height(i);
    for (int r = 0; r < height; ++r, advance(w, pixel)) {
      const uint8_t* image = x + pixel.image * image_size;
      const uint8_t** out = table + r;
      if (contains(interior, w, pixel)) {
        const uint8_t* first = image + first_pixel(w, pixel) * args.x_stride;
        for (int64_t t = 0; t < taps; ++t, out += height) *out = first + to.offsets[t];
      } else {
        gather_taps(w, pixel, image, args.x_stride, static_cast<const uint8_t*>(to.padding), out, height);
      }
    }
    table += height * taps;
  }
}

// The product of one group, into its channels.
inline GemmS8Args conv_s8_product(const ConvS8Args& args, int64_t g, S8Requantize& bytes) {
  const ConvShape& s = args.shape;
  const int64_t outputs = s.out_channels / s.groups;
  const int32_t* w_zero = args.w_zero;
  if (w_zero != nullptr && args.w_zero_per_channel) w_zero += g * outputs;
  if (args.bytes != nullptr) {
    bytes = *args.bytes;
    bytes.y += g * outputs;
    bytes.multiplier += g * outputs;
    if (bytes.bias != nullptr) bytes.bias += g * outputs;
  }
  return {.m = 0,
          .n = outputs,
          .k = conv_s8_depth(s),
          .b = args.weights + g * conv_s8_group_size(s),
          .b_signed = args.w_signed,
          .b_zero = w_zero,
          .b_zero_per_column = args.w_zero_per_channel,
          .c = args.bytes != nullptr ? nullptr : args.y + g * outputs,
          .ldc = args.y_stride,
          .bytes = args.bytes != nullptr ? &bytes : nullptr};
}

// One block of output pixels of one group, from the pixels where they lie.
inline void conv_s8_direct(const ConvS8Args& args, const GemmS8Args& product, int64_t g, int64_t row,
                           int64_t count, int64_t panel_begin, int64_t panel_end, void* scratch) {
  const ConvShape& s = args.shape;
  const int64_t taps = volume(s.window.kernel, s.window.rank), channels = s.in_channels / s.groups;
  const S8Pointers to(s, scratch);
  for (int64_t i = 0; i < channels; ++i) to.padding[i] = static_cast<uint8_t>(args.x_zero);
  for (int64_t i = 0; i < kS8DirectRows && !args.raw; ++i) to.zeros[i] = args.x_zero;
  tap_offsets(s.window, s.window.rank, args.x_stride, to.offsets);
  conv_s8_point(args, row, count, g * channels, to);
  const S8Block block{.segments = taps,
                      .segment_groups = channels / kS8Group,
                      .sums = reinterpret_cast<const uint32_t*>(to.zeros),  // not read: B's zero points are 0
                      .zeros = args.raw ? nullptr : to.zeros};
  s8_block(product, block, row, count, panel_begin, panel_end, [&](int, int64_t first) {
    return reinterpret_cast<const S8Value* const*>(to.table + first * taps);
  });
}

// How windows inside the image become rows: by lines of adjacent bytes, which are copied. Few lines, or none
// where bytes are no values or are not adjacent.
struct S8Lines {
  static constexpr int64_t kMost = 16;
  int64_t count = 0, length = 0;
  int64_t offsets[kMost];  // from a window's first pixel
  Interior interior;
  S8Lines(const ConvS8Args& args, bool plain) {
    const ConvShape& s = args.shape;
    const Window& w = s.window;
    const int last = w.rank - 1;
    const bool adjacent = w.dilation[last] == 1 && args.x_stride == s.in_channels && s.groups == 1;
    if (!plain || !adjacent || volume(w.kernel, last) > kMost) return;
    count = volume(w.kernel, last);
    length = w.kernel[last] * s.in_channels;
    tap_offsets(w, last, args.x_stride, offsets);
    interior = interior_of(w);
  }
};

// The same from pixels that are gathered.
inline void conv_s8_gathered(const ConvS8Args& args, const GemmS8Args& product, int64_t g, int64_t row,
                             int64_t count, int64_t panel_begin, int64_t panel_end, void* scratch) {
  const ConvShape& s = args.shape;
  const Window& w = s.window;
  const int64_t channels = s.in_channels / s.groups, image_size = volume(w.input, w.rank) * args.x_stride;
  const S8Source source{.is_signed = args.x_signed, .zero = args.raw ? 0 : args.x_zero};
  const int32_t padding = args.raw ? source.value_zero() + args.x_zero : source.value_zero();
  const S8Rows rows = s8_rows(product.k, scratch);
  // Bytes that are values as they lie, and whose sums nobody needs, are just copied.
  const bool plain = !kS8Centred && !args.x_signed && product.b_signed && product.b_zero == nullptr;
  const S8Lines lines(args, plain);
  PixelCursor pixel = pixel_at(w, row);
  for (int64_t i = 0; i < count; ++i, advance(w, pixel)) {
    const uint8_t* image = static_cast<const uint8_t*>(args.x) + pixel.image * image_size + g * channels;
    S8Value* out = rows.values + i * rows.stride;
    rows.zeros[i] = source.value_zero();
    for (int64_t k = product.k; k < rows.stride; ++k) out[k] = 0;
    if (lines.count > 0 && contains(lines.interior, w, pixel)) {
      const uint8_t* first = image + first_pixel(w, pixel) * args.x_stride;
      for (int64_t l = 0; l < lines.count; ++l)
        copy_bytes(first + lines.offsets[l], lines.length,
                   reinterpret_cast<uint8_t*>(out) + l * lines.length);
      continue;
    }
    rows.sums[i] = conv_s8_gather(
        w, pixel, image, args.x_stride, channels, padding, out,
        [&](const uint8_t* from, int64_t n, S8Value* to) { return s8_prepare(from, n, source, to); });
  }
  s8_rows_block(product, rows, rows.values, rows.stride, row, count, panel_begin, panel_end);
}

inline void conv_s8_run(const ConvS8Args& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                        int64_t panel_end, void* scratch) {
  const ConvShape& s = args.shape;
  const int64_t panels = div_up(s.out_channels / s.groups, 16);
  if (panels == 0) return;
  const bool direct = !kS8Centred && !args.x_signed && s.in_channels / s.groups % kS8Group == 0 &&
                      args.w_signed && args.w_zero == nullptr;
  const int64_t step = direct ? kS8DirectRows : s8_block_rows(conv_s8_depth(s));
  for (int64_t g = panel_begin / panels; g < s.groups && g * panels < panel_end; ++g) {
    S8Requantize bytes;
    const GemmS8Args product = conv_s8_product(args, g, bytes);
    const int64_t first = max_of(panel_begin - g * panels, 0), last = min_of(panel_end - g * panels, panels);
    for (int64_t row = row_begin; row < row_end; row += step) {
      const auto block = direct ? conv_s8_direct : conv_s8_gathered;
      block(args, product, g, row, min_of(step, row_end - row), first, last, scratch);
    }
  }
}

constexpr ConvS8Kernels kConvS8Kernels = {
    .packed_size = conv_s8_packed_size,
    .pack = conv_s8_pack,
    .scratch_bytes = conv_s8_scratch_bytes,
    .run = conv_s8_run,
    .run_depthwise = s8_depthwise_run,
};

}  // namespace
}  // namespace pyinfer
