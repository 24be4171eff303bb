// The matrix product of kernels/gemm.h for either compute type, float or double, with B in the same panels.
#pragma once

#include "kernels/gemm.h"

namespace pyinfer {

// Packs B, stored n x k with rows `ldb` apart when `transposed`, else k x n; packed_b_size(k, n) elements.
template <class C>
void pack_panels(const C* b, int64_t ldb, bool transposed, int64_t k, int64_t n, C* packed);

// C(i, j) = bias(j) + sum_k A(i, k) B(k, j) for rows and panels in ranges; each a chain over ascending k.
template <class C>
struct PanelProduct {
  const C* a = nullptr;
  int64_t lda = 0;
  const C* b = nullptr;  // packed
  int64_t k = 0, n = 0;
  const C* bias = nullptr;  // of n, or none
  C* c = nullptr;
  int64_t ldc = 0;

  void run(int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) const;
};

}  // namespace pyinfer
