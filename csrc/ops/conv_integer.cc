// ConvInteger: Y = (X - x_zero) * (W - w_zero) in int32, exact; padding counts as x_zero.
// QLinearConv: Y = saturate(round(x_scale w_scale / y_scale * (that + B)) + y_zero), within [y_low, y_high]
//   where the pyinfer ops have these attributes.
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
  int64_t x_last = 0, packed = 0, y_last = 0, zeros = 0, bias = 0, multipliers = 0, workers = 0,
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
    if (quantized_) {
      range_ = ByteRange::of(ctx.dtype(inputs.y_zero));
      const int64_t low = ctx.attr_int("y_low", range_.low), high = ctx.attr_int("y_high", range_.high);
      require(range_.low <= low && low <= high && high <= range_.high, ErrorCode::kInvalidModel,
              "attributes 'y_low' = ", low, " and 'y_high' = ", high, ", expected a range within ",
              range_.low, " to ", range_.high);
      range_ = {static_cast<int32_t>(low), static_cast<int32_t>(high)};
    }
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
    void* const y = state.turn_y ? at<void>(ctx, state.y_last) : ctx.out(0).data;
    S8Requantize bytes;
    if (quantized_) bytes = requantization(ctx, state, static_cast<uint8_t*>(y));
    if (is_empty_sum(s)) {
      finish_empty(ctx, state, bytes, y);
    } else if (filters_ != nullptr) {
      compute_depthwise(ctx, state, bytes);
    } else {
      compute(ctx, state, bytes, static_cast<int32_t*>(y));
    }
    if (state.turn_y) copy(ctx, state.copy_y, y, ctx.out(0).data);
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
    if (state.turn_y) {
      state.copy_y = turn(quantized_ ? 1 : 4, s.batch, y_pixels, s.out_channels);
      state.y_last = layout.take(y_count, quantized_ ? 1 : 4);
    }
    if (quantized_) state.bias = layout.take(s.out_channels, sizeof(int32_t));
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
    for (int d = 0; d < s.window.rank; ++d) {
      const auto at = static_cast<size_t>(d);
      s.window.stride[d] = at < window_.strides().size() ? window_.strides()[at] : 1;
      s.window.dilation[d] = at < window_.dilations().size() ? window_.dilations()[at] : 1;
    }
    s.out_channels = shape[0];
    s.in_channels = shape[1] * groups_;
    s.groups = groups_;
    sum_weights(ctx, w);
    pack_filters(ctx, s, w);
    if (filters_ != nullptr) return;
    packed_ =
        ctx.pack(in_.w, join("conv_s8 ", groups_), kernels().conv_s8.packed_size(s), [&](std::byte* to) {
          kernels().conv_s8.pack({.shape = s,
                                  .weights = w.as<void>(),
                                  .w_signed = w_signed_,
                                  .packed = reinterpret_cast<int8_t*>(to)});
        });
  }

  // Of each output channel, less the zero point: what one unit of X everywhere adds to a sum.
  void sum_weights(NodeContext& ctx, const Tensor& w) {
    const Tensor* zero = ctx.constant(in_.w_zero);
    const int64_t outputs = w.shape()[0], length = w.count() / outputs;
    if (!quantized_ || zero == nullptr || (zero->count() != 1 && zero->count() != outputs)) return;
    weight_sums_.assign(static_cast<size_t>(outputs), 0);
    for (int64_t i = 0; i < w.count(); ++i)
      weight_sums_[static_cast<size_t>(i / length)] += static_cast<uint32_t>(weight(w, *zero, i, i / length));
  }

  // Filters of one channel each go to a kernel of their own, which needs their zero points now.
  void pack_filters(NodeContext& ctx, const ConvShape& s, const Tensor& w) {
    const Tensor* zero = ctx.constant(in_.w_zero);
    if (weight_sums_.empty() || !fits_s8_depthwise(s)) return;
    const int64_t channels = s.out_channels, taps = spatial_size(s.window.kernel, s.window.rank);
    const int64_t bytes = taps * channels * static_cast<int64_t>(sizeof(float));
    // The zero points are in the filters.
    const std::string layout =
        "depthwise_s8 " + std::string(zero->as<char>(), static_cast<size_t>(zero->count()));
    filters_ = ctx.pack(in_.w, layout, bytes, [&](std::byte* to) {
      auto* filters = reinterpret_cast<float*>(to);
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t c = 0; c < channels; ++c)
          *filters++ = static_cast<float>(weight(w, *zero, c * taps + t, c));
    });
  }
  static int32_t weight(const Tensor& w, const Tensor& zero, int64_t i, int64_t channel) {
    return byte_at(w.view(), i) - byte_at(zero.view(), zero.count() == 1 ? 0 : channel);
  }

  // How sums become Y, with the bias as it is.
  S8Requantize requantization(const RunContext& ctx, const IntegerConvState& state, uint8_t* y) const {
    float* multipliers = at<float>(ctx, state.multipliers);
    const TensorView& w_scale = ctx.in(in_.w_scale);
    const float x_scale = ctx.in<float>(in_.x_scale)[0], y_scale = ctx.in<float>(in_.y_scale)[0];
    for (int64_t m = 0; m < state.shape.out_channels; ++m)
      multipliers[m] = x_scale * w_scale.as<float>()[w_scale.count() == 1 ? 0 : m] / y_scale;
    return {.bias = ctx.has(in_.bias) ? ctx.in<int32_t>(in_.bias) : nullptr,
            .multiplier = multipliers,
            .zero = byte_at(ctx.in(in_.y_zero), 0),
            .low = range_.low,
            .high = range_.high,
            .y = y,
            .ldy = state.shape.out_channels};
  }

  // Sums of nothing.
  void finish_empty(const RunContext& ctx, const IntegerConvState& state, const S8Requantize& bytes,
                    void* y) const {
    const int64_t rows = conv_rows(state.shape), channels = state.shape.out_channels;
    if (!quantized_) {
      std::fill_n(static_cast<int32_t*>(y), rows * channels, 0);
      return;
    }
    auto* sums = at<int32_t>(ctx, state.bias);
    for (int64_t m = 0; m < channels; ++m) sums[m] = bytes.bias != nullptr ? bytes.bias[m] : 0;
    for (int64_t row = 0; row < rows; ++row)
      requantize(sums, bytes.multiplier, 1, bytes.zero, range_, bytes.y + row * channels, channels);
  }

  // X as channels-last bytes.
  const void* load_x(const RunContext& ctx, const IntegerConvState& state) const {
    if (!state.turn_x) return ctx.in(in_.x).data;
    copy(ctx, state.copy_x, ctx.in(in_.x).data, at<uint8_t>(ctx, state.x_last));
    return at<uint8_t>(ctx, state.x_last);
  }

  // The bias less what the zero point of X adds to every sum, modulo 2^32.
  const int32_t* bias_less_zero(const RunContext& ctx, const IntegerConvState& state, const int32_t* bias,
                                int32_t zero) const {
    auto* out = at<int32_t>(ctx, state.bias);
    for (size_t m = 0; m < weight_sums_.size(); ++m)
      out[m] = static_cast<int32_t>((bias ? static_cast<uint32_t>(bias[m]) : 0u) -
                                    static_cast<uint32_t>(zero) * weight_sums_[m]);
    return out;
  }

  void compute_depthwise(const RunContext& ctx, const IntegerConvState& state,
                         const S8Requantize& bytes) const {
    const ConvShape& s = state.shape;
    DepthwiseS8Args args{.shape = s, .x = static_cast<const uint8_t*>(load_x(ctx, state)), .bytes = bytes};
    args.x_signed = ctx.in(in_.x).dtype == DType::kInt8;
    args.x_stride = s.in_channels;
    args.x_zero = byte_at(ctx.in(in_.x_zero), 0);
    args.filters = filters_->as<float>();
    args.bytes.bias = bias_less_zero(ctx, state, bytes.bias, args.x_zero);
    const int64_t taps = spatial_size(s.window.kernel, s.window.rank);
    ctx.parallel(conv_rows(s), grain_for(taps * s.in_channels), [&](int64_t begin, int64_t end, int worker) {
      kernels().conv_s8.run_depthwise(args, begin, end,
                                      ctx.scratch() + state.workers + worker * state.worker_bytes);
    });
  }

  void compute(const RunContext& ctx, const IntegerConvState& state, const S8Requantize& bytes,
               int32_t* sums) const {
    const ConvShape& s = state.shape;
    ConvS8Args args{.shape = s, .x = load_x(ctx, state), .x_signed = ctx.in(in_.x).dtype == DType::kInt8};
    args.x_stride = s.in_channels;
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
      const bool any = std::any_of(zeros, zeros + count, [](int32_t z) { return z != 0; });
      args.w_zero = any ? zeros : nullptr;
      args.w_zero_per_channel = count > 1;
    }
    S8Requantize to = bytes;
    if (quantized_) {
      args.bytes = &to;
      args.raw = !weight_sums_.empty() && w_signed_ && args.w_zero == nullptr;
      if (args.raw) to.bias = bias_less_zero(ctx, state, bytes.bias, args.x_zero);
    } else {
      args.y = sums;
      args.y_stride = s.out_channels;
    }
    const int64_t cost =
        kPanelWidth * spatial_size(s.window.kernel, s.window.rank) * (s.in_channels / s.groups) / 2;
    const Tiling tiling(conv_rows(s), conv_panels(s), cost);
    const int64_t grain = grain_for(tiling.row_step * tiling.panel_step * cost);
    ctx.parallel(tiling.count(), grain, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t t = begin; t < end; ++t)
        kernels().conv_s8.run(args, tiling.row_begin(t), tiling.row_end(t), tiling.panel_begin(t),
                              tiling.panel_end(t),
                              ctx.scratch() + state.workers + worker * state.worker_bytes);
    });
  }

  Inputs in_;
  bool quantized_;
  Layout layout_;
  bool w_signed_;
  SlidingWindow window_;
  int64_t groups_;
  ByteRange range_;                    // of Y, quantized
  PackedWeights::Packed packed_;       // of constant weights
  PackedWeights::Packed filters_;      // of one channel each, [taps, channels], less their zero points
  std::vector<uint32_t> weight_sums_;  // of each output channel, modulo 2^32; empty where not known
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
      {"pyinfer", "QLinearConv", 1, make_qlinear_conv<Layout::kChannelsFirst>},
      {"pyinfer", "QLinearConvNhwc", 1, make_qlinear_conv<Layout::kChannelsLast>},
  };
  return kOps;
}

}  // namespace pyinfer
