// The register tile shared by the matrix families: R rows by P panels of 16 columns, rows of A
// reached through a table of pointers so that a plain matrix and a convolution's gathered pixels
// look the same.
#pragma once

#include "kernels/cpu/activation.inl.h"
#include "kernels/cpu/simd/vec.h"
#include "kernels/epilogue.h"

namespace pyinfer {
namespace {

// The accumulators of an R x P tile must stay in registers: R * P <= kAccumulators. GCC keeps the
// array in registers only when every loop over it is unrolled at compile time, hence the pragmas.
constexpr int kMaxTileRows = kAccumulators < 12 ? kAccumulators : 12;
constexpr int kMaxTilePanels = 4;
constexpr int tile_panels(int rows) {
  const int fit = kAccumulators / rows;
  return fit < kMaxTilePanels ? fit : kMaxTilePanels;
}

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
  float* c;              // first output of the tile
  int64_t ldc;
  int columns;               // valid columns of the last panel, 1..16
  bool resume;               // c holds the partial sums of earlier k
  bool finish;               // apply the epilogue
  const Epilogue* epilogue;  // activation and strides
  const float* bias;         // null, or at the tile's first column or row
  const float* residual;     // null, or at the tile's first output
};

template <int R, int P>
void matrix_tile(const MatrixTile& t) {
  F32 acc[R][P];
  const int columns = t.columns;
  const auto load_c = [columns](const float* p, int panel) {
    return panel + 1 < P || columns == 16 ? load(p + 16 * panel) : load_n(p + 16 * panel, columns);
  };
  if (t.resume) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) acc[r][p] = load_c(t.c + r * t.ldc, p);
    }
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) acc[r][p] = zero_f32();
    }
  }

  const float* b = t.b;
  const int64_t panel_stride = t.panel_stride;
  const int64_t length = t.segment_length;
  const float* const* table = t.a;
  for (int64_t s = 0; s < t.segments; ++s, table += R) {
    const float* a[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) a[r] = table[r] + t.a_offset;
    for (int64_t k = 0; k < length; ++k, b += 16) {
      F32 row[P];
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) row[p] = load(b + p * panel_stride);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F32 v = splat(a[r][k]);
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[r][p] = fma(v, row[p], acc[r][p]);
      }
    }
  }

  const Epilogue& e = *t.epilogue;
  if (t.finish && t.bias != nullptr) {
    if (e.bias_per_row) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[r][p] = acc[r][p] + splat(t.bias[r]);
      }
    } else {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        const F32 bias = load_c(t.bias, p);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[r][p] = acc[r][p] + bias;
      }
    }
  }
  if (t.finish && t.residual != nullptr) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) acc[r][p] = acc[r][p] + load_c(t.residual + r * e.residual_stride, p);
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
      float* out = t.c + r * t.ldc + 16 * p;
      if (p + 1 < P || columns == 16) {
        store(out, acc[r][p]);
      } else {
        store_n(out, acc[r][p], columns);
      }
    }
  }
  // The costlier activations take a second pass over the tile, which is still in the first cache.
  if (t.finish && e.activation > Activation::kClip) {
    activate_rows(t.c, t.ldc, R, 16 * (P - 1) + columns, e);
  }
}

using MatrixTileFn = void (*)(const MatrixTile&);

// The tile functions for 1..kMaxTileRows rows, at a given number of panels.
struct MatrixTileTable {
  MatrixTileFn single[kMaxTileRows];  // one panel
  MatrixTileFn common[kMaxTileRows];  // as many panels as the tallest tile has
  MatrixTileFn widest[kMaxTileRows];  // tile_panels(rows) panels
};

template <int R>
constexpr void fill_tile_table(MatrixTileTable& t) {
  if constexpr (R > 0) {
    t.single[R - 1] = matrix_tile<R, 1>;
    t.common[R - 1] = matrix_tile<R, tile_panels(kMaxTileRows)>;
    t.widest[R - 1] = matrix_tile<R, tile_panels(R)>;
    fill_tile_table<R - 1>(t);
  }
}
constexpr MatrixTileTable make_tile_table() {
  MatrixTileTable t{};
  fill_tile_table<kMaxTileRows>(t);
  return t;
}
constexpr MatrixTileTable kMatrixTiles = make_tile_table();

// Rows cut into the fewest tiles, of heights that differ by one at most: a tile of one or two rows
// at the end would run far below the rate of the others.
struct RowSplit {
  int64_t tiles, base, extra;
  explicit RowSplit(int64_t rows)
      : tiles(div_up(rows, kMaxTileRows)), base(tiles ? rows / tiles : 0), extra(tiles ? rows % tiles : 0) {}
  int64_t first(int64_t tile) const { return tile * base + min_of(tile, extra); }
  int height(int64_t tile) const { return static_cast<int>(base + (tile < extra ? 1 : 0)); }
};

// One output block: `rows` rows from `row`, panels [panel_begin, panel_end), over one block of k.
struct MatrixBlock {
  int64_t row, rows, panel_begin, panel_end;
  int64_t n;  // columns of the whole matrix
  int64_t segments, segment_length, a_offset;
  const float* b;  // panel 0 at the block's first k
  int64_t panel_stride;
  float* c;  // the whole matrix
  int64_t ldc;
  bool resume, finish;
  const Epilogue* epilogue;  // of the whole matrix
};

// Asks for cache lines [begin, end) of packed panels ahead of their use.
inline void prefetch_lines(const void* panel, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) __builtin_prefetch(static_cast<const char*>(panel) + i * 64, 0, 2);
}

// `tile_rows(height, first)` returns the pointer table of the tile of the block's RowSplit that has
// `height` rows and starts `first` rows into the block.
// Panels are the outer loop: a panel's k block stays in the first cache while every tile uses it.
template <class TileRows>
void run_matrix_block(const MatrixBlock& m, TileRows tile_rows) {
  const RowSplit split(m.rows);
  const Epilogue& e = *m.epilogue;
  const int group = split.tiles == 1 ? tile_panels(static_cast<int>(m.rows)) : tile_panels(kMaxTileRows);
  const auto& wide = split.tiles == 1 ? kMatrixTiles.widest : kMatrixTiles.common;
  // Each of several tiles fetches its share of the next panel while it computes on these.
  const int64_t depth = m.segments * m.segment_length;
  const int64_t share = split.tiles > 1 ? div_up(depth, split.tiles) : 0;
  int panels = group;
  for (int64_t panel = m.panel_begin; panel < m.panel_end; panel += panels) {
    panels = panel + group <= m.panel_end ? group : 1;
    const auto& fns = panels == group ? wide : kMatrixTiles.single;
    const int64_t column = panel * 16;
    const int columns = static_cast<int>(min_of(m.n - column - 16 * (panels - 1), 16));
    const float* next =
        share > 0 && panel + panels < m.panel_end ? m.b + (panel + panels) * m.panel_stride : nullptr;
    MatrixTile tile{.a = nullptr,
                    .a_offset = m.a_offset,
                    .segments = m.segments,
                    .segment_length = m.segment_length,
                    .b = m.b + panel * m.panel_stride,
                    .panel_stride = m.panel_stride,
                    .c = nullptr,
                    .ldc = m.ldc,
                    .columns = columns,
                    .resume = m.resume,
                    .finish = m.finish,
                    .epilogue = &e,
                    .bias = e.bias,
                    .residual = e.residual};
    if (e.bias != nullptr && !e.bias_per_row) tile.bias = e.bias + column;
    for (int64_t i = 0; i < split.tiles; ++i) {
      const int height = split.height(i);
      const int64_t first = split.first(i);
      const int64_t row = m.row + first;
      if (next != nullptr) prefetch_lines(next, i * share, min_of((i + 1) * share, depth));
      tile.a = tile_rows(height, first);
      tile.c = m.c + row * m.ldc + column;
      if (e.bias != nullptr && e.bias_per_row) tile.bias = e.bias + row;
      if (e.residual != nullptr) tile.residual = e.residual + row * e.residual_stride + column;
      fns[height - 1](tile);
    }
  }
}

}  // namespace
}  // namespace pyinfer
