// Walking the windows of kernels/window.h.
#pragma once

#include "kernels/cpu/matrix_tile.inl.h"
#include "kernels/window.h"

namespace pyinfer {
namespace {

inline int64_t volume(const int64_t* dims, int rank) {
  int64_t size = 1;
  for (int d = 0; d < rank; ++d) size *= dims[d];
  return size;
}

// Output positions of a batch of images in row-major order.
struct PixelCursor {
  int64_t image;
  int64_t at[kMaxSpatialRank];
};

inline PixelCursor pixel_at(const Window& w, int64_t row) {
  PixelCursor p{};
  for (int d = w.rank - 1; d >= 0; --d) {
    p.at[d] = row % w.output[d];
    row /= w.output[d];
  }
  p.image = row;
  return p;
}

inline void advance(const Window& w, PixelCursor& p) {
  for (int d = w.rank - 1; d >= 0; --d) {
    if (++p.at[d] < w.output[d]) return;
    p.at[d] = 0;
  }
  ++p.image;
}

// Whether output pixel i reads input pixel i alone.
inline bool is_pointwise(const Window& w) {
  bool one = true;
  for (int d = 0; d < w.rank; ++d)
    one = one && w.kernel[d] == 1 && w.stride[d] == 1 && w.pad[d] == 0 && w.output[d] == w.input[d];
  return one;
}

// Where the windows that touch no padding are: along axis d, output positions [low[d], high[d]).
struct Interior {
  int64_t low[kMaxSpatialRank], high[kMaxSpatialRank];
};

inline Interior interior_of(const Window& w) {
  Interior in{};
  for (int d = 0; d < w.rank; ++d) {
    const int64_t room = w.input[d] - 1 - (w.kernel[d] - 1) * w.dilation[d] + w.pad[d];
    in.low[d] = div_up(max_of(w.pad[d], 0), w.stride[d]);
    in.high[d] = room < 0 ? 0 : room / w.stride[d] + 1;
  }
  return in;
}

inline bool contains(const Interior& in, const Window& w, const PixelCursor& p) {
  bool inside = true;
  for (int d = 0; d < w.rank; ++d) inside = inside && p.at[d] >= in.low[d] && p.at[d] < in.high[d];
  return inside;
}

// The input pixel under the first tap, as an index into the image. Precondition: p is in the interior.
inline int64_t first_pixel(const Window& w, const PixelCursor& p) {
  int64_t index = 0;
  for (int d = 0; d < w.rank; ++d) index = index * w.input[d] + p.at[d] * w.stride[d] - w.pad[d];
  return index;
}

// Floats from a window's first pixel to that of each tap along the first `axes` axes (and the first tap
// along the others), in row-major order.
inline void tap_offsets(const Window& w, int axes, int64_t pixel_stride, int64_t* out) {
  const int64_t taps = volume(w.kernel, axes);
  for (int64_t tap = 0; tap < taps; ++tap) {
    int64_t rest = tap, scale = pixel_stride, offset = 0;
    for (int d = w.rank - 1; d >= 0; scale *= w.input[d], --d) {
      if (d >= axes) continue;
      offset += rest % w.kernel[d] * w.dilation[d] * scale;
      rest /= w.kernel[d];
    }
    out[tap] = offset;
  }
}

// Calls f(row) for each combination of taps along all axes but the last, in row-major order; `row` is the
// index of the input row (a run of w.input[rank - 1] pixels) it reads within the image, -1 for padding.
template <class F>
void for_each_input_row(const Window& w, const PixelCursor& p, F f) {
  const int last = w.rank - 1;
  int64_t tap[kMaxSpatialRank] = {};
  for (;;) {
    int64_t row = 0;
    bool inside = true;
    for (int d = 0; d < last; ++d) {
      const int64_t i = p.at[d] * w.stride[d] - w.pad[d] + tap[d] * w.dilation[d];
      inside = inside && i >= 0 && i < w.input[d];
      row = row * w.input[d] + i;
    }
    f(inside ? row : -1);
    int d = last - 1;
    for (; d >= 0; --d) {
      if (++tap[d] < w.kernel[d]) break;
      tap[d] = 0;
    }
    if (d < 0) return;
  }
}

// The first input position of a window along the last axis.
inline int64_t last_axis_begin(const Window& w, const PixelCursor& p) {
  const int last = w.rank - 1;
  return p.at[last] * w.stride[last] - w.pad[last];
}

// Writes where each tap of a window finds its pixel, `step` entries apart: in the image, or at `zeros`.
template <class T>
void gather_taps(const Window& w, const PixelCursor& p, const T* image, int64_t pixel_stride, const T* zeros,
                 const T** out, int64_t step) {
  const int last = w.rank - 1;
  const int64_t begin = last_axis_begin(w, p), width = w.input[last], dilation = w.dilation[last];
  for_each_input_row(w, p, [&](int64_t row) {
    const T* pixels = image + row * width * pixel_stride;
    for (int64_t k = 0, i = begin; k < w.kernel[last]; ++k, i += dilation, out += step) {
      *out = row >= 0 && i >= 0 && i < width ? pixels + i * pixel_stride : zeros;
    }
  });
}

// The same with one entry for all taps along the last axis, which read adjacent pixels: in the image, at
// `zeros`, or, across the image's border, at a copy appended to `copies`. Precondition: dilation 1 along
// that axis and no gap between pixels.
inline void gather_runs(const Window& w, const PixelCursor& p, const float* image, int64_t channels,
                        const float* zeros, const float** out, int64_t step, float*& copies) {
  const int last = w.rank - 1;
  const int64_t begin = last_axis_begin(w, p), width = w.input[last], taps = w.kernel[last];
  const int64_t low = max_of(0, -begin), high = min_of(taps, width - begin);
  for_each_input_row(w, p, [&](int64_t row) {
    if (row < 0 || low >= high) {
      *out = zeros;
    } else if (low == 0 && high == taps) {
      *out = image + (row * width + begin) * channels;
    } else {
      const float* pixels = image + (row * width + begin + low) * channels;
      *out = copies;
      for (int64_t i = 0; i < low * channels; ++i) *copies++ = 0.0f;
      for (int64_t i = 0; i < (high - low) * channels; ++i) *copies++ = pixels[i];
      for (int64_t i = 0; i < (taps - high) * channels; ++i) *copies++ = 0.0f;
    }
    out += step;
  });
}

}  // namespace
}  // namespace pyinfer
