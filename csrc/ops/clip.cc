// Clip: y = min(max(x, low), high); a bound that is absent does not bind.
#include <limits>

#include "kernels/kernel_table.h"
#include "ops/convert.h"
#include "ops/elementwise.h"

namespace pyinfer {
namespace {

class Clip final : public Op {
 public:
  explicit Clip(DType dtype) : dtype_(dtype) {
    if (unary_supported(UnaryKind::kClip, dtype)) return;
    max_ = kernels().elementwise.binary(BinaryKind::kMax, dtype);
    min_ = kernels().elementwise.binary(BinaryKind::kMin, dtype);
  }

  void plan(PlanContext& ctx) const override {
    for (int i : {1, 2})
      if (ctx.has(i))
        require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "bound ", i,
                " must be a scalar, got shape ", ctx.shape(i));
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
    ctx.flops(2 * ctx.shape(0).count());
  }

  void run(RunContext& ctx) const override {
    const auto size = static_cast<int64_t>(dtype_size(dtype_));
    const auto* x = ctx.in<std::byte>(0);
    auto* y = ctx.out<std::byte>(0);
    const int64_t count = ctx.in(0).count();
    if (max_) {
      ctx.parallel(count, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
        const int64_t n = end - begin;
        const auto* from = x + begin * size;
        auto* to = y + begin * size;
        if (ctx.has(1)) max_.vector_scalar(from, ctx.in(1).data, to, n);
        if (ctx.has(2)) min_.vector_scalar(ctx.has(1) ? to : from, ctx.in(2).data, to, n);
        if (!ctx.has(1) && !ctx.has(2) && from != to) convert(dtype_, from, dtype_, to, n);
      });
      return;
    }
    UnaryParams bounds{-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};
    if (ctx.has(1)) convert(dtype_, ctx.in(1).data, DType::kFloat32, &bounds.a, 1);
    if (ctx.has(2)) convert(dtype_, ctx.in(2).data, DType::kFloat32, &bounds.b, 1);
    ctx.parallel(count, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
      unary(UnaryKind::kClip, dtype_, x + begin * size, y + begin * size, end - begin, bounds);
    });
  }

 private:
  DType dtype_;
  BinaryFns max_, min_;
};

std::unique_ptr<Op> make_clip(NodeContext& ctx) {
  ctx.expect_inputs(1, 3);
  const DType dtype = ctx.dtype(0);
  if (!ctx.input_type(0).is_tensor() || !kernels().elementwise.binary(BinaryKind::kMax, dtype))
    ctx.unsupported("the input is ", ctx.input_type(0), ", on which it is not defined");
  for (int i : {1, 2})
    if (ctx.has_input(i)) ctx.expect_same_dtype(0, i);
  ctx.output(0, dtype);
  return std::make_unique<Clip>(dtype);
}

}  // namespace

std::span<const OpDef> clip_ops() {
  static constexpr OpDef kOps[] = {{"", "Clip", 1, make_clip}};
  return kOps;
}

}  // namespace pyinfer
