// Body of kernels/reduce.h.
#pragma once

#include "kernels/cpu/math.inl.h"
#include "kernels/reduce.h"

namespace pyinfer {
namespace {

// How a kind accumulates. `join` takes what is there and the next element, `merge` two accumulations; `tree`
// joins the lanes. A lane that no element reaches keeps `identity`.
struct SumLanes {
  static constexpr float kIdentity = 0.0f;
  static F32 join(F32 a, F32 x) { return a + x; }
  static F32 merge(F32 a, F32 b) { return a + b; }
  static float tree(F32 a) { return reduce_add(a); }
};
struct SquareLanes {
  static constexpr float kIdentity = 0.0f;
  static F32 join(F32 a, F32 x) { return fma(x, x, a); }
  static F32 merge(F32 a, F32 b) { return a + b; }
  static float tree(F32 a) { return reduce_add(a); }
};
struct AbsLanes {
  static constexpr float kIdentity = 0.0f;
  static F32 join(F32 a, F32 x) { return a + abs(x); }
  static F32 merge(F32 a, F32 b) { return a + b; }
  static float tree(F32 a) { return reduce_add(a); }
};
struct ProductLanes {
  static constexpr float kIdentity = 1.0f;
  static F32 join(F32 a, F32 x) { return a * x; }
  static F32 merge(F32 a, F32 b) { return a * b; }
  static float tree(F32 a) { return reduce_mul(a); }
};
struct MaxLanes {
  static constexpr float kIdentity = -kInfinity;
  static F32 join(F32 a, F32 x) { return max(a, x); }
  static F32 merge(F32 a, F32 b) { return max(a, b); }
  static float tree(F32 a) { return reduce_max(a); }
};
struct MinLanes {
  static constexpr float kIdentity = kInfinity;
  static F32 join(F32 a, F32 x) { return min(a, x); }
  static F32 merge(F32 a, F32 b) { return min(a, b); }
  static float tree(F32 a) { return reduce_min(a); }
};
// sum exp(x - shift); `shift` lies in each lane.
struct ExpLanes {
  static constexpr float kIdentity = 0.0f;
  F32 shift;
  F32 join(F32 a, F32 x) const { return a + exp_flush(x - shift); }
  static F32 merge(F32 a, F32 b) { return a + b; }
  static float tree(F32 a) { return reduce_add(a); }
};

// Lanes that the last, partial vector does not reach stay as they are.
template <class Lanes>
inline F32 fold_run(F32 a, const float* x, int64_t n, const Lanes& lanes) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) a = lanes.join(a, load(x + i));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    a = select(first_lanes(rest), lanes.join(a, load_n(x + i, rest)), a);
  }
  return a;
}
template <class Lanes>
inline float fold_row(const float* x, int64_t n, const Lanes& lanes = {}) {
  return lanes.tree(fold_run(splat(Lanes::kIdentity), x, n, lanes));
}

// a[k] over rows r of the columns 16 k, 16 k + 1, ...; `load_at(p)` loads 16 columns.
template <int kVectors, class Lanes, class LoadAt>
inline void fold_columns(F32* a, const float* x, int64_t rows, int64_t stride, const Lanes* lanes,
                         LoadAt load_at) {
  for (int k = 0; k < kVectors; ++k) a[k] = splat(Lanes::kIdentity);
  for (int64_t first = 0; first < rows; first += kReduceRows) {
    F32 chain[kVectors];
    for (F32& c : chain) c = splat(Lanes::kIdentity);
    const int64_t last = first + kReduceRows < rows ? first + kReduceRows : rows;
    for (int64_t r = first; r < last; ++r, x += stride) {
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) chain[k] = lanes[k].join(chain[k], load_at(x + 16 * k));
    }
    for (int k = 0; k < kVectors; ++k) a[k] = Lanes::merge(a[k], chain[k]);
  }
}

inline F32 finish_f32(ReduceKind kind, F32 v, int64_t count) {
  switch (kind) {
    case ReduceKind::kMean: return v / splat(static_cast<float>(count));
    case ReduceKind::kL2: return sqrt(v);
    case ReduceKind::kLogSum: return log(v);
    default: return v;
  }
}
// top + log(sum exp(x - top)); an infinite or NaN maximum is the result itself.
inline F32 finish_log_sum_exp(F32 top, F32 sum) {
  return select(abs(top) < splat(kInfinity), top + log(sum), top);
}

// Calls use(lanes) with the accumulation of `kind`; kLogSumExp has none of its own.
template <class Use>
inline void with_lanes(ReduceKind kind, Use use) {
  switch (kind) {
    case ReduceKind::kSum:
    case ReduceKind::kMean:
    case ReduceKind::kLogSum: return use(SumLanes{});
    case ReduceKind::kMax: return use(MaxLanes{});
    case ReduceKind::kMin: return use(MinLanes{});
    case ReduceKind::kProd: return use(ProductLanes{});
    case ReduceKind::kSumSquare:
    case ReduceKind::kL2: return use(SquareLanes{});
    case ReduceKind::kL1: return use(AbsLanes{});
    case ReduceKind::kLogSumExp: return;
  }
}

inline float log_sum_exp_row(const float* x, int64_t n) {
  const F32 top = splat(fold_row<MaxLanes>(x, n));
  const float sum = fold_row(x, n, ExpLanes{top});
  return lane0(finish_log_sum_exp(top, splat(sum)));
}

// kVectors times 16 columns (`width` of the last 16 when kVectors is 1), all rows.
template <int kVectors>
void reduce_columns(ReduceKind kind, const float* x, int64_t rows, int64_t stride, int width, float* y) {
  F32 a[kVectors];
  for (F32& v : a) v = zero_f32();
  const auto load_at = [&](const float* p) {
    return kVectors > 1 || width == 16 ? load(p) : load_n(p, width);
  };
  const auto fold = [&](auto lanes) {
    decltype(lanes) each[kVectors];
    for (auto& l : each) l = lanes;
    fold_columns<kVectors>(a, x, rows, stride, each, load_at);
  };
  if (kind == ReduceKind::kLogSumExp) {
    fold(MaxLanes{});
    ExpLanes shifted[kVectors];
    for (int k = 0; k < kVectors; ++k) shifted[k].shift = a[k];
    fold_columns<kVectors>(a, x, rows, stride, shifted, load_at);
    for (int k = 0; k < kVectors; ++k) a[k] = finish_log_sum_exp(shifted[k].shift, a[k]);
  } else {
    with_lanes(kind, fold);
  }
  for (int k = 0; k < kVectors; ++k) {
    const F32 v = finish_f32(kind, a[k], rows);
    if (kVectors > 1 || width == 16) {
      store(y + 16 * k, v);
    } else {
      store_n(y, v, width);
    }
  }
}

void reduce_range(ReduceKind kind, const ReduceArgs& args, float* y, int64_t begin, int64_t end) {
  if (args.inner == 1) {
    for (int64_t o = begin; o < end; ++o) {
      const float* x = args.x + o * args.reduce;
      if (kind == ReduceKind::kLogSumExp) {
        y[o] = log_sum_exp_row(x, args.reduce);
      } else {
        with_lanes(kind, [&](auto lanes) {
          y[o] = lane0(finish_f32(kind, splat(fold_row(x, args.reduce, lanes)), args.reduce));
        });
      }
    }
    return;
  }
  for (int64_t at = begin; at < end;) {
    const int64_t column = at % args.inner;
    const float* x = args.x + at / args.inner * args.reduce * args.inner + column;
    int64_t left = args.inner - column < end - at ? args.inner - column : end - at;
    for (; left >= 64; left -= 64, at += 64, x += 64) {
      reduce_columns<4>(kind, x, args.reduce, args.inner, 16, y + at);
    }
    while (left > 0) {
      const int width = left < 16 ? static_cast<int>(left) : 16;
      reduce_columns<1>(kind, x, args.reduce, args.inner, width, y + at);
      left -= width, at += width, x += width;
    }
  }
}

void reduce_start(ReduceKind kind, ReduceLanes& lanes) {
  lanes.next = 0;
  with_lanes(kind, [&](auto l) { store(lanes.lane, splat(decltype(l)::kIdentity)); });
}
void reduce_feed(ReduceKind kind, ReduceLanes& lanes, const float* x, int64_t n) {
  with_lanes(kind, [&](auto l) {
    F32 a = load(lanes.lane);
    // Elements that complete the 16 lanes begun by the piece before go through a shifted vector.
    if (lanes.next != 0 && n > 0) {
      const int count = static_cast<int>(n < 16 - lanes.next ? n : 16 - lanes.next);
      float shifted[16] = {};
      for (int i = 0; i < count; ++i) shifted[lanes.next + i] = x[i];
      const M32 reached = first_lanes(lanes.next + count) & !first_lanes(lanes.next);
      a = select(reached, l.join(a, load(shifted)), a);
      lanes.next = (lanes.next + count) % 16;
      x += count, n -= count;
    }
    store(lanes.lane, fold_run(a, x, n, l));
    lanes.next = static_cast<int>((lanes.next + n) % 16);
  });
}
float reduce_finish(ReduceKind kind, const ReduceLanes& lanes, int64_t count) {
  float y = 0.0f;
  with_lanes(kind, [&](auto l) { y = lane0(finish_f32(kind, splat(l.tree(load(lanes.lane))), count)); });
  return y;
}

// Whether candidate v takes the place of `best`, which was met before it.
struct Largest {
  static constexpr float kIdentity = -kInfinity;
  static M32 beats(F32 v, F32 best) { return v > best; }
  static bool beats(float v, float best) { return v > best; }
};
struct Smallest {
  static constexpr float kIdentity = kInfinity;
  static M32 beats(F32 v, F32 best) { return v < best; }
  static bool beats(float v, float best) { return v < best; }
};
template <class Order, bool kLast>
inline M32 replaces(F32 v, F32 best) {
  const M32 nan = is_nan(v);
  if (kLast) return Order::beats(v, best) | (v == best) | nan;
  return (Order::beats(v, best) | nan) & !is_nan(best);
}

template <class Order, bool kLast>
inline int64_t arg_row(const float* x, int64_t n) {
  // Lane l keeps the best of elements l, l + 16, ... and the number of its vector.
  F32 best = load_n(x, n < 16 ? static_cast<int>(n) : 16, splat(Order::kIdentity));
  I32 place = splat_i32(0);
  for (int64_t i = 16, step = 1; i < n; i += 16, ++step) {
    const int count = n - i < 16 ? static_cast<int>(n - i) : 16;
    const F32 v = count == 16 ? load(x + i) : load_n(x + i, count);
    const M32 take = replaces<Order, kLast>(v, best) & first_lanes(count);
    best = select(take, v, best);
    place = select(take, splat_i32(static_cast<int32_t>(step)), place);
  }
  float value[16];
  int32_t vector[16];
  store(value, best);
  store_i32(vector, place);
  int64_t found = 16 * static_cast<int64_t>(vector[0]);
  float top = value[0];
  for (int l = 1; l < 16 && l < n; ++l) {
    const int64_t at = 16 * static_cast<int64_t>(vector[l]) + l;
    const bool nan = value[l] != value[l], top_nan = top != top;
    const bool equal = value[l] == top || (nan && top_nan);
    const bool better = !top_nan && (nan || Order::beats(value[l], top));
    if (better || (equal && (at > found) == kLast)) {
      top = value[l];
      found = at;
    }
  }
  return found;
}

template <class Order, bool kLast>
inline void arg_columns(const float* x, int64_t rows, int64_t stride, int width, int64_t* y) {
  F32 best = load_n(x, width);
  I32 place = splat_i32(0);
  for (int64_t r = 1; r < rows; ++r) {
    const F32 v = load_n(x + r * stride, width);
    const M32 take = replaces<Order, kLast>(v, best);
    best = select(take, v, best);
    place = select(take, splat_i32(static_cast<int32_t>(r)), place);
  }
  int32_t out[16];
  store_i32(out, place);
  for (int i = 0; i < width; ++i) y[i] = static_cast<uint32_t>(out[i]);
}

template <class Order, bool kLast>
void arg_range(const ReduceArgs& args, int64_t* y, int64_t begin, int64_t end) {
  if (args.inner == 1) {
    for (int64_t o = begin; o < end; ++o) y[o] = arg_row<Order, kLast>(args.x + o * args.reduce, args.reduce);
    return;
  }
  for (int64_t at = begin; at < end;) {
    const int64_t column = at % args.inner;
    int64_t width = args.inner - column < end - at ? args.inner - column : end - at;
    if (width > 16) width = 16;
    arg_columns<Order, kLast>(args.x + at / args.inner * args.reduce * args.inner + column, args.reduce,
                              args.inner, static_cast<int>(width), y + at);
    at += width;
  }
}
void arg_max_range(const ReduceArgs& args, int64_t* y, int64_t begin, int64_t end, bool last) {
  last ? arg_range<Largest, true>(args, y, begin, end) : arg_range<Largest, false>(args, y, begin, end);
}
void arg_min_range(const ReduceArgs& args, int64_t* y, int64_t begin, int64_t end, bool last) {
  last ? arg_range<Smallest, true>(args, y, begin, end) : arg_range<Smallest, false>(args, y, begin, end);
}

constexpr ReduceKernels kReduceKernels = {.reduce = reduce_range,
                                          .start = reduce_start,
                                          .feed = reduce_feed,
                                          .finish = reduce_finish,
                                          .arg_max = arg_max_range,
                                          .arg_min = arg_min_range};

}  // namespace
}  // namespace pyinfer
