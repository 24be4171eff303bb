// PointwisePairNhwc: Y = act(W2 * first_act(W1 * X + B1) + B2 + R), two convolutions of 1x1, one after the
// other; float32, channels last.
//   X, W1, B1, W2, B2, R; B1, B2 and R may be absent. `activation` is the second's, `first_activation` the
//   first's.
// The image between them exists some pixels at a time, in the second cache. The sums are those of the two
// convolutions, to the bit.
#include <algorithm>

#include "kernels/kernel_table.h"
#include "ops/conv_shape.h"
#include "ops/fused_activation.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

enum Input { kX, kFirst, kFirstBias, kSecond, kSecondBias, kResidual };
constexpr int64_t kFloat = sizeof(float);

class PointwisePair final : public Op {
 public:
  explicit PointwisePair(NodeContext& ctx)
      : first_(ctx, kFirst, fused_activation(ctx, "first_")), second_(ctx, kSecond, fused_activation(ctx)) {
    require(first_.outputs == second_.inputs, ErrorCode::kInvalidModel, "weights of ", first_.outputs,
            " outputs before weights of ", second_.inputs, " inputs");
  }

  void plan(PlanContext& ctx) const override {
    ImageShape image(ctx.shape(kX), Layout::kChannelsLast);
    require(image.rank == 2 && image.channels == first_.inputs, ErrorCode::kInvalidInput, "X of shape ",
            ctx.shape(kX), ", expected [N, height, width, ", first_.inputs, "]");
    expect_bias(ctx, kFirstBias, first_.outputs);
    expect_bias(ctx, kSecondBias, second_.outputs);
    for (int d = 0; d < 2; ++d)
      require(image.spatial[d] > 0, ErrorCode::kInvalidInput, "an image without pixels: X of shape ",
              ctx.shape(kX));
    const int64_t pixels = image.batch * image.pixels();
    image.channels = second_.outputs;
    const Shape y = image.shape(Layout::kChannelsLast);
    if (ctx.has(kResidual))
      require(ctx.shape(kResidual) == y, ErrorCode::kInvalidInput, "residual of shape ", ctx.shape(kResidual),
              ", expected ", y);
    ctx.output(0, y);
    ctx.rows_apart_in(kX);
    ctx.rows_apart_in(kResidual);
    ctx.rows_apart_out(0);
    ctx.flops(product_flops(pixels, first_.outputs, first_.inputs + second_.outputs));
    ScratchLayout layout;
    layout.take(ctx.workers(), block(pixels) * first_.outputs * kFloat);
    ctx.scratch(layout.bytes());
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const int64_t pixels = ctx.out(0).count() / second_.outputs, most = block(pixels);
    GemmArgs first = first_.product(ctx, kFirstBias), second = second_.product(ctx, kSecondBias);
    first.a = ctx.in<float>(kX);
    first.lda = ctx.in(kX).row_or(first_.inputs);
    second.c = ctx.out<float>(0);
    second.ldc = ctx.out(0).row_or(second_.outputs);
    if (ctx.has(kResidual)) {
      second.epilogue.residual = ctx.in<float>(kResidual);
      second.epilogue.residual_stride = ctx.in(kResidual).row_or(second_.outputs);
    }
    // Every worker gets blocks, and they are equal.
    const int64_t step =
        ceil_div(pixels, std::max(ceil_div(pixels, most), std::min<int64_t>(pixels, ctx.workers())));
    const int64_t grain = grain_for(step * first_.outputs * (first_.inputs + second_.outputs));
    ctx.parallel(ceil_div(pixels, step), grain, [&](int64_t begin, int64_t end, int worker) {
      float* const between = ctx.scratch_as<float>() + worker * most * first_.outputs;
      for (int64_t b = begin; b < end; ++b)
        run_block(first, second, between, b * step, std::min(pixels, (b + 1) * step));
    });
  }

 private:
  // One of the convolutions.
  struct Half {
    int64_t inputs, outputs;
    PackedWeights::Packed weights;
    FusedActivation activation;

    Half(NodeContext& ctx, int input, const FusedActivation& act) : activation(act) {
      const Tensor* w = ctx.constant(input);
      if (w == nullptr) ctx.unsupported("weights that are not constants");
      const Shape& s = w->shape();
      require(s.rank() == 4 && s[2] == 1 && s[3] == 1 && s.count() > 0, ErrorCode::kInvalidModel,
              "weights of shape ", s, ", expected [M, C, 1, 1], none of them 0");
      outputs = s[0];
      inputs = s[1];
      const ConvShape shape{
          .window = {.rank = 2, .kernel = {1, 1}}, .in_channels = inputs, .out_channels = outputs};
      weights = ctx.pack(input, "conv 1x1", packed_conv_weights_size(shape) * kFloat, [&](std::byte* to) {
        pack_conv_weights(shape, w->as<float>(), reinterpret_cast<float*>(to));
      });
      ctx.packed(input);
    }
    GemmArgs product(const RunContext& ctx, int bias) const {
      GemmArgs args{.n = outputs, .k = inputs, .lda = inputs, .b = weights->as<float>(), .ldc = outputs};
      if (ctx.has(bias)) args.epilogue.bias = ctx.in<float>(bias);
      set_activation(args.epilogue, activation);
      return args;
    }
  };

  // Pixels at a time: what lies between the products takes a part of the second cache. A multiple of the rows
  // of the kernels' tiles.
  int64_t block(int64_t pixels) const {
    constexpr int64_t kFloats = 32 * 1024, kTile = 12;
    return std::clamp<int64_t>(kFloats / first_.outputs / kTile * kTile, kTile,
                               std::max<int64_t>(pixels, kTile));
  }

  static void expect_bias(const PlanContext& ctx, int input, int64_t outputs) {
    require(!ctx.has(input) || ctx.shape(input) == Shape{outputs}, ErrorCode::kInvalidInput,
            "a bias of another shape than [", outputs, "]");
  }

  static void run_block(GemmArgs first, GemmArgs second, float* between, int64_t begin, int64_t end) {
    first.m = second.m = end - begin;
    first.a += begin * first.lda;
    first.c = between;
    second.a = between;
    second.c += begin * second.ldc;
    if (second.epilogue.residual != nullptr)
      second.epilogue.residual += begin * second.epilogue.residual_stride;
    kernels().gemm.run(first, 0, first.m, 0, panel_count(first.n));
    kernels().gemm.run(second, 0, second.m, 0, panel_count(second.n));
  }

  Half first_, second_;
};

std::unique_ptr<Op> make_pointwise_pair(NodeContext& ctx) {
  ctx.expect_inputs(2, 6);
  for (int i = 0; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_dtype(i, {DType::kFloat32});
  require(ctx.has_input(kSecond), ErrorCode::kInvalidModel, "input 3 is missing");
  ctx.output(0, DType::kFloat32);
  return std::make_unique<PointwisePair>(ctx);
}

}  // namespace

std::span<const OpDef> pointwise_pair_ops() {
  static constexpr OpDef kOps[] = {{"pyinfer", "PointwisePairNhwc", 1, make_pointwise_pair}};
  return kOps;
}

}  // namespace pyinfer
