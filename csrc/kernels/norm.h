// Softmax and normalisations of float32. Every row (or column) is computed alone, in the order of
// kernels/reduce.h: its bits do not depend on the range, the batch, the thread or the instruction set. y may
// be x; other overlap is not allowed. Scales and biases may be null: 1 and 0.
#pragma once

#include <cstdint>

namespace pyinfer {

// x and y are [outer, n, inner], row-major; the axis is n.
struct AxisArgs {
  const float* x = nullptr;
  float* y = nullptr;
  int64_t n = 0;
  int64_t inner = 1;
};

// y(r, j) = (x(r, j) - mean) * inv * scale(j) + bias(j), inv = 1 / sqrt(variance + epsilon), over rows of n.
// RMS: mean is 0 and the variance that of x around 0.
struct RowNormArgs {
  const float* x = nullptr;
  float* y = nullptr;
  int64_t n = 0;
  const float* scale = nullptr;  // [n]
  const float* bias = nullptr;   // [n]
  float epsilon = 0.0f;
  float* mean = nullptr;           // [rows] if wanted
  float* inv_deviation = nullptr;  // [rows] if wanted
};

// y = (x - mean) * inv * scale(c) + bias(c), the mean and variance taken over an image's spatial places and
// the channels of a group. Instance normalisation has as many groups as channels.
struct GroupNormArgs {
  const float* x = nullptr;
  float* y = nullptr;
  int64_t channels = 0;
  int64_t groups = 1;  // divides channels
  int64_t spatial = 0;
  bool channels_last = false;    // [batch, spatial, channels] instead of [batch, channels, spatial]
  const float* scale = nullptr;  // [channels]
  const float* bias = nullptr;   // [channels]
  float epsilon = 0.0f;
};

// y(o, c, i) = x(o, c, i) * scale(c) + shift(c), rounded once: batch normalisation, folded.
struct ChannelAffineArgs {
  const float* x = nullptr;
  float* y = nullptr;
  int64_t channels = 0;
  int64_t inner = 1;
  const float* scale = nullptr;
  const float* shift = nullptr;
};

struct NormKernels {
  // Along the axis: exp(x - m) / sum exp(x - m), m the maximum; exponentials below 2^-126 count as 0. The
  // lines [begin, end) of outer * inner.
  void (*softmax)(const AxisArgs& args, int64_t begin, int64_t end);
  // (x - m) - log(sum exp(x - m)).
  void (*log_softmax)(const AxisArgs& args, int64_t begin, int64_t end);
  // 1 at the first maximum, else 0.
  void (*hardmax)(const AxisArgs& args, int64_t begin, int64_t end);
  // x / sum |x| (p = 1) or x / sqrt(sum x^2) (p = 2); 0 where the divisor is 0.
  void (*lp_normalize)(const AxisArgs& args, int p, int64_t begin, int64_t end);

  // The rows [begin, end). The variance is taken around the mean in a second pass.
  void (*layer_norm)(const RowNormArgs& args, int64_t begin, int64_t end);
  void (*rms_norm)(const RowNormArgs& args, int64_t begin, int64_t end);

  // The groups [begin, end) of batch * groups.
  void (*group_norm)(const GroupNormArgs& args, int64_t begin, int64_t end);

  // inner = 1: the rows [begin, end) of outer; else the runs [begin, end) of outer * channels.
  void (*channel_affine)(const ChannelAffineArgs& args, int64_t begin, int64_t end);
};

}  // namespace pyinfer
