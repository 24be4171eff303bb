// y = exp(x - max x) / sum exp(x - max x) over one row, for either compute type. y may be x.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/kernel_table.h"
#include "ops/lanes.h"

namespace pyinfer {

inline void softmax_row(const float* x, float* y, int64_t n) {
  kernels().norm.softmax({.x = x, .y = y, .n = n, .inner = 1}, 0, 1);
}

inline void softmax_row(const double* x, double* y, int64_t n) {
  Lanes<double> max(-std::numeric_limits<double>::infinity());
  max.feed(
      x, n, [](double v) { return v; }, kJoinMax);
  const double top = max.total(kJoinMax);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] - top;
  unary(UnaryKind::kExp, DType::kFloat64, y, y, n);
  const double sum = lane_sum(y, n);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}

}  // namespace pyinfer
