// y = (x - mean) / sqrt(variance + epsilon) * scale(c) + bias(c) on x of N x C x D1 x ...
//   BatchNormalization: mean and variance are inputs; in training mode, of each channel over N and D.
//   InstanceNormalization: of each channel of each n over D.
//   GroupNormalization: of each group of channels of each n over the group and D.
#include <algorithm>
#include <cmath>

#include "kernels/kernel_table.h"
#include "ops/elements.h"
#include "ops/lanes.h"
#include "ops/op.h"
#include "ops/row_norm.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

constexpr int64_t kGrain = 16384;

// x of N x C x S.
struct ChannelState final : StepState {
  int64_t n = 1, c = 1, s = 1;
};

// `count` is of the elements of scale, bias, mean and variance; 0: the number of channels.
std::unique_ptr<ChannelState> channel_state(PlanContext& ctx, int least_rank, int64_t count = 0) {
  const Shape& x = ctx.shape(0);
  require(x.rank() >= least_rank, ErrorCode::kInvalidInput, "expected at least ", least_rank,
          " dimensions, got shape ", x);
  auto state = std::make_unique<ChannelState>();
  state->n = x[0];
  if (x.rank() > 1) {
    state->c = x[1];
    state->s = x.count(2, x.rank());
  }
  if (count == 0) count = state->c;
  for (int i = 1; i < ctx.num_inputs(); ++i)
    require(ctx.shape(i) == Shape({count}), ErrorCode::kInvalidInput, "input ", i, " has shape ",
            ctx.shape(i), ", expected [", count, "]");
  return state;
}

// y = (x - mean) a + b on n elements. The mean goes first: a x + (b - mean a) would cancel where it is large.
template <class C>
void affine(const C* x, C* y, int64_t n, C mean, C a, C b) {
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * a + b;
}

// Feeds `count` elements from `at` on, block by block.
template <class C, class Map>
void feed(Lanes<C>& lanes, DType dtype, const void* x, int64_t at, int64_t count, Map map) {
  C buffer[kBlock];
  for (int64_t i = 0; i < count; i += kBlock) {
    const int64_t n = std::min(kBlock, count - i);
    lanes.feed(load_as(dtype, x, at + i, n, buffer), n, map, kJoinAdd);
  }
}

template <class C>
void affine_block(DType dtype, const void* x, void* y, int64_t at, int64_t count, C mean, C a, C b) {
  C buffer[kBlock];
  const bool direct = dtype == DTypeOf<C>::value;
  if (direct) return affine(static_cast<const C*>(x) + at, static_cast<C*>(y) + at, count, mean, a, b);
  for (int64_t i = 0; i < count; i += kBlock) {
    const int64_t n = std::min(kBlock, count - i);
    affine(load_as(dtype, x, at + i, n, buffer), buffer, n, mean, a, b);
    store_as(dtype, y, at + i, n, buffer);
  }
}

class BatchNorm final : public Op {
 public:
  BatchNorm(DType dtype, float epsilon, float momentum, bool training)
      : dtype_(dtype), epsilon_(epsilon), momentum_(momentum), training_(training) {}

  void plan(PlanContext& ctx) const override {
    auto state = channel_state(ctx, 1);
    ctx.output(0, ctx.shape(0));
    if (!training_) ctx.reuse(0, 0);
    for (int i : {1, 2})
      if (ctx.wants(i)) ctx.output(i, Shape({state->c}));
    ctx.scratch(4 * state->c * compute_size(dtype_));
    ctx.flops(ctx.shape(0).count() * 2);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    with_compute_type(dtype_, [&]<class C>() { run_as<C>(ctx); });
  }

 private:
  template <class C>
  void run_as(RunContext& ctx) const {
    const auto& s = ctx.state<ChannelState>();
    if (s.c == 0) return;
    C* mean = ctx.scratch_as<C>();
    C *variance = mean + s.c, *a = variance + s.c, *b = a + s.c;
    const auto read = [&](int i, C* to) {
      const C* from = load_as(ctx.in(i).dtype, ctx.in(i).data, 0, s.c, to);
      if (from != to) std::copy_n(from, s.c, to);
    };
    read(3, mean);
    read(4, variance);
    if (training_) {
      measure(ctx, s, a, b);
      update(ctx, 1, s.c, mean, a);
      update(ctx, 2, s.c, variance, b);
    }
    read(1, a);
    read(2, b);
    for (int64_t c = 0; c < s.c; ++c) a[c] /= std::sqrt(variance[c] + static_cast<C>(epsilon_));
    if constexpr (std::is_same_v<C, float>) {
      if (dtype_ == DType::kFloat32 && !training_) return apply_folded(ctx, s, mean, a, b);
    }
    if (s.s == 1) return apply_rows(ctx, s, mean, a, b);
    ctx.parallel(s.n * s.c, grain_for(s.s, kGrain), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        affine_block(dtype_, ctx.in(0).data, ctx.out(0).data, i * s.s, s.s, mean[i % s.c], a[i % s.c],
                     b[i % s.c]);
    });
  }

  // y = x a + (b - mean a): the mean is a constant of the model, and as a rule not far from x.
  void apply_folded(RunContext& ctx, const ChannelState& s, const float* mean, const float* a,
                    float* b) const {
    for (int64_t c = 0; c < s.c; ++c) b[c] -= mean[c] * a[c];
    const ChannelAffineArgs args{
        .x = ctx.in<float>(0), .y = ctx.out<float>(0), .channels = s.c, .inner = s.s, .scale = a, .shift = b};
    const int64_t lines = s.s == 1 ? s.n : s.n * s.c, length = s.s == 1 ? s.c : s.s;
    ctx.parallel(lines, grain_for(length, kGrain),
                 [&](int64_t begin, int64_t end, int) { kernels().norm.channel_affine(args, begin, end); });
  }

  // Channels side by side.
  template <class C>
  void apply_rows(RunContext& ctx, const ChannelState& s, const C* mean, const C* a, const C* b) const {
    ctx.parallel(s.n, grain_for(s.c, kGrain), [&](int64_t begin, int64_t end, int) {
      C buffer[kBlock];
      for (int64_t row = begin; row < end; ++row)
        for (int64_t c = 0; c < s.c; c += kBlock) {
          const int64_t n = std::min(kBlock, s.c - c), at = row * s.c + c;
          const C* x = load_as(dtype_, ctx.in(0).data, at, n, buffer);
          C* y = place_as(dtype_, ctx.out(0).data, at, buffer);
          for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean[c + i]) * a[c + i] + b[c + i];
          store_as(dtype_, ctx.out(0).data, at, n, y);
        }
    });
  }

  // Mean and variance of each channel over N and S.
  template <class C>
  void measure(RunContext& ctx, const ChannelState& s, C* mean, C* variance) const {
    const int64_t count = s.n * s.s;
    ctx.parallel(s.c, grain_for(count, kGrain), [&](int64_t begin, int64_t end, int) {
      for (int64_t c = begin; c < end; ++c) {
        const auto found = moments<C>(count, [&](auto map) {
          Lanes<C> lanes(C{0});
          for (int64_t n = 0; n < s.n; ++n)
            feed(lanes, dtype_, ctx.in(0).data, (n * s.c + c) * s.s, s.s, map);
          return lanes.total(kJoinAdd);
        });
        mean[c] = found.mean;
        variance[c] = found.variance;
      }
    });
  }

  // running = input * momentum + current * (1 - momentum); `value` becomes the current one.
  template <class C>
  void update(RunContext& ctx, int output, int64_t count, C* value, const C* current) const {
    const C keep = static_cast<C>(momentum_);
    for (int64_t c = 0; c < count; ++c) {
      const C running = value[c] * keep + current[c] * (C{1} - keep);
      if (ctx.wants(output)) store_as(ctx.out(output).dtype, ctx.out(output).data, c, 1, &running);
      value[c] = current[c];
    }
  }

  DType dtype_;
  float epsilon_, momentum_;
  bool training_;
};

// Instance and group normalisation: statistics of each of `groups` groups of channels of each n.
class GroupNorm final : public Op {
 public:
  // `groups` is 0 for one of each channel. Scale and bias are of channels, or of groups.
  GroupNorm(DType dtype, float epsilon, int64_t groups, bool may_be_per_group)
      : dtype_(dtype), epsilon_(epsilon), groups_(groups), may_be_per_group_(may_be_per_group) {}

  void plan(PlanContext& ctx) const override {
    const bool per_group = may_be_per_group_ && ctx.shape(1) == Shape({groups_});
    auto state = channel_state(ctx, 2, per_group ? groups_ : 0);
    require(groups_ == 0 || state->c % groups_ == 0, ErrorCode::kInvalidInput, state->c,
            " channels are no multiple of num_groups ", groups_);
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
    ctx.scratch(2 * state->c * compute_size(dtype_));
    ctx.flops(ctx.shape(0).count() * 6);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    with_compute_type(dtype_, [&]<class C>() { run_as<C>(ctx); });
  }

 private:
  template <class C>
  void run_as(RunContext& ctx) const {
    const auto& s = ctx.state<ChannelState>();
    const int64_t groups = groups_ == 0 ? s.c : groups_;
    if (s.n == 0 || s.c == 0 || s.s == 0) return;
    const bool per_group = ctx.in(1).count() != s.c;
    const int64_t channels = s.c / groups, count = channels * s.s;
    const int64_t given = per_group ? groups : s.c;
    const C* scale = load_as(ctx.in(1).dtype, ctx.in(1).data, 0, given, ctx.scratch_as<C>());
    const C* bias = load_as(ctx.in(2).dtype, ctx.in(2).data, 0, given, ctx.scratch_as<C>() + s.c);
    const void* x = ctx.in(0).data;
    if constexpr (std::is_same_v<C, float>) {
      if (dtype_ == DType::kFloat32 && !per_group) {
        const GroupNormArgs args{.x = ctx.in<float>(0),
                                 .y = ctx.out<float>(0),
                                 .channels = s.c,
                                 .groups = groups,
                                 .spatial = s.s,
                                 .scale = scale,
                                 .bias = bias,
                                 .epsilon = epsilon_};
        ctx.parallel(s.n * groups, grain_for(count, kGrain),
                     [&](int64_t begin, int64_t end, int) { kernels().norm.group_norm(args, begin, end); });
        return;
      }
    }
    ctx.parallel(s.n * groups, grain_for(count, kGrain), [&](int64_t begin, int64_t end, int) {
      for (int64_t g = begin; g < end; ++g) {
        const auto [mean, variance] = moments<C>(count, [&](auto map) {
          Lanes<C> lanes(C{0});
          feed(lanes, dtype_, x, g * count, count, map);
          return lanes.total(kJoinAdd);
        });
        const C inverse = C{1} / std::sqrt(variance + static_cast<C>(epsilon_));
        for (int64_t i = 0; i < channels; ++i) {
          const int64_t at = per_group ? g % groups : g % groups * channels + i;
          affine_block(dtype_, x, ctx.out(0).data, g * count + i * s.s, s.s, mean, scale[at] * inverse,
                       bias[at]);
        }
      }
    });
  }

  DType dtype_;
  float epsilon_;
  int64_t groups_;
  bool may_be_per_group_;
};

void expect_floats(NodeContext& ctx, int count) {
  ctx.expect_inputs(count, count);
  for (int i = 0; i < count; ++i)
    ctx.expect_dtype(i, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  ctx.output(0, ctx.dtype(0));
}

std::unique_ptr<Op> make_batch(NodeContext& ctx) {
  expect_floats(ctx, 5);
  if (ctx.attr_int("spatial", 1) == 0) ctx.unsupported("BatchNormalization with spatial = 0");
  const bool training = ctx.attr_int("training_mode", 0) != 0;
  for (int i : {1, 2})
    if (ctx.has_output(i)) {
      if (!training)
        ctx.unsupported("BatchNormalization with statistics as outputs but not in training mode");
      ctx.output(i, ctx.dtype(3));
    }
  for (int i = 3; i < ctx.num_outputs(); ++i)
    if (ctx.has_output(i))
      ctx.unsupported("the saved statistics of BatchNormalization before operator set 14");
  return std::make_unique<BatchNorm>(ctx.dtype(0), ctx.attr_float("epsilon", 1e-5f),
                                     ctx.attr_float("momentum", 0.9f), training);
}

std::unique_ptr<Op> make_instance(NodeContext& ctx) {
  expect_floats(ctx, 3);
  return std::make_unique<GroupNorm>(ctx.dtype(0), ctx.attr_float("epsilon", 1e-5f), 0, false);
}

std::unique_ptr<Op> make_group(NodeContext& ctx) {
  expect_floats(ctx, 3);
  const int64_t groups = ctx.attr_int("num_groups");
  require(groups > 0, ErrorCode::kInvalidModel, "num_groups is ", groups, ", expected at least 1");
  return std::make_unique<GroupNorm>(ctx.dtype(0), ctx.attr_float("epsilon", 1e-5f), groups,
                                     ctx.version() < 21);
}

}  // namespace

std::span<const OpDef> channel_norm_ops() {
  static constexpr OpDef kOps[] = {{"", "BatchNormalization", 1, make_batch},
                                   {"", "InstanceNormalization", 1, make_instance},
                                   {"", "GroupNormalization", 1, make_group}};
  return kOps;
}

}  // namespace pyinfer
