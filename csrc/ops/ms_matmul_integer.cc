// MatMulIntegerToFloat:  Y = (A - a_zero)(B - b_zero) * (a_scale b_scale) + bias, in float.
// DynamicQuantizeMatMul: the same, A being quantized to uint8 by its own range first.
#include "ops/dynamic_quantize.h"
#include "ops/elements.h"
#include "ops/integer_product.h"

namespace pyinfer {
namespace {

constexpr int kAbsent = 1 << 20;

// Where an operator finds its inputs.
struct Inputs {
  int a, b, a_scale, b_scale, a_zero, b_zero, bias;
  bool dynamic() const { return a_scale == kAbsent; }
};
constexpr Inputs kQuantizedInputs{0, 1, 2, 3, 4, 5, 6};
constexpr Inputs kDynamicInputs{0, 1, kAbsent, 2, kAbsent, 3, 4};

struct FloatState final : IntegerProductState {
  LineValues a_scale, b_scale;
  int64_t a_scales = 0, b_scales = 0, bias = 0, bytes = 0, range = 0, sums = 0;  // offsets in scratch
};

class MatMulToFloat final : public Op {
 public:
  MatMulToFloat(NodeContext& ctx, const Inputs& inputs) : in_(inputs), product_(ctx, inputs.b, false) {}

  void plan(PlanContext& ctx) const override {
    const Shape &a = ctx.shape(in_.a), &b = ctx.shape(in_.b);
    MatMulShape shape = matmul_shape(a, b, false, false);
    ctx.output(0, shape.output);
    auto state = std::make_unique<FloatState>();
    state->shape = std::move(shape.product);
    const int64_t n = state->shape.n;
    ScratchLayout layout;
    const auto zero = [&](int i) { return ctx.has(i) ? &ctx.shape(i) : nullptr; };
    product_.plan(*state, layout, a, b, zero(in_.a_zero), zero(in_.b_zero), ctx.workers());
    state->b_scale = LineValues(ctx.shape(in_.b_scale), b, false);
    if (!in_.dynamic()) state->a_scale = LineValues(ctx.shape(in_.a_scale), a, true);
    if (ctx.has(in_.bias))
      require(ctx.shape(in_.bias) == Shape({n}), ErrorCode::kInvalidInput, "the bias has shape ",
              ctx.shape(in_.bias), ", expected [", n, "]");
    state->a_scales = layout.take(state->a_scale.count(), sizeof(float));
    state->b_scales = layout.take(state->b_scale.count(), sizeof(float));
    state->bias = layout.take(n, sizeof(float));
    if (in_.dynamic()) {
      state->bytes = layout.take(a.count(), 1);
      state->range = layout.take(dynamic_scratch(a.count()), sizeof(float));
    }
    state->sums = layout.take(shape.output.count(), sizeof(int32_t));
    ctx.flops(product_flops(shape.output.count(), state->shape.k, 1));
    ctx.scratch(layout.bytes());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const TensorView& y = ctx.out(0);
    if (y.count() == 0) return;
    const auto& state = ctx.state<FloatState>();
    const auto zero = [&](int i) { return ctx.has(i) ? &ctx.in(i) : nullptr; };
    IntegerOperands operands{.a = ctx.in(in_.a).data,
                             .a_signed = ctx.in(in_.a).dtype == DType::kInt8,
                             .a_zero = zero(in_.a_zero),
                             .b = ctx.in(in_.b).data,
                             .b_zero = zero(in_.b_zero)};
    const auto scale = [&](int input) {
      return [&ctx, input](int64_t i) { return scale_at(ctx.in(input), i); };
    };
    state.b_scale.expand(at<float>(ctx, state.b_scales), scale(in_.b_scale));
    uint8_t zero_byte = 0;
    const TensorView zero_view{DType::kUInt8, {}, &zero_byte};
    if (in_.dynamic()) {
      const int64_t count = ctx.in(in_.a).count();
      const DynamicGrid grid = dynamic_grid(ctx, ctx.in<float>(in_.a), count, at<float>(ctx, state.range));
      auto* bytes = at<uint8_t>(ctx, state.bytes);
      dynamic_quantize(ctx, grid, ctx.in<float>(in_.a), count, bytes);
      *at<float>(ctx, state.a_scales) = grid.scale;
      zero_byte = static_cast<uint8_t>(grid.zero);
      operands.a = bytes;
      operands.a_zero = &zero_view;
    } else {
      state.a_scale.expand(at<float>(ctx, state.a_scales), scale(in_.a_scale));
    }
    const float* bias = nullptr;
    if (ctx.has(in_.bias)) {
      const TensorView& v = ctx.in(in_.bias);
      bias = load_as(v.dtype, v.data, 0, v.count(), at<float>(ctx, state.bias));
    }
    product_.run(ctx, state, operands, at<int32_t>(ctx, state.sums),
                 [&](const IntegerTile& tile) { finish(ctx, state, bias, tile); });
  }

 private:
  template <class T>
  static T* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<T*>(ctx.scratch() + offset);
  }

  void finish(const RunContext& ctx, const FloatState& state, const float* bias,
              const IntegerTile& tile) const {
    const ProductShape& s = state.shape;
    const auto i = static_cast<size_t>(tile.i);
    const float* a_scales = at<float>(ctx, state.a_scales) + (state.a_scale.one() ? 0 : s.a[i] * s.m);
    const float* b_scales = at<float>(ctx, state.b_scales) + (state.b_scale.one() ? 0 : s.b[i] * s.n);
    const int64_t step = state.b_scale.one() ? 0 : 1;
    const TensorView& y = ctx.out(0);
    for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
      const float a_scale = a_scales[state.a_scale.one() ? 0 : row];
      const int64_t at_row = (tile.i * s.m + row) * s.n;
      const int32_t* sums = at<int32_t>(ctx, state.sums) + at_row;
      float block[kBlock];
      for (int64_t j = tile.column_begin; j < tile.column_end; j += kBlock) {
        const int64_t n = std::min(kBlock, tile.column_end - j);
        float* to = place_as(y.dtype, y.data, at_row + j, block);
        for (int64_t c = 0; c < n; ++c)
          to[c] = static_cast<float>(sums[j + c]) * (a_scale * b_scales[(j + c) * step]);
        for (int64_t c = 0; bias != nullptr && c < n; ++c) to[c] += bias[j + c];
        store_as(y.dtype, y.data, at_row + j, n, to);
      }
    }
  }

  Inputs in_;
  IntegerProduct product_;
};

std::unique_ptr<Op> make_to_float(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(4, 7);
  const Inputs& in = kQuantizedInputs;
  for (int i : {0, 1}) {
    ctx.expect_dtype(i, {kInt8, kUInt8});
    if (ctx.has_input(in.a_zero + i)) ctx.expect_same_dtype(i, in.a_zero + i);
    ctx.expect_dtype(in.a_scale + i, {kFloat32, kFloat16});
  }
  ctx.expect_same_dtype(in.a_scale, in.b_scale);
  if (ctx.has_input(in.bias)) ctx.expect_same_dtype(in.a_scale, in.bias);
  ctx.output(0, ctx.dtype(in.a_scale));
  return std::make_unique<MatMulToFloat>(ctx, in);
}

std::unique_ptr<Op> make_dynamic(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(3, 5);
  const Inputs& in = kDynamicInputs;
  for (int i : {in.a, in.b_scale, in.bias})
    if (ctx.has_input(i)) ctx.expect_dtype(i, {kFloat32});
  ctx.expect_dtype(in.b, {kInt8, kUInt8});
  if (ctx.has_input(in.b_zero)) ctx.expect_same_dtype(in.b, in.b_zero);
  ctx.output(0, kFloat32);
  return std::make_unique<MatMulToFloat>(ctx, in);
}

}  // namespace

std::span<const OpDef> ms_matmul_integer_ops() {
  static constexpr OpDef kOps[] = {{"com.microsoft", "DynamicQuantizeMatMul", 1, make_dynamic},
                                   {"com.microsoft", "MatMulIntegerToFloat", 1, make_to_float}};
  return kOps;
}

}  // namespace pyinfer
