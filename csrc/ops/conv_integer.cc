// ConvInteger: Y = (X - x_zero) * (W - w_zero) in int32, exact; padding counts as x_zero.
// QLinearConv: Y = saturate(round(x_scale w_scale / y_scale * (that + B)) + y_zero).
//   The pyinfer ops with the suffix Nhwc read and write channels-last images.
#include <algorithm>

#include "kernels/conv_s8.h"
#include "kernels/kernel_table.h"
#include "kernels/movement.h"
#include "ops/conv_shape.h"
#include "ops/requantize.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

struct IntegerConvState : StepState {
  ConvShape shape;
  bool turn_x = false, turn_y = false;  // between the layouts
  CopyPlan copy_x, copy_y;
  // Offsets in scratch.
  int64_t x_last = 0, packed = 0, sums = 0, y_last = 0, zeros = 0, multipliers = 0, workers = 0,
          worker_bytes = 0;
};

// Where an operator finds its inputs; -1: it has no such input.
struct Inputs {
  int x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias;
};
constexpr Inputs kIntegerInputs{0, -1, 2, 1, -1, 3, -1, -1, -1};
constexpr Inputs kQuantizedInputs{0, 1, 2, 3, 4, 5, 6, 7, 8};

// Of images of `rows` x `columns` elements to `columns` x `rows`.
CopyPlan turn(int64_t element_bytes, int64_t images, int64_t rows, int64_t columns) {
  const int64_t dims[] = {images, rows, columns}, src[] = {rows * columns, columns, 1};
  const int64_t dst[] = {rows * columns, 1, rows};
  return plan_copy(element_bytes, dims, src, dst);
}

void copy(const RunContext& ctx, const CopyPlan& plan, const void* from, void* to) {
  ctx.parallel(plan.units, plan.grain, [&](int64_t begin, int64_t end, int) {
    kernels().movement.copy(plan, static_cast<const std::byte*>(from), static_cast<std::byte*>(to), begin,
                            end);
  });
}

class IntegerConv final : public Op {
 public:
  IntegerConv(NodeContext& ctx, const Inputs& inputs, Layout layout)
      : in_(inputs),
        quantized_(inputs.y_scale >= 0),
        layout_(layout),
        w_signed_(ctx.dtype(inputs.w) == DType::kInt8),
        window_(ctx),
        groups_(conv_groups(ctx)) {
    if (const Tensor* w = ctx.constant(in_.w); w != nullptr) pack_constant(ctx, *w);
  }

  void plan(PlanContext& ctx) const override {
    auto state = std::make_unique<IntegerConvState>();
    const ImageShape x(ctx.shape(in_.x), layout_);
    state->shape = conv_shape(window_, x, ctx.shape(in_.w), groups_);
    const ConvShape& s = state->shape;
    const ImageShape image = conv_output(s);
    const Shape y = image.shape(layout_);
    ctx.output(0, y);
    for (int i : {in_.x_scale, in_.x_zero, in_.y_scale, in_.y_zero}) expect_count(ctx, i, 1, 1);
    for (int i : {in_.w_scale, in_.w_zero}) expect_count(ctx, i, 1, s.out_channels);
    expect_count(ctx, in_.bias, s.out_channels, s.out_channels);
    if (y.count() > 0) {
      ctx.flops(conv_flops(s));
      ctx.scratch(plan_scratch(*state, ctx, x, image.pixels()));
    }
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const auto& state = ctx.state<IntegerConvState>();
    const ConvShape& s = state.shape;
    const int64_t count = conv_rows(s) * s.out_channels;
    int32_t* sums = quantized_ || state.turn_y ? at<int32_t>(ctx, state.sums) : ctx.out<int32_t>(0);
    uint8_t* bytes = state.turn_y ? at<uint8_t>(ctx, state.y_last) : ctx.out<uint8_t>(0);
    if (quantized_) prepare_multipliers(ctx, state);
    if (is_empty_sum(s)) {
      std::fill(sums, sums + count, 0);
      if (quantized_) finish(ctx, state, sums, bytes, 0, conv_rows(s), 0, conv_panels(s));
    } else {
      compute(ctx, state, sums, bytes);
    }
    if (state.turn_y) copy(ctx, state.copy_y, quantized_ ? static_cast<void*>(bytes) : sums, ctx.out(0).data);
  }

 private:
  template <class T>
  static T* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<T*>(ctx.scratch() + offset);
  }

  static void expect_count(const PlanContext& ctx, int input, int64_t least, int64_t most) {
    if (input < 0 || !ctx.has(input)) return;
    const Shape& s = ctx.shape(input);
    require(s.rank() <= 1 && (s.count() == least || s.count() == most), ErrorCode::kInvalidInput, "input ",
            input, " of shape ", s, ", expected ", least, least == most ? "" : join(" or ", most), " values");
  }

  int64_t plan_scratch(IntegerConvState& state, const PlanContext& ctx, const ImageShape& x,
                       int64_t y_pixels) const {
    const ConvShape& s = state.shape;
    const int64_t y_count = conv_rows(s) * s.out_channels;
    state.turn_x = layout_ == Layout::kChannelsFirst && s.in_channels > 1 && x.pixels() > 1;
    state.turn_y = layout_ == Layout::kChannelsFirst && s.out_channels > 1 && y_pixels > 1;
    ScratchLayout layout;
    if (state.turn_x) {
      state.copy_x = turn(1, s.batch, s.in_channels, x.pixels());
      state.x_last = layout.take(ctx.shape(in_.x).count(), 1);
    }
    if (state.turn_y) state.copy_y = turn(quantized_ ? 1 : 4, s.batch, y_pixels, s.out_channels);
    if (quantized_ || state.turn_y) state.sums = layout.take(y_count, sizeof(int32_t));
    if (quantized_ && state.turn_y) state.y_last = layout.take(y_count, 1);
    if (quantized_) state.multipliers = layout.take(s.out_channels, sizeof(float));
    state.zeros = layout.take(s.out_channels, sizeof(int32_t));
    if (is_empty_sum(s)) return layout.bytes();
    if (packed_ == nullptr) state.packed = layout.take(kernels().conv_s8.packed_size(s), 1);
    state.worker_bytes = round_up(static_cast<int64_t>(kernels().conv_s8.scratch_bytes(s)), kCacheLine);
    state.workers = layout.take(ctx.workers(), state.worker_bytes);
    return layout.bytes();
  }

  void pack_constant(NodeContext& ctx, const Tensor& w) {
    const Shape& shape = w.shape();
    // Weights that do not fit are refused while planning.
    if (shape.rank() < 3 || shape.rank() - 2 > kMaxSpatialRank || shape.count() == 0 ||
        shape[0] % groups_ != 0 || shape[1] > INT64_MAX / groups_)
      return;
    ConvShape s;
    s.window.rank = shape.rank() - 2;
    std::copy(shape.begin() + 2, shape.end(), s.window.kernel);
    s.out_channels = shape[0];
    s.in_channels = shape[1] * groups_;
    s.groups = groups_;
    packed_ =
        ctx.pack(in_.w, join("conv_s8 ", groups_), kernels().conv_s8.packed_size(s), [&](std::byte* to) {
          kernels().conv_s8.pack({.shape = s,
                                  .weights = w.as<void>(),
                                  .w_signed = w_signed_,
                                  .packed = reinterpret_cast<int8_t*>(to)});
        });
  }

  void prepare_multipliers(const RunContext& ctx, const IntegerConvState& state) const {
    float* multipliers = at<float>(ctx, state.multipliers);
    const TensorView& w_scale = ctx.in(in_.w_scale);
    const float x_scale = ctx.in<float>(in_.x_scale)[0], y_scale = ctx.in<float>(in_.y_scale)[0];
    for (int64_t m = 0; m < state.shape.out_channels; ++m)
      multipliers[m] = x_scale * w_scale.as<float>()[w_scale.count() == 1 ? 0 : m] / y_scale;
  }

  void compute(const RunContext& ctx, const IntegerConvState& state, int32_t* sums, uint8_t* bytes) const {
    const ConvShape& s = state.shape;
    ConvS8Args args{.shape = s, .x = ctx.in(in_.x).data, .x_signed = ctx.in(in_.x).dtype == DType::kInt8};
    args.x_stride = s.in_channels;
    if (state.turn_x) {
      copy(ctx, state.copy_x, args.x, at<uint8_t>(ctx, state.x_last));
      args.x = at<uint8_t>(ctx, state.x_last);
    }
    if (ctx.has(in_.x_zero)) args.x_zero = byte_at(ctx.in(in_.x_zero), 0);
    if (packed_ != nullptr) {
      args.weights = packed_->as<int8_t>();
    } else {
      auto* packed = at<int8_t>(ctx, state.packed);
      kernels().conv_s8.pack(
          {.shape = s, .weights = ctx.in(in_.w).data, .w_signed = w_signed_, .packed = packed});
      args.weights = packed;
    }
    args.w_signed = w_signed_;
    if (ctx.has(in_.w_zero)) {
      auto* zeros = at<int32_t>(ctx, state.zeros);
      const int64_t count = ctx.in(in_.w_zero).count();
      for (int64_t i = 0; i < count; ++i) zeros[i] = byte_at(ctx.in(in_.w_zero), i);
      args.w_zero = zeros;
      args.w_zero_per_channel = count > 1;
    }
    args.y = sums;
    args.y_stride = s.out_channels;

    const int64_t cost =
        kPanelWidth * spatial_size(s.window.kernel, s.window.rank) * (s.in_channels / s.groups) / 2;
    const Tiling tiling(conv_rows(s), conv_panels(s), cost);
    const int64_t grain = grain_for(tiling.row_step * tiling.panel_step * cost);
    ctx.parallel(tiling.count(), grain, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t r0 = tiling.row_begin(t), r1 = tiling.row_end(t);
        const int64_t p0 = tiling.panel_begin(t), p1 = tiling.panel_end(t);
        kernels().conv_s8.run(args, r0, r1, p0, p1,
                              ctx.scratch() + state.workers + worker * state.worker_bytes);
        if (quantized_) finish(ctx, state, sums, bytes, r0, r1, p0, p1);
      }
    });
  }

  // Output channel at which panel `p` begins.
  static int64_t first_channel(const ConvShape& s, int64_t p) {
    const int64_t outputs = s.out_channels / s.groups, panels = panel_count(outputs);
    return p / panels * outputs + std::min(outputs, p % panels * kPanelWidth);
  }

  // Adds the bias to a tile of sums and writes it as bytes.
  void finish(const RunContext& ctx, const IntegerConvState& state, int32_t* sums, uint8_t* bytes,
              int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) const {
    const ConvShape& s = state.shape;
    const int64_t first = first_channel(s, panel_begin), count = first_channel(s, panel_end) - first;
    const float* multipliers = at<float>(ctx, state.multipliers) + first;
    const int32_t* bias = in_.bias >= 0 && ctx.has(in_.bias) ? ctx.in<int32_t>(in_.bias) + first : nullptr;
    const int32_t zero = byte_at(ctx.in(in_.y_zero), 0);
    for (int64_t row = row_begin; row < row_end; ++row) {
      const int64_t offset = row * s.out_channels + first;
      int32_t* sum = sums + offset;
      for (int64_t j = 0; bias != nullptr && j < count; ++j)
        sum[j] = static_cast<int32_t>(static_cast<uint32_t>(sum[j]) + static_cast<uint32_t>(bias[j]));
      requantize(sum, multipliers, 1, zero, ctx.out(0).dtype == DType::kInt8, bytes + offset, count);
    }
  }

  Inputs in_;
  bool quantized_;
  Layout layout_;
  bool w_signed_;
  SlidingWindow window_;
  int64_t groups_;
  PackedWeights::Packed packed_;  // of constant weights
};

template <Layout layout>
std::unique_ptr<Op> make_conv_integer(NodeContext& ctx) {
  ctx.expect_inputs(2, 4);
  for (int i : {0, 1}) {
    ctx.expect_dtype(i, {DType::kInt8, DType::kUInt8});
    if (ctx.has_input(i + 2)) ctx.expect_same_dtype(i, i + 2);
  }
  ctx.output(0, DType::kInt32);
  return std::make_unique<IntegerConv>(ctx, kIntegerInputs, layout);
}

template <Layout layout>
std::unique_ptr<Op> make_qlinear_conv(NodeContext& ctx) {
  ctx.expect_inputs(8, 9);
  const Inputs& in = kQuantizedInputs;
  for (int i : {in.x, in.w, in.y_zero}) ctx.expect_dtype(i, {DType::kInt8, DType::kUInt8});
  for (int i : {in.x, in.w}) ctx.expect_same_dtype(i, i + 2);
  for (int i : {in.x_scale, in.w_scale, in.y_scale}) ctx.expect_dtype(i, {DType::kFloat32});
  if (ctx.has_input(in.bias)) ctx.expect_dtype(in.bias, {DType::kInt32});
  ctx.output(0, ctx.dtype(in.y_zero));
  return std::make_unique<IntegerConv>(ctx, in, layout);
}

// The layout is an attribute in com.microsoft.
std::unique_ptr<Op> make_either_qlinear_conv(NodeContext& ctx) {
  return ctx.attr_int("channels_last", 0) != 0 ? make_qlinear_conv<Layout::kChannelsLast>(ctx)
                                               : make_qlinear_conv<Layout::kChannelsFirst>(ctx);
}

}  // namespace

std::span<const OpDef> conv_integer_ops() {
  static constexpr OpDef kOps[] = {
      {"", "ConvInteger", 1, make_conv_integer<Layout::kChannelsFirst>},
      {"", "QLinearConv", 1, make_qlinear_conv<Layout::kChannelsFirst>},
      {"com.microsoft", "QLinearConv", 1, make_either_qlinear_conv},
      {"pyinfer", "ConvIntegerNhwc", 1, make_conv_integer<Layout::kChannelsLast>},
      {"pyinfer", "QLinearConvNhwc", 1, make_qlinear_conv<Layout::kChannelsLast>},
  };
  return kOps;
}

}  // namespace pyinfer
