// Layer and RMS normalisation of one row, in either compute type:
//   d = x - mean x,   inverse = 1 / sqrt(mean d^2 + epsilon),   y = d * inverse * scale + bias
// RMS: without the mean. `bias` may be nullptr; y may be x.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "ops/lanes.h"

namespace pyinfer {

template <class C>
struct Moments {
  C mean, variance;
};

// Of `count` numbers, of which sum(f) adds up f(v).
template <class C, class Sum>
Moments<C> moments(int64_t count, Sum sum) {
  const C n = static_cast<C>(count), mean = sum([](C v) { return v; }) / n;
  return {mean, sum([mean](C v) { return (v - mean) * (v - mean); }) / n};
}

template <class C>
struct RowStatistics {
  C mean, inverse;
};

inline void (*row_norm_kernel(bool centered))(const RowNormArgs&, int64_t, int64_t) {
  return centered ? kernels().norm.layer_norm : kernels().norm.rms_norm;
}

inline RowStatistics<float> normalize_row(bool centered, float epsilon, const float* x, const float* scale,
                                          const float* bias, float* y, int64_t n) {
  RowStatistics<float> statistics{};
  row_norm_kernel(centered)({.x = x,
                             .y = y,
                             .n = n,
                             .scale = scale,
                             .bias = bias,
                             .epsilon = epsilon,
                             .mean = &statistics.mean,
                             .inv_deviation = &statistics.inverse},
                            0, 1);
  return statistics;
}

inline RowStatistics<double> normalize_row(bool centered, float epsilon, const double* x, const double* scale,
                                           const double* bias, double* y, int64_t n) {
  const auto sum = [&](auto map) { return lane_sum(x, n, map); };
  const auto square = [](double v) { return v * v; };
  const auto [mean, variance] =
      centered ? moments<double>(n, sum) : Moments<double>{0.0, sum(square) / static_cast<double>(n)};
  const double inverse = 1.0 / std::sqrt(variance + static_cast<double>(epsilon));
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * inverse * scale[i] + (bias ? bias[i] : 0.0);
  return {mean, inverse};
}

}  // namespace pyinfer
