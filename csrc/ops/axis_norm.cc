// MeanVarianceNormalization: y = (x - mean x) / (sqrt(mean (x - mean x)^2) + 1e-9) over a set of axes.
// LpNormalization: y = x / ||x||_p along one axis, 0 where the norm is 0.
// LRN: y = x / (bias + alpha / size * sum of x^2 over `size` channels around it) ^ beta.
#include <algorithm>
#include <cmath>

#include "kernels/kernel_table.h"
#include "ops/elements.h"
#include "ops/lanes.h"
#include "ops/reduce_axes.h"

namespace pyinfer {
namespace {

constexpr int64_t kGrain = 16384;
constexpr double kDeviationEpsilon = 1e-9;

enum class Kind { kMeanVariance, kL1, kL2 };

// y = (x - shift) / divisor, where both come from all x of a set of axes.
class AxisNorm final : public Op {
 public:
  AxisNorm(Kind kind, DType dtype, std::vector<int64_t> axes)
      : kind_(kind), dtype_(dtype), axes_(std::move(axes)) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    std::vector<bool> reduced(static_cast<size_t>(x.rank()));
    for (int64_t axis : axes_) reduced[static_cast<size_t>(normalize_axis(axis, x.rank()))] = true;
    ctx.output(0, x);
    ctx.reuse(0, 0);
    ctx.flops(x.count() * 6);
    ctx.state(std::make_unique<ReduceAxes>(x, reduced));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() > 0) with_compute_type(dtype_, [&]<class C>() { run_as<C>(ctx); });
  }

 private:
  template <class C>
  void run_as(RunContext& ctx) const {
    const auto& axes = ctx.state<ReduceAxes>();
    const void* x = ctx.in(0).data;
    void* y = ctx.out(0).data;
    const int64_t tiles = (axes.inner + kBlock - 1) / kBlock;
    if (dtype_ == DType::kFloat32 && kind_ != Kind::kMeanVariance && axes.is_plain()) {
      const int64_t grain = std::max<int64_t>(axes.inner == 1 ? 1 : 16, kGrain / axes.reduced_count());
      ctx.parallel(axes.kept_count() * axes.inner, grain, [&](int64_t begin, int64_t end, int) {
        kernels().norm.lp_normalize(
            {.x = ctx.in<float>(0), .y = ctx.out<float>(0), .n = axes.run, .inner = axes.inner},
            kind_ == Kind::kL1 ? 1 : 2, begin, end);
      });
      return;
    }
    const int64_t cost = axes.reduced_count() * std::min(axes.inner, kBlock);
    ctx.parallel(axes.kept_count() * tiles, std::max<int64_t>(1, kGrain / cost),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t t = begin; t < end; ++t) {
                     const int64_t column = t % tiles * kBlock, at = axes.kept_at(t / tiles) + column;
                     if (axes.inner == 1)
                       row<C>(axes, x, y, at);
                     else
                       columns<C>(axes, x, y, at, std::min(kBlock, axes.inner - column));
                   }
                 });
  }

  template <class C>
  C term(C v, C shift) const {
    return kind_ == Kind::kL1 ? std::abs(v) : (v - shift) * (v - shift);
  }
  template <class C>
  C divisor(C sum, C count) const {
    switch (kind_) {
      case Kind::kMeanVariance: return std::sqrt(sum / count) + static_cast<C>(kDeviationEpsilon);
      case Kind::kL1: return sum;
      default: return std::sqrt(sum);
    }
  }
  template <class C>
  static C quotient(C v, C shift, C divisor) {
    return divisor == 0 ? C{0} : (v - shift) / divisor;
  }

  template <class C>
  void row(const ReduceAxes& axes, const void* x, void* y, int64_t at) const {
    C buffer[kBlock];
    const auto each_block = [&](auto use) {
      axes.each_run(at, [&](int64_t start) {
        for (int64_t i = 0; i < axes.run; i += kBlock) {
          const int64_t n = std::min(kBlock, axes.run - i);
          use(load_as(dtype_, x, start + i, n, buffer), start + i, n);
        }
      });
    };
    const C count = static_cast<C>(axes.reduced_count());
    C shift{0};
    if (kind_ == Kind::kMeanVariance) {
      Lanes<C> sum(C{0});
      each_block([&](const C* p, int64_t, int64_t n) {
        sum.feed(
            p, n, [](C v) { return v; }, kJoinAdd);
      });
      shift = sum.total(kJoinAdd) / count;
    }
    Lanes<C> terms(C{0});
    each_block([&](const C* p, int64_t, int64_t n) {
      terms.feed(
          p, n, [&](C v) { return term(v, shift); }, kJoinAdd);
    });
    const C d = divisor(terms.total(kJoinAdd), count);
    each_block([&](const C* p, int64_t start, int64_t n) {
      C* to = place_as(dtype_, y, start, buffer);
      for (int64_t i = 0; i < n; ++i) to[i] = quotient(p[i], shift, d);
      store_as(dtype_, y, start, n, to);
    });
  }

  template <class C>
  void columns(const ReduceAxes& axes, const void* x, void* y, int64_t at, int64_t n) const {
    C buffer[kBlock], shift[kBlock], sum[kBlock];
    const auto each_row = [&](auto use) {
      axes.each_row(at, [&](int64_t start) { use(load_as(dtype_, x, start, n, buffer), start); });
    };
    const C count = static_cast<C>(axes.reduced_count());
    std::fill_n(shift, n, C{0});
    std::fill_n(sum, n, C{0});
    if (kind_ == Kind::kMeanVariance) {
      each_row([&](const C* p, int64_t) {
        for (int64_t i = 0; i < n; ++i) shift[i] += p[i];
      });
      for (int64_t i = 0; i < n; ++i) shift[i] /= count;
    }
    each_row([&](const C* p, int64_t) {
      for (int64_t i = 0; i < n; ++i) sum[i] += term(p[i], shift[i]);
    });
    for (int64_t i = 0; i < n; ++i) sum[i] = divisor(sum[i], count);
    each_row([&](const C* p, int64_t start) {
      C* to = place_as(dtype_, y, start, buffer);
      for (int64_t i = 0; i < n; ++i) to[i] = quotient(p[i], shift[i], sum[i]);
      store_as(dtype_, y, start, n, to);
    });
  }

  Kind kind_;
  DType dtype_;
  std::vector<int64_t> axes_;
};

class Lrn final : public Op {
 public:
  Lrn(DType dtype, int64_t size, float alpha, float beta, float bias)
      : dtype_(dtype), size_(size), alpha_(alpha), beta_(beta), bias_(bias) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(x.rank() >= 2, ErrorCode::kInvalidInput, "expected at least 2 dimensions, got shape ", x);
    ctx.output(0, x);
    ctx.flops(x.count() * 2 * std::min(size_, x[1]));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() > 0) with_compute_type(dtype_, [&]<class C>() { run_as<C>(ctx); });
  }

 private:
  template <class C>
  void run_as(RunContext& ctx) const {
    const Shape& shape = ctx.in(0).shape;
    const int64_t channels = shape[1], inner = shape.count(2, shape.rank());
    const int64_t below = std::min((size_ - 1) / 2, channels), above = std::min(size_ / 2, channels);
    const int64_t tiles = (inner + kBlock - 1) / kBlock;
    const BinaryFn power = kernels().elementwise.binary(BinaryKind::kPow, DTypeOf<C>::value).vector_scalar;
    const C factor = static_cast<C>(alpha_) / static_cast<C>(size_), bias = static_cast<C>(bias_);
    const C beta = static_cast<C>(beta_);
    const int64_t cost = std::min(inner, kBlock) * (below + above + 8);
    ctx.parallel(
        shape[0] * channels * tiles, std::max<int64_t>(1, kGrain / cost),
        [&](int64_t begin, int64_t end, int) {
          C sum[kBlock], buffer[kBlock];
          for (int64_t t = begin; t < end; ++t) {
            const int64_t plane = t / tiles, c = plane % channels, first = t % tiles * kBlock;
            const int64_t n = std::min(kBlock, inner - first);
            std::fill_n(sum, n, C{0});
            for (int64_t i = std::max<int64_t>(0, c - below); i <= std::min(channels - 1, c + above); ++i) {
              const C* p = load_as(dtype_, ctx.in(0).data, (plane - c + i) * inner + first, n, buffer);
              for (int64_t j = 0; j < n; ++j) sum[j] += p[j] * p[j];
            }
            for (int64_t j = 0; j < n; ++j) sum[j] = bias + factor * sum[j];
            power(sum, &beta, sum, n);
            const int64_t at = plane * inner + first;
            const C* p = load_as(dtype_, ctx.in(0).data, at, n, buffer);
            for (int64_t j = 0; j < n; ++j) sum[j] = p[j] / sum[j];
            store_as(dtype_, ctx.out(0).data, at, n, sum);
          }
        });
  }

  DType dtype_;
  int64_t size_;
  float alpha_, beta_, bias_;
};

void expect_float(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  ctx.output(0, ctx.dtype(0));
}

std::unique_ptr<Op> make_mean_variance(NodeContext& ctx) {
  expect_float(ctx);
  std::vector<int64_t> axes = ctx.attr_ints("axes");
  if (!ctx.has_attr("axes")) axes = {0, 2, 3};
  return std::make_unique<AxisNorm>(Kind::kMeanVariance, ctx.dtype(0), std::move(axes));
}

std::unique_ptr<Op> make_lp(NodeContext& ctx) {
  expect_float(ctx);
  const int64_t p = ctx.attr_int("p", 2);
  require(p == 1 || p == 2, ErrorCode::kInvalidModel, "p is ", p, ", expected 1 or 2");
  return std::make_unique<AxisNorm>(p == 1 ? Kind::kL1 : Kind::kL2, ctx.dtype(0),
                                    std::vector{ctx.attr_int("axis", -1)});
}

std::unique_ptr<Op> make_lrn(NodeContext& ctx) {
  expect_float(ctx);
  const int64_t size = ctx.attr_int("size");
  require(size >= 1, ErrorCode::kInvalidModel, "size is ", size, ", expected at least 1");
  return std::make_unique<Lrn>(ctx.dtype(0), size, ctx.attr_float("alpha", 1e-4f),
                               ctx.attr_float("beta", 0.75f), ctx.attr_float("bias", 1.0f));
}

}  // namespace

std::span<const OpDef> axis_norm_ops() {
  static constexpr OpDef kOps[] = {{"", "MeanVarianceNormalization", 1, make_mean_variance},
                                   {"", "LpNormalization", 1, make_lp},
                                   {"", "LRN", 1, make_lrn}};
  return kOps;
}

}  // namespace pyinfer
