// DeformConv: Y(n, m, o) = sum over taps t, channels c of W(m, c, t) mask(n, c, t, o) X(n, c, p) + B(m) with
//   p = o * stride - pad + t * dilation + offset(n, c, t, o), X interpolated linearly and 0 outside.
// The samples of an image are laid out as the pixels of a pointwise convolution, which does the rest.
#include <algorithm>
#include <cmath>

#include "kernels/kernel_table.h"
#include "ops/conv_shape.h"
#include "ops/half.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

struct DeformState : StepState {
  ConvShape shape;
  // Offsets in scratch; wide[i] is input i in float32.
  int64_t wide[5] = {}, packed = 0, columns = 0, y_last = 0, y_wide = 0;
};

// The value of plane x at a point between its pixels.
template <class T>
T sample(const Window& w, const T* x, const T* point) {
  int64_t low[kMaxSpatialRank];
  T fraction[kMaxSpatialRank];
  for (int d = 0; d < w.rank; ++d) {
    // Also refuses NaN, and what does not fit an integer.
    if (!(point[d] > T{-1} && point[d] < static_cast<T>(w.input[d]))) return T{0};
    const T floor = std::floor(point[d]);
    low[d] = static_cast<int64_t>(floor);
    fraction[d] = point[d] - floor;
  }
  T sum{0};
  for (int corner = 0; corner < 1 << w.rank; ++corner) {
    int64_t pixel = 0;
    T weight{1};
    bool inside = true;
    for (int d = 0; d < w.rank; ++d) {
      const bool high = corner >> (w.rank - 1 - d) & 1;
      const int64_t at = low[d] + high;
      inside = inside && at >= 0 && at < w.input[d];
      pixel = pixel * w.input[d] + at;
      weight *= high ? fraction[d] : T{1} - fraction[d];
    }
    if (inside) sum += weight * x[pixel];
  }
  return sum;
}

template <class T>
struct DeformInputs {
  const T *x, *weights, *offset, *bias, *mask;
};

class DeformConv final : public Op {
 public:
  explicit DeformConv(NodeContext& ctx)
      : dtype_(ctx.dtype(0)),
        window_(ctx),
        groups_(conv_groups(ctx)),
        offset_groups_(ctx.attr_int("offset_group", 1)) {
    require(offset_groups_ >= 1, ErrorCode::kInvalidModel, "attribute 'offset_group' = ", offset_groups_,
            ", expected at least 1");
  }

  void plan(PlanContext& ctx) const override {
    auto state = std::make_unique<DeformState>();
    ConvShape& s = state->shape;
    s = conv_shape(window_, ImageShape(ctx.shape(0), Layout::kChannelsFirst), ctx.shape(1), groups_);
    const ImageShape y = conv_output(s);
    require(s.in_channels % offset_groups_ == 0, ErrorCode::kInvalidInput, s.in_channels,
            " channels do not divide into ", offset_groups_, " offset groups");
    ImageShape samples = y;
    samples.channels = Shape({offset_groups_, taps(s), s.window.rank}).count();
    expect_shape(ctx, 2, samples.shape(Layout::kChannelsFirst));
    if (ctx.has(3)) expect_shape(ctx, 3, Shape{s.out_channels});
    samples.channels /= s.window.rank;
    if (ctx.has(4)) expect_shape(ctx, 4, samples.shape(Layout::kChannelsFirst));
    ctx.output(0, y.shape(Layout::kChannelsFirst));
    if (y.shape(Layout::kChannelsFirst).count() > 0) {
      ctx.flops(conv_flops(s));
      ctx.scratch(plan_scratch(*state, ctx));
    }
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    if (dtype_ == DType::kFloat64) return run_float64(ctx);
    const auto& state = ctx.state<DeformState>();
    const ConvShape& s = state.shape;
    const DeformInputs<float> in{wide(ctx, 0), wide(ctx, 1), wide(ctx, 2), wide(ctx, 3), wide(ctx, 4)};
    const bool half = is_half(dtype_);
    float* y = half ? at<float>(ctx, state.y_wide) : ctx.out<float>(0);
    pack_conv_weights(s, in.weights, at<float>(ctx, state.packed));
    const int64_t pixels = spatial_size(s.window.output, s.window.rank);
    for (int64_t n = 0; n < s.batch; ++n) {
      float* columns = at<float>(ctx, state.columns);
      gather(ctx, s, in, n, columns);
      multiply(ctx, state, in.bias, columns, y + n * s.out_channels * pixels);
    }
    if (half) narrow(ctx, dtype_, y, ctx.out(0).data, ctx.out(0).count());
  }

 private:
  template <class T>
  static T* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<T*>(ctx.scratch() + offset);
  }
  static int64_t taps(const ConvShape& s) {
    return Shape(std::span(s.window.kernel, static_cast<size_t>(s.window.rank))).count();
  }
  static void expect_shape(const PlanContext& ctx, int input, const Shape& expected) {
    require(ctx.shape(input) == expected, ErrorCode::kInvalidInput, "input ", input, " of shape ",
            ctx.shape(input), ", expected ", expected);
  }

  int64_t plan_scratch(DeformState& state, const PlanContext& ctx) const {
    const ConvShape& s = state.shape;
    const auto size = static_cast<int64_t>(dtype_ == DType::kFloat64 ? sizeof(double) : sizeof(float));
    const int64_t pixels = conv_output(s).pixels();
    ScratchLayout layout;
    for (int i = 0; i < 5 && is_half(dtype_); ++i)
      if (ctx.has(i)) state.wide[i] = layout.take(ctx.shape(i).count(), size);
    state.columns = layout.take(Shape({pixels, taps(s), s.in_channels}).count(), size);
    if (dtype_ == DType::kFloat64) return layout.bytes();
    state.packed = layout.take(packed_conv_weights_size(s), size);
    state.y_last = layout.take(pixels * s.out_channels, size);
    if (is_half(dtype_)) state.y_wide = layout.take(pixels * s.out_channels * s.batch, size);
    return layout.bytes();
  }

  const float* wide(const RunContext& ctx, int i) const {
    if (!ctx.has(i)) return nullptr;
    if (!is_half(dtype_)) return ctx.in<float>(i);
    float* to = at<float>(ctx, ctx.state<DeformState>().wide[i]);
    widen(ctx, dtype_, ctx.in(i).data, to, ctx.in(i).count());
    return to;
  }

  // columns(o, g, t, c) = the sample of channel c of group g under tap t for output pixel o of image n.
  template <class T>
  void gather(const RunContext& ctx, const ConvShape& s, const DeformInputs<T>& in, int64_t n,
              T* columns) const {
    const Window& w = s.window;
    const int64_t x_size = spatial_size(w.input, w.rank), pixels = spatial_size(w.output, w.rank);
    const int64_t tap_count = spatial_size(w.kernel, w.rank), per_group = s.in_channels / s.groups;
    const int64_t per_offset = s.in_channels / offset_groups_;
    const int64_t cost = tap_count * s.in_channels * (int64_t{4} << w.rank);
    ctx.parallel(pixels, grain_for(cost), [&](int64_t begin, int64_t end, int) {
      for (int64_t o = begin; o < end; ++o) {
        int64_t position[kMaxSpatialRank], tap[kMaxSpatialRank] = {};
        for (int64_t d = w.rank - 1, rest = o; d >= 0; --d) {
          position[d] = rest % w.output[d];
          rest /= w.output[d];
        }
        for (int64_t t = 0; t < tap_count; ++t) {
          for (int64_t c = 0; c < s.in_channels; ++c) {
            const int64_t field = (n * offset_groups_ + c / per_offset) * tap_count + t;
            T point[kMaxSpatialRank];
            for (int d = 0; d < w.rank; ++d)
              point[d] = static_cast<T>(position[d] * w.stride[d] - w.pad[d] + tap[d] * w.dilation[d]) +
                         in.offset[(field * w.rank + d) * pixels + o];
            T value = sample(w, in.x + (n * s.in_channels + c) * x_size, point);
            if (in.mask != nullptr) value *= in.mask[field * pixels + o];
            columns[((o * s.groups + c / per_group) * tap_count + t) * per_group + c % per_group] = value;
          }
          for (int d = w.rank - 1; d >= 0 && ++tap[d] == w.kernel[d]; --d) tap[d] = 0;
        }
      }
    });
  }

  // One image of Y, channels first, from its columns.
  static void multiply(const RunContext& ctx, const DeformState& state, const float* bias,
                       const float* columns, float* y) {
    const ConvShape& s = state.shape;
    const int64_t pixels = spatial_size(s.window.output, s.window.rank);
    const int64_t k = spatial_size(s.window.kernel, s.window.rank) * (s.in_channels / s.groups);
    const int64_t outputs = s.out_channels / s.groups, panels = panel_count(outputs);
    float* last = at<float>(ctx, state.y_last);
    const Tiling tiling(pixels, panels, kPanelWidth * k);
    for (int64_t g = 0; g < s.groups; ++g) {
      const GemmArgs args{.m = pixels,
                          .n = outputs,
                          .k = k,
                          .a = columns + g * k,
                          .lda = s.groups * k,
                          .b = at<float>(ctx, state.packed) + g * panels * kPanelWidth * k,
                          .c = last + g * outputs,
                          .ldc = s.out_channels,
                          .epilogue = {.bias = bias != nullptr ? bias + g * outputs : nullptr}};
      ctx.parallel(tiling.count(), 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t)
          kernels().gemm.run(args, tiling.row_begin(t), tiling.row_end(t), tiling.panel_begin(t),
                             tiling.panel_end(t));
      });
    }
    kernels().layout.transpose({.rows = pixels,
                                .columns = s.out_channels,
                                .src = last,
                                .src_stride = s.out_channels,
                                .dst = y,
                                .dst_stride = pixels},
                               0, s.out_channels);
  }

  void run_float64(const RunContext& ctx) const {
    const auto& state = ctx.state<DeformState>();
    const ConvShape& s = state.shape;
    const auto input = [&](int i) { return ctx.has(i) ? ctx.in<double>(i) : nullptr; };
    const DeformInputs<double> in{input(0), input(1), input(2), input(3), input(4)};
    const int64_t pixels = spatial_size(s.window.output, s.window.rank);
    const int64_t tap_count = spatial_size(s.window.kernel, s.window.rank);
    const int64_t channels = s.in_channels / s.groups, k = tap_count * channels,
                  outputs = s.out_channels / s.groups;
    double* columns = at<double>(ctx, state.columns);
    for (int64_t n = 0; n < s.batch; ++n) {
      gather(ctx, s, in, n, columns);
      ctx.parallel(s.out_channels, grain_for(pixels * k), [&](int64_t begin, int64_t end, int) {
        for (int64_t m = begin; m < end; ++m) {
          const double* w = in.weights + m * k;
          double* y = ctx.out<double>(0) + (n * s.out_channels + m) * pixels;
          for (int64_t o = 0; o < pixels; ++o) {
            const double* column = columns + (o * s.groups + m / outputs) * k;
            double sum = 0;
            for (int64_t i = 0; i < k; ++i)
              sum = std::fma(column[i], w[i % channels * tap_count + i / channels], sum);
            y[o] = in.bias != nullptr ? sum + in.bias[m] : sum;
          }
        }
      });
    }
  }

  DType dtype_;
  SlidingWindow window_;
  int64_t groups_, offset_groups_;
};

std::unique_ptr<Op> make_deform_conv(NodeContext& ctx) {
  ctx.expect_inputs(3, 5);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64});
  for (int i = 1; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_same_dtype(0, i);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<DeformConv>(ctx);
}

}  // namespace

std::span<const OpDef> deform_conv_ops() {
  static constexpr OpDef kOps[] = {{"", "DeformConv", 1, make_deform_conv}};
  return kOps;
}

}  // namespace pyinfer
