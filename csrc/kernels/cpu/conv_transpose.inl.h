// Body of the conv_transpose family (contract: kernels/conv_transpose.h). The output pixels of one line whose
// positions are equal modulo the stride meet the same taps: they are the rows of one dense matrix product,
// and no product with the zeros between the input's pixels is ever formed.
#pragma once

#include "kernels/conv_transpose.h"
#include "kernels/cpu/conv.inl.h"

namespace pyinfer {
namespace {

// Along one axis, the taps that output positions of one residue (o + pad) mod stride meet: first,
// first + step, ... (`count` of them). `before` counts the taps of smaller residues.
struct TapClass {
  int64_t first, step, count, before;
};

inline TapClass tap_class(const Window& w, int d, int64_t residue) {
  TapClass c{.first = 0, .step = 1, .count = 0, .before = 0};
  for (int64_t k = 0; k < w.kernel[d]; ++k) {
    const int64_t r = k * w.dilation[d] % w.stride[d];
    c.before += r < residue;
    if (r != residue) continue;
    if (c.count == 0) c.first = k;
    if (c.count == 1) c.step = k - c.first;
    ++c.count;
  }
  return c;
}

// One line of output pixels, at the positions of its leading axes.
struct TransposeLine {
  int64_t image;
  int64_t at[kMaxSpatialRank];
  TapClass taps[kMaxSpatialRank];
};

inline void conv_transpose_set_axis(const Window& w, int d, int64_t at, TransposeLine& line) {
  line.at[d] = at;
  const int64_t residue = (at + w.pad[d]) % w.stride[d];
  line.taps[d] = tap_class(w, d, residue < 0 ? residue + w.stride[d] : residue);
}

inline TransposeLine transpose_line(const Window& w, int64_t index) {
  TransposeLine line{};
  for (int d = w.rank - 2; d >= 0; --d) {
    conv_transpose_set_axis(w, d, index % w.output[d], line);
    index /= w.output[d];
  }
  line.image = index;
  return line;
}

// Writes where each tap of the pixel at line.at finds its input pixel, `step` entries apart.
inline void gather_transposed(const Window& w, const TransposeLine& line, const float* image,
                              int64_t pixel_stride, const float* zeros, const float** out, int64_t step) {
  int64_t index[kMaxSpatialRank] = {};
  for (;;) {
    int64_t pixel = 0;
    bool inside = true;
    for (int d = 0; d < w.rank; ++d) {
      const int64_t tap = line.taps[d].first + index[d] * line.taps[d].step;
      const int64_t scaled = line.at[d] + w.pad[d] - tap * w.dilation[d];  // a multiple of the stride
      const int64_t i = scaled / w.stride[d];
      inside = inside && scaled >= 0 && i < w.input[d];
      pixel = pixel * w.input[d] + i;
    }
    *out = inside ? image + pixel * pixel_stride : zeros;
    out += step;
    int d = w.rank - 1;
    for (; d >= 0; --d) {
      if (++index[d] < line.taps[d].count) break;
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

inline int64_t transpose_block_rows(const Window& w) {
  return max_of(kMaxTileRows, min_of(kConvBlockRows, kConvScratchGoal / (8 * volume(w.kernel, w.rank))));
}
inline int64_t transpose_zeros(const ConvArgs& args) {
  return div_up(args.shape.in_channels, 16) * 16;
}

inline size_t conv_transpose_scratch_bytes(const ConvArgs& args) {
  const Window& w = args.shape.window;
  return static_cast<size_t>(transpose_zeros(args) * 4 +
                             transpose_block_rows(w) * volume(w.kernel, w.rank) * 8);
}

// The pixels of one line from line.at[last], every `stride`-th, which all meet the taps line.taps.
inline void conv_transpose_phase(const ConvArgs& args, TransposeLine line, int64_t panel_begin,
                                 int64_t panel_end, const float* zeros, const float** table) {
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  const int64_t stride = w.stride[last], first = line.at[last];
  const int64_t pixels = div_up(w.output[last] - first, stride);
  int64_t taps = 1, before = 0;
  for (int d = 0; d < w.rank; ++d) {
    before = before * w.kernel[d] + taps * line.taps[d].before;
    taps *= line.taps[d].count;
  }
  const float* image = args.x + line.image * volume(w.input, w.rank) * args.x_stride;
  int64_t row0 = line.image;
  for (int d = 0; d < w.rank; ++d) row0 = row0 * w.output[d] + line.at[d];

  const int64_t channels = args.shape.in_channels / args.shape.groups;
  const Depth depth(taps, channels);
  const int64_t block = transpose_block_rows(w);
  for (int64_t row = 0; row < pixels; row += block) {
    const int64_t rows = min_of(block, pixels - row);
    const RowSplit split(rows);
    const float** out = table;
    for (int64_t i = 0; i < split.tiles && taps > 0; ++i) {
      const int height = split.height(i);
      for (int r = 0; r < height; ++r) {
        line.at[last] = first + (row + split.first(i) + r) * stride;
        gather_transposed(w, line, image, args.x_stride, zeros, out + r, height);
      }
      out += height * taps;
    }
    for_each_group(args, volume(w.kernel, w.rank) * channels, panel_begin, panel_end,
                   [&](int64_t begin, int64_t end, const GemmArgs& product) {
                     Epilogue e = product.epilogue;
                     if (e.residual != nullptr) e.residual += row0 * e.residual_stride;
                     e.residual_stride *= stride;
                     run_matrix_block({.row = row,
                                       .rows = rows,
                                       .panel_begin = begin,
                                       .panel_end = end,
                                       .chain_begin = 0,
                                       .chain_end = depth.chains(),
                                       .n = product.n,
                                       .depth = depth,
                                       .a_offset = product.a - args.x,
                                       .b = product.b + before * channels * div_up(product.n, 16) * 16,
                                       .panel_stride = taps * channels * 16,
                                       .c = product.c + row0 * args.y_stride,
                                       .ldc = args.y_stride * stride,
                                       .finish = true,
                                       .epilogue = &e},
                                      [&](int, int64_t at) { return table + at * taps; });
                   });
  }
}

inline void conv_transpose_run(const ConvArgs& args, int64_t line_begin, int64_t line_end,
                               int64_t panel_begin, int64_t panel_end, void* scratch) {
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  float* zeros = static_cast<float*>(scratch);
  const float** table = reinterpret_cast<const float**>(zeros + transpose_zeros(args));
  for (int64_t i = 0; i < transpose_zeros(args); ++i) zeros[i] = 0.0f;
  for (int64_t index = line_begin; index < line_end; ++index) {
    TransposeLine line = transpose_line(w, index);
    for (int64_t first = 0; first < min_of(w.stride[last], w.output[last]); ++first) {
      conv_transpose_set_axis(w, last, first, line);
      conv_transpose_phase(args, line, panel_begin, panel_end, zeros, table);
    }
  }
}

constexpr ConvTransposeKernels kConvTransposeKernels = {
    .scratch_bytes = conv_transpose_scratch_bytes,
    .run = conv_transpose_run,
};

}  // namespace
}  // namespace pyinfer
