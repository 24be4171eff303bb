// ExpandDepthwiseNhwc: Y = act(D * expand_act(X * E + B) + C), the first two convolutions of an inverted
// residual block: 1x1 to more channels, then one filter per channel; float32, channels last.
//   X, E, B, D, C; B and C may be absent. The attributes of the window and `activation` are the second's,
//   `expand_activation` is the first's.
// The expanded image, the largest of the block, exists a strip of rows of some channels at a time, in the
// second cache. The sums are those of the two convolutions, to the bit.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/kernel_table.h"
#include "ops/conv_shape.h"
#include "ops/fused_activation.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

enum Input { kX, kExpand, kExpandBias, kFilters, kBias };
constexpr int64_t kFloat = sizeof(float);

struct State : StepState {
  ConvShape shape;             // of the second convolution
  int64_t block = 0;           // channels of a strip
  int64_t rows = 0;            // output rows of a strip
  int64_t strip_bytes = 0;     // of a worker
  int64_t worker_bytes = 0;    // with the scratch of the second convolution
  std::vector<float> filters;  // packed for each block, one after another

  int64_t blocks() const { return ceil_div(shape.out_channels, block); }
};

// Input rows that `count` output rows read.
int64_t extent(const Window& w, int64_t count) {
  return (count - 1) * w.stride[0] + (w.kernel[0] - 1) * w.dilation[0] + 1;
}

// A strip takes a part of the second cache, and has rows enough that little of it is kept for the next. Small
// images are cut along the channels, for the threads, but no further: a window at the border costs the same
// for few channels as for many.
void cut(State& s) {
  constexpr int64_t kStripFloats = 32 * 1024, kLeastRows = 4, kPieces = 4;
  const Window& w = s.shape.window;
  const int64_t channels = s.shape.out_channels, row = w.input[1];
  const int64_t fit = kStripFloats / (row * std::min(extent(w, kLeastRows), w.input[0]));
  const int64_t most = std::clamp(fit / kPanelWidth * kPanelWidth, int64_t{kPanelWidth},
                                  std::max<int64_t>(round_up(ceil_div(channels, kPieces), kPanelWidth), 64));
  s.block = round_up(ceil_div(channels, ceil_div(channels, most)), kPanelWidth);
  const int64_t room = kStripFloats / (row * s.block) - extent(w, 1);
  s.rows = std::clamp(room / w.stride[0] + 1, int64_t{1}, std::max<int64_t>(w.output[0], 1));
}

// Pieces to cut the rows of an image into when there are `tasks` already: one for each worker, and more, to
// share them out evenly, as long as few rows are expanded twice. Every cut expands those again that windows
// on both of its sides read.
int64_t row_pieces(const ConvShape& s, int64_t tasks, int64_t workers) {
  const Window& w = s.window;
  const int64_t twice = std::max<int64_t>(extent(w, 1) - w.stride[0], 0);
  const int64_t needed = twice < w.input[0] ? ceil_div(workers, tasks) : 1;
  const int64_t even = std::min(ceil_div(2 * workers, tasks), w.input[0] / (4 * std::max<int64_t>(twice, 1)));
  return std::clamp<int64_t>(std::max(needed, even), 1, w.output[0]);
}

// What one worker does of one image and block of channels: output rows one strip after another.
class Strips {
 public:
  Strips(const State& state, const GemmArgs& expand, const ConvArgs& filter, int64_t block, std::byte* memory)
      : state_(state),
        expand_(expand),
        filter_(filter),
        first_(block * state.block),
        channels_(std::min(state.block, state.shape.out_channels - first_)),
        strip_(reinterpret_cast<float*>(memory)),
        scratch_(memory + state.strip_bytes) {
    expand_.n = channels_;
    expand_.b += first_ * expand_.k;
    expand_.ldc = channels_;
    if (expand_.epilogue.bias != nullptr) expand_.epilogue.bias += first_;
    ConvShape& s = filter_.shape;
    const int64_t taps = spatial_size(s.window.kernel, 2);
    s.batch = 1;
    s.in_channels = s.out_channels = s.groups = channels_;
    filter_.x = strip_;
    filter_.x_stride = channels_;
    filter_.weights += first_ * taps;
    if (filter_.epilogue.bias != nullptr) filter_.epilogue.bias += first_;
  }

  void run(int64_t image, int64_t row_begin, int64_t row_end) {
    held_begin_ = held_end_ = 0;
    for (int64_t row = row_begin; row < row_end; row += state_.rows)
      run_strip(image, row, std::min(row_end, row + state_.rows));
  }

 private:
  void run_strip(int64_t image, int64_t begin, int64_t end) {
    const Window& whole = state_.shape.window;
    const int64_t first = begin * whole.stride[0] - whole.pad[0];
    const int64_t in_begin = std::max<int64_t>(first, 0);
    const int64_t in_end = std::min(first + extent(whole, end - begin), whole.input[0]);
    expand(image, in_begin, in_end);

    Window& w = filter_.shape.window;
    w.input[0] = in_end - in_begin;
    w.output[0] = end - begin;
    w.pad[0] = in_begin - first;
    ConvArgs args = filter_;
    args.y += ((image * whole.output[0] + begin) * whole.output[1]) * args.y_stride + first_;
    kernels().conv.run_depthwise(args, 0, w.output[0] * w.output[1], scratch_);
  }

  // Makes the strip hold input rows [begin, end), of which the last one may have held the first.
  void expand(int64_t image, int64_t begin, int64_t end) {
    const Window& w = state_.shape.window;
    const int64_t line = w.input[1] * channels_;
    const int64_t held = std::max<int64_t>(held_end_ - begin, 0);
    if (held > 0)
      std::memmove(strip_, strip_ + (begin - held_begin_) * line, static_cast<size_t>(held * line * kFloat));
    GemmArgs args = expand_;
    args.m = (end - begin - held) * w.input[1];
    args.a += ((image * w.input[0] + begin + held) * w.input[1]) * args.lda;
    args.c = strip_ + held * line;
    kernels().gemm.run(args, 0, args.m, 0, panel_count(channels_));
    held_begin_ = begin;
    held_end_ = end;
  }

  const State& state_;
  GemmArgs expand_;
  ConvArgs filter_;
  int64_t first_, channels_;
  float* strip_;
  std::byte* scratch_;
  int64_t held_begin_ = 0, held_end_ = 0;  // input rows in the strip
};

class ExpandDepthwise final : public Op {
 public:
  explicit ExpandDepthwise(NodeContext& ctx)
      : window_(ctx),
        expand_activation_(fused_activation(ctx, "expand_")),
        activation_(fused_activation(ctx)) {
    const Tensor *e = ctx.constant(kExpand), *d = ctx.constant(kFilters);
    if (e == nullptr || d == nullptr) ctx.unsupported("weights that are not constants");
    expand_ = e->shape();
    filters_ = *d;
    const Shape& f = filters_.shape();
    require(expand_.rank() == 4 && expand_[2] == 1 && expand_[3] == 1 && f.rank() == 4 &&
                f[0] == expand_[0] && f[1] == 1 && expand_.count() > 0 && f.count() > 0,
            ErrorCode::kInvalidModel, "weights of shapes ", expand_, " and ", f,
            ", expected [E, C, 1, 1] and [E, 1, height, width], none of them 0");
    const ConvShape s{
        .window = {.rank = 2, .kernel = {1, 1}}, .in_channels = expand_[1], .out_channels = expand_[0]};
    packed_ = ctx.pack(kExpand, "conv 1x1", packed_conv_weights_size(s) * kFloat, [&](std::byte* to) {
      pack_conv_weights(s, e->as<float>(), reinterpret_cast<float*>(to));
    });
  }

  void plan(PlanContext& ctx) const override {
    auto state = std::make_unique<State>();
    ImageShape image(ctx.shape(kX), Layout::kChannelsLast);
    require(image.rank == 2 && image.channels == expand_[1], ErrorCode::kInvalidInput, "X of shape ",
            ctx.shape(kX), ", expected [N, height, width, ", expand_[1], "]");
    for (const int bias : {int{kExpandBias}, int{kBias}})
      require(!ctx.has(bias) || ctx.shape(bias) == Shape{expand_[0]}, ErrorCode::kInvalidInput,
              "a bias of another shape than [", expand_[0], "]");
    image.channels = expand_[0];
    state->shape = conv_shape(window_, image, filters_.shape(), expand_[0]);
    const ConvShape& s = state->shape;
    const Shape y = conv_output(s).shape(Layout::kChannelsLast);
    ctx.output(0, y);
    ctx.rows_apart_in(kX);
    ctx.rows_apart_out(0);
    if (y.count() > 0) {
      const Window& w = s.window;
      require(w.pad[0] < extent(w, 1) && (w.output[0] - 1) * w.stride[0] - w.pad[0] < w.input[0],
              ErrorCode::kInvalidModel, "a row of Y would read padding alone");
      ctx.flops(product_flops(image.batch * image.pixels(), expand_[0], expand_[1]) + conv_flops(s));
      ctx.scratch(plan_scratch(*state, ctx));
    }
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const auto& state = ctx.state<State>();
    const ConvShape& s = state.shape;
    GemmArgs expand{.k = expand_[1], .a = ctx.in<float>(kX), .b = packed_->as<float>()};
    expand.lda = ctx.in(kX).row_or(expand_[1]);
    if (ctx.has(kExpandBias)) expand.epilogue.bias = ctx.in<float>(kExpandBias);
    set_activation(expand.epilogue, expand_activation_);
    ConvArgs filter{.shape = s, .weights = state.filters.data(), .y = ctx.out<float>(0)};
    filter.y_stride = ctx.out(0).row_or(s.out_channels);
    if (ctx.has(kBias)) filter.epilogue.bias = ctx.in<float>(kBias);
    set_activation(filter.epilogue, activation_);

    const int64_t blocks = state.blocks(), height = s.window.output[0];
    const int64_t pieces = row_pieces(s, s.batch * blocks, ctx.workers());
    const int64_t step = ceil_div(height, pieces);
    ctx.parallel(s.batch * blocks * pieces, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t row = t % pieces * step;
        Strips(state, expand, filter, t / pieces % blocks, ctx.scratch() + worker * state.worker_bytes)
            .run(t / pieces / blocks, row, std::min(row + step, height));
      }
    });
  }

 private:
  int64_t plan_scratch(State& state, const PlanContext& ctx) const {
    cut(state);
    ConvShape s = state.shape;
    const int64_t taps = spatial_size(s.window.kernel, 2);
    state.filters.resize(static_cast<size_t>(filters_.count()));
    for (int64_t first = 0; first < state.shape.out_channels; first += state.block) {
      s.in_channels = s.out_channels = s.groups = std::min(state.block, state.shape.out_channels - first);
      pack_depthwise_weights(s, filters_.as<float>() + first * taps, state.filters.data() + first * taps);
    }
    s.in_channels = s.out_channels = s.groups = state.block;
    const int64_t rows = std::min(extent(s.window, state.rows), s.window.input[0]);
    ScratchLayout layout;
    layout.take(rows * s.window.input[1] * state.block, kFloat);
    state.strip_bytes = layout.bytes();
    layout.take(static_cast<int64_t>(kernels().conv.scratch_bytes({.shape = s, .x_stride = state.block})), 1);
    state.worker_bytes = layout.bytes();
    ScratchLayout all;
    all.take(ctx.workers(), state.worker_bytes);
    return all.bytes();
  }

  SlidingWindow window_;
  FusedActivation expand_activation_, activation_;
  Shape expand_;                  // of E
  Tensor filters_;                // D
  PackedWeights::Packed packed_;  // of the 1x1 convolution
};

std::unique_ptr<Op> make_expand_depthwise(NodeContext& ctx) {
  ctx.expect_inputs(2, 5);
  for (int i = 0; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_dtype(i, {DType::kFloat32});
  require(ctx.has_input(kFilters), ErrorCode::kInvalidModel, "input 3 is missing");
  ctx.output(0, DType::kFloat32);
  return std::make_unique<ExpandDepthwise>(ctx);
}

}  // namespace

std::span<const OpDef> expand_depthwise_ops() {
  static constexpr OpDef kOps[] = {{"pyinfer", "ExpandDepthwiseNhwc", 1, make_expand_depthwise}};
  return kOps;
}

}  // namespace pyinfer
