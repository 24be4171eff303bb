// Max, Min, Sum, Mean: y = f(... f(f(x0, x1), x2) ..., xn) elementwise under NumPy's broadcasting; the mean
// is the sum divided by the number of inputs.
#include <bit>

#include "kernels/kernel_table.h"
#include "ops/convert.h"
#include "ops/elementwise.h"

namespace pyinfer {
namespace {

// walks[0] joins inputs 0 and 1; walks[i] joins the output so far and input i + 1.
struct VariadicState final : StepState {
  std::vector<BroadcastWalk<2>> walks;
};

class Variadic final : public Op {
 public:
  Variadic(BinaryFns fns, BinaryFns divide, uint64_t divisor)
      : fns_(fns), divide_(divide), divisor_(divisor) {}

  void plan(PlanContext& ctx) const override {
    if (ctx.num_inputs() == 1) {
      ctx.output_view(0, 0, ctx.shape(0));
      return;
    }
    Shape out = ctx.shape(0);
    for (int i = 1; i < ctx.num_inputs(); ++i) out = broadcast_shapes(out, ctx.shape(i));
    ctx.output(0, out);
    auto state = std::make_unique<VariadicState>();
    state->walks.emplace_back(out, std::array{&ctx.shape(0), &ctx.shape(1)});
    for (int i = 2; i < ctx.num_inputs(); ++i)
      state->walks.emplace_back(out, std::array<const Shape*, 2>{&out, &ctx.shape(i)});
    ctx.state(std::move(state));
    // Of more than two inputs a later one may be the first again.
    if (ctx.num_inputs() == 2)
      for (int i : {0, 1})
        if (ctx.shape(i) == out) ctx.reuse(0, i);
    ctx.flops(out.count() * (ctx.num_inputs() - 1));
  }

  void run(RunContext& ctx) const override {
    if (ctx.num_inputs() == 1) return;
    const auto& walks = ctx.state<VariadicState>().walks;
    const TensorView& y = ctx.out(0);
    const auto size = static_cast<int64_t>(dtype_size(y.dtype));
    // All inputs for one range of the output before the next range, so that it stays in the cache.
    ctx.parallel(walks[0].count(), kHeavyGrain, [&](int64_t begin, int64_t end, int) {
      for (size_t i = 0; i < walks.size(); ++i)
        binary_range(walks[i], fns_, i == 0 ? ctx.in(0) : y, ctx.in(static_cast<int>(i) + 1), y, begin, end);
      auto* p = y.as<std::byte>() + begin * size;
      if (divide_) divide_.vector_scalar(p, &divisor_, p, end - begin);
    });
  }

 private:
  BinaryFns fns_, divide_;
  uint64_t divisor_;  // the bits of one element
};

std::unique_ptr<Op> make_variadic(NodeContext& ctx, BinaryKind kind, bool mean) {
  require(ctx.num_inputs() >= 1, ErrorCode::kInvalidModel, "at least one input is required");
  ctx.expect_inputs(ctx.num_inputs(), ctx.num_inputs());
  const DType dtype = ctx.dtype(0);
  for (int i = 1; i < ctx.num_inputs(); ++i) ctx.expect_same_dtype(0, i);
  const BinaryFns fns = kernels().elementwise.binary(kind, dtype);
  if (!ctx.input_type(0).is_tensor() || !fns || (kind == BinaryKind::kAdd && !dtype_is_float(dtype)))
    ctx.unsupported("inputs are ", ctx.input_type(0), ", on which it is not defined");
  BinaryFns divide;
  uint64_t divisor = 0;
  if (mean && ctx.num_inputs() > 1) {
    divide = kernels().elementwise.binary(BinaryKind::kDiv, dtype);
    const int64_t n = ctx.num_inputs();
    convert(DType::kInt64, &n, dtype, &divisor, 1);
  }
  ctx.output(0, dtype);
  return std::make_unique<Variadic>(fns, divide, divisor);
}

std::unique_ptr<Op> make_max(NodeContext& ctx) {
  return make_variadic(ctx, BinaryKind::kMax, false);
}
std::unique_ptr<Op> make_min(NodeContext& ctx) {
  return make_variadic(ctx, BinaryKind::kMin, false);
}
std::unique_ptr<Op> make_sum(NodeContext& ctx) {
  return make_variadic(ctx, BinaryKind::kAdd, false);
}
std::unique_ptr<Op> make_mean(NodeContext& ctx) {
  return make_variadic(ctx, BinaryKind::kAdd, true);
}

}  // namespace

std::span<const OpDef> variadic_ops() {
  static constexpr OpDef kOps[] = {{"", "Max", 1, make_max},
                                   {"", "Mean", 1, make_mean},
                                   {"", "Min", 1, make_min},
                                   {"", "Sum", 1, make_sum}};
  return kOps;
}

}  // namespace pyinfer
