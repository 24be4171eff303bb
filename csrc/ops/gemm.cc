// Gemm: Y = alpha A' B' + beta C, C broadcast to Y's M x N.  FusedGemm: the same under an activation.
#include <cmath>

#include "ops/dispatch.h"
#include "ops/half.h"
#include "ops/product.h"

namespace pyinfer {
namespace {

// How C meets the product.
enum class Addend { kNone, kScalar, kPerColumn, kPerRow, kFull };

struct GemmState : ProductState {
  Addend addend = Addend::kNone;
};

Addend addend_of(const Shape& c, int64_t m, int64_t n) {
  const int64_t columns = c.rank() >= 1 ? c[c.rank() - 1] : 1, rows = c.rank() >= 2 ? c[c.rank() - 2] : 1;
  require(c.rank() <= 2 && (columns == 1 || columns == n) && (rows == 1 || rows == m),
          ErrorCode::kInvalidInput, "C of shape ", c, " does not broadcast to [", m, ", ", n, "]");
  if (columns == n && rows == m && m != 1) return n == 1 ? Addend::kPerRow : Addend::kFull;
  if (rows == m && m != 1) return Addend::kPerRow;
  return columns == n ? Addend::kPerColumn : Addend::kScalar;
}

// y = alpha y + beta c, for types that no epilogue has. Integers are exact while alpha and beta are 1.
template <class T>
void scale_and_add(T* y, const T* c, Addend addend, int64_t m, int64_t n, float alpha, float beta,
                   const FusedActivation& activation) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j, ++y) {
      T add{0};
      switch (addend) {
        case Addend::kNone: break;
        case Addend::kScalar: add = c[0]; break;
        case Addend::kPerColumn: add = c[j]; break;
        case Addend::kPerRow: add = c[i]; break;
        case Addend::kFull: add = c[i * n + j]; break;
      }
      if constexpr (std::is_same_v<T, double>) {
        *y = activate(activation, addend == Addend::kNone ? *y * alpha : std::fma(beta, add, *y * alpha));
      } else if (alpha == 1.0f && beta == 1.0f) {
        using U = std::make_unsigned_t<T>;
        *y = static_cast<T>(static_cast<U>(*y) + static_cast<U>(add));
      } else {
        const double v = alpha * static_cast<double>(*y) + beta * static_cast<double>(add);
        // Beyond the type's range the conversion would be undefined; the nearest end is as good.
        constexpr double kLow = static_cast<double>(std::numeric_limits<T>::min());
        constexpr double kHigh = static_cast<double>(std::numeric_limits<T>::max());
        *y = v != v       ? T{0}
             : v >= kHigh ? std::numeric_limits<T>::max()
             : v <= kLow  ? std::numeric_limits<T>::min()
                          : static_cast<T>(v);
      }
    }
  }
}

class Gemm final : public Op {
 public:
  Gemm(MatrixProduct product, bool transpose_a, bool transpose_b, float alpha, float beta,
       FusedActivation activation)
      : product_(std::move(product)),
        transpose_a_(transpose_a),
        transpose_b_(transpose_b),
        alpha_(alpha),
        beta_(beta),
        activation_(activation) {}

  void plan(PlanContext& ctx) const override {
    const Shape &a = ctx.shape(0), &b = ctx.shape(1);
    require(a.rank() == 2 && b.rank() == 2, ErrorCode::kInvalidInput, "A and B must be matrices, got shapes ",
            a, " and ", b);
    MatMulShape shape = matmul_shape(a, b, transpose_a_, transpose_b_);
    ctx.output(0, shape.output);
    auto state = std::make_unique<GemmState>();
    state->shape = std::move(shape.product);
    const int64_t m = shape.output[0], n = shape.output[1];
    ScratchLayout layout;
    product_.plan(*state, layout);
    if (ctx.has(2)) {
      state->addend = addend_of(ctx.shape(2), m, n);
      if (beta_ == 0.0f) state->addend = Addend::kNone;
      if (state->addend != Addend::kFull) state->extra = layout.take(std::max(m, n), sizeof(float));
    }
    ctx.flops(product_flops(m, n, state->shape.k));
    ctx.scratch(layout.bytes());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<GemmState>();
    const int64_t m = ctx.out(0).shape[0], n = ctx.out(0).shape[1];
    void* y = ctx.out(0).data;
    ProductFinish finish;
    if (product_.wide()) {
      finish.activation = activation_;
      add_to_finish(ctx, state, m, n, finish);
    }
    product_.run(ctx, state, ctx.in(0).data, ctx.in(1).data, y, finish);
    if (product_.wide()) return;
    const void* c = state.addend == Addend::kNone ? nullptr : ctx.in(2).data;
    dispatch<double, int32_t, uint32_t, int64_t, uint64_t>(product_.dtype(), [&]<class T>() {
      scale_and_add(static_cast<T*>(y), static_cast<const T*>(c), state.addend, m, n, alpha_, beta_,
                    activation_);
    });
  }

 private:
  // beta C as a bias or a residual in float32.
  void add_to_finish(const RunContext& ctx, const GemmState& state, int64_t m, int64_t n,
                     ProductFinish& f) const {
    if (state.addend == Addend::kNone) return;
    const DType dtype = product_.dtype();
    const void* c = ctx.in(2).data;
    const bool as_is = dtype == DType::kFloat32 && beta_ == 1.0f;
    if (state.addend == Addend::kFull) {
      float* wide = product_.wide_c(ctx, state, ctx.out(0).data);
      f.residual = as_is ? c : wide;
      if (!as_is) load(ctx, c, wide, m * n);
      return;
    }
    f.bias_per_row = state.addend == Addend::kPerRow;
    f.bias = static_cast<const float*>(c);
    if (as_is && state.addend != Addend::kScalar) return;
    float* bias = reinterpret_cast<float*>(ctx.scratch() + state.extra);
    load(ctx, c, bias, state.addend == Addend::kScalar ? 1 : f.bias_per_row ? m : n);
    if (state.addend == Addend::kScalar) std::fill(bias, bias + n, float{bias[0]});
    f.bias = bias;
  }

  void load(const RunContext& ctx, const void* from, float* to, int64_t count) const {
    if (count == 0) return;
    widen(ctx, product_.dtype(), from, to, count);
    for (int64_t i = 0; i < count; ++i) to[i] *= beta_;
  }

  MatrixProduct product_;
  bool transpose_a_, transpose_b_;
  float alpha_, beta_;
  FusedActivation activation_;
};

std::unique_ptr<Op> make_gemm(NodeContext& ctx) {
  ctx.expect_inputs(2, 3);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64, DType::kInt32,
                       DType::kUInt32, DType::kInt64, DType::kUInt64});
  ctx.expect_same_dtype(0, 1);
  if (ctx.has_input(2)) ctx.expect_same_dtype(0, 2);
  ctx.output(0, ctx.dtype(0));
  const bool transpose_a = ctx.attr_int("transA", 0) != 0, transpose_b = ctx.attr_int("transB", 0) != 0;
  const float alpha = ctx.attr_float("alpha", 1.0f);
  // Where an epilogue adds C, alpha rides on the packed B; elsewhere it is applied with beta.
  const bool wide = ctx.dtype(0) == DType::kFloat32 || is_half(ctx.dtype(0));
  return std::make_unique<Gemm>(MatrixProduct(ctx, transpose_b, wide ? alpha : 1.0f), transpose_a,
                                transpose_b, alpha, ctx.attr_float("beta", 1.0f), fused_activation(ctx));
}

}  // namespace

std::span<const OpDef> gemm_ops() {
  static constexpr OpDef kOps[] = {{"", "Gemm", 1, make_gemm}, {"com.microsoft", "FusedGemm", 1, make_gemm}};
  return kOps;
}

}  // namespace pyinfer
