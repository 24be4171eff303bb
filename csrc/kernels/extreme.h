// Where the largest or smallest element of a line is.
#pragma once

#include <cstdint>

namespace pyinfer {

struct ExtremeKernels {
  // For each column j in [0, n): best(j) and index(j) start as an element and its number; each row i of [0,
  // rows), which is number first + i, takes their place when it beats best(j): when it is larger (max_rows)
  // or smaller (min_rows), or the first NaN. With `ties`, equals (and further NaNs) beat too, so that the
  // last wins. Rows lie `stride` apart. No overlap.
  void (*max_rows)(const float* x, int64_t stride, int64_t rows, int32_t first, int64_t n, bool ties,
                   float* best, int32_t* index);
  void (*min_rows)(const float* x, int64_t stride, int64_t rows, int32_t first, int64_t n, bool ties,
                   float* best, int32_t* index);
};

}  // namespace pyinfer
