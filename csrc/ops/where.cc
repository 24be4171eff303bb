// Where: y = c ? a : b elementwise under NumPy's broadcasting, for elements of every type.
#include "kernels/kernel_table.h"
#include "ops/elementwise.h"

namespace pyinfer {
namespace {

class Where final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    const Shape &c = ctx.shape(0), &a = ctx.shape(1), &b = ctx.shape(2);
    const Shape out = broadcast_shapes(broadcast_shapes(a, b), c);
    ctx.output(0, out);
    ctx.state(std::make_unique<WalkState<3>>(out, std::array{&c, &a, &b}));
    if (ctx.dtype(1) == DType::kString) return;
    for (int i : {1, 2})
      if (ctx.shape(i) == out) ctx.reuse(0, i);
  }

  void run(RunContext& ctx) const override {
    const auto& walk = ctx.state<WalkState<3>>().walk;
    const bool* c = ctx.in<bool>(0);
    if (ctx.in(1).dtype == DType::kString) return run_strings(ctx, walk);
    const size_t size = dtype_size(ctx.in(1).dtype);
    const auto stride = static_cast<int64_t>(size);
    const auto *a = ctx.in<std::byte>(1), *b = ctx.in<std::byte>(2);
    auto* y = ctx.out<std::byte>(0);
    ctx.parallel(walk.count(), kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
      walk.walk(begin, end, [&](const std::array<int64_t, 3>& at, int64_t out, int64_t n) {
        kernels().elementwise.where(size, c + at[0], walk.step(0), a + at[1] * stride, walk.step(1),
                                    b + at[2] * stride, walk.step(2), y + out * stride, n);
      });
    });
  }

 private:
  static void run_strings(RunContext& ctx, const BroadcastWalk<3>& walk) {
    const bool* c = ctx.in<bool>(0);
    const auto *a = ctx.in<std::string>(1), *b = ctx.in<std::string>(2);
    auto* y = ctx.out<std::string>(0);
    walk.walk(0, walk.count(), [&](const std::array<int64_t, 3>& at, int64_t out, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        y[out + i] = c[at[0] + i * walk.step(0)] ? a[at[1] + i * walk.step(1)] : b[at[2] + i * walk.step(2)];
    });
  }
};

std::unique_ptr<Op> make_where(NodeContext& ctx) {
  ctx.expect_inputs(3, 3);
  ctx.expect_dtype(0, {DType::kBool});
  if (!ctx.input_type(1).is_tensor()) ctx.unsupported("input 1 is ", ctx.input_type(1));
  ctx.expect_same_dtype(1, 2);
  ctx.output(0, ctx.dtype(1));
  return std::make_unique<Where>();
}

}  // namespace

std::span<const OpDef> where_ops() {
  static constexpr OpDef kOps[] = {{"", "Where", 1, make_where}};
  return kOps;
}

}  // namespace pyinfer
