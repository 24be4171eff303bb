// CausalConvWithState: with p = the past state followed by x along the last axis,
//   y(b, c, l) = act(sum over t < k of w(c, t) p(b, c, l + t) + bias(c)),  present = the last k - 1 of p.
#include <algorithm>
#include <cstring>

#include "kernels/conv.h"
#include "kernels/kernel_table.h"
#include "ops/fused_activation.h"
#include "ops/half.h"
#include "ops/image_layout.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

struct CausalState : StepState {
  ConvShape shape;
  int64_t past = 0;  // length of a state, k - 1
  // Offsets in scratch.
  int64_t x_wide = 0, past_wide = 0, w_wide = 0, packed = 0, padded = 0, y_last = 0, y_wide = 0, bias = 0;
  int64_t workers = 0, worker_bytes = 0;
};

class CausalConv final : public Op {
 public:
  CausalConv(DType dtype, Activation activation) : dtype_(dtype), activation_(activation) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &w = ctx.shape(1);
    require(x.rank() == 3, ErrorCode::kInvalidInput, "input of shape ", x,
            ", expected [batch, channels, length]");
    const int64_t batch = x[0], channels = x[1], length = x[2];
    require(w.rank() == 3 && w[0] == channels && w[1] == 1 && w[2] >= 1, ErrorCode::kInvalidInput,
            "weight of shape ", w, ", expected [", channels, ", 1, k]");
    const int64_t past = w[2] - 1;
    const Shape state_shape{batch, channels, past};
    if (ctx.has(2))
      require(ctx.shape(2) == Shape{channels}, ErrorCode::kInvalidInput, "bias of shape ", ctx.shape(2),
              ", expected [", channels, "]");
    if (ctx.has(3))
      require(ctx.shape(3) == state_shape, ErrorCode::kInvalidInput, "past_state of shape ", ctx.shape(3),
              ", expected ", state_shape);
    ctx.output(0, x);
    if (ctx.num_outputs() > 1) ctx.output(1, state_shape);
    auto state = std::make_unique<CausalState>();
    state->past = past;
    ConvShape& s = state->shape;
    s.batch = batch;
    s.in_channels = s.out_channels = s.groups = channels;
    s.window.rank = 1;
    s.window.input[0] = length + past;
    s.window.output[0] = length;
    s.window.kernel[0] = w[2];
    s.window.stride[0] = s.window.dilation[0] = 1;
    if (x.count() > 0) {
      ctx.scratch(plan_scratch(*state, ctx));
      ctx.flops(product_flops(x.count(), w[2], 1));
    }
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<CausalState>();
    if (ctx.wants(1)) write_present(ctx, state);
    if (ctx.out(0).count() == 0) return;
    const ConvShape& s = state.shape;
    const bool half = is_half(dtype_);
    ConvArgs args{.shape = s, .x_stride = s.in_channels, .y_stride = s.out_channels};
    args.x = load_padded(ctx, state);
    const float* w = wide(ctx, 1, state.w_wide);
    pack_depthwise_weights(s, w, at(ctx, state.packed));
    args.weights = at(ctx, state.packed);
    args.y = at(ctx, state.y_last);
    if (ctx.has(2)) args.epilogue.bias = wide(ctx, 2, state.bias);
    set_activation(args.epilogue, {activation_});
    ctx.parallel(conv_rows(s), grain_for(s.window.kernel[0] * s.in_channels),
                 [&](int64_t begin, int64_t end, int worker) {
                   kernels().conv.run_depthwise(args, begin, end,
                                                ctx.scratch() + state.workers + worker * state.worker_bytes);
                 });
    float* y = half ? at(ctx, state.y_wide) : ctx.out<float>(0);
    transpose_stack(ctx, args.y, y, s.batch, s.window.output[0], s.out_channels);
    if (half) narrow(ctx, dtype_, y, ctx.out(0).data, ctx.out(0).count());
  }

 private:
  static float* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<float*>(ctx.scratch() + offset);
  }

  // Input i as float32, copied to `offset` unless it is.
  const float* wide(const RunContext& ctx, int i, int64_t offset) const {
    if (!is_half(dtype_)) return ctx.in<float>(i);
    widen(ctx, dtype_, ctx.in(i).data, at(ctx, offset), ctx.in(i).count());
    return at(ctx, offset);
  }

  int64_t plan_scratch(CausalState& state, const PlanContext& ctx) const {
    constexpr int64_t kFloat = sizeof(float);
    const ConvShape& s = state.shape;
    const int64_t count = ctx.shape(0).count();
    ScratchLayout layout;
    if (is_half(dtype_)) {
      state.x_wide = layout.take(count, kFloat);
      if (ctx.has(3)) state.past_wide = layout.take(ctx.shape(3).count(), kFloat);
      state.w_wide = layout.take(ctx.shape(1).count(), kFloat);
      state.bias = layout.take(s.in_channels, kFloat);
      state.y_wide = layout.take(count, kFloat);
    }
    state.packed = layout.take(packed_depthwise_weights_size(s), kFloat);
    state.padded = layout.take(Shape({s.batch, s.window.input[0], s.in_channels}).count(), kFloat);
    state.y_last = layout.take(count, kFloat);
    const ConvArgs args{.shape = s, .x_stride = s.in_channels, .y_stride = s.out_channels};
    state.worker_bytes = round_up(static_cast<int64_t>(kernels().conv.scratch_bytes(args)), kCacheLine);
    state.workers = layout.take(ctx.workers(), state.worker_bytes);
    return layout.bytes();
  }

  // The past and x, channels last.
  const float* load_padded(const RunContext& ctx, const CausalState& state) const {
    const ConvShape& s = state.shape;
    const int64_t channels = s.in_channels, length = s.window.output[0], total = s.window.input[0];
    const float* x = wide(ctx, 0, state.x_wide);
    const float* past = ctx.has(3) && state.past > 0 ? wide(ctx, 3, state.past_wide) : nullptr;
    float* padded = at(ctx, state.padded);
    for (int64_t n = 0; n < s.batch; ++n) {
      float* image = padded + n * total * channels;
      if (past != nullptr)
        turn(ctx, past + n * channels * state.past, image, channels, state.past);
      else
        std::fill(image, image + state.past * channels, 0.0f);
      turn(ctx, x + n * channels * length, image + state.past * channels, channels, length);
    }
    return padded;
  }
  static void turn(const RunContext& ctx, const float* src, float* dst, int64_t rows, int64_t columns) {
    transpose_stack(ctx, src, dst, 1, rows, columns);
  }

  // The last k - 1 positions of the past and x, as they are.
  void write_present(const RunContext& ctx, const CausalState& state) const {
    const auto size = dtype_size(dtype_);
    const int64_t length = ctx.in(0).shape[2], past = state.past;
    const int64_t fresh = std::min(length, past), kept = past - fresh;
    const auto* x = static_cast<const std::byte*>(ctx.in(0).data);
    const auto* old = ctx.has(3) ? static_cast<const std::byte*>(ctx.in(3).data) : nullptr;
    auto* out = static_cast<std::byte*>(ctx.out(1).data);
    const auto bytes = [&](int64_t n) { return static_cast<size_t>(n) * size; };
    for (int64_t line = 0; line < ctx.in(0).shape[0] * ctx.in(0).shape[1] && past > 0;
         ++line, out += bytes(past)) {
      if (kept > 0 && old != nullptr)
        std::memcpy(out, old + bytes(line * past + past - kept), bytes(kept));
      else if (kept > 0)
        std::memset(out, 0, bytes(kept));
      if (fresh > 0) std::memcpy(out + bytes(kept), x + bytes((line + 1) * length - fresh), bytes(fresh));
    }
  }

  DType dtype_;
  Activation activation_;
};

std::unique_ptr<Op> make_causal_conv(NodeContext& ctx) {
  ctx.expect_inputs(2, 4);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  for (int i = 1; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_same_dtype(0, i);
  const std::string activation = ctx.attr_string("activation", "none");
  require(activation == "none" || activation == "silu" || activation == "swish", ErrorCode::kInvalidModel,
          "attribute 'activation' = '", activation, "', expected none, silu or swish");
  ctx.output(0, ctx.dtype(0));
  ctx.output(1, ctx.dtype(0));
  return std::make_unique<CausalConv>(ctx.dtype(0),
                                      activation == "none" ? Activation::kNone : Activation::kSilu);
}

}  // namespace

std::span<const OpDef> causal_conv_ops() {
  static constexpr OpDef kOps[] = {{"", "CausalConvWithState", 1, make_causal_conv}};
  return kOps;
}

}  // namespace pyinfer
