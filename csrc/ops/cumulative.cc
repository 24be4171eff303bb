// CumSum: y[i] = x[0] + ... + x[i] along an axis. CumProd: the product. `exclusive` leaves x[i] out;
// `reverse` runs from the end. One chain in the order of i; halves accumulate in float32.
#include "ops/dispatch.h"
#include "ops/index_input.h"
#include "ops/lines.h"

namespace pyinfer {
namespace {

constexpr int64_t kStretch = 256;

template <class T>
struct Accumulator {
  using Type = T;
};
template <>
struct Accumulator<Float16> {
  using Type = float;
};
template <>
struct Accumulator<BFloat16> {
  using Type = float;
};
// Unsigned, so that overflow wraps.
template <>
struct Accumulator<int32_t> {
  using Type = uint32_t;
};
template <>
struct Accumulator<int64_t> {
  using Type = uint64_t;
};

// Accumulates n <= kStretch lines at once; consecutive elements of a line lie `step` apart.
template <bool kProduct, class T>
void accumulate(const T* x, T* y, int64_t length, int64_t step, int64_t n, bool exclusive) {
  using A = typename Accumulator<T>::Type;
  A sums[kStretch];
  for (int64_t j = 0; j < n; ++j) sums[j] = A(kProduct ? 1 : 0);
  for (int64_t i = 0; i < length; ++i, x += step, y += step) {
    for (int64_t j = 0; j < n; ++j) {
      const A before = sums[j], v = static_cast<A>(x[j]);
      sums[j] = kProduct ? before * v : before + v;
      y[j] = static_cast<T>(exclusive ? before : sums[j]);
    }
  }
}

class Cumulative final : public Op {
 public:
  Cumulative(bool product, bool exclusive, bool reverse)
      : product_(product), exclusive_(exclusive), reverse_(reverse) {}

  void plan(PlanContext& ctx) const override {
    require(ctx.shape(1).count() == 1, ErrorCode::kInvalidInput, "axis has shape ", ctx.shape(1));
    require(ctx.shape(0).rank() > 0, ErrorCode::kInvalidInput, "the input is a scalar");
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
  }

  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    int64_t axis;
    read_indices(ctx.in(1), x.shape.rank(), &axis);
    const Lines lines(x.shape, static_cast<int>(axis));
    if (lines.length == 0) return;
    const int64_t step = reverse_ ? -lines.inner : lines.inner;
    dispatch<float, double, Float16, BFloat16, int32_t, uint32_t, int64_t, uint64_t>(x.dtype, [&]<class T>() {
      const auto run_lines = product_ ? accumulate<true, T> : accumulate<false, T>;
      for_each_line(ctx, lines, kStretch, 1, [&](int64_t o, int64_t first, int64_t last) {
        const int64_t at = (o * lines.length + (reverse_ ? lines.length - 1 : 0)) * lines.inner + first;
        run_lines(x.as<T>() + at, ctx.out<T>(0) + at, lines.length, step, last - first, exclusive_);
      });
    });
  }

 private:
  bool product_, exclusive_, reverse_;
};

std::unique_ptr<Op> make(NodeContext& ctx, bool product) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt32,
                       DType::kUInt32, DType::kInt64, DType::kUInt64});
  ctx.expect_dtype(1, {DType::kInt32, DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Cumulative>(product, ctx.attr_int("exclusive", 0) != 0,
                                      ctx.attr_int("reverse", 0) != 0);
}

}  // namespace

std::span<const OpDef> cumulative_ops() {
  static constexpr OpDef kOps[] = {
      {"", "CumProd", 1, [](NodeContext& ctx) { return make(ctx, true); }},
      {"", "CumSum", 1, [](NodeContext& ctx) { return make(ctx, false); }},
  };
  return kOps;
}

}  // namespace pyinfer
