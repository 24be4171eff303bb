// NegativeLogLikelihoodLoss: with x of N x C x D, l(n, d) = -w(t) x(n, t, d), t = target(n, d); 0 where t is
// ignore_index. As it is, summed, or divided by the sum of the weights that took part.
// SoftmaxCrossEntropyLoss: the same of x = log softmax(scores) over C, which is a second output.
#include <cmath>
#include <optional>

#include "kernels/kernel_table.h"
#include "kernels/math_f64.h"
#include "ops/elements.h"
#include "ops/lanes.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

enum class Reduction { kNone, kSum, kMean };

struct LossState final : StepState {
  int64_t n = 0, c = 0, d = 1;
  int64_t logs = 0, losses = 0, weights = 0, class_weights = 0;  // scratch offsets
};

class Loss final : public Op {
 public:
  Loss(DType dtype, Reduction reduction, std::optional<int64_t> ignored, bool softmax)
      : dtype_(dtype), reduction_(reduction), ignored_(ignored), softmax_(softmax) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(x.rank() >= 2, ErrorCode::kInvalidInput, "scores of shape ", x,
            " must have 2 dimensions or more");
    auto s = std::make_unique<LossState>();
    s->n = x[0];
    s->c = x[1];
    s->d = x.count(2, x.rank());
    Shape target = x;
    target.erase(1);
    require(ctx.shape(1) == target, ErrorCode::kInvalidInput, "targets have shape ", ctx.shape(1),
            ", expected ", target);
    if (ctx.has(2))
      require(ctx.shape(2) == Shape({s->c}), ErrorCode::kInvalidInput, "weights have shape ", ctx.shape(2),
              ", expected [", s->c, "]");
    const int64_t count = x.count(), targets = target.count(), element = compute_size(dtype_);
    ctx.output(0, reduction_ == Reduction::kNone ? target : Shape());
    if (ctx.wants(1)) ctx.output(1, x);
    ScratchLayout layout;
    s->logs =
        layout.take(softmax_ || element != static_cast<int64_t>(dtype_size(dtype_)) ? count : 0, element);
    s->losses = layout.take(targets, element);
    s->weights = layout.take(targets, element);
    s->class_weights = layout.take(s->c, element);
    ctx.scratch(layout.bytes());
    ctx.flops(count * (softmax_ ? 4 : 1));
    ctx.state(std::move(s));
  }

  void run(RunContext& ctx) const override {
    const auto& s = ctx.state<LossState>();
    const TensorView& t = ctx.in(1);
    const int64_t count = t.count();
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = target(t, i);
      require((at >= 0 && at < s.c) || ignored_ == at, ErrorCode::kInvalidInput, "a target is ", at,
              ", expected 0 to ", s.c - 1);
    }
    with_compute_type(dtype_, [&]<class C>() { run_as<C>(ctx, s, count); });
  }

 private:
  static int64_t target(const TensorView& t, int64_t i) {
    return t.dtype == DType::kInt32 ? t.as<int32_t>()[i] : t.as<int64_t>()[i];
  }

  template <class C>
  void run_as(RunContext& ctx, const LossState& s, int64_t count) const {
    const auto at = [&](int64_t offset) { return reinterpret_cast<C*>(ctx.scratch() + offset); };
    const int64_t elements = s.n * s.c * s.d;
    const C* x = load_as(dtype_, ctx.in(0).data, 0, elements, at(s.logs));
    if (softmax_ && elements > 0) {
      log_softmax(ctx, s, x, at(s.logs));
      x = at(s.logs);
    }
    if (ctx.wants(1)) store_as(dtype_, ctx.out(1).data, 0, elements, x);
    const C* class_weights =
        ctx.has(2) ? load_as(dtype_, ctx.in(2).data, 0, s.c, at(s.class_weights)) : nullptr;
    C *losses = at(s.losses), *weights = at(s.weights);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t t = target(ctx.in(1), i);
      const bool ignored = ignored_ == t;
      weights[i] = ignored ? C{0} : class_weights ? class_weights[t] : C{1};
      losses[i] = ignored ? C{0} : -x[(i / s.d * s.c + t) * s.d + i % s.d] * weights[i];
    }
    if (reduction_ == Reduction::kNone) return store_as(dtype_, ctx.out(0).data, 0, count, losses);
    C result = lane_sum(losses, count);
    if (reduction_ == Reduction::kMean) result /= lane_sum(weights, count);
    store_as(dtype_, ctx.out(0).data, 0, 1, &result);
  }

  static void log_softmax(RunContext& ctx, const LossState& s, const float* x, float* y) {
    ctx.parallel(s.n * s.d, std::max<int64_t>(16, 16384 / s.c), [&](int64_t begin, int64_t end, int) {
      kernels().norm.log_softmax({.x = x, .y = y, .n = s.c, .inner = s.d}, begin, end);
    });
  }
  static void log_softmax(RunContext&, const LossState& s, const double* x, double* y) {
    for (int64_t i = 0; i < s.n * s.d; ++i) {
      const int64_t at = i / s.d * s.c * s.d + i % s.d;
      double max = x[at], sum = 0.0;
      for (int64_t c = 1; c < s.c; ++c) max = kJoinMax(max, x[at + c * s.d]);
      for (int64_t c = 0; c < s.c; ++c) sum += f64::exp(x[at + c * s.d] - max);
      const double log = f64::log(sum);
      for (int64_t c = 0; c < s.c; ++c) y[at + c * s.d] = x[at + c * s.d] - max - log;
    }
  }

  DType dtype_;
  Reduction reduction_;
  std::optional<int64_t> ignored_;
  bool softmax_;
};

template <bool kSoftmax>
std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(2, 3);
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16});
  ctx.expect_dtype(1, {kInt32, kInt64});
  if (ctx.has_input(2)) ctx.expect_same_dtype(0, 2);
  for (int i = 0; i < (kSoftmax ? 2 : 1); ++i)
    if (ctx.has_output(i)) ctx.output(i, ctx.dtype(0));
  const std::string name = ctx.attr_string("reduction", "mean");
  require(name == "none" || name == "sum" || name == "mean", ErrorCode::kInvalidModel, "reduction is '", name,
          "', expected none, sum or mean");
  const Reduction reduction = name == "none"  ? Reduction::kNone
                              : name == "sum" ? Reduction::kSum
                                              : Reduction::kMean;
  std::optional<int64_t> ignored;
  if (ctx.has_attr("ignore_index")) ignored = ctx.attr_int("ignore_index");
  return std::make_unique<Loss>(ctx.dtype(0), reduction, ignored, kSoftmax);
}

}  // namespace

std::span<const OpDef> nll_loss_ops() {
  static constexpr OpDef kOps[] = {{"", "NegativeLogLikelihoodLoss", 1, make<false>},
                                   {"", "SoftmaxCrossEntropyLoss", 1, make<true>}};
  return kOps;
}

}  // namespace pyinfer
