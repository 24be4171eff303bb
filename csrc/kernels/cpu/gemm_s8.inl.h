// Body of the gemm_s8 family (contract: kernels/gemm_s8.h).
//
// Rows of A are widened once per block to int16 with their zero point taken off; B stays in 8 bits and is
// widened on its way into registers. A product of two such values is below 2^16 and a pair of products below
// 2^17: multiplying 16-bit pairs into 32-bit sums is exact, where the 8-bit multiply-add of x86 would
// saturate. Unsigned B is stored as B - 128, and what its zero point z contributes, -z(j) * sum_k A(i,k), is
// added at the end.
#pragma once

#include "kernels/cpu/matrix_tile.inl.h"
#include "kernels/cpu/simd/vec.h"
#include "kernels/gemm_s8.h"

namespace pyinfer {
namespace {

constexpr int64_t kS8ScratchGoal = 256 * 1024;
constexpr int64_t kS8BlockRows = 96;

// int16 values in a widened row, and bytes in a packed column: k in pairs.
constexpr int64_t s8_depth(int64_t k) {
  return div_up(k, 2) * 2;
}
constexpr int64_t s8_block_rows(int64_t k) {
  return max_of(kMaxTileRows, min_of(kS8BlockRows, kS8ScratchGoal / max_of(2 * s8_depth(k), 1)));
}

// A block of widened rows, `stride` values apart, with the sum of each.
struct S8Rows {
  int16_t* values;
  int64_t stride;
  uint32_t* sums;  // modulo 2^32
};

constexpr size_t s8_scratch_bytes(int64_t k) {
  return static_cast<size_t>(s8_block_rows(k) * (s8_depth(k) * 2 + 4) + 64);
}
inline S8Rows s8_rows(int64_t k, void* scratch) {
  uint32_t* sums = static_cast<uint32_t*>(scratch);
  return {.values = reinterpret_cast<int16_t*>(sums + div_up(s8_block_rows(k), 16) * 16),
          .stride = s8_depth(k),
          .sums = sums};
}

// out(k) = a(k) - zero; returns their sum modulo 2^32.
template <class T>
uint32_t s8_widen(const T* a, int64_t count, int32_t zero, int16_t* out) {
  uint32_t sum = 0;
  for (int64_t k = 0; k < count; ++k) {
    const int32_t v = a[k] - zero;
    out[k] = static_cast<int16_t>(v);
    sum += static_cast<uint32_t>(v);
  }
  return sum;
}

struct S8Tile {
  const int16_t* a;  // rows a_stride apart
  int64_t a_stride;
  int64_t pairs;
  const int8_t* b;
  int64_t panel_stride;
  const uint32_t* a_sums;
  const int32_t* b_zero;  // of the stored values, per column, 16 per panel; null: all 0
  int32_t* c;
  int64_t ldc;
  int columns;  // of the last panel
};

template <int R, int P>
void s8_tile(const S8Tile& t) {
  I32 acc[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) acc[r][p] = splat_i32(0);
  }
  const int16_t* a[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) a[r] = t.a + r * t.a_stride;
  const int8_t* b = t.b;
  const int64_t panel_stride = t.panel_stride;
  for (int64_t k = 0; k < 2 * t.pairs; k += 2, b += 32) {
    I16Pairs row[P];
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) row[p] = widen_pairs(b + p * panel_stride);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const I16Pairs v = splat_pair(a[r] + k);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) acc[r][p] = add_dot_pairs(acc[r][p], v, row[p]);
    }
  }
  if (t.b_zero != nullptr) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      const I32 zero = load_i32(t.b_zero + 16 * p);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r][p] = acc[r][p] - splat_i32(static_cast<int32_t>(t.a_sums[r])) * zero;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      int32_t* out = t.c + r * t.ldc + 16 * p;
      if (p + 1 < P || t.columns == 16) {
        store_i32(out, acc[r][p]);
      } else {
        store_n_i32(out, acc[r][p], t.columns);
      }
    }
  }
}

using S8TileFn = void (*)(const S8Tile&);
struct S8TileTable {
  S8TileFn single[kMaxTileRows];  // one panel
  S8TileFn common[kMaxTileRows];  // as many panels as the tallest tile has
  S8TileFn widest[kMaxTileRows];  // tile_panels(rows) panels
};
template <int R>
constexpr void fill_s8_table(S8TileTable& t) {
  if constexpr (R > 0) {
    t.single[R - 1] = s8_tile<R, 1>;
    t.common[R - 1] = s8_tile<R, tile_panels(kMaxTileRows)>;
    t.widest[R - 1] = s8_tile<R, tile_panels(R)>;
    fill_s8_table<R - 1>(t);
  }
}
constexpr S8TileTable make_s8_table() {
  S8TileTable t{};
  fill_s8_table<kMaxTileRows>(t);
  return t;
}
constexpr S8TileTable kS8Tiles = make_s8_table();

// The zero points of up to kMaxTilePanels panels, as the packed values see them.
struct S8Zeros {
  int32_t values[16 * kMaxTilePanels];
  bool any = false;

  S8Zeros(const GemmS8Args& args, int64_t column, int columns) {
    for (int j = 0; j < columns; ++j) {
      const int32_t z = args.b_zero == nullptr ? 0 : args.b_zero[args.b_zero_per_column ? column + j : 0];
      values[j] = z - (args.b_signed ? 0 : 128);
      any = any || values[j] != 0;
    }
    for (int j = columns; j < 16 * kMaxTilePanels; ++j) values[j] = 0;
  }
};

// Rows [row, row + count) of C from widened rows.
inline void s8_block(const GemmS8Args& args, const S8Rows& rows, int64_t row, int64_t count,
                     int64_t panel_begin, int64_t panel_end) {
  const RowSplit split(count);
  const int group = split.tiles == 1 ? tile_panels(static_cast<int>(count)) : tile_panels(kMaxTileRows);
  const auto& wide = split.tiles == 1 ? kS8Tiles.widest : kS8Tiles.common;
  // Each of several tiles fetches its share of the next panel while it computes on these.
  const int64_t lines = rows.stride / 4;
  const int64_t share = split.tiles > 1 ? div_up(lines, split.tiles) : 0;
  int panels = group;
  for (int64_t panel = panel_begin; panel < panel_end; panel += panels) {
    panels = panel + group <= panel_end ? group : 1;
    const auto& fns = panels == group ? wide : kS8Tiles.single;
    const int64_t column = panel * 16;
    const int columns = static_cast<int>(min_of(args.n - column, 16 * panels));
    const S8Zeros zeros(args, column, columns);
    const int8_t* b = args.b + panel * 16 * rows.stride;
    const int8_t* next = share > 0 && panel + panels < panel_end ? b + panels * 16 * rows.stride : nullptr;
    for (int64_t i = 0; i < split.tiles; ++i) {
      const int64_t first = split.first(i);
      if (next != nullptr) prefetch_lines(next, i * share, min_of((i + 1) * share, lines));
      fns[split.height(i) - 1]({.a = rows.values + first * rows.stride,
                                .a_stride = rows.stride,
                                .pairs = rows.stride / 2,
                                .b = b,
                                .panel_stride = 16 * rows.stride,
                                .a_sums = rows.sums + first,
                                .b_zero = zeros.any ? zeros.values : nullptr,
                                .c = args.c + (row + first) * args.ldc + column,
                                .ldc = args.ldc,
                                .columns = columns - 16 * (panels - 1)});
    }
  }
}

inline void gemm_s8_run(const GemmS8Args& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                        int64_t panel_end, void* scratch) {
  const S8Rows rows = s8_rows(args.k, scratch);
  const int64_t block = s8_block_rows(args.k);
  for (int64_t row = row_begin; row < row_end; row += block) {
    const int64_t count = min_of(block, row_end - row);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t zero = args.a_zero == nullptr ? 0 : args.a_zero[args.a_zero_per_row ? row + i : 0];
      int16_t* out = rows.values + i * rows.stride;
      const uint8_t* a = static_cast<const uint8_t*>(args.a) + (row + i) * args.lda;
      rows.sums[i] = args.a_signed ? s8_widen(reinterpret_cast<const int8_t*>(a), args.k, zero, out)
                                   : s8_widen(a, args.k, zero, out);
      if (args.k < rows.stride) out[args.k] = 0;
    }
    s8_block(args, rows, row, count, panel_begin, panel_end);
  }
}

inline int64_t gemm_s8_packed_size(int64_t k, int64_t n) {
  return div_up(n, 16) * 16 * s8_depth(k);
}

// Panel after panel: per pair of k, the two bytes of each of 16 columns. Zeros past K, and past N.
inline void gemm_s8_pack_b(const PackS8Args& args, int64_t panel_begin, int64_t panel_end) {
  const uint8_t* b = static_cast<const uint8_t*>(args.b);
  const uint8_t flip = args.b_signed ? 0 : 0x80;  // v - 128 has the bits of v with the first one turned
  const int64_t row_step = args.transposed ? 1 : args.ldb, column_step = args.transposed ? args.ldb : 1;
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    int8_t* out = args.packed + panel * 16 * s8_depth(args.k);
    const int64_t columns = min_of(16, args.n - panel * 16);
    const uint8_t* in = b + panel * 16 * column_step;
    for (int64_t k = 0; k < args.k; k += 2, out += 32) {
      for (int64_t j = 0; j < 16; ++j) {
        for (int64_t l = 0; l < 2; ++l) {
          const bool inside = j < columns && k + l < args.k;
          const uint8_t v = inside ? in[(k + l) * row_step + j * column_step] ^ flip : 0;
          out[2 * j + l] = static_cast<int8_t>(v);
        }
      }
    }
  }
}

constexpr GemmS8Kernels kGemmS8Kernels = {
    .packed_size = gemm_s8_packed_size,
    .pack_b = gemm_s8_pack_b,
    .scratch_bytes = s8_scratch_bytes,
    .run = gemm_s8_run,
};

}  // namespace
}  // namespace pyinfer
