// RandomUniform, RandomUniformLike: y[i] = low + (high - low) u.  RandomNormal, RandomNormalLike:
// y[i] = mean + scale g.  Bernoulli: y[i] = 1 with probability x[i], else 0.
// Multinomial: y[b, i] = c with probability exp(x[b, c]) / sum_c exp(x[b, c]).
// Dropout: y = x; in training y[i] = mask[i] ? x[i] / (1 - ratio) : 0, with mask[i] = u >= ratio.
// Draws follow one another in row-major order; these operators run on one thread.
#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/elementwise.h"
#include "ops/convert.h"
#include "ops/mersenne_twister.h"

namespace pyinfer {
namespace {

using enum DType;

constexpr int64_t kBlock = 256;

void* element(const TensorView& t, int64_t i) {
  return t.as<std::byte>() + i * static_cast<int64_t>(dtype_size(t.dtype));
}

// y = offset + factor * draw, in float32 unless the output is float64.
class RandomFill final : public Op {
 public:
  RandomFill(const NodeContext& ctx, DType dtype, std::optional<Shape> shape, bool normal, float offset,
             double factor)
      : source_(ctx),
        dtype_(dtype),
        shape_(std::move(shape)),
        normal_(normal),
        offset_(offset),
        factor_(factor) {}

  void plan(PlanContext& ctx) const override { ctx.output(0, shape_ ? *shape_ : ctx.shape(0)); }
  bool pure() const override { return source_.fixed(); }

  void run(RunContext& ctx) const override {
    MersenneTwister random = source_.start();
    const int64_t n = ctx.out(0).count();
    const auto draw = [&] { return normal_ ? random.normal() : random.uniform(); };
    if (dtype_ == kFloat64) {
      double* y = ctx.out<double>(0);
      for (int64_t i = 0; i < n; ++i) y[i] = draw() * factor_ + static_cast<double>(offset_);
      return;
    }
    const auto factor = static_cast<float>(factor_);
    float block[kBlock];
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t m = std::min(kBlock, n - i);
      for (int64_t j = 0; j < m; ++j) block[j] = static_cast<float>(draw()) * factor + offset_;
      convert(kFloat32, block, dtype_, element(ctx.out(0), i), m);
    }
  }

 private:
  RandomSource source_;
  DType dtype_;
  std::optional<Shape> shape_;  // absent: that of the input
  bool normal_;
  float offset_;
  double factor_;
};

std::unique_ptr<Op> make_random(NodeContext& ctx) {
  const std::string& name = ctx.node().op_type;
  const bool like = name.ends_with("Like"), normal = name.starts_with("RandomNormal");
  ctx.expect_inputs(like ? 1 : 0, like ? 1 : 0);
  if (like && !ctx.input_type(0).is_tensor()) ctx.unsupported("input 0 is ", ctx.input_type(0));
  std::optional<Shape> shape;
  if (!like) {
    require(ctx.has_attr("shape"), ErrorCode::kInvalidModel, "attribute 'shape' is required");
    shape = Shape(ctx.attr_ints("shape"));
  }
  const DType dtype = ctx.attr_dtype("dtype", like ? ctx.dtype(0) : kFloat32);
  if (dtype != kFloat32 && dtype != kFloat64 && dtype != kFloat16 && dtype != kBFloat16)
    ctx.unsupported("random numbers of type ", dtype_name(dtype));
  ctx.output(0, dtype);
  const float offset = normal ? ctx.attr_float("mean", 0.0f) : ctx.attr_float("low", 0.0f);
  const double factor = normal
                            ? static_cast<double>(ctx.attr_float("scale", 1.0f))
                            : static_cast<double>(ctx.attr_float("high", 1.0f)) - static_cast<double>(offset);
  return std::make_unique<RandomFill>(ctx, dtype, std::move(shape), normal, offset, factor);
}

bool is_real_float(DType d) {
  return d == kFloat32 || d == kFloat64 || d == kFloat16 || d == kBFloat16;
}

class Bernoulli final : public Op {
 public:
  Bernoulli(const NodeContext& ctx, DType to) : source_(ctx), to_(to) {}
  void plan(PlanContext& ctx) const override { ctx.output(0, ctx.shape(0)); }
  bool pure() const override { return source_.fixed(); }

  void run(RunContext& ctx) const override {
    MersenneTwister random = source_.start();
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    const int64_t n = x.count();
    double p[kBlock];
    bool hit[kBlock];
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t m = std::min(kBlock, n - i);
      convert(x.dtype, element(x, i), kFloat64, p, m);
      for (int64_t j = 0; j < m; ++j) {
        require(p[j] >= 0.0 && p[j] <= 1.0, ErrorCode::kInvalidInput, "probability ", p[j],
                " is not in [0, 1]");
        hit[j] = p[j] != 0.0 && draw(random.uniform(), p[j]);
      }
      convert(kBool, hit, to_, element(y, i), m);
    }
  }

 private:
  // The rarer outcome takes the upper end of u, as in NumPy.
  static bool draw(double u, double p) { return p <= 0.5 ? u > 1.0 - p : u <= p; }

  RandomSource source_;
  DType to_;
};

std::unique_ptr<Op> make_bernoulli(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16});
  const DType to = ctx.attr_dtype("dtype", ctx.dtype(0));
  if (!is_real_float(to) && to != kBool && !(dtype_is_integer(to) && dtype_file_bits(to) >= 8))
    ctx.unsupported("random numbers of type ", dtype_name(to));
  ctx.output(0, to);
  return std::make_unique<Bernoulli>(ctx, to);
}

class Multinomial final : public Op {
 public:
  Multinomial(const NodeContext& ctx, DType to, int64_t samples) : source_(ctx), to_(to), samples_(samples) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(x.rank() == 2, ErrorCode::kInvalidInput, "input 0 must have shape [batch, classes], got ", x);
    require(x[1] > 0 || x[0] == 0, ErrorCode::kInvalidInput, "there is no class to draw");
    ctx.output(0, {x[0], samples_});
    ctx.scratch(x[1] * static_cast<int64_t>(sizeof(double)));
  }
  bool pure() const override { return source_.fixed(); }

  void run(RunContext& ctx) const override {
    MersenneTwister random = source_.start();
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    const int64_t classes = x.shape[1];
    auto* sums = ctx.scratch_as<double>();
    for (int64_t row = 0; row < x.shape[0]; ++row) {
      convert(x.dtype, element(x, row * classes), kFloat64, sums, classes);
      accumulate(sums, classes, row);
      for (int64_t i = 0; i < samples_; ++i) {
        const double target = random.uniform() * sums[classes - 1];
        const int64_t c =
            std::min<int64_t>(std::upper_bound(sums, sums + classes, target) - sums, classes - 1);
        convert(kInt64, &c, to_, element(y, row * samples_ + i), 1);
      }
    }
  }

 private:
  // Log-probabilities to running sums of probabilities, scaled so that the largest is 1.
  static void accumulate(double* p, int64_t n, int64_t row) {
    double most = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < n; ++i) most = std::max(most, p[i]);
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      require(p[i] == p[i] && most - most == 0.0, ErrorCode::kInvalidInput, "row ", row,
              " holds no distribution: a value is NaN or infinite, or all are -infinite");
      p[i] -= most;
    }
    unary(UnaryKind::kExp, kFloat64, p, p, n);
    for (int64_t i = 0; i < n; ++i) p[i] = sum += p[i];
  }

  RandomSource source_;
  DType to_;
  int64_t samples_;
};

std::unique_ptr<Op> make_multinomial(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16});
  const DType to = ctx.attr_dtype("dtype", kInt32);
  if (to != kInt32 && to != kInt64) ctx.unsupported("samples of type ", dtype_name(to));
  const int64_t samples = ctx.attr_int("sample_size", 1);
  require(samples >= 0, ErrorCode::kInvalidModel, "attribute 'sample_size' must not be negative, got ",
          samples);
  ctx.output(0, to);
  return std::make_unique<Multinomial>(ctx, to, samples);
}

class Dropout final : public Op {
 public:
  explicit Dropout(const NodeContext& ctx) : source_(ctx, true) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    if (ctx.wants(1)) ctx.output(1, x);
    for (int i : {1, 2})
      if (ctx.has(i))
        require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i,
                " must be a scalar, got shape ", ctx.shape(i));
    const bool inference = !ctx.has(2) || (ctx.value(2) != nullptr && !*ctx.value(2)->as<bool>());
    if (inference) return ctx.output_view(0, 0, x);
    ctx.output(0, x);
    ctx.reuse(0, 0);
    ctx.state(std::make_unique<StepState>());
  }
  // Whether it draws is known only when it runs.
  bool pure() const override { return false; }

  void run(RunContext& ctx) const override {
    const int64_t n = ctx.in(0).count();
    const bool training = ctx.has_state() && *ctx.in<bool>(2);
    float ratio = 0.5f;
    if (training && ctx.has(1)) convert(ctx.in(1).dtype, ctx.in(1).data, kFloat32, &ratio, 1);
    require(ratio >= 0.0f && ratio < 1.0f, ErrorCode::kInvalidInput, "ratio ", ratio, " is not in [0, 1)");
    if (training && ratio > 0.0f) return drop(ctx, ratio, n);
    if (ctx.has_state() && ctx.wants(0) && n > 0 && ctx.out(0).data != ctx.in(0).data)
      std::memcpy(ctx.out(0).data, ctx.in(0).data, ctx.in(0).bytes());
    if (!ctx.wants(1)) return;
    std::fill_n(ctx.out<bool>(1), n, true);
  }

 private:
  void drop(RunContext& ctx, float ratio, int64_t n) const {
    MersenneTwister random = source_.start();
    const TensorView& x = ctx.in(0);
    const double scale = 1.0 / (1.0 - static_cast<double>(ratio));
    double block[kBlock];
    bool keep[kBlock];
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t m = std::min(kBlock, n - i);
      convert(x.dtype, element(x, i), kFloat64, block, m);
      for (int64_t j = 0; j < m; ++j) {
        keep[j] = random.uniform() >= static_cast<double>(ratio);
        block[j] = keep[j] ? block[j] * scale : 0.0;
      }
      if (ctx.wants(0)) convert(kFloat64, block, x.dtype, element(ctx.out(0), i), m);
      if (ctx.wants(1)) std::copy_n(keep, m, ctx.out<bool>(1) + i);
    }
  }

  RandomSource source_;
};

std::unique_ptr<Op> make_dropout(NodeContext& ctx) {
  ctx.expect_inputs(1, 3);
  if (!ctx.input_type(0).is_tensor() || !dtype_is_float(ctx.dtype(0)))
    ctx.unsupported("input 0 is ", ctx.input_type(0));
  if (ctx.has_input(1) && !dtype_is_float(ctx.dtype(1))) ctx.unsupported("input 1 is ", ctx.input_type(1));
  if (ctx.has_input(2)) ctx.expect_dtype(2, {kBool});
  ctx.output(0, ctx.dtype(0));
  ctx.output(1, kBool);
  return std::make_unique<Dropout>(ctx);
}

}  // namespace

std::span<const OpDef> random_ops() {
  static constexpr OpDef kOps[] = {
      {"", "Bernoulli", 1, make_bernoulli},     {"", "Dropout", 1, make_dropout},
      {"", "Multinomial", 1, make_multinomial}, {"", "RandomNormal", 1, make_random},
      {"", "RandomNormalLike", 1, make_random}, {"", "RandomUniform", 1, make_random},
      {"", "RandomUniformLike", 1, make_random}};
  return kOps;
}

}  // namespace pyinfer
