// Softmax: y = exp(x - max x) / sum exp(x - max x) along one axis.  LogSoftmax: y = x - max x - log of that
// sum. Hardmax: y = 1 at the first maximum along the axis, else 0.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/kernel_table.h"
#include "kernels/math_f64.h"
#include "ops/elements.h"
#include "ops/lanes.h"
#include "ops/op.h"
#include "ops/softmax_row.h"

namespace pyinfer {
namespace {

enum class Kind { kSoftmax, kLog, kHard };

// Columns that one tile of halves holds when the axis is not the last one.
constexpr int64_t kColumns = 64;
constexpr int64_t kGrain = 16384;

struct AxisState final : StepState {
  int64_t outer = 0, n = 0, inner = 0;
};

// The lines [begin, end) of x as [outer, n, inner].
void softmax_lines(Kind kind, const float* x, float* y, int64_t n, int64_t inner, int64_t begin, int64_t end,
                   float* /*line*/ = nullptr) {
  const NormKernels& norm = kernels().norm;
  const auto f = kind == Kind::kSoftmax ? norm.softmax : kind == Kind::kLog ? norm.log_softmax : norm.hardmax;
  f({.x = x, .y = y, .n = n, .inner = inner}, begin, end);
}

void softmax_line(Kind kind, double* x, int64_t n) {
  Lanes<double> max(-std::numeric_limits<double>::infinity());
  max.feed(
      x, n, [](double v) { return v; }, kJoinMax);
  const double top = max.total(kJoinMax);
  if (kind == Kind::kSoftmax) return softmax_row(x, x, n);
  if (kind == Kind::kHard) {
    const int64_t at = std::find_if(x, x + n, [&](double v) { return v == top || v != v; }) - x;
    std::fill_n(x, n, 0.0);
    x[at] = 1.0;
    return;
  }
  Lanes<double> sum(0.0);
  for (int64_t i = 0; i < n; ++i) {
    x[i] -= top;
    sum.feed(
        x + i, 1, [](double v) { return f64::exp(v); }, kJoinAdd);
  }
  const double log = f64::log(sum.total(kJoinAdd));
  for (int64_t i = 0; i < n; ++i) x[i] -= log;
}

// `line` holds n elements.
void softmax_lines(Kind kind, const double* x, double* y, int64_t n, int64_t inner, int64_t begin,
                   int64_t end, double* line) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = i / inner * n * inner + i % inner;
    for (int64_t j = 0; j < n; ++j) line[j] = x[at + j * inner];
    softmax_line(kind, line, n);
    for (int64_t j = 0; j < n; ++j) y[at + j * inner] = line[j];
  }
}

class Softmax final : public Op {
 public:
  Softmax(Kind kind, DType dtype, int64_t axis, bool flatten)
      : kind_(kind), dtype_(dtype), axis_(axis), flatten_(flatten) {}

  void plan(PlanContext& ctx) const override {
    const Shape& s = ctx.shape(0);
    auto state = std::make_unique<AxisState>();
    if (s.rank() == 0) {
      require(axis_ == 0 || axis_ == -1, ErrorCode::kInvalidModel, "axis ", axis_, " of a scalar");
      state->outer = state->n = state->inner = 1;
    } else {
      const int axis = normalize_axis(axis_, s.rank());
      state->outer = s.count(0, axis);
      state->n = flatten_ ? s.count(axis, s.rank()) : s[axis];
      state->inner = flatten_ ? 1 : s.count(axis + 1, s.rank());
    }
    if (s.count() > 0 && dtype_ != DType::kFloat32)
      ctx.scratch(ctx.workers() * (dtype_ == DType::kFloat64 ? state->n * 8 : buffer_size(*state) * 4));
    ctx.output(0, s);
    ctx.flops(s.count() * 4);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const auto& s = ctx.state<AxisState>();
    if (ctx.out(0).count() == 0) return;
    if (dtype_ == DType::kFloat32) return run_lines<float>(ctx, s);
    if (dtype_ == DType::kFloat64) return run_lines<double>(ctx, s);
    run_tiles(ctx, s);
  }

 private:
  static int64_t buffer_size(const AxisState& s) { return s.n * std::min(s.inner, kColumns); }

  template <class C>
  void run_lines(RunContext& ctx, const AxisState& s) const {
    // Lines side by side share cache lines: a grain holds some.
    const int64_t grain = std::max<int64_t>(s.inner == 1 ? 1 : kColumns, kGrain / s.n);
    ctx.parallel(s.outer * s.inner, grain, [&](int64_t begin, int64_t end, int worker) {
      softmax_lines(kind_, ctx.in<C>(0), ctx.out<C>(0), s.n, s.inner, begin, end,
                    ctx.scratch_as<C>() + worker * s.n);
    });
  }

  // Through float32, a tile of columns at a time.
  void run_tiles(RunContext& ctx, const AxisState& s) const {
    const void* x = ctx.in(0).data;
    void* y = ctx.out(0).data;
    const int64_t tiles = (s.inner + kColumns - 1) / kColumns;
    const int64_t grain = std::max<int64_t>(1, kGrain / buffer_size(s));
    ctx.parallel(s.outer * tiles, grain, [&](int64_t begin, int64_t end, int worker) {
      float* buffer = ctx.scratch_as<float>() + worker * buffer_size(s);
      for (int64_t t = begin; t < end; ++t) {
        const int64_t column = t % tiles * kColumns;
        const int64_t width = std::min(kColumns, s.inner - column);
        const int64_t at = t / tiles * s.n * s.inner + column;
        if (s.inner == 1)
          load_as(dtype_, x, at, s.n, buffer);
        else
          for (int64_t j = 0; j < s.n; ++j) load_as(dtype_, x, at + j * s.inner, width, buffer + j * width);
        softmax_lines(kind_, buffer, buffer, s.n, width, 0, width);
        if (s.inner == 1)
          store_as(dtype_, y, at, s.n, buffer);
        else
          for (int64_t j = 0; j < s.n; ++j) store_as(dtype_, y, at + j * s.inner, width, buffer + j * width);
      }
    });
  }

  Kind kind_;
  DType dtype_;
  int64_t axis_;
  bool flatten_;
};

template <Kind kKind>
std::unique_ptr<Op> make(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  ctx.output(0, ctx.dtype(0));
  // Before operator set 13 the axis began a block of dimensions that were taken as one.
  const bool flatten = ctx.version() < 13;
  return std::make_unique<Softmax>(kKind, ctx.dtype(0), ctx.attr_int("axis", flatten ? 1 : -1), flatten);
}

}  // namespace

std::span<const OpDef> softmax_ops() {
  static constexpr OpDef kOps[] = {{"", "Softmax", 1, make<Kind::kSoftmax>},
                                   {"", "LogSoftmax", 1, make<Kind::kLog>},
                                   {"", "Hardmax", 1, make<Kind::kHard>}};
  return kOps;
}

}  // namespace pyinfer
