// Body of the winograd family (contract: kernels/winograd.h): transforms over 16 channels at a time around
// the matrix products of the gemm family.
#pragma once

#include "kernels/cpu/gemm.inl.h"
#include "kernels/winograd.h"

namespace pyinfer {
namespace {

// One axis of the transforms: from kPoints inputs d to points r, and from products p of points to M outputs
// y, the sums over points of point^i times product for i < M, where infinity counts in the last alone.
template <int kPoints>
struct WinogradPoints;

template <>
struct WinogradPoints<1> {  // the identity
  static void input(const F32* d, F32* r) { r[0] = d[0]; }
  template <int M>
  static void output(const F32* p, F32* y) {
    y[0] = p[0];
  }
};

template <>
struct WinogradPoints<4> {  // 0, 1, -1, infinity
  static void input(const F32* d, F32* r) {
    r[0] = d[2] - d[0];
    r[1] = d[1] + d[2];
    r[2] = d[2] - d[1];
    r[3] = d[3] - d[1];
  }
  template <int M>
  static void output(const F32* p, F32* y) {
    static_assert(M == 2);
    y[0] = p[0] + (p[1] + p[2]);
    y[1] = (p[1] - p[2]) + p[3];
  }
};

template <>
struct WinogradPoints<6> {  // 0, a, -a, b, -b, infinity; rows of B^T are the polynomials that vanish at the
                            // others
  static constexpr float kA = 0.625f, kB = 1.5f;
  static void input(const F32* d, F32* r) {
    const F32 aabb = splat(kA * kA * kB * kB), sum = splat(kA * kA + kB * kB);
    r[0] = fma(aabb, d[0], fnma(sum, d[2], d[4]));
    r[5] = fma(aabb, d[1], fnma(sum, d[3], d[5]));
    const F32 bb = splat(kB * kB), a = splat(kA);
    const F32 even_a = fnma(bb, d[2], d[4]), odd_a = fnma(bb, d[1], d[3]);
    r[1] = fma(a, odd_a, even_a);
    r[2] = fnma(a, odd_a, even_a);
    const F32 aa = splat(kA * kA), b = splat(kB);
    const F32 even_b = fnma(aa, d[2], d[4]), odd_b = fnma(aa, d[1], d[3]);
    r[3] = fma(b, odd_b, even_b);
    r[4] = fnma(b, odd_b, even_b);
  }
  template <int M>
  static void output(const F32* p, F32* y) {
    static_assert(M == 2 || M == 4);
    const F32 even_a = p[1] + p[2], odd_a = p[1] - p[2], even_b = p[3] + p[4], odd_b = p[3] - p[4];
    y[0] = (p[0] + even_a) + even_b;
    if constexpr (M == 2) {
      y[1] = fma(splat(kB), odd_b, fma(splat(kA), odd_a, p[5]));
    } else {
      y[1] = fma(splat(kB), odd_b, splat(kA) * odd_a);
      y[2] = fma(splat(kB * kB), even_b, splat(kA * kA) * even_a);
      y[3] = fma(splat(kB * kB * kB), odd_b, fma(splat(kA * kA * kA), odd_a, p[5]));
    }
  }
};

// F(M, R) along one axis of a tile; the tile functions below are templates over both axes.
template <int M, int R>
struct MinimalFilter {
  static constexpr int kOutputs = M, kPoints = M + R - 1;
  static void input(const F32* d, F32* r) { WinogradPoints<kPoints>::input(d, r); }
  static void output(const F32* p, F32* y) { WinogradPoints<kPoints>::template output<M>(p, y); }
};

// f(y, x) with the filters of both axes.
template <class F>
void with_filters(const WinogradGrid& grid, F f) {
  using Identity = MinimalFilter<1, 1>;
  using Three2 = MinimalFilter<2, 3>;
  using Three4 = MinimalFilter<4, 3>;
  const bool one_axis = grid.y.taps == 1;
  if (grid.x.taps == 5) return f(Identity{}, MinimalFilter<2, 5>{});
  if (grid.x.m == 4) return one_axis ? f(Identity{}, Three4{}) : f(Three4{}, Three4{});
  return one_axis ? f(Identity{}, Three2{}) : f(Three2{}, Three2{});
}

// A block of tiles in scratch: matrix e holds row i of its tile i. Rows and matrices are an odd number of
// cache lines apart, so that the lines one tile touches do not compete for the same place in the caches.
struct WinogradMatrices {
  int64_t row, matrix;  // floats
  WinogradMatrices(int64_t tiles, int64_t columns)
      : row((div_up(columns, 16) | 1) * 16), matrix((tiles * row / 16 | 1) * 16) {}
};

struct WinogradScratch {
  float *zeros, *input, *products;
  int64_t floats;
  WinogradScratch(const ConvArgs& args, int64_t points, int64_t tiles, int64_t panels, void* scratch) {
    const int64_t channels = args.shape.in_channels;
    const int64_t zero_floats = div_up(channels, 16) * 16;
    const int64_t input_floats = points * WinogradMatrices(tiles, channels).matrix;
    zeros = static_cast<float*>(scratch);
    input = zeros + zero_floats;
    products = input + input_floats;
    floats = zero_floats + input_floats + points * WinogradMatrices(tiles, panels * 16).matrix;
  }
};

inline size_t winograd_scratch_bytes(const ConvArgs& args, int64_t m, int64_t tiles, int64_t panels) {
  const WinogradGrid grid(args.shape, m);
  return static_cast<size_t>(WinogradScratch(args, grid.points, tiles, panels, nullptr).floats) *
         sizeof(float);
}

// Where a tile lies: image, and position of its first output pixel.
struct WinogradTile {
  int64_t image, y, x;
};
inline WinogradTile winograd_tile_at(const WinogradGrid& grid, int64_t tile) {
  const int64_t across = grid.x.tiles, each = grid.y.tiles * across;
  return {tile / each, tile % each / across * grid.y.m, tile % across * grid.x.m};
}
inline void advance(const WinogradGrid& grid, WinogradTile& t) {
  if ((t.x += grid.x.m) < grid.x.output) return;
  t.x = 0;
  if ((t.y += grid.y.m) < grid.y.output) return;
  t.y = 0;
  ++t.image;
}

// out[e] = point e of B^T d B for `n` channels, 1 <= n <= 16, of the pixels d; `out` is `matrix` floats a
// step.
template <class Y, class X, bool kWhole>
inline void transform_channels(const float* const* pixels, int64_t channel, int n, float* out,
                               int64_t matrix) {
  constexpr int TY = Y::kPoints, TX = X::kPoints;
  const auto pixel = [&](int y, int x) {
    const float* p = pixels[y * TX + x] + channel;
    return kWhole ? load(p) : load_n(p, n);
  };
  alignas(64) float columns[TY * TX * 16];
  if constexpr (TY > 1) {
    for (int x = 0; x < TX; ++x) {
      F32 d[TY], r[TY];
#pragma GCC unroll 8
      for (int y = 0; y < TY; ++y) d[y] = pixel(y, x);
      Y::input(d, r);
#pragma GCC unroll 8
      for (int y = 0; y < TY; ++y) store(columns + (y * TX + x) * 16, r[y]);
    }
  }
  for (int y = 0; y < TY; ++y) {
    F32 d[TX], r[TX];
#pragma GCC unroll 8
    for (int x = 0; x < TX; ++x) {
      if constexpr (TY > 1) {
        d[x] = load(columns + (y * TX + x) * 16);
      } else {
        d[x] = pixel(y, x);
      }
    }
    X::input(d, r);
#pragma GCC unroll 8
    for (int x = 0; x < TX; ++x) store(out + x * matrix, r[x]);
    out += TX * matrix;
  }
}

template <class Y, class X>
void transform_tiles(const ConvArgs& args, const WinogradGrid& grid, int64_t begin, int64_t end,
                     const WinogradScratch& scratch) {
  constexpr int TY = Y::kPoints, TX = X::kPoints;
  const WinogradAxis &ay = grid.y, &ax = grid.x;
  const int64_t channels = args.shape.in_channels, image_size = ay.input * ax.input * args.x_stride;
  const WinogradMatrices to(end - begin, channels);
  for (int64_t c = 0; c < channels; c += 16) store(scratch.zeros + c, zero_f32());
  WinogradTile t = winograd_tile_at(grid, begin);
  for (int64_t i = 0; i < end - begin; ++i, advance(grid, t)) {
    const float* image = args.x + t.image * image_size;
    const float* pixels[TY * TX];
    for (int y = 0; y < TY; ++y) {
      for (int x = 0; x < TX; ++x) {
        const int64_t in_y = t.y - ay.pad + y, in_x = t.x - ax.pad + x;
        const bool inside = in_y >= 0 && in_y < ay.input && in_x >= 0 && in_x < ax.input;
        pixels[y * TX + x] =
            inside ? image + (in_y * ay.input_step + in_x * ax.input_step) * args.x_stride : scratch.zeros;
      }
    }
    float* out = scratch.input + i * to.row;
    int64_t c = 0;
    for (; c + 16 <= channels; c += 16) transform_channels<Y, X, true>(pixels, c, 16, out + c, to.matrix);
    if (c < channels)
      transform_channels<Y, X, false>(pixels, c, static_cast<int>(channels - c), out + c, to.matrix);
  }
}

// One panel of a tile's outputs: `columns` channels of rows x across valid pixels.
struct WinogradOutput {
  float* y;
  int64_t y_row, y_stride;  // floats between rows of pixels, and between pixels
  const float* residual;    // null, or at the tile's first output
  int64_t residual_row, residual_stride;
  const float* bias;  // null, or at the panel's first channel
  int rows, across, columns;
};

// A^T p A of the products p of one tile and panel, `matrix` floats apart, through the epilogue to Y.
template <class Y, class X, bool kWhole>
inline void finish_panel(const float* p, int64_t matrix, const WinogradOutput& o, const Epilogue& e) {
  constexpr int TY = Y::kPoints, TX = X::kPoints, MY = Y::kOutputs, MX = X::kOutputs;
  alignas(64) float rows[MY * TX * 16];
  if constexpr (TY > 1) {
    for (int x = 0; x < TX; ++x) {
      F32 d[TY], r[MY];
#pragma GCC unroll 8
      for (int y = 0; y < TY; ++y) d[y] = load(p + (y * TX + x) * matrix);
      Y::output(d, r);
#pragma GCC unroll 8
      for (int y = 0; y < MY; ++y) store(rows + (y * TX + x) * 16, r[y]);
    }
  }
  const auto load_c = [&o](const float* at) { return kWhole ? load(at) : load_n(at, o.columns); };
  const bool clamped = is_clamp(e);
  const F32 bias = o.bias != nullptr ? load_c(o.bias) : zero_f32();
  for (int y = 0; y < o.rows; ++y) {
    F32 d[TX], r[MX];
#pragma GCC unroll 8
    for (int x = 0; x < TX; ++x) d[x] = TY > 1 ? load(rows + (y * TX + x) * 16) : load(p + x * matrix);
    X::output(d, r);
    if (o.bias != nullptr) {
#pragma GCC unroll 8
      for (int x = 0; x < MX; ++x) r[x] = r[x] + bias;
    }
    if (o.residual != nullptr) {
      const float* residual = o.residual + y * o.residual_row;
#pragma GCC unroll 8
      for (int x = 0; x < MX; ++x) {
        if (x < o.across) r[x] = r[x] + load_c(residual + x * o.residual_stride);
      }
    }
    if (clamped) {
      const Clamp clamp(e);
#pragma GCC unroll 8
      for (int x = 0; x < MX; ++x) r[x] = clamp(r[x]);
    }
    float* out = o.y + y * o.y_row;
#pragma GCC unroll 8
    for (int x = 0; x < MX; ++x) {
      if (x >= o.across) break;
      if constexpr (kWhole) {
        store(out + x * o.y_stride, r[x]);
      } else {
        store_n(out + x * o.y_stride, r[x], o.columns);
      }
    }
    if (takes_second_pass(e)) e.activate_rows(out, o.y_stride, o.across, o.columns, e);
  }
}

template <class Y, class X>
void finish_tiles(const ConvArgs& args, const WinogradGrid& grid, int64_t begin, int64_t end,
                  int64_t panel_begin, int64_t panel_end, const WinogradScratch& scratch) {
  const WinogradAxis &ay = grid.y, &ax = grid.x;
  const Epilogue& e = args.epilogue;
  const WinogradMatrices from(end - begin, (panel_end - panel_begin) * 16);
  WinogradTile t = winograd_tile_at(grid, begin);
  for (int64_t i = 0; i < end - begin; ++i, advance(grid, t)) {
    const int64_t pixel = t.image * ay.output * ax.output + t.y * ay.output_step + t.x * ax.output_step;
    WinogradOutput o{.y = nullptr,
                     .y_row = ay.output_step * args.y_stride,
                     .y_stride = ax.output_step * args.y_stride,
                     .residual = nullptr,
                     .residual_row = ay.output_step * e.residual_stride,
                     .residual_stride = ax.output_step * e.residual_stride,
                     .bias = nullptr,
                     .rows = static_cast<int>(min_of(Y::kOutputs, ay.output - t.y)),
                     .across = static_cast<int>(min_of(X::kOutputs, ax.output - t.x)),
                     .columns = 16};
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      const int64_t column = panel * 16;
      o.y = args.y + pixel * args.y_stride + column;
      if (e.residual != nullptr) o.residual = e.residual + pixel * e.residual_stride + column;
      if (e.bias != nullptr) o.bias = e.bias + column;
      o.columns = static_cast<int>(min_of(16, args.shape.out_channels - column));
      const float* p = scratch.products + i * from.row + (panel - panel_begin) * 16;
      if (o.columns == 16) {
        finish_panel<Y, X, true>(p, from.matrix, o, e);
      } else {
        finish_panel<Y, X, false>(p, from.matrix, o, e);
      }
    }
  }
}

inline void winograd_transform(const ConvArgs& args, int64_t m, int64_t begin, int64_t end, void* memory) {
  const WinogradGrid grid(args.shape, m);
  const WinogradScratch scratch(args, grid.points, end - begin, 0, memory);
  with_filters(grid, [&]<class Y, class X>(Y, X) { transform_tiles<Y, X>(args, grid, begin, end, scratch); });
}

// R rows of a product under one panel: c(r,j) = sum over k of a(r,k) * b(k,j). Every other step of k asks for
// what lies `ahead`, `ahead_step` bytes further on: weights come from memory while the tile computes.
struct WinogradRows {
  const float* a;
  int64_t lda, k;
  const float* b;
  float* c;
  int64_t ldc;
  const char* ahead;
  int64_t ahead_step;
};
template <int R>
void winograd_rows(const WinogradRows& t) {
  F32 acc[R];
  const float* a[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    acc[r] = zero_f32();
    a[r] = t.a + r * t.lda;
  }
  const float* b = t.b;
  const char* ahead = t.ahead;
  const int64_t depth = t.k, ahead_step = t.ahead_step;
  const auto step = [&](int64_t k, const float* panel) {
    const F32 row = load(panel);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) acc[r] = add_product(acc[r], splat(a[r][k]), row);
  };
  int64_t k = 0;
  for (; k + kUnrolledSteps <= depth; k += kUnrolledSteps, b += 16 * kUnrolledSteps) {
#pragma GCC unroll 16
    for (int i = 0; i < kUnrolledSteps; i += 2, ahead += ahead_step) {
      __builtin_prefetch(ahead, 0, 2);
      step(k + i, b + 16 * i);
      step(k + i + 1, b + 16 * (i + 1));
    }
  }
  for (; k < depth; ++k, b += 16) step(k, b);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) store(t.c + r * t.ldc, acc[r]);
}
using WinogradRowsFn = void (*)(const WinogradRows&);
template <int R>
constexpr void fill_winograd_rows(WinogradRowsFn* rows) {
  rows[R - 1] = winograd_rows<R>;
  if constexpr (R > 1) fill_winograd_rows<R - 1>(rows);
}
struct WinogradRowsTable {
  WinogradRowsFn rows[kMaxTileRows] = {};
  constexpr WinogradRowsTable() { fill_winograd_rows<kMaxTileRows>(rows); }
};
constexpr WinogradRowsTable kWinogradRows;

inline void winograd_products(const ConvArgs& args, int64_t points, int64_t tiles, int64_t panel_begin,
                              int64_t panel_end, const WinogradScratch& scratch) {
  const int64_t panels = panel_end - panel_begin, k = args.shape.in_channels;
  const WinogradMatrices from(tiles, k), to(tiles, panels * 16);
  const int64_t panel_floats = 16 * k, weights_matrix = packed_b_size(k, args.shape.out_channels);
  const RowSplit split(tiles);
  const int64_t share = panel_floats * static_cast<int64_t>(sizeof(float)) / split.tiles;
  for (int64_t e = 0; e < points; ++e) {
    for (int64_t p = 0; p < panels; ++p) {
      const float* b = args.weights + e * weights_matrix + (panel_begin + p) * panel_floats;
      // Each tile of rows fetches its share of the panel that comes next.
      const bool last = p + 1 == panels;
      const float* next = !last            ? b + panel_floats
                          : e + 1 < points ? b + weights_matrix - p * panel_floats
                                           : b;
      WinogradRows rows{.a = scratch.input + e * from.matrix,
                        .lda = from.row,
                        .k = k,
                        .b = b,
                        .c = scratch.products + e * to.matrix + p * 16,
                        .ldc = to.row,
                        .ahead = reinterpret_cast<const char*>(next),
                        .ahead_step = 2 * share / k};
      for (int64_t i = 0; i < split.tiles; ++i) {
        const int height = split.height(i);
        kWinogradRows.rows[height - 1](rows);
        rows.a += height * from.row;
        rows.c += height * to.row;
        rows.ahead += share;
      }
    }
  }
}

inline void winograd_run(const ConvArgs& args, int64_t m, int64_t begin, int64_t end, int64_t panel_begin,
                         int64_t panel_end, void* memory) {
  const WinogradGrid grid(args.shape, m);
  const WinogradScratch scratch(args, grid.points, end - begin, panel_end - panel_begin, memory);
  winograd_products(args, grid.points, end - begin, panel_begin, panel_end, scratch);
  with_filters(grid, [&]<class Y, class X>(Y, X) {
    finish_tiles<Y, X>(args, grid, begin, end, panel_begin, panel_end, scratch);
  });
}

constexpr WinogradKernels kWinogradKernels = {
    .scratch_bytes = winograd_scratch_bytes,
    .transform = winograd_transform,
    .run = winograd_run,
};

}  // namespace
}  // namespace pyinfer
