// The register tiles shared by the matrix families: R rows by P panels of 16 columns, rows of A
// reached through a table of pointers so that a plain matrix and a convolution's gathered pixels
// look the same.
#pragma once

#include "kernels/cpu/activation.inl.h"
#include "kernels/cpu/simd/vec.h"
#include "kernels/epilogue.h"
#include "kernels/gemm.h"

namespace pyinfer {
namespace {

// The accumulators of a tile must stay in registers, as MakeMatrixTile sees to. GCC keeps the
// array in registers only when every loop over it is unrolled at compile time, hence the pragmas.
constexpr int kMaxTileRows = kAccumulators < 12 ? kAccumulators : 12;
constexpr int kTileLevels = 3;  // 1, 2 or 4 panels
constexpr int kMaxTilePanels = 1 << (kTileLevels - 1);
// Panels that are computed together hold so many rows of 16 floats at most: a part of the second cache.
constexpr int64_t kGroupLines = 512;
// Of the innermost loop, an even number. Where two threads share a core, each is given half of the
// instructions that the core can begin in a cycle: with six accumulators three of 23 go to counting unless
// several steps share them. More accumulators spend less on it, and take longer to compile.
constexpr int kUnrolledSteps = kAccumulators == 6 ? 4 : 2;
constexpr int64_t div_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t min_of(int64_t a, int64_t b) {
  return a < b ? a : b;
}
constexpr int64_t max_of(int64_t a, int64_t b) {
  return a > b ? a : b;
}

struct MatrixTile {
  // Row r of segment s starts at a[s * R + r] + a_offset; the k axis is the segments one after another.
  const float* const* a;
  int64_t a_offset;
  int64_t segments, segment_length;
  const float* b;        // first panel at the tile's first k
  int64_t panel_stride;  // floats between panels
  const float* partial;  // null, or the sums of earlier chains, laid out as the tile
  int64_t ld_partial;
  float* c;  // first output of the tile
  int64_t ldc;
  int64_t groups;            // of P panels, one after another
  int columns;               // valid columns of the last panel, 1..16
  bool finish;               // the last chain: apply the epilogue
  const Epilogue* epilogue;  // activation and strides
  const float* bias;         // null, or at the tile's first column or row
  const float* residual;     // null, or at the tile's first output
  int64_t ahead;             // bytes from b to what another tile needs next, 0 for nothing
};

// R rows of a tile of `kRows`, from row `top`, under panels [group * P, (group + 1) * P), the last of which
// has `columns` valid columns. Of a half tile they are 8 at most, and the compiler leaves out what only the
// others need, where a vector has several registers.
template <int R, int P, bool kHalf, int kRows = R>
inline void matrix_group(const MatrixTile& t, int64_t group, int columns, int top = 0) {
  F32 acc[R][P];
  const int64_t first = group * P * 16;
  const auto load_c = [columns](const float* p, int panel) {
    return panel + 1 < P || columns == 16 ? load(p + 16 * panel) : load_n(p + 16 * panel, columns);
  };
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) acc[r][p] = zero_f32();
  }

  const int64_t panel_stride = t.panel_stride;
  const float* b = t.b + group * P * panel_stride;
  const int64_t length = t.segment_length;
  const float* const* table = t.a + top;
  for (int64_t s = 0; s < t.segments; ++s, table += kRows) {
    const float* a[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) a[r] = table[r] + t.a_offset;
    const auto step = [&](int64_t k, const float* panel) {
      F32 row[P];
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) row[p] = load(panel + p * panel_stride);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F32 v = splat(a[r][k]);
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[r][p] = add_product(acc[r][p], v, row[p]);
      }
    };
    int64_t k = 0;
    for (; k + kUnrolledSteps <= length; k += kUnrolledSteps, b += 16 * kUnrolledSteps) {
#pragma GCC unroll 16
      for (int i = 0; i < kUnrolledSteps; ++i) step(k + i, b + 16 * i);
      // Asked for all at once they would fill the queue of what the core waits for.
      if constexpr (P == 1) __builtin_prefetch(reinterpret_cast<const char*>(b) + t.ahead, 0, 2);
    }
    for (; k < length; ++k, b += 16) step(k, b);
  }

  if (t.partial != nullptr) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p)
        acc[r][p] = load_c(t.partial + (top + r) * t.ld_partial + first, p) + acc[r][p];
    }
  }
  const Epilogue& e = *t.epilogue;
  if (t.finish && t.bias != nullptr) {
    if (e.bias_per_row) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[r][p] = acc[r][p] + splat(t.bias[top + r]);
      }
    } else {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        const F32 bias = load_c(t.bias + first, p);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[r][p] = acc[r][p] + bias;
      }
    }
  }
  if (t.finish && t.residual != nullptr) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p)
        acc[r][p] = acc[r][p] + load_c(t.residual + (top + r) * e.residual_stride + first, p);
    }
  }
  if (t.finish && is_clamp(e)) {
    const Clamp clamp(e);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) acc[r][p] = clamp(acc[r][p]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      float* out = t.c + (top + r) * t.ldc + first + 16 * p;
      if (kHalf && p + 1 == P) {
        store_half_n(out, acc[r][p], columns);
      } else if (p + 1 < P || columns == 16) {
        store(out, acc[r][p]);
      } else {
        store_n(out, acc[r][p], columns);
      }
    }
  }
}

// The costlier activations take a second pass over the tile, which is still in the first cache.
inline void activate_tile(const MatrixTile& t, int rows, int64_t columns) {
  if (t.finish && takes_second_pass(*t.epilogue))
    t.epilogue->activate_rows(t.c, t.ldc, rows, columns, *t.epilogue);
}

template <int R, int P>
void matrix_tile(const MatrixTile& t) {
  for (int64_t g = 0; g < t.groups; ++g) matrix_group<R, P, false>(t, g, g + 1 < t.groups ? 16 : t.columns);
  activate_tile(t, R, 16 * (P * t.groups - 1) + t.columns);
}
// One panel, of 8 columns at most.
template <int R>
void half_matrix_tile(const MatrixTile& t) {
  matrix_group<R, 1, true>(t, 0, t.columns);
  activate_tile(t, R, t.columns);
}
// Two panels, the last of which has 8 columns at most: alone it would load as much as it multiplies. As many
// of the rows at a time as keep the sums in registers.
template <int R>
void wide_half_matrix_tile(const MatrixTile& t) {
  constexpr int kMost = max_of(kAccumulators * 2 / 3, 1), kPieces = static_cast<int>(div_up(R, kMost));
  constexpr int kTop = static_cast<int>(div_up(R, kPieces)), kLeft = R - kTop * (kPieces - 1);
#pragma GCC unroll 4
  for (int i = 0; i + 1 < kPieces; ++i) matrix_group<kTop, 2, true, R>(t, 0, t.columns, i * kTop);
  matrix_group<kLeft, 2, true, R>(t, 0, t.columns, R - kLeft);
  activate_tile(t, R, 16 + t.columns);
}

using MatrixTileFn = void (*)(const MatrixTile&);

// tiles[level][rows - 1] is Make<rows, 1 << level>::tile, or null where that does not fit.
template <class Fn>
struct TileTable {
  Fn tiles[kTileLevels][kMaxTileRows];

  // The largest that exists for so many rows, and has no more than `panels` panels.
  int level(int rows, int64_t panels) const {
    int l = 0;
    while (l + 1 < kTileLevels && tiles[l + 1][rows - 1] != nullptr && int64_t{2} << l <= panels) ++l;
    return l;
  }
};
template <class Fn, template <int, int> class Make, int R = kMaxTileRows, int L = 0>
constexpr void fill_tile_table(TileTable<Fn>& t) {
  if constexpr (Make<R, 1 << L>::kFits) t.tiles[L][R - 1] = Make<R, 1 << L>::tile;
  if constexpr (L + 1 < kTileLevels) {
    fill_tile_table<Fn, Make, R, L + 1>(t);
  } else if constexpr (R > 1) {
    fill_tile_table<Fn, Make, R - 1, 0>(t);
  }
}
template <class Fn, template <int, int> class Make>
constexpr TileTable<Fn> make_tile_table() {
  TileTable<Fn> t{};
  fill_tile_table<Fn, Make>(t);
  return t;
}

template <int R, int P>
struct MakeMatrixTile {
  static constexpr bool kFits = R * P <= (P == 1 ? kAccumulators : kWideAccumulators);
  static constexpr MatrixTileFn tile = matrix_tile<R, P>;
};
constexpr TileTable<MatrixTileFn> kMatrixTiles = make_tile_table<MatrixTileFn, MakeMatrixTile>();

struct HalfTiles {
  MatrixTileFn tiles[2][kMaxTileRows] = {};  // of one panel, of two
  template <int R = kMaxTileRows>
  constexpr void fill() {
    tiles[0][R - 1] = half_matrix_tile<R>;
    tiles[1][R - 1] = wide_half_matrix_tile<R>;
    if constexpr (R > 1) fill<R - 1>();
  }
  constexpr HalfTiles() { fill(); }
};
constexpr HalfTiles kHalfTiles;

// Rows cut into the fewest tiles, of heights that differ by one at most: a tile of one or two rows
// at the end would run far below the rate of the others.
struct RowSplit {
  int64_t tiles, base, extra;
  explicit RowSplit(int64_t rows)
      : tiles(div_up(rows, kMaxTileRows)), base(tiles ? rows / tiles : 0), extra(tiles ? rows % tiles : 0) {}
  int64_t first(int64_t tile) const { return tile * base + min_of(tile, extra); }
  // Of the tallest tile.
  int max_height() const { return height(0); }
  int height(int64_t tile) const { return static_cast<int>(base + (tile < extra ? 1 : 0)); }
};

// The k axis as kernels/gemm.h cuts it into chains: the segments of a row of A, whole units of them to a
// chain, or pieces of the only one. A panel's chain fits the first cache beside the rows of A that meet it.
struct Depth {
  int64_t segments, segment_length;
  int64_t chain_segments, chain_length;  // of one chain; the last may be shorter
  Depth(int64_t s, int64_t length, int64_t unit = 1)
      : segments(s),
        segment_length(length),
        chain_segments(s == 1 ? 1 : units_of_chain(div_up(s, unit), unit * length) * unit),
        chain_length(s == 1 ? max_of(pyinfer::chain_length(length), 1) : length) {}
  // As few chains as hold whole units of `size`, kChainLength together or one unit, of equal lengths but the
  // last.
  static int64_t units_of_chain(int64_t units, int64_t size) {
    const int64_t most = max_of(kChainLength / max_of(size, 1), 1);
    return max_of(div_up(units, max_of(div_up(units, most), 1)), 1);
  }
  // One even when k = 0: the epilogue of an empty sum.
  int64_t chains() const {
    return max_of(1, segments == 1 ? div_up(segment_length, chain_length) : div_up(segments, chain_segments));
  }
  int64_t first_k(int64_t chain) const {
    return min_of(chain * chain_segments * chain_length, segments * segment_length);
  }
};

// One output block: `rows` rows from `row`, panels [panel_begin, panel_end), chains [chain_begin, chain_end).
// The sums of earlier chains are in C.
struct MatrixBlock {
  int64_t row, rows, panel_begin, panel_end, chain_begin, chain_end;
  int64_t n;  // columns of the whole matrix
  Depth depth;
  int64_t a_offset;
  const float* b;  // panel 0 at the first chain's first k
  int64_t panel_stride;
  float* c;  // the whole matrix
  int64_t ldc;
  bool finish;               // the chains end with the last one
  const Epilogue* epilogue;  // of the whole matrix
};

// All chains of a tile one after another: `tile` holds what they share, `table` the pointers of its rows, b
// and c the first chain's panel and the tile in C. (A copy of the tile would wait for its stores.)
inline void run_chains(const MatrixBlock& m, MatrixTile& tile, MatrixTileFn run, int level, int height,
                       const float* const* table, const float* b, float* c) {
  const Depth& d = m.depth;
  // Sums between two chains of one call, where C may still be needed for its old values.
  alignas(64) float sums[max_of(kAccumulators, 2 * kMaxTileRows) * 16];
  const int64_t sums_stride = int64_t{16} << level;
  tile.partial = m.chain_begin > 0 ? c : nullptr;
  tile.ld_partial = m.ldc;
  const bool pieces = d.segments == 1;
  for (int64_t chain = m.chain_begin; chain < m.chain_end; ++chain) {
    const bool last = chain + 1 == m.chain_end;
    const int64_t segment = pieces ? 0 : chain * d.chain_segments,
                  offset = pieces ? chain * d.chain_length : 0;
    tile.a = table + segment * height;
    tile.a_offset = m.a_offset + offset;
    tile.segments = min_of(d.chain_segments, d.segments - segment);
    tile.segment_length = min_of(d.chain_length, d.segment_length - offset);
    tile.b = b;
    tile.c = last ? c : sums;
    tile.ldc = last ? m.ldc : sums_stride;
    tile.finish = last && m.finish;
    run(tile);
    tile.partial = sums;
    tile.ld_partial = sums_stride;
    b += tile.segments * tile.segment_length * 16;
  }
}

// `tile_rows(height, first)` returns the pointer table of the tile of the block's RowSplit that has
// `height` rows and starts `first` rows into the block.
// Panels are the outer loop: a panel's k block stays in the first cache while every tile uses it.
template <class TileRows>
void run_matrix_block(const MatrixBlock& m, TileRows tile_rows) {
  const RowSplit split(m.rows);
  const Epilogue& e = *m.epilogue;
  if (split.tiles == 0) return;
  const int64_t lines = m.depth.first_k(m.chain_end) - m.depth.first_k(m.chain_begin);
  // Panels of a short axis are computed several at a time: the rows of A are read once for all of them.
  const bool several = m.depth.chains() == 1;
  const int64_t at_once = several ? max_of(1, kGroupLines / max_of(lines, 1)) : 1;
  // A last panel of few columns goes with the one before it, where other tiles are of one panel.
  const bool has_half = kMatrixTiles.level(split.max_height(), 2) == 0 && m.n - (m.panel_end - 1) * 16 <= 8;
  const int64_t halves = has_half ? min_of(2, m.panel_end - m.panel_begin) : 0;
  int panels = 0;
  for (int64_t panel = m.panel_begin; panel < m.panel_end; panel += panels) {
    const bool half = has_half && panel + halves == m.panel_end;
    const int level = half ? static_cast<int>(halves) - 1
                           : kMatrixTiles.level(split.max_height(), m.panel_end - halves - panel);
    const int64_t groups = half ? 1 : max_of(1, min_of(at_once, m.panel_end - halves - panel) >> level);
    panels = static_cast<int>(groups << level);
    const int64_t column = panel * 16;
    const float* b = m.b + panel * m.panel_stride;
    const bool next = panel + panels < m.panel_end;
    MatrixTile tile{.a = nullptr,
                    .a_offset = 0,
                    .segments = 0,
                    .segment_length = 0,
                    .b = nullptr,
                    .panel_stride = m.panel_stride,
                    .partial = nullptr,
                    .ld_partial = 0,
                    .c = nullptr,
                    .ldc = 0,
                    .groups = groups,
                    .columns = static_cast<int>(min_of(m.n - column - 16 * (panels - 1), 16)),
                    .finish = false,
                    .epilogue = &e,
                    .bias = e.bias,
                    .residual = e.residual,
                    .ahead = 0};
    if (e.bias != nullptr && !e.bias_per_row) tile.bias = e.bias + column;
    for (int64_t i = 0; i < split.tiles; ++i) {
      const int height = split.height(i);
      const int64_t first = split.first(i);
      const int64_t row = m.row + first;
      // The first tiles fetch the next panels while they compute on these: of the lines that a turn of their
      // loop passes, tile i the i-th.
      const bool fetches = next && i < kUnrolledSteps && split.tiles > 1;
      tile.ahead = fetches ? panels * m.panel_stride * 4 + i * 64 : 0;
      if (e.bias != nullptr && e.bias_per_row) tile.bias = e.bias + row;
      if (e.residual != nullptr) tile.residual = e.residual + row * e.residual_stride + column;
      const MatrixTileFn run =
          half ? kHalfTiles.tiles[level][height - 1] : kMatrixTiles.tiles[level][height - 1];
      run_chains(m, tile, run, level, height, tile_rows(height, first), b, m.c + row * m.ldc + column);
    }
  }
}

}  // namespace
}  // namespace pyinfer
