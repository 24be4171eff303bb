// MatMulInteger: Y = (A - a_zero)(B - b_zero) in int32, exact.
// QLinearMatMul: Y = saturate(round(a_scale b_scale / y_scale * that) + y_zero).
#include <algorithm>

#include "kernels/gemm_s8.h"
#include "kernels/kernel_table.h"
#include "ops/line_values.h"
#include "ops/product.h"
#include "ops/requantize.h"

namespace pyinfer {
namespace {

struct IntegerState : StepState {
  ProductShape shape;
  LineValues a_zero, b_zero, a_scale, b_scale;
  int64_t a_zeros = 0, b_zeros = 0, a_scales = 0, b_scales = 0, multipliers = 0;  // offsets in scratch
  int64_t packed = 0, sums = 0, workers = 0, worker_bytes = 0;
};

// Where an operator finds its inputs; -1: it has no such input.
struct Inputs {
  int a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero;
};
constexpr Inputs kIntegerInputs{0, -1, 2, 1, -1, 3, -1, -1};
constexpr Inputs kQuantizedInputs{0, 1, 2, 3, 4, 5, 6, 7};

float scale_at(const TensorView& t, int64_t i) {
  if (t.dtype == DType::kFloat16) return static_cast<float>(t.as<Float16>()[i]);
  if (t.dtype == DType::kBFloat16) return static_cast<float>(t.as<BFloat16>()[i]);
  return t.as<float>()[i];
}

class IntegerMatMul final : public Op {
 public:
  IntegerMatMul(NodeContext& ctx, const Inputs& inputs)
      : in_(inputs), quantized_(inputs.y_scale >= 0), b_signed_(ctx.dtype(inputs.b) == DType::kInt8) {
    const Tensor* b = ctx.constant(in_.b);
    if (b == nullptr || b->shape().rank() == 0 || b->count() == 0) return;
    const Shape& s = b->shape();
    const int64_t k = s.rank() == 1 ? s[0] : s[s.rank() - 2], n = s.rank() == 1 ? 1 : s[s.rank() - 1];
    const int64_t count = b->count() / (k * n), size = packed_size(k, n);
    packed_ = AlignedBytes(static_cast<size_t>(count * size));
    for (int64_t i = 0; i < count; ++i)
      pack(b->as<int8_t>() + i * k * n, k, n, 0, panel_count(n), packed_.as<int8_t>() + i * size);
  }

  void plan(PlanContext& ctx) const override {
    const Shape &a = ctx.shape(in_.a), &b = ctx.shape(in_.b);
    MatMulShape shape = matmul_shape(a, b, false, false);
    ctx.output(0, shape.output);
    auto state = std::make_unique<IntegerState>();
    state->shape = std::move(shape.product);
    const ProductShape& s = state->shape;
    ScratchLayout layout;
    if (ctx.has(in_.a_zero)) state->a_zero = LineValues(ctx.shape(in_.a_zero), a, true);
    if (ctx.has(in_.b_zero)) state->b_zero = LineValues(ctx.shape(in_.b_zero), b, false);
    state->a_zeros = layout.take(state->a_zero.count(), sizeof(int32_t));
    state->b_zeros = layout.take(state->b_zero.count(), sizeof(int32_t));
    if (quantized_) {
      state->a_scale = LineValues(ctx.shape(in_.a_scale), a, true);
      state->b_scale = LineValues(ctx.shape(in_.b_scale), b, false);
      for (int i : {in_.y_scale, in_.y_zero})
        require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i, " of shape ",
                ctx.shape(i).str(), ", expected one value");
      state->a_scales = layout.take(state->a_scale.count(), sizeof(float));
      state->b_scales = layout.take(state->b_scale.count(), sizeof(float));
    }
    if (shape.output.count() > 0) {
      if (quantized_) state->sums = layout.take(shape.output.count(), sizeof(int32_t));
      if (quantized_) state->multipliers = layout.take(ctx.workers(), round_up(s.n * 4, kCacheLine));
      if (packed_.size() == 0) state->packed = layout.take(s.b_count, packed_size(s.k, s.n));
      state->worker_bytes = round_up(static_cast<int64_t>(kernels().gemm_s8.scratch_bytes(s.k)), kCacheLine);
      state->workers = layout.take(ctx.workers(), state->worker_bytes);
      ctx.flops(product_flops(shape.output.count(), s.k, 1));
    }
    ctx.scratch(layout.bytes());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const auto& state = ctx.state<IntegerState>();
    const ProductShape& s = state.shape;
    expand_zeros(ctx, state.a_zero, in_.a_zero, at<int32_t>(ctx, state.a_zeros));
    expand_zeros(ctx, state.b_zero, in_.b_zero, at<int32_t>(ctx, state.b_zeros));
    if (quantized_) {
      state.a_scale.expand(at<float>(ctx, state.a_scales),
                           [&](int64_t i) { return scale_at(ctx.in(in_.a_scale), i); });
      state.b_scale.expand(at<float>(ctx, state.b_scales),
                           [&](int64_t i) { return scale_at(ctx.in(in_.b_scale), i); });
    }
    const int8_t* packed = prepare_b(ctx, state);
    const Tiling tiling(s.m, panel_count(s.n), kPanelWidth * s.k / 2);
    const int64_t tiles = tiling.count();
    const int64_t grain = grain_for(tiling.row_step * tiling.panel_step * kPanelWidth * s.k / 2);
    ctx.parallel(s.count() * tiles, grain, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t item = begin; item < end; ++item)
        run_tile(ctx, state, packed, item / tiles, tiling, item % tiles, worker);
    });
  }

 private:
  template <class T>
  static T* at(const RunContext& ctx, int64_t offset) {
    return reinterpret_cast<T*>(ctx.scratch() + offset);
  }
  static int64_t packed_size(int64_t k, int64_t n) { return kernels().gemm_s8.packed_size(k, n); }
  void pack(const int8_t* b, int64_t k, int64_t n, int64_t panel_begin, int64_t panel_end,
            int8_t* packed) const {
    kernels().gemm_s8.pack_b({.k = k, .n = n, .b = b, .b_signed = b_signed_, .ldb = n, .packed = packed},
                             panel_begin, panel_end);
  }

  static void expand_zeros(const RunContext& ctx, const LineValues& values, int input, int32_t* out) {
    if (ctx.has(input))
      values.expand(out, [&](int64_t i) { return byte_at(ctx.in(input), i); });
    else
      *out = 0;
  }

  const int8_t* prepare_b(const RunContext& ctx, const IntegerState& state) const {
    if (packed_.size() != 0) return packed_.as<int8_t>();
    const ProductShape& s = state.shape;
    auto* packed = at<int8_t>(ctx, state.packed);
    const int64_t panels = panel_count(s.n), size = packed_size(s.k, s.n);
    ctx.parallel(s.b_count * panels, grain_for(kPanelWidth * s.k, 1 << 16),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t i = begin; i < end; ++i)
                     pack(ctx.in<int8_t>(in_.b) + i / panels * s.k * s.n, s.k, s.n, i % panels,
                          i % panels + 1, packed + i / panels * size);
                 });
    return packed;
  }

  void run_tile(const RunContext& ctx, const IntegerState& state, const int8_t* packed, int64_t i,
                const Tiling& tiling, int64_t t, int worker) const {
    const ProductShape& s = state.shape;
    const int64_t a = s.a[static_cast<size_t>(i)], b = s.b[static_cast<size_t>(i)];
    int32_t* sums = (quantized_ ? at<int32_t>(ctx, state.sums) : ctx.out<int32_t>(0)) + i * s.m * s.n;
    const GemmS8Args args{.m = s.m,
                          .n = s.n,
                          .k = s.k,
                          .a = ctx.in<int8_t>(in_.a) + a * s.m * s.k,
                          .a_signed = ctx.in(in_.a).dtype == DType::kInt8,
                          .lda = s.k,
                          .a_zero = at<int32_t>(ctx, state.a_zeros) + (state.a_zero.one() ? 0 : a * s.m),
                          .a_zero_per_row = !state.a_zero.one(),
                          .b = packed + b * packed_size(s.k, s.n),
                          .b_signed = b_signed_,
                          .b_zero = at<int32_t>(ctx, state.b_zeros) + (state.b_zero.one() ? 0 : b * s.n),
                          .b_zero_per_column = !state.b_zero.one(),
                          .c = sums,
                          .ldc = s.n};
    kernels().gemm_s8.run(args, tiling.row_begin(t), tiling.row_end(t), tiling.panel_begin(t),
                          tiling.panel_end(t), ctx.scratch() + state.workers + worker * state.worker_bytes);
    if (!quantized_) return;
    const float* a_scales = at<float>(ctx, state.a_scales) + (state.a_scale.one() ? 0 : a * s.m);
    const float* b_scales = at<float>(ctx, state.b_scales) + (state.b_scale.one() ? 0 : b * s.n);
    const float y_scale = scale_at(ctx.in(in_.y_scale), 0);
    const int32_t y_zero = byte_at(ctx.in(in_.y_zero), 0);
    auto* multipliers = at<float>(ctx, state.multipliers + worker * round_up(s.n * 4, kCacheLine));
    const int64_t first = tiling.panel_begin(t) * kPanelWidth,
                  last = std::min(s.n, tiling.panel_end(t) * kPanelWidth);
    for (int64_t row = tiling.row_begin(t); row < tiling.row_end(t); ++row) {
      // One scale for all rows: one set of multipliers.
      if (row == tiling.row_begin(t) || !state.a_scale.one())
        for (int64_t j = first; j < last; ++j)
          multipliers[j] =
              a_scales[state.a_scale.one() ? 0 : row] * b_scales[state.b_scale.one() ? 0 : j] / y_scale;
      const int64_t at_row = row * s.n + first;
      requantize(sums + at_row, multipliers + first, 1, y_zero, ctx.out(0).dtype == DType::kInt8,
                 ctx.out<uint8_t>(0) + i * s.m * s.n + at_row, last - first);
    }
  }

  Inputs in_;
  bool quantized_;
  bool b_signed_;
  AlignedBytes packed_;
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
