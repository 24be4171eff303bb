// Body of the movement family (contract: kernels/movement.h).
#pragma once

#include "kernels/cpu/layout.inl.h"
#include "kernels/movement.h"

namespace pyinfer {
namespace {

struct Element16 {
  uint64_t v[2];
};

template <class T>
inline T load_element(const std::byte* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof(T));
  return v;
}

template <class T>
inline void store_element(std::byte* p, T v) {
  __builtin_memcpy(p, &v, sizeof(T));
}

// Calls body with a value of the unsigned type of `bytes` bytes; false when there is none.
template <class Body>
inline bool with_element(int64_t bytes, const Body& body) {
  switch (bytes) {
    case 1: body(uint8_t{}); return true;
    case 2: body(uint16_t{}); return true;
    case 4: body(uint32_t{}); return true;
    case 8: body(uint64_t{}); return true;
    case 16: body(Element16{}); return true;
    default: return false;
  }
}

template <class T>
inline void fill_elements(std::byte* dst, int64_t n, T value) {
  for (int64_t i = 0; i < n; ++i) store_element(dst + i * static_cast<int64_t>(sizeof(T)), value);
}

template <class T>
inline void copy_elements(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride,
                          int64_t n) {
  constexpr int64_t kSize = sizeof(T);
  if (src_stride == 0 && dst_stride == kSize) {
    fill_elements(dst, n, load_element<T>(src));
  } else if (src_stride == -kSize && dst_stride == kSize) {
    for (int64_t i = 0; i < n; ++i) store_element(dst + i * kSize, load_element<T>(src - i * kSize));
  } else {
    for (int64_t i = 0; i < n; ++i)
      store_element(dst + i * dst_stride, load_element<T>(src + i * src_stride));
  }
}

// n runs of `run` bytes.
inline void copy_runs(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride, int64_t n,
                      int64_t run) {
  const bool done =
      with_element(run, [&](auto t) { copy_elements<decltype(t)>(src, src_stride, dst, dst_stride, n); });
  if (done) return;
  for (int64_t i = 0; i < n; ++i)
    __builtin_memcpy(dst + i * dst_stride, src + i * src_stride, static_cast<size_t>(run));
}

// dst(i,j) = src(i,j) where i is contiguous in src and j in dst: squares that keep both in the first cache.
template <class T>
inline void copy_tile(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride,
                      int64_t rows, int64_t columns) {
  constexpr int64_t kSize = sizeof(T), kBlock = 32;
  for (int64_t j0 = 0; j0 < columns; j0 += kBlock) {
    const int64_t n = min_of(kBlock, columns - j0);
    for (int64_t i = 0; i < rows; ++i)
      copy_elements<T>(src + i * kSize + j0 * src_stride, src_stride, dst + i * dst_stride + j0 * kSize,
                       kSize, n);
  }
}

inline void copy_tile_of(const CopyPlan& plan, const std::byte* src, int64_t src_stride, std::byte* dst,
                         int64_t dst_stride, int64_t rows, int64_t columns) {
  // Elements of four bytes lie at multiples of four, as the registers' transpose wants them.
  if (plan.element_bytes == 4 && plan.run == 4 && rows >= 8 && columns >= 8) {
    TransposeArgs args;
    args.rows = columns;
    args.columns = rows;
    args.src = reinterpret_cast<const float*>(src);
    args.src_stride = src_stride / 4;
    args.dst = reinterpret_cast<float*>(dst);
    args.dst_stride = dst_stride / 4;
    layout_transpose(args, 0, rows);
    return;
  }
  with_element(plan.run,
               [&](auto t) { copy_tile<decltype(t)>(src, src_stride, dst, dst_stride, rows, columns); });
}

// Walks the units of a plan: the position in the outer dimensions, and the chunks within.
struct UnitWalk {
  const CopyPlan& plan;
  int outer;  // number of outer dimensions
  int64_t index[CopyPlan::kMaxRank];
  int64_t tile = 0, chunk = 0, tiles, chunks;
  int64_t src = 0, dst = 0;  // bytes

  UnitWalk(const CopyPlan& p, int64_t unit)
      : plan(p), outer(p.rank - (p.mode == CopyPlan::Mode::kTiles ? 2 : 1)) {
    chunks = (p.dims[p.rank - 1] + p.chunk - 1) / p.chunk;
    tiles = p.mode == CopyPlan::Mode::kTiles ? (p.dims[outer] + p.tile_chunk - 1) / p.tile_chunk : 1;
    chunk = unit % chunks;
    tile = unit / chunks % tiles;
    int64_t rest = unit / chunks / tiles;
    for (int d = outer - 1; d >= 0; --d) {
      index[d] = rest % p.dims[d];
      rest /= p.dims[d];
      src += index[d] * p.src_strides[d];
      dst += index[d] * p.dst_strides[d];
    }
  }

  void next() {
    if (++chunk < chunks) return;
    chunk = 0;
    if (++tile < tiles) return;
    tile = 0;
    for (int d = outer - 1; d >= 0; --d) {
      src += plan.src_strides[d];
      dst += plan.dst_strides[d];
      if (++index[d] < plan.dims[d]) return;
      src -= plan.dims[d] * plan.src_strides[d];
      dst -= plan.dims[d] * plan.dst_strides[d];
      index[d] = 0;
    }
  }
};

inline void movement_copy(const CopyPlan& plan, const std::byte* src, std::byte* dst, int64_t begin,
                          int64_t end) {
  if (begin >= end) return;
  const int last = plan.rank - 1;
  const int64_t ss = plan.src_strides[last], ds = plan.dst_strides[last];
  UnitWalk walk(plan, begin);
  for (int64_t unit = begin; unit < end; ++unit, walk.next()) {
    const int64_t first = walk.chunk * plan.chunk;
    const int64_t n = min_of(plan.chunk, plan.dims[last] - first);
    const std::byte* from = src + walk.src + first * ss;
    std::byte* to = dst + walk.dst + first * ds;
    if (plan.mode == CopyPlan::Mode::kBytes) {
      __builtin_memcpy(to, from, static_cast<size_t>(n));
    } else if (plan.mode == CopyPlan::Mode::kRuns) {
      copy_runs(from, ss, to, ds, n, plan.run);
    } else {
      const int64_t row = walk.tile * plan.tile_chunk;
      copy_tile_of(plan, from + row * plan.run, ss, to + row * plan.dst_strides[last - 1],
                   plan.dst_strides[last - 1], min_of(plan.tile_chunk, plan.dims[last - 1] - row), n);
    }
  }
}

inline void movement_gather_rows(const std::byte* src, int64_t row_bytes, const int64_t* indices, int64_t n,
                                 std::byte* dst) {
  const bool done = with_element(row_bytes, [&](auto t) {
    using T = decltype(t);
    constexpr int64_t kSize = sizeof(T);
    for (int64_t i = 0; i < n; ++i) store_element(dst + i * kSize, load_element<T>(src + indices[i] * kSize));
  });
  if (done) return;
  for (int64_t i = 0; i < n; ++i)
    __builtin_memcpy(dst + i * row_bytes, src + indices[i] * row_bytes, static_cast<size_t>(row_bytes));
}

inline void movement_fill(std::byte* dst, int64_t n, const std::byte* value, int64_t element_bytes) {
  with_element(element_bytes, [&](auto t) { fill_elements(dst, n, load_element<decltype(t)>(value)); });
}

constexpr MovementKernels kMovementKernels = {
    .copy = movement_copy,
    .gather_rows = movement_gather_rows,
    .fill = movement_fill,
};

}  // namespace
}  // namespace pyinfer
