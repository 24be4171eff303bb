// Body of kernels/norm.h.
#pragma once

#include "kernels/cpu/reduce.inl.h"
#include "kernels/cpu/runs.inl.h"
#include "kernels/norm.h"

namespace pyinfer {
namespace {

// The maximum for a softmax: NaN is passed over here, and comes back with its exponential.
struct TopLanes {
  static constexpr float kIdentity = -kInfinity;
  static F32 join(F32 a, F32 x) { return greater(x, a); }
  static float tree(F32 a) { return reduce_max(a); }
};

[[gnu::flatten]] void softmax_row(const float* x, float* y, int64_t n) {
  const F32 top = splat(fold_row<TopLanes>(x, n));
  F32 sum = zero_f32();
  each_vector(n, [&](int64_t i, int count) {
    const F32 e = exp_flush(load_upto(x + i, count) - top);
    store_upto(y + i, e, count);
    sum = count == 16 ? sum + e : select(first_lanes(count), sum + e, sum);
  });
  const F32 factor = splat(1.0f) / splat(reduce_add(sum));
  each_vector(n, [&](int64_t i, int count) { store_upto(y + i, load_upto(y + i, count) * factor, count); });
}
[[gnu::flatten]] void log_softmax_row(const float* x, float* y, int64_t n) {
  const F32 top = splat(fold_row<TopLanes>(x, n));
  const F32 log_sum = log(splat(fold_row(x, n, ExpLanes{top})));
  each_vector(
      n, [&](int64_t i, int count) { store_upto(y + i, (load_upto(x + i, count) - top) - log_sum, count); });
}
inline void hardmax_row(const float* x, float* y, int64_t n) {
  const int64_t at = n > 0 ? arg_row<Largest, false>(x, n) : 0;
  for (int64_t i = 0; i < n; ++i) y[i] = i == at ? 1.0f : 0.0f;
}
// x / divisor, 0 where that is 0.
inline F32 divide_or_zero(F32 x, F32 divisor) {
  return clear(divisor == zero_f32(), x / divisor);
}
inline void lp_row(const float* x, float* y, int64_t n, int p) {
  const F32 norm = p == 1 ? splat(fold_row<AbsLanes>(x, n)) : sqrt(splat(fold_row<SquareLanes>(x, n)));
  each_vector(n, [&](int64_t i, int count) {
    store_upto(y + i, divide_or_zero(load_upto(x + i, count), norm), count);
  });
}

// One to 16 columns, n rows `stride` apart. Each lane is one line of the axis, taken in ascending order.
template <class Use>
inline void each_row(const float* x, int64_t n, int64_t stride, int width, Use use) {
  for (int64_t r = 0; r < n; ++r) use(r, load_upto(x + r * stride, width));
}
inline F32 top_of_columns(const float* x, int64_t n, int64_t stride, int width) {
  F32 top = splat(-kInfinity);
  each_row(x, n, stride, width, [&](int64_t, F32 v) { top = greater(v, top); });
  return top;
}
// Short axes are read once, into a buffer: far strides between rows miss the cache again and again.
constexpr int64_t kBufferedRows = 64;
[[gnu::flatten]] void softmax_columns(const float* x, float* y, int64_t n, int64_t stride, int width) {
  const bool buffered = n <= kBufferedRows;
  float buffer[16 * kBufferedRows];
  F32 top = splat(-kInfinity);
  each_row(x, n, stride, width, [&](int64_t r, F32 v) {
    top = greater(v, top);
    if (buffered) store(buffer + r * 16, v);
  });
  const float* from = buffered ? buffer : x;
  float* e = buffered ? buffer : y;
  const int64_t step = buffered ? 16 : stride;
  F32 sum = zero_f32();
  each_row(from, n, step, buffered ? 16 : width, [&](int64_t r, F32 v) {
    const F32 power = exp_flush(v - top);
    store_upto(e + r * step, power, buffered ? 16 : width);
    sum = sum + power;
  });
  const F32 factor = splat(1.0f) / sum;
  for (int64_t r = 0; r < n; ++r) {
    store_upto(y + r * stride, load_upto(e + r * step, buffered ? 16 : width) * factor, width);
  }
}
[[gnu::flatten]] void log_softmax_columns(const float* x, float* y, int64_t n, int64_t stride, int width) {
  const F32 top = top_of_columns(x, n, stride, width);
  F32 sum = zero_f32();
  each_row(x, n, stride, width, [&](int64_t, F32 v) { sum = sum + exp_flush(v - top); });
  const F32 log_sum = log(sum);
  each_row(x, n, stride, width,
           [&](int64_t r, F32 v) { store_upto(y + r * stride, (v - top) - log_sum, width); });
}
inline void hardmax_columns(const float* x, float* y, int64_t n, int64_t stride, int width) {
  int64_t place[16];
  if (n > 0) arg_columns<Largest, false>(x, n, stride, width, place);
  for (int64_t r = 0; r < n; ++r)
    for (int i = 0; i < width; ++i) y[r * stride + i] = place[i] == r ? 1.0f : 0.0f;
}
inline void lp_columns(const float* x, float* y, int64_t n, int64_t stride, int width, int p) {
  F32 sum = zero_f32();
  each_row(x, n, stride, width,
           [&](int64_t, F32 v) { sum = p == 1 ? AbsLanes::join(sum, v) : SquareLanes::join(sum, v); });
  const F32 norm = p == 1 ? sum : sqrt(sum);
  each_row(x, n, stride, width,
           [&](int64_t r, F32 v) { store_upto(y + r * stride, divide_or_zero(v, norm), width); });
}

// Lines [begin, end) of outer * inner, by rows or by columns.
template <class Row, class Columns>
inline void each_line(const AxisArgs& args, int64_t begin, int64_t end, Row row, Columns columns) {
  for (int64_t at = begin; at < end;) {
    const int64_t column = at % args.inner;
    const int64_t offset = at / args.inner * args.n * args.inner + column;
    if (args.inner == 1) {
      row(args.x + offset, args.y + offset);
      ++at;
      continue;
    }
    int64_t width = args.inner - column < end - at ? args.inner - column : end - at;
    if (width > 16) width = 16;
    columns(args.x + offset, args.y + offset, static_cast<int>(width));
    at += width;
  }
}
void softmax_lines(const AxisArgs& a, int64_t begin, int64_t end) {
  each_line(
      a, begin, end, [&](const float* x, float* y) { softmax_row(x, y, a.n); },
      [&](const float* x, float* y, int width) { softmax_columns(x, y, a.n, a.inner, width); });
}
void log_softmax_lines(const AxisArgs& a, int64_t begin, int64_t end) {
  each_line(
      a, begin, end, [&](const float* x, float* y) { log_softmax_row(x, y, a.n); },
      [&](const float* x, float* y, int width) { log_softmax_columns(x, y, a.n, a.inner, width); });
}
void hardmax_lines(const AxisArgs& a, int64_t begin, int64_t end) {
  each_line(
      a, begin, end, [&](const float* x, float* y) { hardmax_row(x, y, a.n); },
      [&](const float* x, float* y, int width) { hardmax_columns(x, y, a.n, a.inner, width); });
}
void lp_lines(const AxisArgs& a, int p, int64_t begin, int64_t end) {
  each_line(
      a, begin, end, [&](const float* x, float* y) { lp_row(x, y, a.n, p); },
      [&](const float* x, float* y, int width) { lp_columns(x, y, a.n, a.inner, width, p); });
}

// sum (x - mean)^2.
struct DeviationLanes {
  static constexpr float kIdentity = 0.0f;
  F32 mean;
  F32 join(F32 a, F32 x) const {
    const F32 d = x - mean;
    return fma(d, d, a);
  }
  static float tree(F32 a) { return reduce_add(a); }
};
inline F32 inv_deviation(F32 square_sum, int64_t count, float epsilon) {
  return splat(1.0f) / sqrt(square_sum / splat(static_cast<float>(count)) + splat(epsilon));
}
inline F32 scaled(F32 v, const float* scale, const float* bias, int64_t i, int count) {
  if (scale != nullptr && bias != nullptr)
    return fma(v, load_upto(scale + i, count), load_upto(bias + i, count));
  if (scale != nullptr) return v * load_upto(scale + i, count);
  return bias != nullptr ? v + load_upto(bias + i, count) : v;
}

void layer_norm_rows(const RowNormArgs& a, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x + r * a.n;
    float* y = a.y + r * a.n;
    const F32 mean = splat(fold_row<SumLanes>(x, a.n)) / splat(static_cast<float>(a.n));
    const F32 inv = inv_deviation(splat(fold_row(x, a.n, DeviationLanes{mean})), a.n, a.epsilon);
    each_vector(a.n, [&](int64_t i, int count) {
      const F32 v = (load_upto(x + i, count) - mean) * inv;
      store_upto(y + i, scaled(v, a.scale, a.bias, i, count), count);
    });
    if (a.mean != nullptr) a.mean[r] = lane0(mean);
    if (a.inv_deviation != nullptr) a.inv_deviation[r] = lane0(inv);
  }
}
void rms_norm_rows(const RowNormArgs& a, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x + r * a.n;
    float* y = a.y + r * a.n;
    const F32 inv = inv_deviation(splat(fold_row<SquareLanes>(x, a.n)), a.n, a.epsilon);
    each_vector(a.n, [&](int64_t i, int count) {
      store_upto(y + i, scaled(load_upto(x + i, count) * inv, a.scale, a.bias, i, count), count);
    });
    if (a.mean != nullptr) a.mean[r] = 0.0f;
    if (a.inv_deviation != nullptr) a.inv_deviation[r] = lane0(inv);
  }
}

// One group of [channels, spatial]: its elements are one run.
inline void group_norm_first(const GroupNormArgs& a, int64_t group) {
  const int64_t width = a.channels / a.groups, n = width * a.spatial;
  const float* x = a.x + group * n;
  float* y = a.y + group * n;
  const F32 mean = splat(fold_row<SumLanes>(x, n)) / splat(static_cast<float>(n));
  const F32 inv = inv_deviation(splat(fold_row(x, n, DeviationLanes{mean})), n, a.epsilon);
  for (int64_t j = 0; j < width; ++j, x += a.spatial, y += a.spatial) {
    const int64_t c = group % a.groups * width + j;
    const F32 scale = splat(a.scale != nullptr ? a.scale[c] : 1.0f),
              bias = splat(a.bias != nullptr ? a.bias[c] : 0.0f);
    each_vector(a.spatial, [&](int64_t i, int count) {
      store_upto(y + i, fma((load_upto(x + i, count) - mean) * inv, scale, bias), count);
    });
  }
}

// Groups of [spatial, channels]. Each channel is summed over the places in order, then the channels of a
// group in order; so a group's bits do not depend on which groups are computed with it.
constexpr int64_t kChannelBlock = 64;

// out[j] = fold of column j of 64 or fewer, with the lanes of column j.
template <class MakeLanes>
inline void fold_channels(const float* x, int64_t rows, int64_t stride, int64_t width, float* out,
                          MakeLanes make) {
  each_vector(width, [&](int64_t j, int count) {
    const auto lanes = make(j, count);
    F32 sum = zero_f32();
    each_row(x + j, rows, stride, count, [&](int64_t, F32 v) { sum = lanes.join(sum, v); });
    store_upto(out + j, sum, count);
  });
}

// `count` whole groups from channel `first` of one image; count * width <= kChannelBlock unless count is 1.
inline void group_norm_last(const GroupNormArgs& a, const float* x, float* y, int64_t first, int64_t count) {
  const int64_t width = a.channels / a.groups, channels = count * width, n = width * a.spatial;
  float sums[kChannelBlock], mean[kChannelBlock], inv[kChannelBlock];  // the last two by group
  float channel_mean[kChannelBlock];
  x += first, y += first;
  const auto spread = [&](const float* by_group, int64_t at, int64_t block, float* by_channel) {
    for (int64_t j = 0; j < block; ++j) by_channel[j] = by_group[(at + j) / width];
  };
  for (int64_t g = 0; g < count; ++g) mean[g] = inv[g] = 0.0f;
  for (int64_t at = 0; at < channels; at += kChannelBlock) {
    const int64_t block = channels - at < kChannelBlock ? channels - at : kChannelBlock;
    fold_channels(x + at, a.spatial, a.channels, block, sums, [](int64_t, int) { return SumLanes{}; });
    for (int64_t j = 0; j < block; ++j) mean[(at + j) / width] += sums[j];
  }
  for (int64_t g = 0; g < count; ++g) mean[g] /= static_cast<float>(n);
  for (int64_t at = 0; at < channels; at += kChannelBlock) {
    const int64_t block = channels - at < kChannelBlock ? channels - at : kChannelBlock;
    spread(mean, at, block, channel_mean);
    fold_channels(x + at, a.spatial, a.channels, block, sums,
                  [&](int64_t j, int lanes) { return DeviationLanes{load_upto(channel_mean + j, lanes)}; });
    for (int64_t j = 0; j < block; ++j) inv[(at + j) / width] += sums[j];
  }
  for (int64_t g = 0; g < count; ++g) inv[g] = lane0(inv_deviation(splat(inv[g]), n, a.epsilon));
  for (int64_t at = 0; at < channels; at += kChannelBlock) {
    const int64_t block = channels - at < kChannelBlock ? channels - at : kChannelBlock;
    float channel_inv[kChannelBlock];
    spread(mean, at, block, channel_mean);
    spread(inv, at, block, channel_inv);
    for (int64_t r = 0; r < a.spatial; ++r) {
      const int64_t row = r * a.channels + at;
      each_vector(block, [&](int64_t j, int lanes) {
        const F32 v = (load_upto(x + row + j, lanes) - load_upto(channel_mean + j, lanes)) *
                      load_upto(channel_inv + j, lanes);
        store_upto(y + row + j, scaled(v, a.scale, a.bias, first + at + j, lanes), lanes);
      });
    }
  }
}

void group_norm_range(const GroupNormArgs& a, int64_t begin, int64_t end) {
  if (!a.channels_last) {
    for (int64_t g = begin; g < end; ++g) group_norm_first(a, g);
    return;
  }
  const int64_t width = a.channels / a.groups;
  const int64_t most = width < kChannelBlock ? kChannelBlock / width : 1;
  for (int64_t at = begin; at < end;) {
    const int64_t group = at % a.groups;
    int64_t count = a.groups - group < end - at ? a.groups - group : end - at;
    if (count > most) count = most;
    const int64_t image = at / a.groups * a.spatial * a.channels;
    group_norm_last(a, a.x + image, a.y + image, group * width, count);
    at += count;
  }
}

void channel_affine_range(const ChannelAffineArgs& a, int64_t begin, int64_t end) {
  const int64_t n = a.inner == 1 ? a.channels : a.inner;
  for (int64_t u = begin; u < end; ++u) {
    const float* x = a.x + u * n;
    float* y = a.y + u * n;
    if (a.inner == 1) {
      each_vector(n, [&](int64_t i, int count) {
        const F32 scale = load_upto(a.scale + i, count), shift = load_upto(a.shift + i, count);
        store_upto(y + i, fma(load_upto(x + i, count), scale, shift), count);
      });
    } else {
      const F32 scale = splat(a.scale[u % a.channels]), shift = splat(a.shift[u % a.channels]);
      each_vector(n, [&](int64_t i, int count) {
        store_upto(y + i, fma(load_upto(x + i, count), scale, shift), count);
      });
    }
  }
}

constexpr NormKernels kNormKernels = {.softmax = softmax_lines,
                                      .log_softmax = log_softmax_lines,
                                      .hardmax = hardmax_lines,
                                      .lp_normalize = lp_lines,
                                      .layer_norm = layer_norm_rows,
                                      .rms_norm = rms_norm_rows,
                                      .group_norm = group_norm_range,
                                      .channel_affine = channel_affine_range};

}  // namespace
}  // namespace pyinfer
