// Depthwise convolution by common kernels: kLinePixels output pixels of one line by one narrow vector of
// channels at a time. An element of the input is loaded once for all pixels and taps of the line that read
// it.
#pragma once

#include "kernels/conv.h"
#include "kernels/cpu/activation.inl.h"
#include "kernels/cpu/window.inl.h"

namespace pyinfer {
namespace {

// Divides the sides of images that halve down from 224.
constexpr int kLinePixels = 7;

// Pixels of input that a group needs of one line.
inline int64_t depthwise_group_inputs(const Window& w) {
  return (kLinePixels - 1) * w.stride[w.rank - 1] + w.kernel[w.rank - 1];
}

// kLinePixels pixels from `pixel` on, of which the first `count` are stored; `y` and `residual` (or null)
// point at the first one's row. `inputs` has room for depthwise_group_inputs() pointers of each line of the
// kernel.
struct DepthwiseGroup {
  const PixelCursor& pixel;
  int count;
  float* y;
  const float* residual;
  const float* zeros;
  const float** inputs;
};

// Where the group finds its input: in the image, or at `zeros`.
template <int kInputs>
void gather_group(const ConvArgs& args, const DepthwiseGroup& group) {
  const Window& w = args.shape.window;
  const float* image = args.x + group.pixel.image * volume(w.input, w.rank) * args.x_stride;
  const int64_t begin = last_axis_begin(w, group.pixel), width = w.input[w.rank - 1];
  const float** inputs = group.inputs;
  for_each_input_row(w, group.pixel, [&](int64_t row) {
    const float* at = image + (row * width + begin) * args.x_stride;
    const auto inside = static_cast<uint64_t>(row < 0 ? 0 : width);
#pragma GCC unroll 32
    for (int j = 0; j < kInputs; ++j, at += args.x_stride)
      inputs[j] = static_cast<uint64_t>(begin + j) < inside ? at : group.zeros;
    inputs += kInputs;
  });
}

// Bias, residual and clamp of channels from c on, and the store.
inline void finish_group(const ConvArgs& args, const DepthwiseGroup& group, int64_t c, Narrow* acc) {
  const Epilogue& e = args.epilogue;
  if (e.bias != nullptr) {
    const Narrow bias = load_narrow(e.bias + c);
#pragma GCC unroll 8
    for (int i = 0; i < kLinePixels; ++i) acc[i] = acc[i] + bias;
  }
  if (group.residual != nullptr) {
#pragma GCC unroll 8
    for (int i = 0; i < kLinePixels; ++i)
      if (i < group.count) acc[i] = acc[i] + load_narrow(group.residual + i * e.residual_stride + c);
  }
  if (is_clamp(e)) {
    const Narrow low = splat_narrow(clamp_low(e)), high = splat_narrow(clamp_high(e));
#pragma GCC unroll 8
    for (int i = 0; i < kLinePixels; ++i) acc[i] = lesser(high, greater(low, acc[i]));
  }
  float* y = group.y + c;
#pragma GCC unroll 8
  for (int i = 0; i < kLinePixels; ++i, y += args.y_stride)
    if (group.count == kLinePixels || i < group.count) store_narrow(y, acc[i]);
}

template <int kWidth, int kStride>
void depthwise_group(const ConvArgs& args, const DepthwiseGroup& group) {
  constexpr int kInputs = (kLinePixels - 1) * kStride + kWidth;
  gather_group<kInputs>(args, group);
  const int64_t channels = args.shape.in_channels;
  const int64_t lines = volume(args.shape.window.kernel, args.shape.window.rank - 1);
  const auto block = [&](int64_t c) {
    Narrow acc[kLinePixels];
#pragma GCC unroll 8
    for (int i = 0; i < kLinePixels; ++i) acc[i] = splat_narrow(0.0f);
    const float* w = args.weights + c;
    const float* const* in = group.inputs;
    for (int64_t line = 0; line < lines; ++line, w += kWidth * channels, in += kInputs) {
      Narrow weight[kWidth];
#pragma GCC unroll 8
      for (int k = 0; k < kWidth; ++k) weight[k] = load_narrow(w + k * channels);
#pragma GCC unroll 32
      for (int j = 0; j < kInputs; ++j) {
        const Narrow x = load_narrow(in[j] + c);
#pragma GCC unroll 8
        for (int i = 0; i < kLinePixels; ++i)
          if (const int k = j - i * kStride; k >= 0 && k < kWidth) acc[i] = fma(x, weight[k], acc[i]);
      }
    }
    finish_group(args, group, c, acc);
  };
  int64_t c = 0;
  for (; c + Narrow::kLanes <= channels; c += Narrow::kLanes) block(c);
  if (c < channels) block(channels - Narrow::kLanes);  // overlaps the block before: both compute the same
  if (const Epilogue& e = args.epilogue; takes_second_pass(e))
    e.activate_rows(group.y, args.y_stride, group.count, channels, e);
}

using DepthwiseGroupKernel = void (*)(const ConvArgs& args, const DepthwiseGroup& group);

// Nothing where the general way is to be taken. A residual may lie in y, so that nothing may be added twice.
inline DepthwiseGroupKernel depthwise_group_kernel(const ConvArgs& args) {
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  const int64_t channels = args.shape.in_channels;
  if (w.dilation[last] != 1 || w.stride[last] > 2 || w.output[last] < kLinePixels / 2 ||
      channels < Narrow::kLanes || (channels % Narrow::kLanes != 0 && args.epilogue.residual != nullptr))
    return nullptr;
  switch (w.kernel[last] * 10 + w.stride[last]) {
    case 31: return depthwise_group<3, 1>;
    case 32: return depthwise_group<3, 2>;
    case 51: return depthwise_group<5, 1>;
    case 52: return depthwise_group<5, 2>;
    case 71: return depthwise_group<7, 1>;
    case 72: return depthwise_group<7, 2>;
    default: return nullptr;
  }
}

inline void run_depthwise_groups(const ConvArgs& args, DepthwiseGroupKernel kernel, int64_t row_begin,
                                 int64_t row_end, const float* zeros, const float** inputs) {
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  const Epilogue& e = args.epilogue;
  PixelCursor pixel = pixel_at(w, row_begin);
  for (int64_t row = row_begin; row < row_end;) {
    const int64_t left = min_of(row_end - row, w.output[last] - pixel.at[last]);
    const int count = static_cast<int>(min_of(kLinePixels, left));
    kernel(args, {pixel, count, args.y + row * args.y_stride,
                  e.residual != nullptr ? e.residual + row * e.residual_stride : nullptr, zeros, inputs});
    row += count;
    pixel.at[last] += count - 1;
    advance(w, pixel);
  }
}

}  // namespace
}  // namespace pyinfer
