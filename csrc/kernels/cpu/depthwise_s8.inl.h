// Depthwise convolution of bytes (contract: kernels/conv_s8.h), in floats, which hold its sums exactly: some
// output pixels of one line by 16 channels at a time. An element of the input is widened once for all pixels
// and taps of the line that read it.
#pragma once

#include "kernels/conv_s8.h"
#include "kernels/cpu/gemm_s8.inl.h"
#include "kernels/cpu/window.inl.h"

namespace pyinfer {
namespace {

// Their sums stay in registers beside an input and the taps of a line.
constexpr int kBytePixels = kAccumulators < 12 ? 3 : 7;

// Sixteen channels, or the first `count`.
template <bool kSigned>
F32 widened(const uint8_t* p, int count) {
  return to_f32(count == 16 ? load_bytes<kSigned>(p) : load_bytes_n<kSigned>(p, count));
}

// kBytePixels pixels from `pixel` on along the last axis, of which the first `count` are stored at y.
// `inputs` has room for the pixels that a line of taps reads, of every line.
struct ByteGroup {
  PixelCursor pixel;
  int count;
  uint8_t* y;
  const uint8_t* padding;
  const uint8_t** inputs;
};

inline int64_t byte_group_inputs(const Window& w) {
  return (kBytePixels - 1) * w.stride[w.rank - 1] + (w.kernel[w.rank - 1] - 1) * w.dilation[w.rank - 1] + 1;
}
inline size_t s8_depthwise_scratch_bytes(const ConvShape& s) {
  if (!fits_s8_depthwise(s)) return 0;
  const int64_t lines = volume(s.window.kernel, s.window.rank - 1);
  return static_cast<size_t>(div_up(s.in_channels, 64) * 64 + 64 + lines * byte_group_inputs(s.window) * 8);
}

inline void gather_bytes(const DepthwiseS8Args& args, const ByteGroup& group) {
  const Window& w = args.shape.window;
  const uint8_t* image = args.x + group.pixel.image * volume(w.input, w.rank) * args.x_stride;
  const int64_t begin = last_axis_begin(w, group.pixel), width = w.input[w.rank - 1];
  const int64_t count = byte_group_inputs(w);
  const uint8_t** inputs = group.inputs;
  for_each_input_row(w, group.pixel, [&](int64_t row) {
    for (int64_t j = 0; j < count; ++j, ++inputs) {
      const bool inside = row >= 0 && begin + j >= 0 && begin + j < width;
      *inputs = inside ? image + (row * width + begin + j) * args.x_stride : group.padding;
    }
  });
}

// Channels [c, c + n) of the group. kWidth and kStride are those of the last axis, its dilation 1, or kWidth
// is 0 and they are what the window says.
template <bool kSigned, int kWidth, int kStride>
inline void byte_channels(const DepthwiseS8Args& args, const ByteGroup& group, int64_t c, int n) {
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  const int64_t channels = args.shape.in_channels, lines = volume(w.kernel, last);
  const auto get = [n](const float* p) { return n == 16 ? load(p) : load_n(p, n); };
  F32 acc[kBytePixels];
#pragma GCC unroll 8
  for (int i = 0; i < kBytePixels; ++i) acc[i] = zero_f32();
  const float* filter = args.filters + c;
  const uint8_t* const* in = group.inputs;
  for (int64_t line = 0; line < lines; ++line) {
    if constexpr (kWidth > 0) {
      constexpr int kInputs = (kBytePixels - 1) * kStride + kWidth;
      F32 weight[kWidth];
#pragma GCC unroll 8
      for (int k = 0; k < kWidth; ++k) weight[k] = get(filter + k * channels);
#pragma GCC unroll 32
      for (int j = 0; j < kInputs; ++j) {
        const F32 x = widened<kSigned>(in[j] + c, n);
#pragma GCC unroll 8
        for (int i = 0; i < kBytePixels; ++i)
          if (const int k = j - i * kStride; k >= 0 && k < kWidth) acc[i] = fma(x, weight[k], acc[i]);
      }
      filter += kWidth * channels;
      in += kInputs;
    } else {
      for (int64_t k = 0; k < w.kernel[last]; ++k, filter += channels) {
        const F32 weight = get(filter);
        const uint8_t* const* tap = in + k * w.dilation[last];
#pragma GCC unroll 8
        for (int i = 0; i < kBytePixels; ++i)
          acc[i] = fma(widened<kSigned>(tap[i * w.stride[last]] + c, n), weight, acc[i]);
      }
      in += byte_group_inputs(w);
    }
  }
  const S8Requantize& to = args.bytes;
  const S8Rounding round(to);
  const F32 multiplier = get(to.multiplier + c);
  const I32 bias = as_i32(get(reinterpret_cast<const float*>(to.bias) + c));
#pragma GCC unroll 8
  for (int i = 0; i < kBytePixels; ++i) {
    if (i >= group.count) break;
    const I32 y = round(to_i32(acc[i]) + bias, multiplier);
    if (n == 16) {
      store_bytes(group.y + i * to.ldy + c, y);
    } else {
      store_bytes_n(group.y + i * to.ldy + c, y, n);
    }
  }
}

template <bool kSigned, int kWidth, int kStride>
void byte_group(const DepthwiseS8Args& args, const ByteGroup& group) {
  const int64_t channels = args.shape.in_channels;
  int64_t c = 0;
  for (; c + 16 <= channels; c += 16) byte_channels<kSigned, kWidth, kStride>(args, group, c, 16);
  if (c == channels) return;
  // The last 16 overlap those before them: what both compute is the same.
  if (channels >= 16) return byte_channels<kSigned, kWidth, kStride>(args, group, channels - 16, 16);
  byte_channels<kSigned, 0, 0>(args, group, c, static_cast<int>(channels - c));
}

using ByteGroupKernel = void (*)(const DepthwiseS8Args& args, const ByteGroup& group);

template <bool kSigned>
ByteGroupKernel byte_group_kernel(const Window& w) {
  const int last = w.rank - 1;
  const bool common = w.dilation[last] == 1 && w.stride[last] <= 2;
  switch (common ? w.kernel[last] * 10 + w.stride[last] : 0) {
    case 31: return byte_group<kSigned, 3, 1>;
    case 32: return byte_group<kSigned, 3, 2>;
    case 51: return byte_group<kSigned, 5, 1>;
    case 52: return byte_group<kSigned, 5, 2>;
    default: return byte_group<kSigned, 0, 0>;
  }
}

inline void s8_depthwise_run(const DepthwiseS8Args& args, int64_t row_begin, int64_t row_end, void* scratch) {
  if (row_begin >= row_end) return;
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  auto* padding = static_cast<uint8_t*>(scratch);
  const int64_t padding_bytes = div_up(args.shape.in_channels, 64) * 64;
  for (int64_t i = 0; i < padding_bytes; ++i) padding[i] = static_cast<uint8_t>(args.x_zero);
  const ByteGroupKernel kernel = args.x_signed ? byte_group_kernel<true>(w) : byte_group_kernel<false>(w);
  PixelCursor pixel = pixel_at(w, row_begin);
  for (int64_t row = row_begin; row < row_end;) {
    const int64_t left = min_of(row_end - row, w.output[last] - pixel.at[last]);
    const ByteGroup group{.pixel = pixel,
                          .count = static_cast<int>(min_of(kBytePixels, left)),
                          .y = args.bytes.y + row * args.bytes.ldy,
                          .padding = padding,
                          .inputs = reinterpret_cast<const uint8_t**>(padding + padding_bytes)};
    gather_bytes(args, group);
    kernel(args, group);
    row += group.count;
    pixel.at[last] += group.count - 1;
    advance(w, pixel);
  }
}

}  // namespace
}  // namespace pyinfer
