// LinearRegressor: y = transform(x W + b).  LinearClassifier: z = transform(x W + b), y = the best class.
#include <algorithm>

#include "base/math.h"
#include "ops/ml_scores.h"

namespace pyinfer {
namespace {

// One row of weights for each target.
class Linear {
 public:
  explicit Linear(const NodeContext& ctx)
      : weights_(ctx.attr_floats("coefficients")), bias_(ctx.attr_floats("intercepts")) {}

  int64_t count() const { return static_cast<int64_t>(weights_.size()); }
  // Throws unless the attributes fit `features` features and give `targets`.
  void check(int64_t features, int64_t targets) const {
    const auto expected = checked_mul(features, targets);
    require(expected && count() == *expected, ErrorCode::kInvalidInput, "coefficients has ", count(),
            " elements, which do not fit ", features, " features and ", targets, " targets");
    require(bias_.empty() || static_cast<int64_t>(bias_.size()) == targets, ErrorCode::kInvalidModel,
            "intercepts has ", bias_.size(), " elements for ", targets, " targets");
  }
  // scores[t] = bias[t] + sum of x[f] weight[t, f] over f ascending, in double.
  void run(const double* x, int64_t features, int64_t targets, float* scores) const {
    for (int64_t t = 0; t < targets; ++t) {
      const float* w = weights_.data() + t * features;
      double sum = 0;
      for (int64_t f = 0; f < features; ++f) sum += x[f] * static_cast<double>(w[f]);
      scores[t] =
          static_cast<float>(bias_.empty() ? sum : sum + static_cast<double>(bias_[static_cast<size_t>(t)]));
    }
  }

 private:
  std::vector<float> weights_, bias_;
};

class LinearRegressor final : public Op {
 public:
  LinearRegressor(Linear linear, int64_t targets, PostTransform transform)
      : linear_(std::move(linear)), targets_(targets), transform_(transform) {}

  void plan(PlanContext& ctx) const override {
    const RowShape s = row_shape(ctx.shape(0));
    linear_.check(s.features, targets_);
    ctx.output(0, {s.rows, targets_});
    plan_rows(ctx, s);
  }
  void run(RunContext& ctx) const override {
    const RowShape s = row_shape(ctx.in(0).shape);
    for_rows(ctx, s, 0, linear_.count(), [&](int64_t row, const double* x, std::byte*) {
      float* y = ctx.out<float>(0) + row * targets_;
      linear_.run(x, s.features, targets_, y);
      apply_post_transform(transform_, y, targets_);
    });
  }

 private:
  Linear linear_;
  int64_t targets_;
  PostTransform transform_;
};

class LinearClassifier final : public Op {
 public:
  LinearClassifier(Linear linear, ClassLabels labels, PostTransform transform)
      : linear_(std::move(linear)), labels_(std::move(labels)), transform_(transform) {}

  void plan(PlanContext& ctx) const override {
    const RowShape s = row_shape(ctx.shape(0));
    const int64_t n = targets(s.features);
    linear_.check(s.features, n);
    ctx.longest_string(labels_.longest());
    if (ctx.wants(0)) ctx.output(0, {s.rows});
    if (ctx.wants(1)) ctx.output(1, {s.rows, columns(n)});
    plan_rows(ctx, s, score_bytes(n));
  }
  void run(RunContext& ctx) const override {
    const RowShape s = row_shape(ctx.in(0).shape);
    const int64_t n = targets(s.features), wide = columns(n);
    const SecondClass second = wide == n ? SecondClass::kNone : SecondClass::kOpposite;
    for_rows(ctx, s, score_bytes(n), linear_.count(), [&](int64_t row, const double* x, std::byte* extra) {
      auto* scores = reinterpret_cast<float*>(extra);
      linear_.run(x, s.features, n, scores);
      if (ctx.wants(0) && n == 1) labels_.write_binary(ctx.out(0), row, scores[0] > 0);
      if (ctx.wants(0) && n > 1)
        labels_.write(ctx.out(0), row, static_cast<size_t>(std::max_element(scores, scores + n) - scores));
      if (ctx.wants(1)) write_scores(scores, n, transform_, second, ctx.out<float>(1) + row * wide);
    });
  }

 private:
  static int64_t score_bytes(int64_t targets) { return targets * int64_t{sizeof(float)}; }
  // Two classes may share one row of weights, for the second of them.
  int64_t targets(int64_t features) const {
    const auto classes = static_cast<int64_t>(labels_.size());
    return classes <= 2 && linear_.count() == features ? 1 : classes;
  }
  int64_t columns(int64_t targets) const { return targets == 1 && labels_.size() == 2 ? 2 : targets; }

  Linear linear_;
  ClassLabels labels_;
  PostTransform transform_;
};

constexpr auto kNumbers = {DType::kFloat32, DType::kFloat64, DType::kInt32, DType::kInt64};

std::unique_ptr<Op> make_regressor(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, kNumbers);
  ctx.output(0, DType::kFloat32);
  const int64_t targets = ctx.attr_int("targets", 1);
  require(targets >= 1, ErrorCode::kInvalidModel, "targets = ", targets);
  return std::make_unique<LinearRegressor>(Linear(ctx), targets, read_post_transform(ctx));
}

std::unique_ptr<Op> make_classifier(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, kNumbers);
  ClassLabels labels(ctx, "classlabels_ints", "classlabels_strings");
  require(labels.size() > 0, ErrorCode::kInvalidModel,
          "attribute 'classlabels_ints' or 'classlabels_strings' is required");
  ctx.output(0, labels.dtype());
  ctx.output(1, DType::kFloat32);
  return std::make_unique<LinearClassifier>(Linear(ctx), std::move(labels), read_post_transform(ctx));
}

}  // namespace

std::span<const OpDef> ml_linear_ops() {
  static constexpr OpDef kOps[] = {
      {"ai.onnx.ml", "LinearClassifier", 1, make_classifier},
      {"ai.onnx.ml", "LinearRegressor", 1, make_regressor},
  };
  return kOps;
}

}  // namespace pyinfer
