// Convolution, fp32, channels last, any spatial rank:
//   Y(n, o, m) = epilogue(sum over taps t, then channels c, of X(n, o * stride - pad + t * dilation, g, c) *
//   W(t, c, m))
// with taps in row-major order and, for groups > 1, c running over the channels of m's group g.
// The sum runs in that order, cut into chains of whole units: as few as hold kChainLength each or one unit,
// of equal numbers of units but the last. Units are taps, and with fewer than kConvFewChannels channels of a
// group, lines of taps along the last axis. A sum that is read as one piece (one tap; one line of adjacent
// taps of few channels, not in groups) is cut as in kernels/gemm.h. All this follows from the shape, strides
// and attributes alone. Padding takes part as zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/epilogue.h"
#include "kernels/gemm.h"
#include "kernels/window.h"

namespace pyinfer {

inline constexpr int64_t kConvFewChannels = 32;

struct ConvShape {
  Window window;
  int64_t batch = 0;
  int64_t in_channels = 0, out_channels = 0;
  int64_t groups = 1;  // divides both
};

// Output pixels: rows of the product.
constexpr int64_t conv_rows(const ConvShape& s) {
  return s.batch * spatial_size(s.window.output, s.window.rank);
}
// Panels of all groups, group after group; each group is padded to whole panels.
constexpr int64_t conv_panels(const ConvShape& s) {
  return s.groups * panel_count(s.out_channels / s.groups);
}
// One filter per channel.
constexpr bool is_depthwise(const ConvShape& s) {
  return s.groups == s.in_channels && s.groups == s.out_channels;
}

struct ConvArgs {
  ConvShape shape;
  const float* x = nullptr;        // [batch, input..., in_channels]
  int64_t x_stride = 0;            // floats between pixels, >= in_channels
  const float* weights = nullptr;  // packed
  float* y = nullptr;              // [batch, output..., out_channels]; overlaps neither x nor weights
  int64_t y_stride = 0;            // floats between pixels, >= out_channels
  Epilogue epilogue = {};          // bias per column (channel); residual rows are pixels
};

// The layout for run(): per group, the panels of kernels/gemm.h with k = (taps, channels of the group).
int64_t packed_conv_weights_size(const ConvShape& shape);
// `weights` is [out_channels, in_channels / groups, kernel...] as in ONNX.
void pack_conv_weights(const ConvShape& shape, const float* weights, float* packed);

// The layout for run_depthwise(): [taps, channels].
int64_t packed_depthwise_weights_size(const ConvShape& shape);
void pack_depthwise_weights(const ConvShape& shape, const float* weights, float* packed);

struct ConvKernels {
  // Bytes of scratch for one call of run or run_depthwise, aligned to 64. Independent of the batch.
  size_t (*scratch_bytes)(const ConvArgs& args);
  // Output pixels [row_begin, row_end) of panels [panel_begin, panel_end).
  void (*run)(const ConvArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
              int64_t panel_end, void* scratch);
  // Output pixels [row_begin, row_end), all channels. Precondition: is_depthwise(args.shape).
  void (*run_depthwise)(const ConvArgs& args, int64_t row_begin, int64_t row_end, void* scratch);
};

}  // namespace pyinfer
