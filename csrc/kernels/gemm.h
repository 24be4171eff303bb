// Matrix product, fp32: C(i,j) = epilogue(sum_k A(i,k) * B(k,j)).
// The sum over k is cut into chains (chain_length): each is one chain of fused multiply-adds over ascending
// k, starting from +0, and the chains' sums are added in ascending order, whatever the tile, the thread or
// the instruction set. Short chains round less than one long chain, and lie in the first cache.
#pragma once

#include <cstdint>

#include "kernels/epilogue.h"

namespace pyinfer {

// B is packed in panels of this many columns; panel p holds columns [16p, 16p + 16) as K rows of
// 16 floats, zeros past the last column. Panels follow each other without gaps.
inline constexpr int kPanelWidth = 16;

// As few chains as hold kChainLength each, of equal lengths but the last, in multiples of 16.
inline constexpr int64_t kChainLength = 384;
constexpr int64_t chain_length(int64_t k) {
  const int64_t chains = k > kChainLength ? (k + kChainLength - 1) / kChainLength : 1;
  return ((k + chains - 1) / chains + 15) / 16 * 16;
}

constexpr int64_t panel_count(int64_t n) {
  return (n + kPanelWidth - 1) / kPanelWidth;
}
// Floats in a packed K x N matrix.
constexpr int64_t packed_b_size(int64_t k, int64_t n) {
  return panel_count(n) * kPanelWidth * k;
}

struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;  // M x K, rows lda floats apart
  int64_t lda = 0;
  const float* b = nullptr;  // packed
  float* c = nullptr;        // M x N, rows ldc floats apart; overlaps neither A nor B
  int64_t ldc = 0;
  Epilogue epilogue = {};
};

struct PackBArgs {
  int64_t k = 0, n = 0;
  const float* b = nullptr;
  int64_t ldb = 0;          // floats between rows of the stored matrix
  bool transposed = false;  // false: stored K x N; true: stored N x K
  float* packed = nullptr;  // packed_b_size(k, n) floats, no overlap with b
};

struct GemmKernels {
  // Computes rows [row_begin, row_end) of panels [panel_begin, panel_end). No pointer needs alignment.
  void (*run)(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
              int64_t panel_end);
  // Packs rows [k_begin, k_end) of panels [panel_begin, panel_end).
  void (*pack_b)(const PackBArgs& args, int64_t k_begin, int64_t k_end, int64_t panel_begin,
                 int64_t panel_end);
};

}  // namespace pyinfer
