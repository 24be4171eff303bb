// Softmax: y = exp(x - max x) / sum exp(x - max x) along one axis.  LogSoftmax: y = x - max x - log of that sum.
// Hardmax: y = 1 at the first maximum along the axis, else 0.
#include <algorithm>
#include <limits>

#include "kernels/kernel_table.h"
#include "ops/elements.h"
#include "ops/lanes.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

enum class Kind { kSoftmax, kLog, kHard };

// Columns that one tile holds when the axis is not the last one.
constexpr int64_t kColumns = 64;
constexpr int64_t kGrain = 16384;

struct AxisState final : StepState {
  int64_t outer = 0, n = 0, inner = 0;
};

template <class C>
void softmax_row(Kind kind, const C* x, C* y, int64_t n) {
  Lanes<C> max(-std::numeric_limits<C>::infinity());
  max.feed(x, n, [](C v) { return v; }, kJoinMax);
  const C top = max.total(kJoinMax);
  if (kind == Kind::kHard) {
    const C* first = std::find_if(x, x + n, [&](C v) { return v == top || v != v; });
    const int64_t at = first - x;
    for (int64_t i = 0; i < n; ++i) y[i] = i == at ? C{1} : C{0};
    return;
  }
  constexpr DType kType = DTypeOf<C>::value;
  if (kind == Kind::kSoftmax) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] - top;
    unary(UnaryKind::kExp, kType, y, y, n);
    const C sum = lane_sum(y, n);
    for (int64_t i = 0; i < n; ++i) y[i] /= sum;
    return;
  }
  Lanes<C> sum(C{0});
  C block[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = std::min(kBlock, n - i);
    for (int64_t j = 0; j < m; ++j) block[j] = x[i + j] - top;
    unary(UnaryKind::kExp, kType, block, block, m);
    sum.feed(block, m, [](C v) { return v; }, kJoinAdd);
  }
  C log = sum.total(kJoinAdd);
  unary(UnaryKind::kLog, kType, &log, &log, 1);
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - top) - log;
}

// One tile of `width` columns; row j of the tile is at x + j * stride. Each column is one chain over j.
template <class C>
void softmax_columns(Kind kind, const C* x, C* y, int64_t n, int64_t stride, int64_t width) {
  constexpr DType kType = DTypeOf<C>::value;
  C top[kColumns], sum[kColumns], row[kColumns];
  std::fill_n(top, width, -std::numeric_limits<C>::infinity());
  for (int64_t j = 0; j < n; ++j)
    for (int64_t c = 0; c < width; ++c) top[c] = kJoinMax(top[c], x[j * stride + c]);
  std::fill_n(sum, width, C{0});
  if (kind == Kind::kHard) {
    for (int64_t j = 0; j < n; ++j)
      for (int64_t c = 0; c < width; ++c) {
        const C v = x[j * stride + c];
        const bool first = sum[c] == 0 && (v == top[c] || v != v);
        y[j * stride + c] = first ? C{1} : C{0};
        if (first) sum[c] = 1;
      }
    return;
  }
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t c = 0; c < width; ++c) row[c] = x[j * stride + c] - top[c];
    C* e = kind == Kind::kSoftmax ? y + j * stride : row;
    unary(UnaryKind::kExp, kType, row, e, width);
    for (int64_t c = 0; c < width; ++c) sum[c] += e[c];
  }
  if (kind == Kind::kLog) unary(UnaryKind::kLog, kType, sum, sum, width);
  for (int64_t j = 0; j < n; ++j) {
    C* to = y + j * stride;
    if (kind == Kind::kSoftmax)
      for (int64_t c = 0; c < width; ++c) to[c] /= sum[c];
    else
      for (int64_t c = 0; c < width; ++c) to[c] = (x[j * stride + c] - top[c]) - sum[c];
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
    if (s.count() > 0 && dtype_ != DType::kFloat32 && dtype_ != DType::kFloat64)
      ctx.scratch(ctx.workers() * buffer_size(*state) * compute_size(dtype_));
    ctx.output(0, s);
    ctx.flops(s.count() * 4);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    with_compute_type(dtype_, [&]<class C>() { run_as<C>(ctx); });
  }

 private:
  static int64_t buffer_size(const AxisState& s) { return s.n * std::min(s.inner, kColumns); }

  template <class C>
  void run_as(RunContext& ctx) const {
    const auto& s = ctx.state<AxisState>();
    if (s.outer * s.n * s.inner == 0) return;
    const void* x = ctx.in(0).data;
    void* y = ctx.out(0).data;
    const bool direct = dtype_ == DTypeOf<C>::value;
    const int64_t tiles = (s.inner + kColumns - 1) / kColumns;
    const int64_t grain = std::max<int64_t>(1, kGrain / buffer_size(s));
    ctx.parallel(s.outer * tiles, grain, [&](int64_t begin, int64_t end, int worker) {
      C* buffer = direct ? nullptr : ctx.scratch_as<C>() + worker * buffer_size(s);
      for (int64_t t = begin; t < end; ++t) {
        const int64_t column = t % tiles * kColumns;
        const int64_t width = std::min(kColumns, s.inner - column);
        const int64_t at = t / tiles * s.n * s.inner + column;
        if (direct) {
          tile(static_cast<const C*>(x) + at, static_cast<C*>(y) + at, s.n, s.inner, width);
          continue;
        }
        if (s.inner == 1) {
          load_as(dtype_, x, at, s.n, buffer);
          softmax_row(kind_, buffer, buffer, s.n);
          store_as(dtype_, y, at, s.n, buffer);
          continue;
        }
        for (int64_t j = 0; j < s.n; ++j) load_as(dtype_, x, at + j * s.inner, width, buffer + j * width);
        tile(buffer, buffer, s.n, width, width);
        for (int64_t j = 0; j < s.n; ++j) store_as(dtype_, y, at + j * s.inner, width, buffer + j * width);
      }
    });
  }

  template <class C>
  void tile(const C* x, C* y, int64_t n, int64_t stride, int64_t width) const {
    if (stride == 1)
      softmax_row(kind_, x, y, n);
    else
      softmax_columns(kind_, x, y, n, stride, width);
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
