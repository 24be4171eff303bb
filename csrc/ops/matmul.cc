// MatMul: Y = A B, stacks broadcast.  FusedMatMul: Y = act(alpha A' B' + bias + residual).
#include "ops/half.h"
#include "ops/product.h"

namespace pyinfer {
namespace {

// Inputs: A, B, and of the internal form also a bias per column and a residual of Y's shape.
class MatMul final : public Op {
 public:
  MatMul(MatrixProduct product, bool transpose_a, bool transpose_b, FusedActivation activation)
      : product_(std::move(product)),
        transpose_a_(transpose_a),
        transpose_b_(transpose_b),
        activation_(activation) {}

  void plan(PlanContext& ctx) const override {
    MatMulShape shape = matmul_shape(ctx.shape(0), ctx.shape(1), transpose_a_, transpose_b_);
    ctx.output(0, shape.output);
    auto state = std::make_unique<ProductState>();
    state->shape = std::move(shape.product);
    const ProductShape& s = state->shape;
    ScratchLayout layout;
    product_.plan(*state, layout);
    if (ctx.has(2)) {
      require(ctx.shape(2) == Shape{s.n}, ErrorCode::kInvalidInput, "bias of shape ", ctx.shape(2),
              ", expected [", s.n, "]");
      state->extra = layout.take(s.n, sizeof(float));
    }
    if (ctx.has(3))
      require(ctx.shape(3) == shape.output, ErrorCode::kInvalidInput, "residual of shape ", ctx.shape(3),
              ", expected ", shape.output);
    ctx.flops(product_flops(shape.output.count(), s.k, 1));
    ctx.scratch(layout.bytes());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<ProductState>();
    ProductFinish finish{.activation = activation_};
    if (ctx.has(2)) finish.bias = bias(ctx, state);
    if (ctx.has(3)) finish.residual = ctx.in(3).data;
    product_.run(ctx, state, ctx.in(0).data, ctx.in(1).data, ctx.out(0).data, finish);
  }

 private:
  const float* bias(const RunContext& ctx, const ProductState& state) const {
    if (product_.dtype() == DType::kFloat32) return ctx.in<float>(2);
    float* wide = reinterpret_cast<float*>(ctx.scratch() + state.extra);
    widen(product_.dtype(), ctx.in(2).data, wide, state.shape.n);
    return wide;
  }

  MatrixProduct product_;
  bool transpose_a_, transpose_b_;
  FusedActivation activation_;
};

std::unique_ptr<Op> make_matmul(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64, DType::kInt32,
                       DType::kUInt32, DType::kInt64, DType::kUInt64});
  ctx.expect_same_dtype(0, 1);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<MatMul>(MatrixProduct(ctx, false, 1.0f), false, false, FusedActivation{});
}

std::unique_ptr<Op> make_fused(NodeContext& ctx, int most_inputs) {
  ctx.expect_inputs(2, most_inputs);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64});
  for (int i = 1; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_same_dtype(0, i);
  if (ctx.has_input(2)) ctx.expect_dtype(2, {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  if (ctx.attr_int("transBatchA", 0) != 0 || ctx.attr_int("transBatchB", 0) != 0)
    ctx.unsupported("transBatchA and transBatchB must be 0");
  ctx.output(0, ctx.dtype(0));
  const bool transpose_a = ctx.attr_int("transA", 0) != 0, transpose_b = ctx.attr_int("transB", 0) != 0;
  return std::make_unique<MatMul>(MatrixProduct(ctx, transpose_b, ctx.attr_float("alpha", 1.0f)), transpose_a,
                                  transpose_b, fused_activation(ctx));
}

std::unique_ptr<Op> make_fused_matmul(NodeContext& ctx) {
  return make_fused(ctx, 2);
}
std::unique_ptr<Op> make_internal_matmul(NodeContext& ctx) {
  return make_fused(ctx, 4);
}

}  // namespace

std::span<const OpDef> matmul_ops() {
  static constexpr OpDef kOps[] = {{"", "MatMul", 1, make_matmul},
                                   {"com.microsoft", "FusedMatMul", 1, make_fused_matmul},
                                   {"pyinfer", "FusedMatMul", 1, make_internal_matmul}};
  return kOps;
}

}  // namespace pyinfer
