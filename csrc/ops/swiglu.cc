// SwiGLU: y = a sigmoid(alpha a) b, for a and b of one shape.
#include <algorithm>

#include "kernels/kernel_table.h"
#include "ops/convert.h"
#include "ops/elementwise.h"

namespace pyinfer {
namespace {

class SwiGlu final : public Op {
 public:
  SwiGlu(DType dtype, float alpha)
      : dtype_(dtype),
        compute_(dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32),
        multiply_(kernels().elementwise.binary(BinaryKind::kMul, compute_)),
        params_{alpha, 0.0f} {}

  void plan(PlanContext& ctx) const override {
    require(ctx.shape(0) == ctx.shape(1), ErrorCode::kInvalidInput, "both inputs must have one shape, got ",
            ctx.shape(0), " and ", ctx.shape(1));
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
    ctx.reuse(0, 1);
  }

  void run(RunContext& ctx) const override {
    const auto size = static_cast<int64_t>(dtype_size(dtype_));
    const auto *a = ctx.in<std::byte>(0), *b = ctx.in<std::byte>(1);
    auto* y = ctx.out<std::byte>(0);
    ctx.parallel(ctx.in(0).count(), kHeavyGrain, [&](int64_t begin, int64_t end, int) {
      // y may be a or b: a block of both is read before it is written.
      constexpr int64_t kBlock = 256;
      double gate[kBlock], value[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t n = std::min(kBlock, end - i);
        convert(dtype_, a + i * size, compute_, gate, n);
        convert(dtype_, b + i * size, compute_, value, n);
        unary(UnaryKind::kSwish, compute_, gate, gate, n, params_);
        multiply_.vector_vector(gate, value, gate, n);
        convert(compute_, gate, dtype_, y + i * size, n);
      }
    });
  }

 private:
  DType dtype_, compute_;
  BinaryFns multiply_;
  UnaryParams params_;
};

std::unique_ptr<Op> make_swiglu(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64});
  ctx.expect_same_dtype(0, 1);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<SwiGlu>(ctx.dtype(0), ctx.attr_float("alpha", 1.0f));
}

}  // namespace

std::span<const OpDef> swiglu_ops() {
  static constexpr OpDef kOps[] = {{"", "SwiGLU", 1, make_swiglu}};
  return kOps;
}

}  // namespace pyinfer
