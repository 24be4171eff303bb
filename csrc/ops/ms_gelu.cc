// BiasGelu: y = gelu(x + bias), by the error function.  FastGelu: the same by its approximation with tanh.
// BiasSplitGelu: y = left * gelu(right), where left and right are the halves of each row of x + bias.
#include <algorithm>

#include "kernels/kernel_table.h"
#include "ops/elements.h"
#include "ops/elementwise.h"

namespace pyinfer {
namespace {

class BiasGelu final : public Op {
 public:
  BiasGelu(DType dtype, UnaryKind kind, bool split) : dtype_(dtype), kind_(kind), split_(split) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &bias = ctx.shape(1);
    const int last = x.rank() - 1;
    require(last >= 0 && bias == Shape({x[last]}), ErrorCode::kInvalidInput, "the bias has shape ", bias,
            ", expected one value for each of the last dimension of ", x);
    Shape y = x;
    if (split_) {
      require(x[last] % 2 == 0, ErrorCode::kInvalidInput, "rows of ", x[last], " elements have no halves");
      y[last] /= 2;
    }
    ctx.output(0, y);
    if (!split_) ctx.reuse(0, 0);
    ctx.flops(10 * x.count());
  }

  void run(RunContext& ctx) const override {
    const int64_t count = ctx.in(0).count(), n = ctx.in(1).count();
    if (count == 0) return;
    with_compute_type(dtype_, [&]<class C>() {
      ctx.parallel(count / n, std::max<int64_t>(1, kHeavyGrain / n), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row)
          split_ ? split_row<C>(ctx, row, n) : plain_row<C>(ctx, row, n);
      });
    });
  }

 private:
  // x + bias of [at, at + n) within a row, in `to`.
  template <class C>
  void biased(const RunContext& ctx, int64_t row_start, int64_t at, int64_t n, C* to) const {
    C x_block[kBlock], bias_block[kBlock];
    const C* x = load_as(dtype_, ctx.in(0).data, row_start + at, n, x_block);
    const C* bias = load_as(dtype_, ctx.in(1).data, at, n, bias_block);
    kernels().elementwise.binary(BinaryKind::kAdd, DTypeOf<C>::value).vector_vector(x, bias, to, n);
  }

  template <class C>
  void plain_row(const RunContext& ctx, int64_t row, int64_t n) const {
    C block[kBlock];
    for (int64_t j = 0; j < n; j += kBlock) {
      const int64_t m = std::min(kBlock, n - j), at = row * n + j;
      C* y = place_as(dtype_, ctx.out(0).data, at, block);
      biased(ctx, row * n, j, m, y);
      unary(kind_, DTypeOf<C>::value, y, y, m);
      store_as(dtype_, ctx.out(0).data, at, m, y);
    }
  }

  template <class C>
  void split_row(const RunContext& ctx, int64_t row, int64_t n) const {
    const int64_t half = n / 2;
    C left[kBlock], right[kBlock];
    for (int64_t j = 0; j < half; j += kBlock) {
      const int64_t m = std::min(kBlock, half - j);
      biased(ctx, row * n, j, m, left);
      biased(ctx, row * n, half + j, m, right);
      unary(kind_, DTypeOf<C>::value, right, right, m);
      kernels().elementwise.binary(BinaryKind::kMul, DTypeOf<C>::value).vector_vector(left, right, left, m);
      store_as(dtype_, ctx.out(0).data, row * half + j, m, left);
    }
  }

  DType dtype_;
  UnaryKind kind_;
  bool split_;
};

template <UnaryKind kind, bool split = false>
std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16});
  ctx.expect_same_dtype(0, 1);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<BiasGelu>(ctx.dtype(0), kind, split);
}

}  // namespace

std::span<const OpDef> ms_gelu_ops() {
  static constexpr OpDef kOps[] = {{"com.microsoft", "BiasGelu", 1, make<UnaryKind::kGeluErf>},
                                   {"com.microsoft", "BiasSplitGelu", 1, make<UnaryKind::kGeluErf, true>},
                                   {"com.microsoft", "FastGelu", 1, make<UnaryKind::kGeluTanh>}};
  return kOps;
}

}  // namespace pyinfer
