// One step of an optimiser (ai.onnx.preview.training) on n tensors x with gradients g, learning rate r, after
// t steps; d = g + norm x:
//   Adagrad   h' = h + d^2,   x' = x - r / (1 + t decay) d / (sqrt h' + epsilon)
//   Adam      v' = alpha v + (1 - alpha) d,   h' = beta h + (1 - beta) d^2,
//             x' = (1 - post) (x - r sqrt(1 - beta^t) / (1 - alpha^t) v' / (sqrt h' + epsilon))
//   Momentum  v' = alpha v + beta d (d itself at t = 0),   x' = x - r v', or x - r (d + alpha v') (Nesterov)
#include <cmath>

#include "kernels/math_f64.h"
#include "ops/dispatch.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

enum class Kind { kAdagrad, kAdam, kMomentum };

struct Settings {
  double norm = 0.0, post = 0.0, alpha = 0.0, beta = 0.0, epsilon = 0.0, decay = 0.0;
  bool nesterov = false;
};

constexpr int64_t kGrain = 16384;

class Optimizer final : public Op {
 public:
  Optimizer(Kind kind, const Settings& settings, int count, int states)
      : kind_(kind), s_(settings), count_(count), states_(states) {}

  void plan(PlanContext& ctx) const override {
    for (int i : {0, 1})
      require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i, " has shape ", ctx.shape(i),
              ", expected a scalar");
    for (int i = 0; i < count_; ++i) {
      const Shape& x = ctx.shape(2 + i);
      for (int part = 1; part < 2 + states_; ++part) {
        const int input = 2 + i + part * count_;
        require(ctx.shape(input) == x, ErrorCode::kInvalidInput, "input ", input, " has shape ",
                ctx.shape(input), ", expected ", x);
      }
      for (int part = 0; part < 1 + states_; ++part)
        if (ctx.wants(i + part * count_)) ctx.output(i + part * count_, x);
    }
  }

  void run(RunContext& ctx) const override {
    double rate;
    rate = *load_as(ctx.in(0).dtype, ctx.in(0).data, 0, 1, &rate);
    const auto steps = static_cast<double>(*ctx.in<int64_t>(1));
    for (int i = 0; i < count_; ++i)
      dispatch<float, double>(ctx.in(2 + i).dtype, [&]<class T>() { update<T>(ctx, i, rate, steps); });
  }

 private:
  template <class T>
  void update(RunContext& ctx, int i, double rate, double steps) const {
    const auto in = [&](int part) { return ctx.in<T>(2 + i + part * count_); };
    const auto out = [&](int part) {
      const int output = i + part * count_;
      return ctx.wants(output) ? ctx.out<T>(output) : nullptr;
    };
    const T *x = in(0), *g = in(1), *first = in(2), *second = states_ == 2 ? in(3) : nullptr;
    T *x_new = out(0), *first_new = out(1), *second_new = states_ == 2 ? out(2) : nullptr;
    const auto put = [](T* to, int64_t j, double v) {
      if (to) to[j] = static_cast<T>(v);
    };
    const double adjusted = adjusted_rate(rate, steps), momentum_beta = steps > 0 ? s_.beta : 1.0;
    ctx.parallel(ctx.in(2 + i).count(), kGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t j = begin; j < end; ++j) {
        const double d = s_.norm * x[j] + g[j];
        if (kind_ == Kind::kAdagrad) {
          const double h = first[j] + d * d;
          put(x_new, j, x[j] - adjusted * d / (std::sqrt(h) + s_.epsilon));
          put(first_new, j, h);
        } else if (kind_ == Kind::kAdam) {
          const double v = s_.alpha * first[j] + (1.0 - s_.alpha) * d;
          const double h = s_.beta * second[j] + (1.0 - s_.beta) * d * d;
          put(x_new, j, (1.0 - s_.post) * (x[j] - adjusted * v / (std::sqrt(h) + s_.epsilon)));
          put(first_new, j, v);
          put(second_new, j, h);
        } else {
          const double v = s_.alpha * first[j] + momentum_beta * d;
          put(x_new, j, x[j] - rate * (s_.nesterov ? d + s_.alpha * v : v));
          put(first_new, j, v);
        }
      }
    });
  }

  double adjusted_rate(double rate, double steps) const {
    if (kind_ == Kind::kAdagrad) return rate / (1.0 + steps * s_.decay);
    if (kind_ == Kind::kAdam && steps > 0)
      return rate * std::sqrt(1.0 - f64::pow(s_.beta, steps)) / (1.0 - f64::pow(s_.alpha, steps));
    return rate;
  }

  Kind kind_;
  Settings s_;
  int count_, states_;
};

template <Kind kKind>
std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  const int states = kKind == Kind::kAdam ? 2 : 1, parts = 2 + states, count = (ctx.num_inputs() - 2) / parts;
  require(count >= 1 && ctx.num_inputs() == 2 + count * parts, ErrorCode::kInvalidModel,
          "expected 2 and a multiple of ", parts, " inputs, got ", ctx.num_inputs());
  ctx.expect_inputs(ctx.num_inputs(), ctx.num_inputs());
  ctx.expect_dtype(0, {kFloat32, kFloat64});
  ctx.expect_dtype(1, {kInt64});
  for (int i = 2; i < ctx.num_inputs(); ++i) {
    ctx.expect_dtype(i, {kFloat32, kFloat64});
    ctx.expect_same_dtype(2 + (i - 2) % count, i);
  }
  for (int i = 0; i < count * (1 + states); ++i)
    if (ctx.has_output(i)) ctx.output(i, ctx.dtype(2 + i % count));
  Settings s;
  s.norm = static_cast<double>(ctx.attr_float("norm_coefficient", 0.0f));
  s.epsilon = static_cast<double>(ctx.attr_float("epsilon", 1e-6f));
  s.decay = static_cast<double>(ctx.attr_float("decay_factor", 0.0f));
  s.post = static_cast<double>(ctx.attr_float("norm_coefficient_post", 0.0f));
  const bool momentum = kKind == Kind::kMomentum;
  s.alpha = static_cast<double>(momentum ? ctx.attr_float("alpha") : ctx.attr_float("alpha", 0.9f));
  s.beta = static_cast<double>(momentum ? ctx.attr_float("beta") : ctx.attr_float("beta", 0.999f));
  if (momentum) {
    const std::string mode = ctx.attr_string("mode");
    require(mode == "standard" || mode == "nesterov", ErrorCode::kInvalidModel, "mode is '", mode,
            "', expected standard or nesterov");
    s.nesterov = mode == "nesterov";
  }
  return std::make_unique<Optimizer>(kKind, s, count, states);
}

std::unique_ptr<Op> make_gradient(NodeContext& ctx) {
  ctx.unsupported(
      "pyinfer runs models but does not differentiate them; export the graph with its gradients written out");
}

}  // namespace

std::span<const OpDef> optimizer_ops() {
  static constexpr std::string_view kDomain = "ai.onnx.preview.training";
  static constexpr OpDef kOps[] = {{kDomain, "Adagrad", 1, make<Kind::kAdagrad>},
                                   {kDomain, "Adam", 1, make<Kind::kAdam>},
                                   {kDomain, "Momentum", 1, make<Kind::kMomentum>},
                                   {kDomain, "Gradient", 1, make_gradient}};
  return kOps;
}

}  // namespace pyinfer
