// What the convolution operators share: the shape of the problem, and plain loops for the types that the
// kernels of kernels/conv.h do not compute.
#pragma once

#include "kernels/conv.h"
#include "ops/sliding_window.h"

namespace pyinfer {

// Reads attribute "group", at least 1.
int64_t conv_groups(const NodeContext& ctx);

// The problem of X under `weights` [out_channels, in_channels / groups, kernel...].
ConvShape conv_shape(const SlidingWindow& window, const ImageShape& x, const Shape& weights, int64_t groups);

// The image that a convolution of `shape` writes.
ImageShape conv_output(const ConvShape& shape);

// Floating-point operations, for reports.
int64_t conv_flops(const ConvShape& shape);

// Whether every sum is empty: no channels, or no pixels to read.
bool is_empty_sum(const ConvShape& shape);

// y = the plane of output channel `m` of image `n`, for channels-first x, w as in ONNX. Each output is one
// chain over ascending (tap, channel); float64 by fused multiply-adds, integers modulo 2^32.
void conv_plane(const ConvShape& shape, const double* x, const double* w, double* y, int64_t n, int64_t m);
void conv_plane(const ConvShape& shape, const uint32_t* x, const uint32_t* w, uint32_t* y, int64_t n,
                int64_t m);

}  // namespace pyinfer
