#include "ops/panels.h"

#include <algorithm>

#include "kernels/kernel_table.h"

namespace pyinfer {

template <>
void pack_panels(const float* b, int64_t ldb, bool transposed, int64_t k, int64_t n, float* packed) {
  const PackBArgs args{.k = k, .n = n, .b = b, .ldb = ldb, .transposed = transposed, .packed = packed};
  kernels().gemm.pack_b(args, 0, k, 0, panel_count(n));
}

template <>
void pack_panels(const double* b, int64_t ldb, bool transposed, int64_t k, int64_t n, double* packed) {
  for (int64_t p = 0; p < panel_count(n); ++p)
    for (int64_t i = 0; i < k; ++i)
      for (int64_t column = p * kPanelWidth; column < (p + 1) * kPanelWidth; ++column)
        *packed++ = column >= n ? 0.0 : transposed ? b[column * ldb + i] : b[i * ldb + column];
}

template <>
void PanelProduct<float>::run(int64_t row_begin, int64_t row_end, int64_t panel_begin,
                              int64_t panel_end) const {
  if (row_begin >= row_end || panel_begin >= panel_end) return;
  const GemmArgs args{.m = row_end,
                      .n = n,
                      .k = k,
                      .a = a,
                      .lda = lda,
                      .b = b,
                      .c = c,
                      .ldc = ldc,
                      .epilogue = {.bias = bias}};
  kernels().gemm.run(args, row_begin, row_end, panel_begin, panel_end);
}

template <>
void PanelProduct<double>::run(int64_t row_begin, int64_t row_end, int64_t panel_begin,
                               int64_t panel_end) const {
  for (int64_t p = panel_begin; p < panel_end; ++p)
    for (int64_t i = row_begin; i < row_end; ++i) {
      double sum[kPanelWidth] = {};
      const double* panel = b + p * k * kPanelWidth;
      for (int64_t l = 0; l < k; ++l)
        for (int j = 0; j < kPanelWidth; ++j) sum[j] += a[i * lda + l] * panel[l * kPanelWidth + j];
      for (int64_t j = p * kPanelWidth; j < std::min(n, (p + 1) * kPanelWidth); ++j)
        c[i * ldc + j] = sum[j - p * kPanelWidth] + (bias ? bias[j] : 0.0);
    }
}

}  // namespace pyinfer
