// Body of the gemm family (contract: kernels/gemm.h).
#pragma once

#include "kernels/cpu/matrix_tile.inl.h"
#include "kernels/gemm.h"

namespace pyinfer {
namespace {

// A block of rows of A (kGemmBlockRows x kChainLength) fits the second cache.
constexpr int64_t kGemmBlockRows = 240;

// Whether a call runs all chains of a tile before the next tile: sums wait in C between passes, so C must not
// be needed for its old values; and a single tile of rows reads each panel once and gains nothing from
// passes.
inline bool runs_all_chains(const float* residual, const float* c, int64_t rows) {
  return residual == c || rows <= kMaxTileRows;
}

inline void gemm_run(const GemmArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                     int64_t panel_end) {
  const Depth depth(1, args.k);
  const int64_t chains = depth.chains();
  const int64_t step = runs_all_chains(args.epilogue.residual, args.c, row_end - row_begin) ? chains : 1;
  for (int64_t row = row_begin; row < row_end; row += kGemmBlockRows) {
    for (int64_t chain = 0; chain < chains; chain += step) {
      const float* table[kMaxTileRows];
      run_matrix_block({.row = row,
                        .rows = min_of(kGemmBlockRows, row_end - row),
                        .panel_begin = panel_begin,
                        .panel_end = panel_end,
                        .chain_begin = chain,
                        .chain_end = chain + step,
                        .n = args.n,
                        .depth = depth,
                        .a_offset = 0,
                        .b = args.b + depth.first_k(chain) * 16,
                        .panel_stride = args.k * 16,
                        .c = args.c,
                        .ldc = args.ldc,
                        .finish = chain + step == chains,
                        .epilogue = &args.epilogue},
                       [&](int height, int64_t first) {
                         const float* a = args.a + (row + first) * args.lda;
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
