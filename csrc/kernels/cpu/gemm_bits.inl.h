// Body of the gemm_bits family (contract: kernels/gemm_bits.h): a panel's weights are widened block by block
// into the first cache, where the register tiles of the fp32 product read them.
#pragma once

#include "kernels/cpu/gemm.inl.h"
#include "kernels/gemm_bits.h"

namespace pyinfer {
namespace {

struct BitsScale {
  F32 scale, zero;
};

// Rows [kRow, 32 / kBits) of the weights in one row of words, `scale_of(t)` being those of row t.
template <int kBits, int kRow, class ScaleOf>
inline void widen_words(I32 words, const ScaleOf& scale_of, float* out) {
  const I32 q = shift_right_logical<kRow * kBits>(words) & splat_i32((1 << kBits) - 1);
  const BitsScale s = scale_of(kRow);
  store(out + kRow * 16, (to_f32(q) - s.zero) * s.scale);
  if constexpr (kRow + 1 < 32 / kBits) widen_words<kBits, kRow + 1>(words, scale_of, out);
}

// Weights [k_begin, k_end) of a panel; whole words are written.
template <int kBits>
void widen_panel(const GemmBitsArgs& args, int64_t panel, int64_t k_begin, int64_t k_end, float* out) {
  constexpr int kPer = 32 / kBits;
  const float* words = args.b + panel * bit_words(args.k, kBits) * 16;
  const float *scale = args.scale + panel * args.groups * 16, *zero = args.zero + panel * args.groups * 16;
  const auto of_group = [&](int64_t g) { return BitsScale{load(scale + g * 16), load(zero + g * 16)}; };
  for (int64_t k = k_begin; k < k_end; k += kPer, out += kPer * 16) {
    const I32 row = as_i32(load(words + k / kPer * 16));
    if (args.group_index == nullptr) {
      // Groups are whole words.
      const BitsScale s = of_group(k / args.group_size);
      widen_words<kBits, 0>(
          row, [s](int) { return s; }, out);
    } else {
      const auto of_row = [&](int t) { return of_group(args.group_index[min_of(k + t, args.k - 1)]); };
      widen_words<kBits, 0>(row, of_row, out);
    }
  }
}

void gemm_bits_block(const GemmBitsArgs& args, int64_t row, int64_t rows, int64_t panel) {
  static_assert(kChainLength % 16 == 0, "words are whole in a chain");
  alignas(64) float weights[kChainLength * 16];
  const Depth depth(1, args.k);
  const auto widen = args.bits == 2 ? widen_panel<2> : args.bits == 4 ? widen_panel<4> : widen_panel<8>;
  for (int64_t chain = 0; chain < depth.chains(); ++chain) {
    widen(args, panel, depth.first_k(chain), depth.first_k(chain + 1), weights);
    const float* table[kMaxTileRows];
    run_matrix_block({.row = row,
                      .rows = rows,
                      .panel_begin = panel,
                      .panel_end = panel + 1,
                      .chain_begin = chain,
                      .chain_end = chain + 1,
                      .n = args.n,
                      .depth = depth,
                      .a_offset = 0,
                      .b = weights,
                      .panel_stride = 0,  // the one panel
                      .c = args.c,
                      .ldc = args.ldc,
                      .finish = chain + 1 == depth.chains(),
                      .epilogue = &args.epilogue},
                     [&](int height, int64_t first) {
                       const float* a = args.a + (row + first) * args.lda;
                       for (int r = 0; r < height; ++r) table[r] = a + r * args.lda;
                       return table;
                     });
  }
}

inline void gemm_bits_run(const GemmBitsArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                          int64_t panel_end) {
  for (int64_t row = row_begin; row < row_end; row += kGemmBlockRows)
    for (int64_t panel = panel_begin; panel < panel_end; ++panel)
      gemm_bits_block(args, row, min_of(kGemmBlockRows, row_end - row), panel);
}

constexpr GemmBitsKernels kGemmBitsKernels = {.run = gemm_bits_run};

}  // namespace
}  // namespace pyinfer
