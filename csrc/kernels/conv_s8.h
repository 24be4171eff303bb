// Convolution of 8-bit integers, exact, channels last, any spatial rank:
//   Y(n, o, m) = sum over taps t, channels c of (X(n, o * stride - pad + t * dilation, g, c) - x_zero)
//                                               * (W(t, c, m) - w_zero(m))   modulo 2^32, as int32
// c runs over the channels of m's group g. Padding counts as x_zero, so it adds nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/conv.h"
#include "kernels/gemm_s8.h"

namespace pyinfer {

struct ConvS8Args {
  ConvShape shape;
  const void* x = nullptr;  // [batch, input..., in_channels] of uint8 or int8
  bool x_signed = false;
  int64_t x_stride = 0;  // elements between pixels
  int32_t x_zero = 0;
  // The sums are of X as it is, whose zero point is then in the padding alone: who asks has it in the bias.
  // For signed weights without zero points.
  bool raw = false;
  const int8_t* weights = nullptr;  // packed
  bool w_signed = false;
  const int32_t* w_zero = nullptr;  // null: 0
  bool w_zero_per_channel = false;  // per output channel, else one for all
  int32_t* y = nullptr;             // [batch, output..., out_channels]; overlaps nothing else
  int64_t y_stride = 0;
  const S8Requantize* bytes = nullptr;  // where given, its Y is written, and not y; its columns are channels
};

// One filter per channel, whose sums float32 holds exactly (fits_s8_depthwise).
struct DepthwiseS8Args {
  ConvShape shape;
  const uint8_t* x = nullptr;  // [batch, input..., channels]
  bool x_signed = false;
  int64_t x_stride = 0;
  int32_t x_zero = 0;
  const float* filters = nullptr;  // [taps, channels], less their zero points
  S8Requantize bytes;              // its bias is less x_zero times each channel's filters
};

// The kernel gathers what several neighbouring windows read along the last axis: they are not far apart.
inline bool fits_s8_depthwise(const ConvShape& s) {
  const Window& w = s.window;
  const int last = w.rank - 1;
  return is_depthwise(s) && s.out_channels == s.in_channels && spatial_size(w.kernel, w.rank) <= 256 &&
         w.stride[last] <= 16 && w.dilation[last] <= 16;
}

struct PackConvS8Args {
  ConvShape shape;
  const void* weights = nullptr;  // [out_channels, in_channels / groups, kernel...] as in ONNX
  bool w_signed = false;
  int8_t* packed = nullptr;
};

struct ConvS8Kernels {
  // The packed layout belongs to the instruction set: pack and run with the same table.
  int64_t (*packed_size)(const ConvShape& shape);
  void (*pack)(const PackConvS8Args& args);
  // Bytes of scratch for one call of run, aligned to 64. Independent of the batch.
  size_t (*scratch_bytes)(const ConvShape& shape);
  // Output pixels [row_begin, row_end) of panels [panel_begin, panel_end) of conv_panels(shape).
  void (*run)(const ConvS8Args& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
              int64_t panel_end, void* scratch);
  // Output pixels [row_begin, row_end) of all channels; scratch as run's.
  void (*run_depthwise)(const DepthwiseS8Args& args, int64_t row_begin, int64_t row_end, void* scratch);
};

}  // namespace pyinfer
