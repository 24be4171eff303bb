// MatMulInteger: Y = (A - a_zero)(B - b_zero) in int32, exact.
// QLinearMatMul: Y = saturate(round(a_scale b_scale / y_scale * that) + y_zero); where an operand is of a
// float8 type, the product is one of float32.
#include "kernels/kernel_table.h"
#include "ops/convert.h"
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
      : in_(inputs), quantized_(inputs.y_scale >= 0), product_(ctx, inputs.b, false) {}

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
    IntegerOperands operands{.a = ctx.in(in_.a).data,
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
    if (!one_set(state))
      return product_.run(ctx, state, operands, at<int32_t>(ctx, state.sums),
                          [&](const IntegerTile& tile) { finish(ctx, state, tile); });
    const ByteRange range = ByteRange::of(ctx.out(0).dtype);
    const S8Requantize bytes{.multiplier = fill_multipliers(ctx, state),
                             .zero = byte_at(ctx.in(in_.y_zero), 0),
                             .low = range.low,
                             .high = range.high,
                             .y = ctx.out<uint8_t>(0),
                             .ldy = state.shape.n};
    operands.bytes = &bytes;
    product_.run(ctx, state, operands, nullptr, [](const IntegerTile&) {});
  }

 private:
  template <class T>
  static T* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<T*>(ctx.scratch() + offset);
  }

  // Whether all rows and all products have the same multipliers.
  static bool one_set(const QuantizedState& state) {
    return state.a_scale.one() && (state.b_scale.one() || state.shape.b_count == 1);
  }
  static float* multipliers(const RunContext& ctx, const QuantizedState& state, int worker) {
    return at<float>(ctx, state.multipliers + worker * round_up(state.shape.n * 4, kCacheLine));
  }
  // That one set.
  const float* fill_multipliers(const RunContext& ctx, const QuantizedState& state) const {
    float* const to = multipliers(ctx, state, 0);
    const float *a = at<float>(ctx, state.a_scales), *b = at<float>(ctx, state.b_scales);
    const float y_scale = scale_at(ctx.in(in_.y_scale), 0);
    for (int64_t j = 0; j < state.shape.n; ++j) to[j] = a[0] * b[state.b_scale.one() ? 0 : j] / y_scale;
    return to;
  }

  void plan_scales(const PlanContext& ctx, QuantizedState& state, ScratchLayout& layout,
                   const Shape& y) const {
    state.a_scale = LineValues(ctx.shape(in_.a_scale), ctx.shape(in_.a), true);
    state.b_scale = LineValues(ctx.shape(in_.b_scale), ctx.shape(in_.b), false);
    for (int i : {in_.y_scale, in_.y_zero})
      require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i, " of shape ", ctx.shape(i),
              ", expected one value");
    state.a_scales = layout.take(state.a_scale.count(), sizeof(float));
    state.b_scales = layout.take(state.b_scale.count(), sizeof(float));
    if (!one_set(state)) state.sums = layout.take(y.count(), sizeof(int32_t));
    state.multipliers = layout.take(ctx.workers(), round_up(state.shape.n * 4, kCacheLine));
  }

  void finish(const RunContext& ctx, const QuantizedState& state, const IntegerTile& tile) const {
    const ProductShape& s = state.shape;
    const auto i = static_cast<size_t>(tile.i);
    const float* a_scales = at<float>(ctx, state.a_scales) + (state.a_scale.one() ? 0 : s.a[i] * s.m);
    const float* b_scales = at<float>(ctx, state.b_scales) + (state.b_scale.one() ? 0 : s.b[i] * s.n);
    const float y_scale = scale_at(ctx.in(in_.y_scale), 0);
    const int32_t y_zero = byte_at(ctx.in(in_.y_zero), 0);
    float* const factors = multipliers(ctx, state, tile.worker);
    const int64_t first = tile.column_begin, last = tile.column_end;
    for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
      // One scale for all rows: one set of multipliers.
      if (row == tile.row_begin || !state.a_scale.one())
        for (int64_t j = first; j < last; ++j)
          factors[j] =
              a_scales[state.a_scale.one() ? 0 : row] * b_scales[state.b_scale.one() ? 0 : j] / y_scale;
      const int64_t at_row = (tile.i * s.m + row) * s.n + first;
      requantize(at<int32_t>(ctx, state.sums) + at_row, factors + first, 1, y_zero,
                 ByteRange::of(ctx.out(0).dtype), ctx.out<uint8_t>(0) + at_row, last - first);
    }
  }

  Inputs in_;
  bool quantized_;
  IntegerProduct product_;
};

// QLinearMatMul with a float8 among the types of A, B and Y.
class Float8MatMul final : public Op {
 public:
  Float8MatMul() : product_(DType::kFloat32, false, 1.0f) {}

  void plan(PlanContext& ctx) const override {
    const Inputs& in = kQuantizedInputs;
    MatMulShape shape = matmul_shape(ctx.shape(in.a), ctx.shape(in.b), false, false);
    ctx.output(0, shape.output);
    auto state = std::make_unique<Float8State>();
    ScratchLayout layout;
    for (int side : {0, 1}) {
      const int input = side == 0 ? in.a : in.b;
      Side& s = state->sides[side];
      s.zeros = LineValues(ctx.shape(input + 2), ctx.shape(input), side == 0);
      s.scales = LineValues(ctx.shape(input + 1), ctx.shape(input), side == 0);
      s.zero_at = layout.take(s.zeros.count(), sizeof(float));
      s.scale_at = layout.take(s.scales.count(), sizeof(float));
      s.values_at = layout.take(ctx.shape(input).count(), sizeof(float));
    }
    for (int i : {in.y_scale, in.y_zero})
      require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i, " of shape ", ctx.shape(i),
              ", expected one value");
    state->product.shape = std::move(shape.product);
    state->sums = layout.take(shape.output.count(), sizeof(float));
    product_.plan(state->product, layout);
    ctx.scratch(layout.bytes());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const auto& state = ctx.state<Float8State>();
    const ProductShape& p = state.product.shape;
    load(ctx, kQuantizedInputs.a, state.sides[0], p.m, p.k, true);
    load(ctx, kQuantizedInputs.b, state.sides[1], p.n, p.k, false);
    float* sums = at(ctx, state.sums);
    product_.run(ctx, state.product, at(ctx, state.sides[0].values_at), at(ctx, state.sides[1].values_at),
                 sums, {});
    const float *a = at(ctx, state.sides[0].scale_at), *b = at(ctx, state.sides[1].scale_at);
    const bool one_a = state.sides[0].scales.one(), one_b = state.sides[1].scales.one();
    const float y_scale = scale_at(ctx.in(kQuantizedInputs.y_scale), 0);
    float zero = 0.0f;
    convert(ctx.out(0).dtype, ctx.in(kQuantizedInputs.y_zero).data, DType::kFloat32, &zero, 1);
    for (int64_t i = 0; i < p.count(); ++i) {
      const int64_t a_line = p.a[static_cast<size_t>(i)] * p.m, b_line = p.b[static_cast<size_t>(i)] * p.n;
      for (int64_t row = 0; row < p.m; ++row)
        for (int64_t j = 0; j < p.n; ++j, ++sums)
          *sums = *sums * (a[one_a ? 0 : a_line + row] * b[one_b ? 0 : b_line + j] / y_scale);
    }
    store(ctx, at(ctx, state.sums), zero);
  }

 private:
  struct Side {
    LineValues zeros, scales;
    int64_t zero_at = 0, scale_at = 0, values_at = 0;  // offsets in scratch
  };
  struct Float8State : StepState {
    Side sides[2];
    ProductState product;
    int64_t sums = 0;
  };

  static float* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<float*>(ctx.scratch() + offset);
  }

  // An operand as float32 less its zero points; a row of A, or a column of B, is a line.
  static void load(const RunContext& ctx, int input, const Side& side, int64_t lines, int64_t k, bool rows) {
    const TensorView &x = ctx.in(input), &zero = ctx.in(input + 2);
    float *values = at(ctx, side.values_at), *zeros = at(ctx, side.zero_at);
    convert(x.dtype, x.data, DType::kFloat32, values, x.count());
    side.zeros.expand(zeros, [&](int64_t i) {
      float v;
      convert(zero.dtype, zero.as<std::byte>() + i, DType::kFloat32, &v, 1);
      return v;
    });
    side.scales.expand(at(ctx, side.scale_at), [&](int64_t i) { return scale_at(ctx.in(input + 1), i); });
    for (int64_t i = 0; i < x.count(); ++i) {
      const int64_t line = rows ? i / k : i / (k * lines) * lines + i % lines;
      values[i] -= zeros[side.zeros.one() ? 0 : line];
    }
  }

  // y = saturate(x + zero) in the type of Y, integers rounded first.
  static void store(const RunContext& ctx, float* x, float zero) {
    const TensorView& y = ctx.out(0);
    const float one = 1.0f;
    const auto integer_zero = static_cast<int32_t>(zero);
    if (dtype_is_integer(y.dtype))
      return kernels().quantize.quantize(x, &one, 0, &integer_zero, 0, y.dtype, y.data, y.count());
    for (int64_t i = 0; i < y.count(); ++i) x[i] += zero;
    convert(DType::kFloat32, x, y.dtype, y.data, y.count(), {.saturate = true});
  }

  MatrixProduct product_;
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
  bool bytes = true;
  for (int i : {in.a, in.b, in.y_zero}) {
    ctx.expect_dtype(i, {DType::kInt8, DType::kUInt8, DType::kFloat8E4M3FN, DType::kFloat8E4M3FNUZ,
                         DType::kFloat8E5M2, DType::kFloat8E5M2FNUZ});
    bytes = bytes && dtype_is_integer(ctx.dtype(i));
  }
  for (int i : {in.a, in.b}) ctx.expect_same_dtype(i, i + 2);
  for (int i : {in.a_scale, in.b_scale, in.y_scale}) {
    ctx.expect_dtype(i, {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
    ctx.expect_same_dtype(in.a_scale, i);
  }
  ctx.output(0, ctx.dtype(in.y_zero));
  if (!bytes) return std::make_unique<Float8MatMul>();
  return std::make_unique<IntegerMatMul>(ctx, in);
}

}  // namespace

std::span<const OpDef> matmul_integer_ops() {
  static constexpr OpDef kOps[] = {{"", "MatMulInteger", 1, make_matmul_integer},
                                   {"", "QLinearMatMul", 1, make_qlinear_matmul}};
  return kOps;
}

}  // namespace pyinfer
