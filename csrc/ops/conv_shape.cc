#include "ops/conv_shape.h"

#include <algorithm>
#include <cmath>

#include "ops/work.h"

namespace pyinfer {
namespace {

double multiply_add(double a, double b, double c) {
  return std::fma(a, b, c);
}
uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
  return a * b + c;
}

// Output positions [begin, end) of axis d at which tap `k` reads inside the image.
struct Span {
  int64_t begin, end;
};
Span positions(const Window& w, int d, int64_t k) {
  const int64_t shift = k * w.dilation[d] - w.pad[d];
  const int64_t begin = shift >= 0 ? 0 : ceil_div(-shift, w.stride[d]);
  const int64_t end = shift >= w.input[d] ? 0 : ceil_div(w.input[d] - shift, w.stride[d]);
  return {begin, std::max(begin, std::min(end, w.output[d]))};
}

// y += weight * x under one tap. `axis` walks the axes before the last.
template <class T>
void add_tap(const Window& w, const int64_t* tap, int axis, T weight, const T* x, T* y) {
  const Span span = positions(w, axis, tap[axis]);
  const int64_t shift = tap[axis] * w.dilation[axis] - w.pad[axis], stride = w.stride[axis];
  if (axis == w.rank - 1) {
    const T* in = x + shift;
    for (int64_t o = span.begin; o < span.end; ++o) y[o] = multiply_add(weight, in[o * stride], y[o]);
    return;
  }
  const int64_t x_step = spatial_size(w.input + axis + 1, w.rank - axis - 1);
  const int64_t y_step = spatial_size(w.output + axis + 1, w.rank - axis - 1);
  for (int64_t o = span.begin; o < span.end; ++o)
    add_tap(w, tap, axis + 1, weight, x + (o * stride + shift) * x_step, y + o * y_step);
}

template <class T>
void plane(const ConvShape& s, const T* x, const T* weights, T* y, int64_t n, int64_t m) {
  const Window& w = s.window;
  const int64_t channels = s.in_channels / s.groups, group = m / (s.out_channels / s.groups);
  const int64_t x_size = spatial_size(w.input, w.rank), taps = spatial_size(w.kernel, w.rank);
  std::fill(y, y + spatial_size(w.output, w.rank), T{0});
  if (is_empty_sum(s)) return;
  x += (n * s.in_channels + group * channels) * x_size;
  weights += m * channels * taps;
  int64_t tap[kMaxSpatialRank] = {};
  for (int64_t t = 0; t < taps; ++t) {
    for (int64_t c = 0; c < channels; ++c) add_tap(w, tap, 0, weights[c * taps + t], x + c * x_size, y);
    for (int d = w.rank - 1; d >= 0 && ++tap[d] == w.kernel[d]; --d) tap[d] = 0;
  }
}

}  // namespace

int64_t conv_groups(const NodeContext& ctx) {
  const int64_t groups = ctx.attr_int("group", 1);
  require(groups >= 1, ErrorCode::kInvalidModel, "attribute 'group' = ", groups, ", expected at least 1");
  return groups;
}

ConvShape conv_shape(const SlidingWindow& window, const ImageShape& x, const Shape& weights, int64_t groups) {
  require(weights.rank() == x.rank + 2, ErrorCode::kInvalidInput, "weights of shape ", weights, ", expected ",
          x.rank + 2, " dimensions");
  require(weights[1] <= INT64_MAX / groups && weights[1] * groups == x.channels, ErrorCode::kInvalidInput,
          "X has ", x.channels, " channels, but weights of shape ", weights, " in ", groups, " groups take ",
          weights[1], " each");
  require(weights[0] % groups == 0, ErrorCode::kInvalidInput, weights[0],
          " output channels do not divide into ", groups, " groups");
  ConvShape s;
  s.window = window.resolve(x, weights.dims().subspan(2));
  s.batch = x.batch;
  s.in_channels = x.channels;
  s.out_channels = weights[0];
  s.groups = groups;
  return s;
}

ImageShape conv_output(const ConvShape& s) {
  ImageShape y;
  y.batch = s.batch;
  y.channels = s.out_channels;
  y.rank = s.window.rank;
  std::copy(s.window.output, s.window.output + y.rank, y.spatial);
  return y;
}

int64_t conv_flops(const ConvShape& s) {
  const int64_t k = Shape(std::span(s.window.kernel, static_cast<size_t>(s.window.rank))).count();
  return product_flops(conv_rows(s), s.out_channels, k * (s.in_channels / s.groups));
}

bool is_empty_sum(const ConvShape& s) {
  return s.in_channels == 0 || std::count(s.window.input, s.window.input + s.window.rank, 0) != 0;
}

void conv_plane(const ConvShape& s, const double* x, const double* w, double* y, int64_t n, int64_t m) {
  plane(s, x, w, y, n, m);
}
void conv_plane(const ConvShape& s, const uint32_t* x, const uint32_t* w, uint32_t* y, int64_t n, int64_t m) {
  plane(s, x, w, y, n, m);
}

}  // namespace pyinfer
