// QGemm: Y = alpha a_scale b_scale ((A' - a_zero)(B' - b_zero) + C), A' and B' transposed where asked for;
// with a scale and a zero point of its own, Y is quantized: saturate(round(that / y_scale) + y_zero).
#include "kernels/kernel_table.h"
#include "ops/integer_product.h"

namespace pyinfer {
namespace {

enum Input { kA, kAScale, kAZero, kB, kBScale, kBZero, kC, kYScale, kYZero };

struct GemmState final : IntegerProductState {
  CopyPlan turn_a;
  LineValues b_scale;
  int64_t c_row = 0, c_column = 0;  // strides of C
  int64_t a_rows = 0, sums = 0, multipliers = 0;
};

class QGemm final : public Op {
 public:
  QGemm(NodeContext& ctx, bool transpose_a, bool transpose_b, float alpha)
      : transpose_a_(transpose_a), transpose_b_(transpose_b), alpha_(alpha), product_(ctx, kB, transpose_b) {}

  void plan(PlanContext& ctx) const override {
    const Shape &a = ctx.shape(kA), &b = ctx.shape(kB);
    require(a.rank() == 2 && b.rank() == 2, ErrorCode::kInvalidInput, "A and B have shapes ", a, " and ", b,
            ", expected two dimensions");
    MatMulShape shape = matmul_shape(a, b, transpose_a_, transpose_b_);
    ctx.output(0, shape.output);
    auto state = std::make_unique<GemmState>();
    state->shape = std::move(shape.product);
    ProductShape& s = state->shape;
    ScratchLayout layout;
    if (s.a_transposed) {
      const int64_t dims[] = {s.k, s.m}, src[] = {s.m, 1}, dst[] = {1, s.k};
      state->turn_a = plan_copy(1, dims, src, dst);
      state->a_rows = layout.take(a.count(), 1);
      s.a_transposed = false;
    }
    for (int i : {kAScale, kAZero, kYScale, kYZero})
      if (ctx.has(i))
        require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i, " of shape ", ctx.shape(i),
                ", expected one value");
    const Shape columns({s.k, s.n});
    product_.plan(*state, layout, a, columns, &ctx.shape(kAZero), &ctx.shape(kBZero), ctx.workers());
    state->b_scale = LineValues(ctx.shape(kBScale), columns, false);
    if (ctx.has(kC)) {
      const Shape& c = ctx.shape(kC);
      require(c.rank() <= 2 && broadcast_shapes(c, shape.output) == shape.output, ErrorCode::kInvalidInput,
              "C of shape ", c, " does not broadcast to ", shape.output);
      const int64_t rows = c.rank() == 2 ? c[0] : 1, across = c.rank() == 0 ? 1 : c[c.rank() - 1];
      state->c_row = rows == 1 ? 0 : across;
      state->c_column = across == 1 ? 0 : 1;
    }
    state->multipliers = layout.take(s.n, sizeof(float));
    state->sums = layout.take(shape.output.count(), sizeof(int32_t));
    ctx.flops(product_flops(s.m, s.k, s.n));
    ctx.scratch(layout.bytes());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const auto& state = ctx.state<GemmState>();
    IntegerOperands operands{.a = ctx.in(kA).data,
                             .a_signed = ctx.in(kA).dtype == DType::kInt8,
                             .a_zero = &ctx.in(kAZero),
                             .b = ctx.in(kB).data,
                             .b_zero = &ctx.in(kBZero)};
    if (state.turn_a.units > 0) {
      std::byte* rows = ctx.scratch() + state.a_rows;
      ctx.parallel(state.turn_a.units, state.turn_a.grain, [&](int64_t begin, int64_t end, int) {
        kernels().movement.copy(state.turn_a, ctx.in<std::byte>(kA), rows, begin, end);
      });
      operands.a = rows;
    }
    auto* multipliers = reinterpret_cast<float*>(ctx.scratch() + state.multipliers);
    state.b_scale.expand(multipliers, [&](int64_t i) {
      const float scale = alpha_ * *ctx.in<float>(kAScale) * ctx.in<float>(kBScale)[i];
      return ctx.has(kYScale) ? scale / *ctx.in<float>(kYScale) : scale;
    });
    auto* sums = reinterpret_cast<int32_t*>(ctx.scratch() + state.sums);
    product_.run(ctx, state, operands, sums,
                 [&](const IntegerTile& tile) { finish(ctx, state, sums, multipliers, tile); });
  }

 private:
  void finish(const RunContext& ctx, const GemmState& state, int32_t* sums, const float* multipliers,
              const IntegerTile& tile) const {
    const int64_t first = tile.column_begin, count = tile.column_end - first, n = state.shape.n;
    const int step = state.b_scale.one() ? 0 : 1;
    const float* multiplier = multipliers + first * step;
    for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
      int32_t* sum = sums + row * n + first;
      if (ctx.has(kC)) {
        const int32_t* c = ctx.in<int32_t>(kC) + row * state.c_row + first * state.c_column;
        for (int64_t j = 0; j < count; ++j)
          sum[j] = static_cast<int32_t>(static_cast<uint32_t>(sum[j]) +
                                        static_cast<uint32_t>(c[j * state.c_column]));
      }
      if (ctx.has(kYScale)) {
        requantize(sum, multiplier, step, ctx.has(kYZero) ? byte_at(ctx.in(kYZero), 0) : 0,
                   ByteRange::of(ctx.out(0).dtype), ctx.out<uint8_t>(0) + row * n + first, count);
      } else {
        float* y = ctx.out<float>(0) + row * n + first;
        for (int64_t j = 0; j < count; ++j) y[j] = static_cast<float>(sum[j]) * multiplier[j * step];
      }
    }
  }

  bool transpose_a_, transpose_b_;
  float alpha_;
  IntegerProduct product_;
};

std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(6, 9);
  for (int i : {kA, kB}) {
    ctx.expect_dtype(i, {kInt8, kUInt8});
    ctx.expect_same_dtype(i, i + 2);
    ctx.expect_dtype(i + 1, {kFloat32});
  }
  if (ctx.has_input(kC)) ctx.expect_dtype(kC, {kInt32});
  if (ctx.has_input(kYScale)) ctx.expect_dtype(kYScale, {kFloat32});
  if (ctx.has_input(kYZero)) ctx.expect_dtype(kYZero, {kInt8, kUInt8});
  require(!ctx.has_input(kYZero) || ctx.has_input(kYScale), ErrorCode::kInvalidModel,
          "y_zero_point is given without y_scale");
  ctx.output(0, !ctx.has_input(kYScale) ? kFloat32
                : ctx.has_input(kYZero) ? ctx.dtype(kYZero)
                                        : ctx.dtype(kA));
  return std::make_unique<QGemm>(ctx, ctx.attr_int("transA", 0) != 0, ctx.attr_int("transB", 0) != 0,
                                 ctx.attr_float("alpha", 1.0f));
}

}  // namespace

std::span<const OpDef> ms_qgemm_ops() {
  static constexpr OpDef kOps[] = {{"com.microsoft", "QGemm", 1, make}};
  return kOps;
}

}  // namespace pyinfer
