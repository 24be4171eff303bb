// Transposed convolution, fp32, channels last, any spatial rank:
//   Y(n, o, m) = epilogue(sum over taps t with (o + pad - t * dilation) = i * stride, then channels c,
//                         of X(n, i, g, c) * W(t, c, m))
// where i runs over the input and c over the channels of m's group g. Each output is gathered, in the
// chains of kernels/conv.h over ascending (t, c), with taps as the units; taps that fall outside the input
// take part as zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/conv.h"

namespace pyinfer {

// ConvShape reads: in_channels are X's, out_channels Y's; window.pad is cut from the beginning of the output.

// Output pixels that differ only along the last axis.
constexpr int64_t conv_transpose_lines(const ConvShape& s) {
  return s.batch * spatial_size(s.window.output, s.window.rank - 1);
}

// Along one axis, the taps first, first + step, ... (`count` of them, which may be 0): those that output
// positions equal modulo the stride meet. `before` counts the taps of the classes whose first is smaller.
struct TapClass {
  int64_t first, step, count, before;
};

// Classes along axis d whose taps differ: the first taps of all classes are [0, min(this, kernel)).
constexpr int64_t tap_period(const Window& w, int d) {
  int64_t a = w.stride[d], b = w.dilation[d];
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return w.stride[d] / a;
}

constexpr TapClass tap_class(const Window& w, int d, int64_t first) {
  const int64_t step = tap_period(w, d), kernel = w.kernel[d];
  const int64_t rest = kernel % step;
  return {first, step, first < kernel ? (kernel - 1 - first) / step + 1 : 0,
          first * (kernel / step) + (first < rest ? first : rest)};
}

// The packed weights: per group and per combination of classes along the axes, in lexicographic order of
// their first taps, a matrix in the panels of kernels/gemm.h with k = (taps ascending, channels of the
// group).
int64_t packed_conv_transpose_weights_size(const ConvShape& shape);
// `weights` is [in_channels, out_channels / groups, kernel...] as in ONNX.
void pack_conv_transpose_weights(const ConvShape& shape, const float* weights, float* packed);

struct ConvTransposeKernels {
  // Bytes of scratch for one call of run, aligned to 64. Independent of the batch.
  size_t (*scratch_bytes)(const ConvArgs& args);
  // Lines [line_begin, line_end) of panels [panel_begin, panel_end) of conv_panels(shape).
  void (*run)(const ConvArgs& args, int64_t line_begin, int64_t line_end, int64_t panel_begin,
              int64_t panel_end, void* scratch);
};

}  // namespace pyinfer
