// Body of the extreme family (contract: kernels/extreme.h). The loops are plain: the compiler vectorises
// them, and comparisons have the same result however they are grouped.
#pragma once

#include <cstdint>

#include "kernels/extreme.h"

namespace pyinfer {
namespace {

template <bool kMax, bool kTies>
inline void extreme_row(const float* x, int32_t number, int64_t n, float* best, int32_t* index) {
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) {
    const float a = x[j], b = best[j];
    // With ties, whatever is not worse; NaN is worse than nothing but an earlier NaN.
    const bool better = kMax ? (kTies ? !(a < b) : !(a <= b)) : (kTies ? !(a > b) : !(a >= b));
    const bool wins = better & ((b == b) | (kTies & (a != a)));
    best[j] = wins ? a : b;
    index[j] = wins ? number : index[j];
  }
}

template <bool kMax>
inline void extreme_rows(const float* x, int64_t stride, int64_t rows, int32_t first, int64_t n, bool ties,
                         float* best, int32_t* index) {
  for (int64_t i = 0; i < rows; ++i) {
    const auto number = static_cast<int32_t>(first + i);
    if (ties)
      extreme_row<kMax, true>(x + i * stride, number, n, best, index);
    else
      extreme_row<kMax, false>(x + i * stride, number, n, best, index);
  }
}

constexpr ExtremeKernels kExtremeKernels = {.max_rows = extreme_rows<true>, .min_rows = extreme_rows<false>};

}  // namespace
}  // namespace pyinfer
