// Body of the conv_transpose family (contract: kernels/conv_transpose.h). The output pixels of one line whose
// positions are equal modulo the stride meet the same taps: they are the rows of one dense matrix product,
// and no product with the zeros between the input's pixels is ever formed.
#pragma once

#include "kernels/conv_transpose.h"
#include "kernels/cpu/conv.inl.h"

namespace pyinfer {
namespace {

// The class of taps that output positions meet with (o + pad) mod stride = residue.
inline TapClass tap_class_of(const Window& w, int d, int64_t residue) {
  const int64_t firsts = min_of(tap_period(w, d), w.kernel[d]);
  int64_t first = 0;
  while (first < firsts && first * w.dilation[d] % w.stride[d] != residue) ++first;
  return first < firsts ? tap_class(w, d, first) : TapClass{};
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
  line.taps[d] = tap_class_of(w, d, residue < 0 ? residue + w.stride[d] : residue);
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

// Where one tap of a line's pixels reads: at position `first` + r of an input line for the r-th of them, or
// nowhere.
struct TransposeTap {
  const float* line;  // null outside the image
  int64_t first;
};

// The taps that the pixels of one phase of a line meet, the first of which is at line.at.
inline void transpose_taps(const Window& w, const TransposeLine& line, const float* image,
                           int64_t pixel_stride, TransposeTap* out) {
  const int last = w.rank - 1;
  int64_t index[kMaxSpatialRank] = {};
  for (;; ++out) {
    int64_t pixel = 0;
    bool inside = true;
    for (int d = 0; d < w.rank; ++d) {
      const int64_t tap = line.taps[d].first + index[d] * line.taps[d].step;
      const int64_t scaled = line.at[d] + w.pad[d] - tap * w.dilation[d];  // a multiple of the stride
      const int64_t i = scaled / w.stride[d];
      if (d == last) {
        out->first = i;
      } else {
        inside = inside && scaled >= 0 && i < w.input[d];
        pixel = pixel * w.input[d] + i;
      }
    }
    out->line = inside ? image + pixel * w.input[last] * pixel_stride : nullptr;
    int d = last;
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
  const int64_t taps = volume(w.kernel, w.rank);
  return static_cast<size_t>(transpose_zeros(args) * 4 + taps * static_cast<int64_t>(sizeof(TransposeTap)) +
                             transpose_block_rows(w) * taps * 8);
}

// What one call of run holds in its scratch.
struct TransposeScratch {
  const float* zeros;
  TransposeTap* taps;
  const float** table;
};

// The pixels of one line from line.at[last], every `stride`-th, which all meet the taps line.taps.
inline void conv_transpose_phase(const ConvArgs& args, const TransposeLine& line, int64_t panel_begin,
                                 int64_t panel_end, const TransposeScratch& scratch) {
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

  if (taps > 0) transpose_taps(w, line, image, args.x_stride, scratch.taps);

  const int64_t channels = args.shape.in_channels / args.shape.groups;
  const Depth depth(taps, channels);
  const int64_t block = transpose_block_rows(w);
  for (int64_t row = 0; row < pixels; row += block) {
    const int64_t rows = min_of(block, pixels - row);
    const RowSplit split(rows);
    const float** out = scratch.table;
    for (int64_t i = 0; i < split.tiles; ++i) {
      const int height = split.height(i);
      for (int64_t t = 0; t < taps; ++t) {
        const TransposeTap& tap = scratch.taps[t];
        int64_t at = tap.first + row + split.first(i);
        for (int r = 0; r < height; ++r, ++at) {
          const bool inside = tap.line != nullptr && at >= 0 && at < w.input[last];
          *out++ = inside ? tap.line + at * args.x_stride : scratch.zeros;
        }
      }
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
                                      [&](int, int64_t at) { return scratch.table + at * taps; });
                   });
  }
}

// The costlier activations of few channels go over whole lines of Y rather than over each pixel's few.
inline bool activates_lines(const ConvArgs& args) {
  return takes_second_pass(args.epilogue) && args.shape.out_channels < 16 && args.shape.groups == 1 &&
         args.y_stride == args.shape.out_channels;
}

inline void conv_transpose_run(const ConvArgs& args, int64_t line_begin, int64_t line_end,
                               int64_t panel_begin, int64_t panel_end, void* memory) {
  const Window& w = args.shape.window;
  const int last = w.rank - 1;
  float* zeros = static_cast<float*>(memory);
  for (int64_t i = 0; i < transpose_zeros(args); ++i) zeros[i] = 0.0f;
  auto* taps = reinterpret_cast<TransposeTap*>(zeros + transpose_zeros(args));
  auto** table = reinterpret_cast<const float**>(taps + volume(w.kernel, w.rank));
  ConvArgs sums = args;
  const bool lines = activates_lines(args);
  if (lines) sums.epilogue.activation = Activation::kNone;
  for (int64_t index = line_begin; index < line_end; ++index) {
    TransposeLine line = transpose_line(w, index);
    for (int64_t first = 0; first < min_of(w.stride[last], w.output[last]); ++first) {
      conv_transpose_set_axis(w, last, first, line);
      conv_transpose_phase(sums, line, panel_begin, panel_end, {zeros, taps, table});
    }
    const int64_t floats = w.output[last] * args.y_stride;
    if (lines && panel_begin < panel_end)
      args.epilogue.activate_rows(args.y + index * floats, floats, 1, floats, args.epilogue);
  }
}

constexpr ConvTransposeKernels kConvTransposeKernels = {
    .scratch_bytes = conv_transpose_scratch_bytes,
    .run = conv_transpose_run,
};

}  // namespace
}  // namespace pyinfer
