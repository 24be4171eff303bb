// Body of the gemm_s8 family (contract: kernels/gemm_s8.h).
//
// B is stored as int8 (unsigned B as B - 128), A prepared once per block of rows as S8Value, kS8Group values
// of k side by side in both, so that one add_dot_s8 takes a group of k for 16 columns:
//   kS8Centred      A less its zero point, in int16. A product is below 2^16 and a pair of them below 2^17,
//   so
//                   16-bit multiply-adds are exact, where the 8-bit ones of AVX2 would saturate.
//   not kS8Centred  A as uint8 (signed A as A + 128), for dot products of bytes that wrap. What the zero
//   point
//                   contributes, a_zero(i) * sum_k B(k,j), is taken off at the end; the sums are stored after
//                   each panel.
// What B's zero point contributes, b_zero(j) * sum_k (A(i,k) - a_zero(i)), is taken off at the end.
#pragma once

#include "kernels/cpu/matrix_tile.inl.h"
#include "kernels/cpu/simd/vec.h"
#include "kernels/gemm_s8.h"

namespace pyinfer {
namespace {

constexpr int64_t kS8ScratchGoal = 256 * 1024;
constexpr int64_t kS8BlockRows = 96;

// Values of k in a prepared row and in a packed panel: whole groups, zeros past K.
constexpr int64_t s8_depth(int64_t k) {
  return div_up(k, kS8Group) * kS8Group;
}
// Bytes from panel to panel: 16 columns, then, for A not centred, the sum of each over k as int32.
constexpr int64_t s8_panel_bytes(int64_t k) {
  return 16 * s8_depth(k) + (kS8Centred ? 0 : 64);
}
constexpr int64_t s8_block_rows(int64_t k) {
  const int64_t row_bytes = s8_depth(k) * static_cast<int64_t>(sizeof(S8Value));
  return max_of(kMaxTileRows, min_of(kS8BlockRows, kS8ScratchGoal / max_of(row_bytes, 1)));
}

// A block of prepared rows, `stride` values apart.
struct S8Rows {
  S8Value* values;
  int64_t stride;
  uint32_t* sums;  // of each row less its zero point, modulo 2^32
  int32_t* zeros;  // of each row, as its values see it
};

constexpr int64_t s8_padded_rows(int64_t k) {
  return div_up(s8_block_rows(k), 16) * 16;
}
constexpr size_t s8_scratch_bytes(int64_t k) {
  return static_cast<size_t>(s8_padded_rows(k) * (8 + s8_depth(k) * static_cast<int64_t>(sizeof(S8Value))));
}
inline S8Rows s8_rows(int64_t k, void* scratch) {
  uint32_t* sums = static_cast<uint32_t*>(scratch);
  int32_t* zeros = static_cast<int32_t*>(scratch) + s8_padded_rows(k);
  return {.values = reinterpret_cast<S8Value*>(zeros + s8_padded_rows(k)),
          .stride = s8_depth(k),
          .sums = sums,
          .zeros = zeros};
}

// How bytes of A turn into values: their type and their zero point in it.
struct S8Source {
  bool is_signed;
  int32_t zero;
  int32_t bias() const { return is_signed ? 128 : 0; }
  // What `zero` is among the values.
  int32_t value_zero() const { return kS8Centred ? 0 : zero + bias(); }
};

template <class T>
uint32_t s8_prepare_as(const T* a, int64_t count, S8Source source, S8Value* out) {
  const int32_t shift = kS8Centred ? -source.zero : source.bias();
  uint32_t sum = 0;
  for (int64_t k = 0; k < count; ++k) {
    const int32_t v = a[k];
    out[k] = static_cast<S8Value>(v + shift);
    sum += static_cast<uint32_t>(v);
  }
  return sum - static_cast<uint32_t>(count) * static_cast<uint32_t>(source.zero);
}
// to[0, n) = from[0, n), in pieces of kSize bytes, the last of which overlaps the one before it.
template <int kSize>
inline void copy_pieces(const uint8_t* from, int64_t n, uint8_t* to) {
  for (int64_t k = 0; k + kSize < n; k += kSize) __builtin_memcpy(to + k, from + k, kSize);
  __builtin_memcpy(to + n - kSize, from + n - kSize, kSize);
}
// Of few bytes, mostly.
inline void copy_bytes(const uint8_t* from, int64_t n, uint8_t* to) {
  if (n >= 16) return copy_pieces<16>(from, n, to);
  if (n >= 8) return copy_pieces<8>(from, n, to);
  if (n >= 4) return copy_pieces<4>(from, n, to);
  for (int64_t k = 0; k < n; ++k) to[k] = from[k];
}

// Writes `count` values; returns the sum of (a(k) - zero) modulo 2^32.
inline uint32_t s8_prepare(const uint8_t* a, int64_t count, S8Source source, S8Value* out) {
  return source.is_signed ? s8_prepare_as(reinterpret_cast<const int8_t*>(a), count, source, out)
                          : s8_prepare_as(a, count, source, out);
}

// Sums of 16 columns as bytes.
struct S8Rounding {
  F32 least, most;
  I32 zero;
  explicit S8Rounding(const S8Requantize& to)
      : least(splat(static_cast<float>(to.low - to.zero))),
        most(splat(static_cast<float>(to.high - to.zero))),
        zero(splat_i32(to.zero)) {}
  I32 operator()(I32 sum, F32 multiplier) const {
    return to_i32(lesser(greater(to_f32(sum) * multiplier, least), most)) + zero;
  }
  // Without the zero point and the lower bound, which packing many of them adds; NaN is below it.
  I32 below(I32 sum, F32 multiplier) const { return to_i32(lesser(most, to_f32(sum) * multiplier)); }
};

struct S8Tile {
  // Row r of segment s starts at a[s * R + r]; k is the segments one after another.
  const S8Value* const* a;
  int64_t segments, segment_groups;
  const int8_t* b;
  int64_t panel_bytes;
  const uint32_t* a_sums;
  const int32_t* a_zeros;  // null: all 0
  const int32_t* b_zeros;  // of the stored values, per column, 16 per panel; null: all 0
  int32_t* c;
  int64_t ldc;
  int columns;                // of the last panel
  const S8Requantize* bytes;  // null: sums are stored
  int64_t column;             // the first
  uint8_t* y;
};

template <int R, int P>
inline void s8_store_sums(const S8Tile& t, const I32 (&acc)[R][P]) {
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

// Two rows of 32 columns at a time where that takes fewer instructions; acc has the bias.
template <int R, int P>
inline void s8_store_bytes(const S8Tile& t, const I32 (&acc)[R][P]) {
  const S8Requantize& to = *t.bytes;
  const S8Rounding round(to);
  constexpr int kPaired = kPacksBytes && P % 2 == 0 ? R / 2 * 2 : 0;
  if (kPaired > 0 && t.columns == 16) {
    const BytePacking pack(to.zero, to.low, to.high);
#pragma GCC unroll 16
    for (int p = 0; p < P; p += 2) {
      const F32 m = load(to.multiplier + t.column + 16 * p), n = load(to.multiplier + t.column + 16 * p + 16);
#pragma GCC unroll 16
      for (int r = 0; r < kPaired; r += 2) {
        uint8_t* y = t.y + r * to.ldy + 16 * p;
        pack.store(y, y + to.ldy, round.below(acc[r][p], m), round.below(acc[r][p + 1], n),
                   round.below(acc[r + 1][p], m), round.below(acc[r + 1][p + 1], n));
      }
    }
    if constexpr (kPaired == R) return;
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
    const bool whole = p + 1 < P || t.columns == 16;
    const float* multipliers = to.multiplier + t.column + 16 * p;
    const F32 multiplier = whole ? load(multipliers) : load_n(multipliers, t.columns);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      if (r < kPaired && t.columns == 16) continue;
      const I32 y = round(acc[r][p], multiplier);
      if (whole) {
        store_bytes(t.y + r * to.ldy + 16 * p, y);
      } else {
        store_bytes_n(t.y + r * to.ldy + 16 * p, y, t.columns);
      }
    }
  }
}

// What the sums of panel p begin with.
inline I32 s8_first(const S8Tile& t, int p, bool last) {
  if (t.bytes == nullptr || t.bytes->bias == nullptr) return splat_i32(0);
  const auto* bias = reinterpret_cast<const float*>(t.bytes->bias) + t.column + 16 * p;
  return as_i32(!last || t.columns == 16 ? load(bias) : load_n(bias, t.columns));
}

template <int R, int P>
void s8_tile(const S8Tile& t) {
  I32 acc[R][P];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
    const I32 first = s8_first(t, p, p + 1 == P);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) acc[r][p] = first;
  }
  const int8_t* b = t.b;
  const int64_t panel_bytes = t.panel_bytes, groups = t.segment_groups;
  const S8Value* const* table = t.a;
  for (int64_t s = 0; s < t.segments; ++s, table += R) {
    const S8Value* a[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) a[r] = table[r];
    for (int64_t g = 0; g < groups; ++g, b += 16 * kS8Group) {
      S8Group row[P];
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) row[p] = load_s8_group(b + p * panel_bytes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto v = splat_s8_group(a[r] + g * kS8Group);
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[r][p] = add_dot_s8(acc[r][p], v, row[p]);
      }
    }
  }
  if (!kS8Centred && t.a_zeros != nullptr) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      const I32 sums = load_i32(reinterpret_cast<const int32_t*>(b + p * panel_bytes));
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r][p] = acc[r][p] - splat_i32(t.a_zeros[r]) * sums;
    }
  }
  if (t.b_zeros != nullptr) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      const I32 zero = load_i32(t.b_zeros + 16 * p);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        acc[r][p] = acc[r][p] - splat_i32(static_cast<int32_t>(t.a_sums[r])) * zero;
      }
    }
  }
  if (t.bytes != nullptr) {
    s8_store_bytes(t, acc);
  } else {
    s8_store_sums(t, acc);
  }
}

using S8TileFn = void (*)(const S8Tile&);
template <int R, int P>
struct MakeS8Tile {
  static constexpr bool kFits = P == 1 ? R <= kAccumulators : R * P <= kS8WideAccumulators;
  static constexpr S8TileFn tile = s8_tile<R, P>;
};
constexpr TileTable<S8TileFn> kS8Tiles = make_tile_table<S8TileFn, MakeS8Tile>();

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

// Asks for cache lines [begin, end) of a packed panel ahead of their use.
inline void prefetch_lines(const void* panel, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) __builtin_prefetch(static_cast<const char*>(panel) + i * 64, 0, 2);
}

// Rows of A as the tiles see them.
struct S8Block {
  int64_t segments, segment_groups;
  const uint32_t* sums;
  const int32_t* zeros;  // null: all 0
};

// Rows [row, row + count) of C. `tile_rows(height, first)` returns the pointers of the tile that begins
// `first` rows into them.
template <class TileRows>
void s8_block(const GemmS8Args& args, const S8Block& rows, int64_t row, int64_t count, int64_t panel_begin,
              int64_t panel_end, TileRows tile_rows) {
  const RowSplit split(count);
  if (split.tiles == 0) return;
  const int64_t panel_bytes = s8_panel_bytes(args.k);
  // Each of several tiles fetches its share of the next panel while it computes on these.
  const int64_t lines = panel_bytes / 64;
  const int64_t share = split.tiles > 1 ? div_up(lines, split.tiles) : 0;
  int panels = 0;
  for (int64_t panel = panel_begin; panel < panel_end; panel += panels) {
    const int level = kS8Tiles.level(split.max_height(), panel_end - panel);
    panels = 1 << level;
    const int64_t column = panel * 16;
    const int columns = static_cast<int>(min_of(args.n - column, 16 * panels));
    const S8Zeros zeros(args, column, columns);
    const int8_t* b = args.b + panel * panel_bytes;
    const int8_t* next = share > 0 && panel + panels < panel_end ? b + panels * panel_bytes : nullptr;
    for (int64_t i = 0; i < split.tiles; ++i) {
      const int height = split.height(i);
      const int64_t first = split.first(i);
      if (next != nullptr) prefetch_lines(next, i * share, min_of((i + 1) * share, lines));
      kS8Tiles.tiles[level][height - 1](
          {.a = tile_rows(height, first),
           .segments = rows.segments,
           .segment_groups = rows.segment_groups,
           .b = b,
           .panel_bytes = panel_bytes,
           .a_sums = rows.sums + first,
           .a_zeros = rows.zeros != nullptr ? rows.zeros + first : nullptr,
           .b_zeros = zeros.any ? zeros.values : nullptr,
           .c = args.bytes != nullptr ? nullptr : args.c + (row + first) * args.ldc + column,
           .ldc = args.ldc,
           .columns = columns - 16 * (panels - 1),
           .bytes = args.bytes,
           .column = column,
           .y = args.bytes != nullptr ? args.bytes->y + (row + first) * args.bytes->ldy + column : nullptr});
    }
  }
}

// The same from rows of values `stride` apart, whose sums and zero points are in `rows`.
inline void s8_rows_block(const GemmS8Args& args, const S8Rows& rows, const S8Value* values, int64_t stride,
                          int64_t row, int64_t count, int64_t panel_begin, int64_t panel_end) {
  const S8Value* table[kMaxTileRows];
  bool any = false;
  for (int64_t i = 0; i < count; ++i) any = any || rows.zeros[i] != 0;
  const S8Block block{.segments = 1,
                      .segment_groups = rows.stride / kS8Group,
                      .sums = rows.sums,
                      .zeros = any ? rows.zeros : nullptr};
  s8_block(args, block, row, count, panel_begin, panel_end, [&](int height, int64_t first) {
    for (int r = 0; r < height; ++r) table[r] = values + (first + r) * stride;
    return table;
  });
}

inline void gemm_s8_run(const GemmS8Args& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                        int64_t panel_end, void* scratch) {
  const S8Rows rows = s8_rows(args.k, scratch);
  const int64_t block = s8_block_rows(args.k);
  const auto* bytes = static_cast<const uint8_t*>(args.a);
  // Rows that are values as they lie, and whose sums nobody needs.
  const bool plain =
      !kS8Centred && !args.a_signed && args.b_signed && args.b_zero == nullptr && args.k % kS8Group == 0;
  for (int64_t row = row_begin; row < row_end; row += block) {
    const int64_t count = min_of(block, row_end - row);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t zero = args.a_zero == nullptr ? 0 : args.a_zero[args.a_zero_per_row ? row + i : 0];
      const S8Source source{.is_signed = args.a_signed, .zero = zero};
      rows.zeros[i] = source.value_zero();
      if (plain) continue;
      S8Value* out = rows.values + i * rows.stride;
      rows.sums[i] = s8_prepare(bytes + (row + i) * args.lda, args.k, source, out);
      for (int64_t k = args.k; k < rows.stride; ++k) out[k] = 0;
    }
    if (plain) {
      s8_rows_block(args, rows, reinterpret_cast<const S8Value*>(bytes + row * args.lda), args.lda, row,
                    count, panel_begin, panel_end);
    } else {
      s8_rows_block(args, rows, rows.values, rows.stride, row, count, panel_begin, panel_end);
    }
  }
}

inline int64_t gemm_s8_packed_size(int64_t k, int64_t n) {
  return div_up(n, 16) * s8_panel_bytes(k);
}

// Writes one panel: per group of k, the kS8Group bytes of each of 16 columns. `at(k, j)` is where B(k, j) of
// the panel's column j is. Zeros past K and past `columns`.
template <class At>
void s8_pack_panel(int64_t depth, int64_t columns, bool is_signed, int8_t* out, At at) {
  const uint8_t flip = is_signed ? 0 : 0x80;  // v - 128 has the bits of v with the first one turned
  int32_t sums[16] = {};
  for (int64_t k = 0; k < depth; k += kS8Group) {
    for (int64_t j = 0; j < 16; ++j) {
      for (int64_t l = 0; l < kS8Group; ++l, ++out) {
        const bool inside = j < columns && k + l < depth;
        *out = inside ? static_cast<int8_t>(*at(k + l, j) ^ flip) : int8_t{0};
        sums[j] += *out;
      }
    }
  }
  if constexpr (!kS8Centred) {
    for (int64_t j = 0; j < 16; ++j) __builtin_memcpy(out + 4 * j, &sums[j], 4);
  }
}

inline void gemm_s8_pack_b(const PackS8Args& args, int64_t panel_begin, int64_t panel_end) {
  const int64_t row_step = args.transposed ? 1 : args.ldb, column_step = args.transposed ? args.ldb : 1;
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const uint8_t* in = static_cast<const uint8_t*>(args.b) + panel * 16 * column_step;
    s8_pack_panel(args.k, min_of(16, args.n - panel * 16), args.b_signed,
                  args.packed + panel * s8_panel_bytes(args.k),
                  [&](int64_t k, int64_t j) { return in + k * row_step + j * column_step; });
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
