#include "kernels/reference/matrix.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace pyinfer::reference {

namespace {
// x * gate in the limit: 0 where the gate closes at minus infinity.
double gated(double x, double gate) {
  return gate == 0 ? 0 : x * gate;
}

double activate(const Epilogue& e, double x) {
  if (std::isnan(x)) return x;
  const double a = e.alpha, b = e.beta;
  switch (e.activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return std::max(x, 0.0);
    case Activation::kClip: return std::min(std::max(x, a), b);
    case Activation::kLeakyRelu: return x >= 0 ? x : a * x;
    case Activation::kHardSigmoid: return std::clamp(a * x + b, 0.0, 1.0);
    case Activation::kHardSwish: return x * std::clamp(x / 6 + 0.5, 0.0, 1.0);
    case Activation::kSigmoid: return 1 / (1 + std::exp(-x));
    case Activation::kTanh: return std::tanh(x);
    case Activation::kSilu: return gated(x, 1 / (1 + std::exp(-x)));
    case Activation::kSwish: return gated(x, 1 / (1 + std::exp(-a * x)));
    case Activation::kGeluErf: return gated(x, 0.5 * (1 + std::erf(x * std::sqrt(0.5))));
    case Activation::kGeluTanh:
      return gated(x, 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))));
    case Activation::kMish: return gated(x, std::tanh(std::log1p(std::exp(x))));
    case Activation::kSoftplus: return std::log1p(std::exp(x));
    case Activation::kElu: return x > 0 ? x : a * std::expm1(x);
  }
  return x;
}
}  // namespace

double apply(const Epilogue& e, double x, int64_t i, int64_t j) {
  if (e.bias != nullptr) x += e.bias[e.bias_per_row ? i : j];
  if (e.residual != nullptr) x += e.residual[i * e.residual_stride + j];
  return activate(e, x);
}

void gemm(const GemmArgs& args, const float* b, int64_t ldb, bool transposed, float* c) {
  for (int64_t i = 0; i < args.m; ++i) {
    for (int64_t j = 0; j < args.n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < args.k; ++k) {
        const float bv = transposed ? b[j * ldb + k] : b[k * ldb + j];
        sum += static_cast<double>(args.a[i * args.lda + k]) * bv;
      }
      c[i * args.ldc + j] = static_cast<float>(apply(args.epilogue, sum, i, j));
    }
  }
}

void conv(const ConvArgs& args, const float* weights, float* y) {
  const ConvShape& s = args.shape;
  const Window& w = s.window;
  const int64_t taps = spatial_size(w.kernel, w.rank);
  const int64_t in_size = spatial_size(w.input, w.rank), out_size = spatial_size(w.output, w.rank);
  const int64_t channels = s.in_channels / s.groups, outputs = s.out_channels / s.groups;
  for (int64_t row = 0; row < s.batch * out_size; ++row) {
    for (int64_t m = 0; m < s.out_channels; ++m) {
      double sum = 0;
      for_each_tap(w, row % out_size, [&](int64_t tap, int64_t pixel) {
        const float* x = args.x + (row / out_size * in_size + pixel) * args.x_stride + m / outputs * channels;
        for (int64_t c = 0; c < channels; ++c) {
          sum += static_cast<double>(x[c]) * weights[(m * channels + c) * taps + tap];
        }
      });
      y[row * args.y_stride + m] = static_cast<float>(apply(args.epilogue, sum, row, m));
    }
  }
}

void conv_transpose(const ConvArgs& args, const float* weights, float* y) {
  const ConvShape& s = args.shape;
  const Window& w = s.window;
  const int64_t taps = spatial_size(w.kernel, w.rank);
  const int64_t in_size = spatial_size(w.input, w.rank), out_size = spatial_size(w.output, w.rank);
  const int64_t channels = s.in_channels / s.groups, outputs = s.out_channels / s.groups;
  std::vector<double> sums(static_cast<size_t>(s.batch * out_size * s.out_channels));
  for (int64_t row = 0; row < s.batch * in_size; ++row) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t pixel = 0, scale = 1, at = row % in_size, rest = tap;
      bool inside = true;
      for (int d = w.rank - 1; d >= 0; --d) {
        const int64_t o = at % w.input[d] * w.stride[d] - w.pad[d] + rest % w.kernel[d] * w.dilation[d];
        at /= w.input[d];
        rest /= w.kernel[d];
        inside = inside && o >= 0 && o < w.output[d];
        pixel += o * scale;
        scale *= w.output[d];
      }
      if (!inside) continue;
      double* out = sums.data() + (row / in_size * out_size + pixel) * s.out_channels;
      for (int64_t c = 0; c < s.in_channels; ++c) {
        const double x = args.x[row * args.x_stride + c];
        for (int64_t m = 0; m < outputs; ++m) {
          out[c / channels * outputs + m] += x * weights[(c * outputs + m) * taps + tap];
        }
      }
    }
  }
  for (int64_t row = 0; row < s.batch * out_size; ++row) {
    for (int64_t m = 0; m < s.out_channels; ++m) {
      const double sum = sums[static_cast<size_t>(row * s.out_channels + m)];
      y[row * args.y_stride + m] = static_cast<float>(apply(args.epilogue, sum, row, m));
    }
  }
}

}  // namespace pyinfer::reference
