// MatMulInteger: Y = (A - a_zero)(B - b_zero) in int32, exact.
// QLinearMatMul: Y = saturate(round(a_scale b_scale / y_scale * that) + y_zero).
#include "ops/integer_product.h"

namespace pyinfer {
namespace {

struct QuantizedState : IntegerProductState {
  LineValues a_scale, b_scale;
  int64_t a_scales = 0, b_scales = 0, multipliers = 0, sums = 0;  // offsets in scratch
};

// Where an operator finds its inputs; -1: it has no such input.
struct Inputs {
  int a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero;
};
constexpr Inputs kIntegerInputs{0, -1, 2, 1, -1, 3, -1, -1};
constexpr Inputs kQuantizedInputs{0, 1, 2, 3, 4, 5, 6, 7};

class IntegerMatMul final : public Op {
 public:
  IntegerMatMul(NodeContext& ctx, const Inputs& inputs)
      : in_(inputs),
        quantized_(inputs.y_scale >= 0),
        product_(ctx.dtype(inputs.b), false, ctx.constant(inputs.b)) {}

  void plan(PlanContext& ctx) const override {
    const Shape &a = ctx.shape(in_.a), &b = ctx.shape(in_.b);
    MatMulShape shape = matmul_shape(a, b, false, false);
    ctx.output(0, shape.output);
    auto state = std::make_unique<QuantizedState>();
    state->shape = std::move(shape.product);
    ScratchLayout layout;
    const auto zero = [&](int i) { return ctx.has(i) ? &ctx.shape(i) : nullptr; };
    product_.plan(*state, layout, a, b, zero(in_.a_zero), zero(in_.b_zero), ctx.workers());
    if (quantized_) plan_scales(ctx, *state, layout, shape.output);
    ctx.flops(product_flops(shape.output.count(), state->shape.k, 1));
    ctx.scratch(layout.bytes());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const auto& state = ctx.state<QuantizedState>();
    const auto zero = [&](int i) { return ctx.has(i) ? &ctx.in(i) : nullptr; };
    const IntegerOperands operands{.a = ctx.in(in_.a).data,
                                   .a_signed = ctx.in(in_.a).dtype == DType::kInt8,
                                   .a_zero = zero(in_.a_zero),
                                   .b = ctx.in(in_.b).data,
                                   .b_zero = zero(in_.b_zero)};
    if (!quantized_)
      return product_.run(ctx, state, operands, ctx.out<int32_t>(0), [](const IntegerTile&) {});
    state.a_scale.expand(at<float>(ctx, state.a_scales),
                         [&](int64_t i) { return scale_at(ctx.in(in_.a_scale), i); });
    state.b_scale.expand(at<float>(ctx, state.b_scales),
                         [&](int64_t i) { return scale_at(ctx.in(in_.b_scale), i); });
    product_.run(ctx, state, operands, at<int32_t>(ctx, state.sums),
                 [&](const IntegerTile& tile) { finish(ctx, state, tile); });
  }

 private:
  template <class T>
  static T* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<T*>(ctx.scratch() + offset);
  }

  void plan_scales(const PlanContext& ctx, QuantizedState& state, ScratchLayout& layout,
                   const Shape& y) const {
    state.a_scale = LineValues(ctx.shape(in_.a_scale), ctx.shape(in_.a), true);
    state.b_scale = LineValues(ctx.shape(in_.b_scale), ctx.shape(in_.b), false);
    for (int i : {in_.y_scale, in_.y_zero})
      require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i, " of shape ",
              ctx.shape(i).str(), ", expected one value");
    state.a_scales = layout.take(state.a_scale.count(), sizeof(float));
    state.b_scales = layout.take(state.b_scale.count(), sizeof(float));
    state.sums = layout.take(y.count(), sizeof(int32_t));
    state.multipliers = layout.take(ctx.workers(), round_up(state.shape.n * 4, kCacheLine));
  }

  void finish(const RunContext& ctx, const QuantizedState& state, const IntegerTile& tile) const {
    const ProductShape& s = state.shape;
    const auto i = static_cast<size_t>(tile.i);
    const float* a_scales = at<float>(ctx, state.a_scales) + (state.a_scale.one() ? 0 : s.a[i] * s.m);
    const float* b_scales = at<float>(ctx, state.b_scales) + (state.b_scale.one() ? 0 : s.b[i] * s.n);
    const float y_scale = scale_at(ctx.in(in_.y_scale), 0);
    const int32_t y_zero = byte_at(ctx.in(in_.y_zero), 0);
    auto* multipliers = at<float>(ctx, state.multipliers + tile.worker * round_up(s.n * 4, kCacheLine));
    const int64_t first = tile.column_begin, last = tile.column_end;
    for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
      // One scale for all rows: one set of multipliers.
      if (row == tile.row_begin || !state.a_scale.one())
        for (int64_t j = first; j < last; ++j)
          multipliers[j] =
              a_scales[state.a_scale.one() ? 0 : row] * b_scales[state.b_scale.one() ? 0 : j] / y_scale;
      const int64_t at_row = (tile.i * s.m + row) * s.n + first;
      requantize(at<int32_t>(ctx, state.sums) + at_row, multipliers + first, 1, y_zero,
                 ctx.out(0).dtype == DType::kInt8, ctx.out<uint8_t>(0) + at_row, last - first);
    }
  }

  Inputs in_;
  bool quantized_;
  IntegerProduct product_;
};

std::unique_ptr<Op> make_matmul_integer(NodeContext& ctx) {
  ctx.expect_inputs(2, 4);
  for (int i : {0, 1}) {
    ctx.expect_dtype(i, {DType::kInt8, DType::kUInt8});
    if (ctx.has_input(i + 2)) ctx.expect_same_dtype(i, i + 2);
  }
  ctx.output(0, DType::kInt32);
  return std::make_unique<IntegerMatMul>(ctx, kIntegerInputs);
}

std::unique_ptr<Op> make_qlinear_matmul(NodeContext& ctx) {
  ctx.expect_inputs(8, 8);
  const Inputs& in = kQuantizedInputs;
  for (int i : {in.a, in.b, in.y_zero}) ctx.expect_dtype(i, {DType::kInt8, DType::kUInt8});
  for (int i : {in.a, in.b}) ctx.expect_same_dtype(i, i + 2);
  for (int i : {in.a_scale, in.b_scale, in.y_scale}) {
    ctx.expect_dtype(i, {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
    ctx.expect_same_dtype(in.a_scale, i);
  }
  ctx.output(0, ctx.dtype(in.y_zero));
  return std::make_unique<IntegerMatMul>(ctx, in);
}

}  // namespace

std::span<const OpDef> matmul_integer_ops() {
  static constexpr OpDef kOps[] = {{"", "MatMulInteger", 1, make_matmul_integer},
                                   {"", "QLinearMatMul", 1, make_qlinear_matmul}};
  return kOps;
}

}  // namespace pyinfer
