// Conv: Y = act(X * W + B + Z), over images of any spatial rank, in groups.
//   ai.onnx Conv (X, W, B); com.microsoft FusedConv (X, W, B, Z) with an activation;
//   pyinfer ConvNhwc: FusedConv on channels-last X, Z and Y.
// Each with an attribute `winograd` (passes/choose_winograd.cc): 0 computes the sum directly, 2 or 4 by
// Winograd's minimal filtering on tiles of so many outputs along an axis, 1 lets the plan choose.
#include "ops/conv_op.h"

namespace pyinfer {
namespace {

// Tasks of one block of tiles that the same worker takes share the block's transformed input.
template <class Scratch>
void compute_winograd(const RunContext& ctx, const ConvArgs& args, int64_t m, Scratch scratch) {
  const WinogradTiling tiling(args.shape, m);
  const WinogradKernels& winograd = kernels().winograd;
  const auto block_of = [&](int worker) { return reinterpret_cast<int64_t*>(scratch(worker)); };
  for (int worker = 0; worker < ctx.workers(); ++worker) *block_of(worker) = -1;
  ctx.parallel(tiling.count(), grain_for(tiling.task_cost()), [&](int64_t begin, int64_t end, int worker) {
    std::byte* memory = scratch(worker) + kCacheLine;
    for (int64_t t = begin; t < end; ++t) {
      if (*block_of(worker) != tiling.block(t)) {
        winograd.transform(args, m, tiling.tile_begin(t), tiling.tile_end(t), memory);
        *block_of(worker) = tiling.block(t);
      }
      winograd.run(args, m, tiling.tile_begin(t), tiling.tile_end(t), tiling.panel_begin(t),
                   tiling.panel_end(t), memory);
    }
  });
}

struct Forward {
  static constexpr std::string_view kName = "conv";
  static constexpr bool kRowsApart = true;  // of channels-last images

  explicit Forward(NodeContext&) {}

  // Set by the pass choose_winograd, or by a file; nothing where the plan must choose. `s` is what the
  // weights decide.
  static std::optional<ConvAlgorithm> algorithm(const NodeContext& ctx, const ConvShape& s) {
    const int64_t m = ctx.attr_int("winograd", 0);
    if (m == 0) return ConvAlgorithm::kDirect;
    if (m != 2 && m != 4) return std::nullopt;
    require(fits_winograd(s, m), ErrorCode::kInvalidModel, "attribute 'winograd' is ", m,
            ", which windows of this shape, stride and group do not allow");
    return m == 2 ? ConvAlgorithm::kWinograd2 : ConvAlgorithm::kWinograd4;
  }
  static ConvAlgorithm choose(const ConvShape& s) { return choose_conv_algorithm(s); }

  static ConvShape shape(const SlidingWindow& window, const ImageShape& x, const Shape& weights,
                         int64_t groups) {
    return conv_shape(window, x, weights, groups);
  }
  static ConvShape weights_shape(const Shape& weights, int64_t groups) {
    ConvShape s;
    s.in_channels = weights[1] * groups;
    s.out_channels = weights[0];
    s.groups = groups;
    return s;
  }
  static int64_t flops(const ConvShape& s) { return conv_flops(s); }
  static int64_t packed_size(const ConvShape& s, ConvAlgorithm a) {
    if (a != ConvAlgorithm::kDirect) return packed_winograd_weights_size(s, winograd_tile(a));
    return is_depthwise(s) ? packed_depthwise_weights_size(s) : packed_conv_weights_size(s);
  }
  static void pack(const ConvShape& s, ConvAlgorithm a, const float* weights, float* packed) {
    if (a != ConvAlgorithm::kDirect) return pack_winograd_weights(s, winograd_tile(a), weights, packed);
    is_depthwise(s) ? pack_depthwise_weights(s, weights, packed) : pack_conv_weights(s, weights, packed);
  }
  static size_t scratch_bytes(const ConvArgs& args, ConvAlgorithm a) {
    if (a == ConvAlgorithm::kDirect) return kernels().conv.scratch_bytes(args);
    const int64_t m = winograd_tile(a);
    const WinogradTiling tiling(args.shape, m);
    return kCacheLine + kernels().winograd.scratch_bytes(args, m, tiling.tile_step, tiling.panel_step);
  }

  template <class Scratch>
  static void compute(const RunContext& ctx, const ConvArgs& args, ConvAlgorithm a, Scratch scratch) {
    if (a != ConvAlgorithm::kDirect) return compute_winograd(ctx, args, winograd_tile(a), scratch);
    const ConvShape& s = args.shape;
    const ConvKernels& conv = kernels().conv;
    const int64_t rows = conv_rows(s), taps = spatial_size(s.window.kernel, s.window.rank);
    if (is_depthwise(s)) {
      ctx.parallel(rows, grain_for(taps * s.in_channels), [&](int64_t begin, int64_t end, int worker) {
        conv.run_depthwise(args, begin, end, scratch(worker));
      });
      return;
    }
    const int64_t k = taps * (s.in_channels / s.groups);
    const Tiling tiling(rows, conv_panels(s), kPanelWidth * k);
    const int64_t grain = grain_for(tiling.row_step * tiling.panel_step * kPanelWidth * k);
    ctx.parallel(tiling.count(), grain, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t t = begin; t < end; ++t)
        conv.run(args, tiling.row_begin(t), tiling.row_end(t), tiling.panel_begin(t), tiling.panel_end(t),
                 scratch(worker));
    });
  }

  static void plane(const ConvShape& s, const double* x, const double* w, double* y, int64_t n, int64_t m) {
    conv_plane(s, x, w, y, n, m);
  }
};

std::unique_ptr<Op> make_conv(NodeContext& ctx) {
  return make_conv_op<Forward>(ctx, 3, Layout::kChannelsFirst);
}
std::unique_ptr<Op> make_fused_conv(NodeContext& ctx) {
  return make_conv_op<Forward>(ctx, 4, Layout::kChannelsFirst);
}
std::unique_ptr<Op> make_conv_nhwc(NodeContext& ctx) {
  return make_conv_op<Forward>(ctx, 4, Layout::kChannelsLast);
}

}  // namespace

std::span<const OpDef> conv_ops() {
  static constexpr OpDef kOps[] = {{"", "Conv", 1, make_conv},
                                   {"com.microsoft", "FusedConv", 1, make_fused_conv},
                                   {"pyinfer", "ConvNhwc", 1, make_conv_nhwc}};
  return kOps;
}

}  // namespace pyinfer
