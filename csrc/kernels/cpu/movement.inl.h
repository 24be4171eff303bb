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

// Runs that are no power of two long, as two moves that may overlap.
template <class T>
inline void copy_pair(const std::byte* src, std::byte* dst, int64_t run) {
  const int64_t second = run - static_cast<int64_t>(sizeof(T));
  const T head = load_element<T>(src), tail = load_element<T>(src + second);
  store_element(dst, head);
  store_element(dst + second, tail);
}

inline void copy_run(const std::byte* src, std::byte* dst, int64_t run) {
  if (run > 32) {
    __builtin_memcpy(dst, src, static_cast<size_t>(run));
  } else if (run >= 16) {
    copy_pair<Element16>(src, dst, run);
  } else if (run >= 8) {
    copy_pair<uint64_t>(src, dst, run);
  } else if (run >= 4) {
    copy_pair<uint32_t>(src, dst, run);
  } else {
    for (int64_t i = 0; i < run; ++i) dst[i] = src[i];
  }
}

// n runs of `run` bytes.
inline void copy_runs(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride, int64_t n,
                      int64_t run) {
  const bool done =
      with_element(run, [&](auto t) { copy_elements<decltype(t)>(src, src_stride, dst, dst_stride, n); });
  if (done) return;
  for (int64_t i = 0; i < n; ++i) copy_run(src + i * src_stride, dst + i * dst_stride, run);
}

// Sixteen bytes of elements, and their perfect shuffle with others: a0 b0 a1 b1 ...
template <class T>
struct Lanes;
template <>
struct Lanes<uint8_t> {
  typedef uint8_t Vector __attribute__((vector_size(16)));
  static Vector low(Vector a, Vector b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  static Vector high(Vector a, Vector b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
};
template <>
struct Lanes<uint16_t> {
  typedef uint16_t Vector __attribute__((vector_size(16)));
  static Vector low(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
  static Vector high(Vector a, Vector b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
};
template <>
struct Lanes<uint32_t> {
  typedef uint32_t Vector __attribute__((vector_size(16)));
  static Vector low(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
  static Vector high(Vector a, Vector b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
};
template <>
struct Lanes<uint64_t> {
  typedef uint64_t Vector __attribute__((vector_size(16)));
  static Vector low(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 2); }
  static Vector high(Vector a, Vector b) { return __builtin_shufflevector(a, b, 1, 3); }
};

// dst(i,j) = src(j,i) for a square of N = 16 / sizeof(T) elements: shuffling row r with row r + N/2 takes one
// bit of the row number into the column number, so that log2 N rounds exchange the two.
template <class T>
inline void copy_square(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride) {
  using V = typename Lanes<T>::Vector;
  constexpr int kN = 16 / sizeof(T);
  V a[kN], b[kN];
  for (int r = 0; r < kN; ++r) a[r] = load_element<V>(src + r * src_stride);
  for (int round = 1; round < kN; round *= 2) {
    for (int r = 0; r < kN / 2; ++r) {
      b[2 * r] = Lanes<T>::low(a[r], a[r + kN / 2]);
      b[2 * r + 1] = Lanes<T>::high(a[r], a[r + kN / 2]);
    }
    for (int r = 0; r < kN; ++r) a[r] = b[r];
  }
  for (int r = 0; r < kN; ++r) store_element(dst + r * dst_stride, a[r]);
}

// dst(2i) = dst(2i+1) = src(i).
template <class T>
inline void double_elements(const std::byte* src, std::byte* dst, int64_t n) {
  using V = typename Lanes<T>::Vector;
  constexpr int64_t kSize = sizeof(T), kN = 16 / kSize;
  int64_t i = 0;
  for (; i + kN <= n; i += kN) {
    const V v = load_element<V>(src + i * kSize);
    store_element(dst + 2 * i * kSize, Lanes<T>::low(v, v));
    store_element(dst + (2 * i + kN) * kSize, Lanes<T>::high(v, v));
  }
  for (; i < n; ++i) {
    const T v = load_element<T>(src + i * kSize);
    store_element(dst + 2 * i * kSize, v);
    store_element(dst + (2 * i + 1) * kSize, v);
  }
}

// dst(i,j) = src(i,j) where i is contiguous in src and j in dst, for kRows rows.
template <class T, int kRows>
inline void copy_few_rows(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride,
                          int64_t columns) {
  constexpr int64_t kSize = sizeof(T);
  for (int64_t j = 0; j < columns; ++j) {
    T v[kRows];
    for (int64_t i = 0; i < kRows; ++i) v[i] = load_element<T>(src + i * kSize + j * src_stride);
    for (int64_t i = 0; i < kRows; ++i) store_element(dst + i * dst_stride + j * kSize, v[i]);
  }
}

// The same for kColumns columns.
template <class T, int kColumns>
inline void copy_few_columns(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride,
                             int64_t rows) {
  constexpr int64_t kSize = sizeof(T);
  for (int64_t i = 0; i < rows; ++i) {
    T v[kColumns];
    for (int64_t j = 0; j < kColumns; ++j) v[j] = load_element<T>(src + i * kSize + j * src_stride);
    for (int64_t j = 0; j < kColumns; ++j) store_element(dst + i * dst_stride + j * kSize, v[j]);
  }
}

// The same for any numbers of either, a few at a time along the longer side.
template <class T>
inline void copy_strip(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride,
                       int64_t rows, int64_t columns) {
  constexpr int64_t kSize = sizeof(T);
  if (rows <= columns) {
    int64_t i = 0;
    for (; i + 3 <= rows; i += 3)
      copy_few_rows<T, 3>(src + i * kSize, src_stride, dst + i * dst_stride, dst_stride, columns);
    for (; i < rows; ++i)
      copy_few_rows<T, 1>(src + i * kSize, src_stride, dst + i * dst_stride, dst_stride, columns);
  } else {
    int64_t j = 0;
    for (; j + 3 <= columns; j += 3)
      copy_few_columns<T, 3>(src + j * src_stride, src_stride, dst + j * kSize, dst_stride, rows);
    for (; j < columns; ++j)
      copy_few_columns<T, 1>(src + j * src_stride, src_stride, dst + j * kSize, dst_stride, rows);
  }
}

// The same in squares, the rest in strips.
template <class T>
inline void copy_tile(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride,
                      int64_t rows, int64_t columns) {
  constexpr int64_t kSize = sizeof(T);
  int64_t square_rows = 0, square_columns = 0;
  if constexpr (kSize <= 8) {
    if (src_stride == 0 && columns == 2 && dst_stride == 2 * kSize) return double_elements<T>(src, dst, rows);
    constexpr int64_t kN = 16 / kSize;
    square_rows = rows / kN * kN;
    square_columns = columns / kN * kN;
    for (int64_t j = 0; j < square_columns; j += kN)
      for (int64_t i = 0; i < square_rows; i += kN)
        copy_square<T>(src + i * kSize + j * src_stride, src_stride, dst + i * dst_stride + j * kSize,
                       dst_stride);
  }
  copy_strip<T>(src + square_columns * src_stride, src_stride, dst + square_columns * kSize, dst_stride,
                square_rows, columns - square_columns);
  copy_strip<T>(src + square_rows * kSize, src_stride, dst + square_rows * dst_stride, dst_stride,
                rows - square_rows, columns);
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
  for (int64_t i = 0; i < n; ++i) copy_run(src + indices[i] * row_bytes, dst + i * row_bytes, row_bytes);
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
