// Pooling over sliding windows, fp32, channels last, any spatial rank:
//   Y(n, o, c) = pool over taps t of X(n, o * stride - pad + t * dilation, c)
// Taps that fall on padding are left out. Each output runs over its taps in ascending row-major order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/window.h"

namespace pyinfer {

enum class PoolKind : uint8_t {
  kMax,      // NaN wins; -infinity for a window of padding only
  kAverage,  // sum / count
  kL1,       // sum |x|
  kL2,       // sqrt(sum x^2), the squares accumulated by fused multiply-adds
  kLp,       // (sum |x|^p)^(1/p)
};

struct PoolArgs {
  PoolKind kind = PoolKind::kMax;
  Window window;
  int64_t batch = 0, channels = 0;
  const float* x = nullptr;  // [batch, input..., channels]
  int64_t x_stride = 0;      // floats between pixels
  float* y = nullptr;        // [batch, output..., channels]; no overlap with x
  int64_t y_stride = 0;
  // kAverage divides by the number of taps in [-pad, input + pad_end) if true, in [0, input) if false.
  bool count_padding = false;
  int64_t pad_end[kMaxSpatialRank] = {};
  float p = 2.0f;  // of kLp, not 0
};

struct MaxBytesArgs {
  Window window;
  int64_t batch = 0, channels = 0;
  const uint8_t* x = nullptr;  // [batch, input..., channels] of uint8 or int8, without gaps
  bool is_signed = false;
  uint8_t* y = nullptr;  // [batch, output..., channels]; no overlap with x
};

struct GlobalAverageArgs {
  int64_t pixels = 0, channels = 0;
  const float* x = nullptr;  // one image: pixels x channels
  int64_t x_stride = 0;      // floats between pixels
  float* y = nullptr;        // one float per channel
};

struct PoolKernels {
  // Bytes of scratch for one call of run, aligned to 64.
  size_t (*scratch_bytes)(const PoolArgs& args);
  // Output pixels [row_begin, row_end) of batch * output.
  void (*run)(const PoolArgs& args, int64_t row_begin, int64_t row_end, void* scratch);
  // The greatest of bytes; the least of the type for a window of padding only. Scratch as run's.
  void (*max_bytes)(const MaxBytesArgs& args, int64_t row_begin, int64_t row_end, void* scratch);
  // For kMax: indices[row * channels + c] = the input pixel, within its image, of the first maximum (or the
  // first NaN) under output pixel `row`; -1 for a window of padding only.
  void (*max_indices)(const PoolArgs& args, int64_t row_begin, int64_t row_end, int64_t* indices,
                      void* scratch);
  // y(c) = sum over pixels of x(pixel, c) / pixels, for channels [channel_begin, channel_end). Within blocks
  // of 64 pixels, pixel i goes to sum i mod 4; the four are joined as (0 + 1) + (2 + 3), the blocks in order.
  void (*global_average)(const GlobalAverageArgs& args, int64_t channel_begin, int64_t channel_end);
};

}  // namespace pyinfer
