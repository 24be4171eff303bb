// Plain loops with double accumulation: what the fast matrix kernels are tested against.
#pragma once

#include <cstdint>

#include "kernels/conv.h"
#include "kernels/epilogue.h"
#include "kernels/gemm.h"

namespace pyinfer::reference {

// act(x + bias + residual) of output (i, j).
double apply(const Epilogue& e, double x, int64_t i, int64_t j);

// As GemmKernels::run over the whole matrix, but `b` is K x N (or N x K) unpacked, rows ldb apart.
void gemm(const GemmArgs& args, const float* b, int64_t ldb, bool transposed, float* c);

// As ConvKernels::run over everything, with weights as in ONNX.
void conv(const ConvArgs& args, const float* weights, float* y);

// As ConvTransposeKernels::run over everything, with weights as in ONNX. Scatters where the kernel gathers.
void conv_transpose(const ConvArgs& args, const float* weights, float* y);

// Calls f(tap, input pixel) for each tap of output pixel `at` (within one image) that is not padding.
template <class F>
void for_each_tap(const Window& w, int64_t at, F f) {
  int64_t position[kMaxSpatialRank];
  for (int d = w.rank - 1; d >= 0; --d) {
    position[d] = at % w.output[d];
    at /= w.output[d];
  }
  const int64_t taps = spatial_size(w.kernel, w.rank);
  for (int64_t tap = 0; tap < taps; ++tap) {
    int64_t rest = tap, pixel = 0, scale = 1;
    bool inside = true;
    for (int d = w.rank - 1; d >= 0; --d) {
      const int64_t i = position[d] * w.stride[d] - w.pad[d] + rest % w.kernel[d] * w.dilation[d];
      rest /= w.kernel[d];
      inside = inside && i >= 0 && i < w.input[d];
      pixel += i * scale;
      scale *= w.input[d];
    }
    if (inside) f(tap, pixel);
  }
}

}  // namespace pyinfer::reference
