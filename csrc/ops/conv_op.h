// The convolution operators in float types, over either direction of the window: `Direction` is Forward
// (conv.cc) or Transposed (conv_transpose.cc) and says how shapes, algorithms, packing and the kernels go.
//   Y = act(X * W + B + Z)
// float32 goes to the kernels on channels-last images, float16 and bfloat16 through float32, float64 to
// plain loops.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "kernels/kernel_table.h"
#include "ops/conv_shape.h"
#include "ops/fused_activation.h"
#include "ops/half.h"
#include "ops/image_layout.h"
#include "ops/work.h"

namespace pyinfer {

struct ConvState : StepState {
  ConvShape shape;
  ConvAlgorithm algorithm = ConvAlgorithm::kDirect;
  PackedWeights::Packed weights;        // of constant ones
  bool turn_x = false, turn_y = false;  // between the layouts
  // Offsets in scratch.
  int64_t x_wide = 0, x_last = 0, w_wide = 0, packed = 0, y_last = 0, y_wide = 0, bias = 0, workers = 0;
  int64_t worker_bytes = 0;
};

template <class Direction>
class ConvOp final : public Op {
 public:
  ConvOp(NodeContext& ctx, Layout layout)
      : dtype_(ctx.dtype(0)),
        layout_(layout),
        direction_(ctx),
        window_(ctx),
        groups_(conv_groups(ctx)),
        activation_(fused_activation(ctx)) {
    const Tensor* w = ctx.constant(1);
    if (w == nullptr || dtype_ == DType::kFloat64) return;
    weights_ = *w;
    packed_weights_ = ctx.packed_weights();
    if (!fits(w->shape())) return;  // refused while planning
    const ConvShape shape = load_shape(w->shape());
    const auto algorithm = Direction::algorithm(ctx, shape);
    if (!algorithm) return;
    packed_ = pack(shape, *algorithm);
    algorithm_ = *algorithm;
    weights_ = Tensor();
    ctx.packed(1);
  }

  void plan(PlanContext& ctx) const override {
    auto state = std::make_unique<ConvState>();
    state->shape = direction_.shape(window_, ImageShape(ctx.shape(0), layout_), ctx.shape(1), groups_);
    const ConvShape& s = state->shape;
    const Shape y = conv_output(s).shape(layout_);
    ctx.output(0, y);
    if (ctx.has(2))
      require(ctx.shape(2) == Shape{s.out_channels}, ErrorCode::kInvalidInput, "bias of shape ", ctx.shape(2),
              ", expected [", s.out_channels, "]");
    if (ctx.has(3))
      require(ctx.shape(3) == y, ErrorCode::kInvalidInput, "residual of shape ", ctx.shape(3), ", expected ",
              y);
    if (Direction::kRowsApart && layout_ == Layout::kChannelsLast && dtype_ == DType::kFloat32) {
      ctx.rows_apart_in(0);
      ctx.rows_apart_in(3);
      ctx.rows_apart_out(0);
    }
    if (y.count() > 0) {
      if (packed_ != nullptr) {
        state->algorithm = algorithm_;
        state->weights = packed_;
      } else if (!weights_.empty() && !is_empty_sum(s)) {
        state->algorithm = Direction::choose(s);
        state->weights = pack(s, state->algorithm);
      }
      ctx.flops(Direction::flops(s));
      if (dtype_ != DType::kFloat64) ctx.scratch(plan_scratch(*state, ctx));
    }
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<ConvState>();
    if (ctx.out(0).count() == 0) return;
    if (dtype_ == DType::kFloat64)
      run_float64(ctx, state.shape);
    else
      run_float32(ctx, state);
  }

 private:
  static constexpr int64_t kFloat = sizeof(float);
  // Bytes of scratch, laid out in `state`.
  int64_t plan_scratch(ConvState& state, const PlanContext& ctx) const {
    const ConvShape& s = state.shape;
    const int64_t x_count = ctx.shape(0).count(), y_count = conv_output(s).shape(layout_).count();
    const int64_t x_pixels = ImageShape(ctx.shape(0), layout_).pixels(), y_pixels = conv_output(s).pixels();
    state.turn_x = layout_ == Layout::kChannelsFirst && s.in_channels > 1 && x_pixels > 1;
    state.turn_y = layout_ == Layout::kChannelsFirst && s.out_channels > 1 && y_pixels > 1;
    const bool half = is_half(dtype_);
    ScratchLayout layout;
    if (half) state.x_wide = layout.take(x_count, kFloat);
    if (state.turn_x) state.x_last = layout.take(x_count, kFloat);
    if (state.weights == nullptr) {
      if (half) state.w_wide = layout.take(ctx.shape(1).count(), kFloat);
      state.packed = layout.take(is_empty_sum(s) ? 0 : Direction::packed_size(s, state.algorithm), kFloat);
    }
    if (half || state.turn_y) state.y_last = layout.take(y_count, kFloat);
    if (half && state.turn_y) state.y_wide = layout.take(y_count, kFloat);
    if (half) state.bias = layout.take(s.out_channels, kFloat);
    const ConvArgs args{.shape = s, .x_stride = s.in_channels, .y_stride = s.out_channels};
    const auto worker_bytes =
        is_empty_sum(s) ? 0 : static_cast<int64_t>(Direction::scratch_bytes(args, state.algorithm));
    state.worker_bytes = round_up(worker_bytes, kCacheLine);
    state.workers = layout.take(ctx.workers(), state.worker_bytes);
    return layout.bytes();
  }

  bool fits(const Shape& weights) const {
    const auto rank = static_cast<size_t>(weights.rank() - 2);
    const auto of_rank = [&](const std::vector<int64_t>& v) { return v.empty() || v.size() == rank; };
    return weights.rank() >= 3 && rank <= kMaxSpatialRank && weights.count() > 0 &&
           weights[0] % groups_ == 0 && weights[1] <= INT64_MAX / groups_ && of_rank(window_.strides()) &&
           of_rank(window_.dilations());
  }
  // As far as the weights decide it.
  ConvShape load_shape(const Shape& shape) const {
    ConvShape s = Direction::weights_shape(shape, groups_);
    s.window.rank = shape.rank() - 2;
    for (int d = 0; d < s.window.rank; ++d) {
      s.window.kernel[d] = shape[d + 2];
      s.window.stride[d] = window_.strides().empty() ? 1 : window_.strides()[static_cast<size_t>(d)];
      s.window.dilation[d] = window_.dilations().empty() ? 1 : window_.dilations()[static_cast<size_t>(d)];
    }
    return s;
  }

  PackedWeights::Packed pack(const ConvShape& s, ConvAlgorithm algorithm) const {
    std::string layout = join(Direction::kName, " ", static_cast<int>(algorithm), " ", groups_);
    for (int d = 0; d < s.window.rank; ++d)
      layout += join(" ", s.window.stride[d], " ", s.window.dilation[d]);
    const Tensor* source = &weights_;
    const int64_t bytes = Shape({Direction::packed_size(s, algorithm), kFloat}).count();
    return packed_weights_->get({&source, 1}, layout, bytes, [&](std::byte* to) {
      AlignedBytes wide;
      const float* weights = weights_.as<float>();
      if (is_half(dtype_)) {
        wide = AlignedBytes(static_cast<size_t>(weights_.count()) * sizeof(float));
        widen(dtype_, weights_.as<void>(), wide.as<float>(), weights_.count());
        weights = wide.as<float>();
      }
      Direction::pack(s, algorithm, weights, reinterpret_cast<float*>(to));
    });
  }

  template <class T>
  static T* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<T*>(ctx.scratch() + offset);
  }

  // X as channels-last float32.
  const float* load_x(const RunContext& ctx, const ConvState& state) const {
    const ConvShape& s = state.shape;
    const float* x = ctx.in<float>(0);
    if (is_half(dtype_)) {
      float* wide = at<float>(ctx, state.x_wide);
      widen(ctx, dtype_, x, wide, ctx.in(0).count());
      x = wide;
    }
    if (!state.turn_x) return x;
    float* last = at<float>(ctx, state.x_last);
    transpose_stack(ctx, x, last, s.batch, s.in_channels, spatial_size(s.window.input, s.window.rank));
    return last;
  }

  const float* load_weights(const RunContext& ctx, const ConvState& state) const {
    if (is_empty_sum(state.shape)) return nullptr;
    if (state.weights != nullptr) return state.weights->template as<float>();
    const float* w = ctx.in<float>(1);
    if (is_half(dtype_)) {
      float* wide = at<float>(ctx, state.w_wide);
      widen(ctx, dtype_, w, wide, ctx.in(1).count());
      w = wide;
    }
    float* packed = at<float>(ctx, state.packed);
    Direction::pack(state.shape, state.algorithm, w, packed);
    return packed;
  }

  // The residual as channels-last float32: where it lies, or in `y` itself.
  const float* load_residual(const RunContext& ctx, const ConvState& state, float* y) const {
    if (!ctx.has(3)) return nullptr;
    const ConvShape& s = state.shape;
    const float* z = ctx.in<float>(3);
    if (is_half(dtype_)) {
      float* wide = state.turn_y ? at<float>(ctx, state.y_wide) : y;
      widen(ctx, dtype_, z, wide, ctx.in(3).count());
      z = wide;
    }
    if (!state.turn_y) return z;
    transpose_stack(ctx, z, y, s.batch, s.out_channels, spatial_size(s.window.output, s.window.rank));
    return y;
  }

  void run_float32(const RunContext& ctx, const ConvState& state) const {
    const ConvShape& s = state.shape;
    const bool half = is_half(dtype_);
    float* y = half || state.turn_y ? at<float>(ctx, state.y_last) : ctx.out<float>(0);
    ConvArgs args{.shape = s, .y = y};
    args.x_stride = ctx.in(0).row_or(s.in_channels);
    args.y_stride = ctx.out(0).row_or(s.out_channels);
    args.x = load_x(ctx, state);
    args.weights = load_weights(ctx, state);
    if (ctx.has(2)) {
      args.epilogue.bias = ctx.in<float>(2);
      if (half) {
        widen(dtype_, ctx.in(2).data, at<float>(ctx, state.bias), s.out_channels);
        args.epilogue.bias = at<float>(ctx, state.bias);
      }
    }
    args.epilogue.residual = load_residual(ctx, state, y);
    args.epilogue.residual_stride = ctx.has(3) ? ctx.in(3).row_or(s.out_channels) : 0;
    set_activation(args.epilogue, activation_);
    compute(ctx, state, args);

    const int64_t pixels = spatial_size(s.window.output, s.window.rank);
    const int64_t count = s.batch * pixels * s.out_channels;
    if (half && state.turn_y) {
      float* wide = at<float>(ctx, state.y_wide);
      transpose_stack(ctx, y, wide, s.batch, pixels, s.out_channels);
      narrow(ctx, dtype_, wide, ctx.out(0).data, count);
    } else if (half) {
      narrow(ctx, dtype_, y, ctx.out(0).data, count);
    } else if (state.turn_y) {
      transpose_stack(ctx, y, ctx.out<float>(0), s.batch, pixels, s.out_channels);
    }
  }

  static void compute(const RunContext& ctx, const ConvState& state, const ConvArgs& args) {
    const ConvShape& s = args.shape;
    const auto scratch = [&](int worker) {
      return ctx.scratch() + state.workers + worker * state.worker_bytes;
    };
    const int64_t rows = conv_rows(s);
    if (is_empty_sum(s)) {
      const GemmArgs empty{
          .m = rows, .n = s.out_channels, .c = args.y, .ldc = args.y_stride, .epilogue = args.epilogue};
      kernels().gemm.run(empty, 0, rows, 0, panel_count(s.out_channels));
    } else {
      Direction::compute(ctx, args, state.algorithm, scratch);
    }
  }

  void run_float64(const RunContext& ctx, const ConvShape& s) const {
    const int64_t pixels = spatial_size(s.window.output, s.window.rank);
    const int64_t cost = Direction::flops(s) / 2 / (s.batch * s.out_channels);
    const double* bias = ctx.has(2) ? ctx.in<double>(2) : nullptr;
    const double* residual = ctx.has(3) ? ctx.in<double>(3) : nullptr;
    ctx.parallel(s.batch * s.out_channels, grain_for(cost), [&](int64_t begin, int64_t end, int) {
      for (int64_t plane = begin; plane < end; ++plane) {
        double* y = ctx.out<double>(0) + plane * pixels;
        const int64_t m = plane % s.out_channels;
        Direction::plane(s, ctx.in<double>(0), ctx.in<double>(1), y, plane / s.out_channels, m);
        for (int64_t i = 0; i < pixels; ++i) {
          double v = bias ? y[i] + bias[m] : y[i];
          if (residual) v += residual[plane * pixels + i];
          y[i] = activate(activation_, v);
        }
      }
    });
  }

  DType dtype_;
  Layout layout_;
  Direction direction_;
  SlidingWindow window_;
  int64_t groups_;
  FusedActivation activation_;
  // Constant weights: packed at load for the algorithm that is known then, else for the one that a plan
  // chooses, from the weights as they were read.
  ConvAlgorithm algorithm_ = ConvAlgorithm::kDirect;
  PackedWeights::Packed packed_;
  Tensor weights_;
  std::shared_ptr<PackedWeights> packed_weights_;
};

// The factory of a node with inputs X, W, B and, up to `most_inputs` = 4, Z.
template <class Direction>
std::unique_ptr<Op> make_conv_op(NodeContext& ctx, int most_inputs, Layout layout) {
  ctx.expect_inputs(2, most_inputs);
  for (int i = 1; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_same_dtype(0, i);
  // float64 has no channels-last form.
  if (layout == Layout::kChannelsLast)
    ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  else
    ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<ConvOp<Direction>>(ctx, layout);
}

}  // namespace pyinfer
