// Body of the gemm family (contract: kernels/gemm.h).
#pragma once

#include "kernels/cpu/matrix_tile.inl.h"
#include "kernels/gemm.h"

namespace pyinfer {
namespace {

// A panel's k block (16 x kGemmBlockK floats) fits the first cache beside the rows of A that meet
// it; a block of rows of A (kGemmBlockRows x kGemmBlockK) fits the second.
constexpr int64_t kGemmBlockK = 384;
constexpr int64_t kGemmBlockRows = 240;

inline void gemm_run(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                     int64_t panel_end) {
  // Partial sums wait in C between k blocks, so C must not be needed for its old values; a single
  // tile of rows reads each panel once and gains nothing from blocks.
  const bool whole_k = args.epilogue.residual == args.c || row_end - row_begin <= kMaxTileRows;
  const int64_t block_k = whole_k ? max_of(args.k, 1) : kGemmBlockK;
  for (int64_t row = row_begin; row < row_end; row += kGemmBlockRows) {
    // One pass even when K = 0: the epilogue of an empty sum.
    for (int64_t k = 0; k == 0 || k < args.k; k += block_k) {
      const int64_t length = min_of(block_k, args.k - k);
      const float* table[kMaxTileRows];
      run_matrix_block({.row = row,
                        .rows = min_of(kGemmBlockRows, row_end - row),
                        .panel_begin = panel_begin,
                        .panel_end = panel_end,
                        .n = args.n,
                        .segments = 1,
                        .segment_length = length,
                        .a_offset = 0,
                        .b = args.b + k * 16,
                        .panel_stride = args.k * 16,
                        .c = args.c,
                        .ldc = args.ldc,
                        .resume = k > 0,
                        .finish = k + length == args.k,
                        .epilogue = &args.epilogue},
                       [&](int height, int64_t first) {
                         const float* a = args.a + (row + first) * args.lda + k;
                         for (int r = 0; r < height; ++r) table[r] = a + r * args.lda;
                         return table;
                       });
    }
  }
}

inline void gemm_pack_b(const PackBArgs& args, int64_t k_begin, int64_t k_end, int64_t panel_begin,
                        int64_t panel_end) {
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    float* out = args.packed + panel * args.k * 16 + k_begin * 16;
    const int64_t column = panel * 16;
    const int columns = static_cast<int>(min_of(16, args.n - column));
    if (!args.transposed) {
      const float* in = args.b + k_begin * args.ldb + column;
      for (int64_t k = k_begin; k < k_end; ++k, in += args.ldb, out += 16) {
        store(out, columns == 16 ? load(in) : load_n(in, columns));
      }
      continue;
    }
    const float* in = args.b + column * args.ldb + k_begin;
    int64_t k = k_begin;
    if (columns == 16) {
      for (; k + 16 <= k_end; k += 16, in += 16, out += 256) transpose_16x16(in, args.ldb, out, 16);
    }
    for (; k < k_end; ++k, ++in, out += 16) {
      for (int j = 0; j < 16; ++j) out[j] = j < columns ? in[j * args.ldb] : 0.0f;
    }
  }
}

constexpr GemmKernels kGemmKernels = {.run = gemm_run, .pack_b = gemm_pack_b};

}  // namespace
}  // namespace pyinfer
