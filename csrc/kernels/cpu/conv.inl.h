// Body of the conv family (contract: kernels/conv.h): the matrix product of kernels/gemm.h with rows of
// A that are gathered pixels, reached through a table of pointers; nothing is copied but the borders of
// images with few channels.
#pragma once

#include "kernels/conv.h"
#include "kernels/cpu/depthwise.inl.h"
#include "kernels/cpu/gemm.inl.h"
#include "kernels/cpu/matrix_tile.inl.h"
#include "kernels/cpu/window.inl.h"

namespace pyinfer {
namespace {

// Weights pass through the caches once per block of this many output pixels.
constexpr int64_t kConvBlockRows = 96;
// For the pointers and copies of a block of rows, unless one tile of rows needs more.
constexpr int64_t kConvScratchGoal = 128 * 1024;

// How the k axis of a convolution falls into segments of adjacent floats, and the scratch it takes.
struct ConvPlan {
  bool pointwise;  // output pixel i reads input pixel i alone
  bool runs;       // a segment is all taps along the last axis, else one tap
  int64_t segments, segment_length;
  int64_t block_rows;
  int64_t zeros;   // floats
  int64_t copies;  // floats
};

inline ConvPlan plan_conv(const ConvArgs& args) {
  const ConvShape& s = args.shape;
  const Window& w = s.window;
  const int last = w.rank - 1;
  const int64_t taps = volume(w.kernel, w.rank);
  const int64_t channels = s.in_channels / s.groups;
  ConvPlan plan{};
  plan.pointwise = is_pointwise(w);
  // With few channels the taps along the last axis are gathered together.
  plan.runs = s.groups == 1 && args.x_stride == channels && w.dilation[last] == 1 && w.kernel[last] > 1 &&
              channels < kConvFewChannels;
  plan.segments = plan.runs ? taps / w.kernel[last] : taps;
  plan.segment_length = plan.runs ? channels * w.kernel[last] : channels;
  const int64_t row_bytes = plan.segments * 8 + (plan.runs ? taps * channels * 4 : 0);
  plan.block_rows = max_of(kMaxTileRows, min_of(kConvBlockRows, kConvScratchGoal / row_bytes));
  // Every group reads the same row of zeros at its own offset.
  plan.zeros = div_up(max_of(s.in_channels, plan.segment_length), 16) * 16;
  plan.copies = plan.runs ? div_up(plan.block_rows * taps * channels, 16) * 16 : 0;
  return plan;
}

// Of several lines, cut alike whether or not the taps along the last axis are gathered together.
inline Depth conv_depth(const ConvArgs& args, const ConvPlan& plan) {
  const Window& w = args.shape.window;
  const bool lines = !plan.runs && args.shape.in_channels / args.shape.groups < kConvFewChannels;
  return Depth(plan.segments, plan.segment_length, lines ? w.kernel[w.rank - 1] : 1);
}

inline size_t conv_scratch_bytes(const ConvArgs& args) {
  const ConvPlan plan = plan_conv(args);
  const int64_t floats = plan.zeros + plan.copies;
  const size_t bytes = static_cast<size_t>(floats * 4 + (plan.block_rows + 1) * plan.segments * 8);
  const size_t depthwise = depthwise_scratch_bytes(args);
  return bytes > depthwise ? bytes : depthwise;
}

// `args` as one matrix product per group: f(first panel, last panel, the group's product).
template <class F>
void for_each_group(const ConvArgs& args, int64_t k, int64_t panel_begin, int64_t panel_end, F f) {
  const ConvShape& s = args.shape;
  const int64_t outputs = s.out_channels / s.groups, inputs = s.in_channels / s.groups;
  const int64_t panels = div_up(outputs, 16);
  if (panels == 0) return;
  for (int64_t g = panel_begin / panels; g < s.groups && g * panels < panel_end; ++g) {
    Epilogue e = args.epilogue;
    if (e.bias != nullptr) e.bias += g * outputs;
    if (e.residual != nullptr) e.residual += g * outputs;
    const GemmArgs product{.m = 0,
                           .n = outputs,
                           .k = k,
                           .a = args.x + g * inputs,
                           .lda = args.x_stride,
                           .b = args.weights + g * panels * 16 * k,
                           .c = args.y + g * outputs,
                           .ldc = args.y_stride,
                           .epilogue = e};
    f(max_of(panel_begin - g * panels, 0), min_of(panel_end - g * panels, panels), product);
  }
}

// What stays the same while the rows of one call are gathered.
struct ConvGather {
  const float* zeros;
  const int64_t* offsets;  // of the segments, from a window's first pixel
  Interior interior;
};

// Fills the pointer table of `rows` output pixels from `row`, tile after tile of their RowSplit.
inline void gather_rows(const ConvArgs& args, const ConvPlan& plan, const ConvGather& gather, int64_t row,
                        int64_t rows, float* copies, const float** table) {
  const Window& w = args.shape.window;
  const int64_t image_size = volume(w.input, w.rank) * args.x_stride;
  const RowSplit split(rows);
  PixelCursor pixel = pixel_at(w, row);
  for (int64_t i = 0; i < split.tiles; ++i) {
    const int height = split.height(i);
    for (int r = 0; r < height; ++r, advance(w, pixel)) {
      const float* image = args.x + pixel.image * image_size;
      const float** out = table + r;
      if (contains(gather.interior, w, pixel)) {
        const float* first = image + first_pixel(w, pixel) * args.x_stride;
        for (int64_t s = 0; s < plan.segments; ++s, out += height) *out = first + gather.offsets[s];
      } else if (plan.runs) {
        gather_runs(w, pixel, image, args.x_stride, gather.zeros, out, height, copies);
      } else {
        gather_taps(w, pixel, image, args.x_stride, gather.zeros, out, height);
      }
    }
    table += height * plan.segments;
  }
}

inline void conv_run(const ConvArgs& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                     int64_t panel_end, void* scratch) {
  const ConvPlan plan = plan_conv(args);
  const int64_t k = plan.segments * plan.segment_length;
  if (plan.pointwise) {
    for_each_group(args, k, panel_begin, panel_end, [&](int64_t begin, int64_t end, const GemmArgs& product) {
      gemm_run(product, row_begin, row_end, begin, end);
    });
    return;
  }
  float* zeros = static_cast<float*>(scratch);
  float* copies = zeros + plan.zeros;
  int64_t* offsets = reinterpret_cast<int64_t*>(copies + plan.copies);
  const float** table = reinterpret_cast<const float**>(offsets + plan.segments);
  const Window& w = args.shape.window;
  for (int64_t i = 0; i < plan.zeros; ++i) zeros[i] = 0.0f;
  tap_offsets(w, plan.runs ? w.rank - 1 : w.rank, args.x_stride, offsets);
  const ConvGather gather{.zeros = zeros, .offsets = offsets, .interior = interior_of(w)};

  const Depth depth = conv_depth(args, plan);
  const int64_t chains = depth.chains();
  const int64_t step = runs_all_chains(args.epilogue.residual, args.y, row_end - row_begin) ? chains : 1;
  for (int64_t row = row_begin; row < row_end; row += plan.block_rows) {
    const int64_t rows = min_of(plan.block_rows, row_end - row);
    gather_rows(args, plan, gather, row, rows, copies, table);
    for_each_group(args, k, panel_begin, panel_end, [&](int64_t begin, int64_t end, const GemmArgs& product) {
      for (int64_t chain = 0; chain < chains; chain += step) {
        run_matrix_block({.row = row,
                          .rows = rows,
                          .panel_begin = begin,
                          .panel_end = end,
                          .chain_begin = chain,
                          .chain_end = chain + step,
                          .n = product.n,
                          .depth = depth,
                          .a_offset = product.a - args.x,
                          .b = product.b + depth.first_k(chain) * 16,
                          .panel_stride = k * 16,
                          .c = product.c,
                          .ldc = product.ldc,
                          .finish = chain + step == chains,
                          .epilogue = &product.epilogue},
                         [&](int, int64_t first) { return table + first * plan.segments; });
      }
    });
  }
}

constexpr ConvKernels kConvKernels = {
    .scratch_bytes = conv_scratch_bytes,
    .run = conv_run,
    .run_depthwise = conv_run_depthwise,
};

}  // namespace
}  // namespace pyinfer
