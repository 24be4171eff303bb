// Matrix product with weights of 2, 4 or 8 bits, of which a group of neighbours along k shares a scale and a
// zero point:
//   C(i,j) = epilogue(sum_k A(i,k) * W(k,j)),   W(k,j) = (Q(k,j) - zero(g,j)) * scale(g,j),   g the group of
//   k
// W is rounded to fp32 after each of its two steps. Sums run in the chains of
// kernels/gemm.h.
#pragma once

#include <cstdint>

#include "kernels/gemm.h"

namespace pyinfer {

// Q is packed in 32-bit words along k, the lowest bits first; a panel of 16 columns holds its words as rows
// of 16: what GemmKernels::pack_b makes of the N x words matrix when told that it is transposed. Scales and
// zero points lie as it packs the N x groups matrices.
constexpr int64_t bit_words(int64_t k, int bits) {
  return (k * bits + 31) / 32;
}

struct GemmBitsArgs {
  int64_t m = 0, n = 0, k = 0;
  int bits = 4;              // 2, 4 or 8
  const float* a = nullptr;  // M x K, rows lda floats apart
  int64_t lda = 0;
  const float* b = nullptr;      // packed words; their bits only move through the type
  const float* scale = nullptr;  // packed, `groups` rows a panel
  const float* zero = nullptr;   // likewise
  int64_t groups = 0;
  int64_t group_size = 16;               // values of k in a group; a multiple of 16
  const int32_t* group_index = nullptr;  // null, or the group of every k
  float* c = nullptr;                    // M x N, rows ldc floats apart; overlaps nothing else
  int64_t ldc = 0;
  Epilogue epilogue = {};  // the residual must not be C
};

struct GemmBitsKernels {
  // Rows [row_begin, row_end) of panels [panel_begin, panel_end). No pointer needs alignment.
  void (*run)(const GemmBitsArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
              int64_t panel_end);
};

}  // namespace pyinfer
