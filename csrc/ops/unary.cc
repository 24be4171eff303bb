// y = f(x) elementwise: the mathematical functions and the activations of one tensor.
#include <algorithm>

#include "kernels/kernel_table.h"
#include "ops/convert.h"
#include "ops/elementwise.h"
#include "ops/elementwise_kinds.h"

namespace pyinfer {
namespace {

class Unary final : public Op {
 public:
  Unary(UnaryKind kind, DType dtype, const UnaryParams& params)
      : kind_(kind), dtype_(dtype), params_(params) {}

  void plan(PlanContext& ctx) const override {
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
    ctx.flops(ctx.shape(0).count());
  }

  void run(RunContext& ctx) const override {
    const auto size = static_cast<int64_t>(dtype_size(dtype_));
    const auto* x = ctx.in<std::byte>(0);
    auto* y = ctx.out<std::byte>(0);
    const int64_t grain = is_cheap(kind_) && dtype_ == DType::kFloat32 ? kElementwiseGrain : kHeavyGrain;
    ctx.parallel(ctx.in(0).count(), grain, [&](int64_t begin, int64_t end, int) {
      unary(kind_, dtype_, x + begin * size, y + begin * size, end - begin, params_);
    });
  }

 private:
  UnaryKind kind_;
  DType dtype_;
  UnaryParams params_;
};

// Shrink on integers: in float64, then toward zero.
class ShrinkInteger final : public Op {
 public:
  ShrinkInteger(DType dtype, const UnaryParams& params) : dtype_(dtype), params_(params) {}
  void plan(PlanContext& ctx) const override {
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
  }
  void run(RunContext& ctx) const override {
    const auto size = static_cast<int64_t>(dtype_size(dtype_));
    const auto* x = ctx.in<std::byte>(0);
    auto* y = ctx.out<std::byte>(0);
    ctx.parallel(ctx.in(0).count(), kHeavyGrain, [&](int64_t begin, int64_t end, int) {
      constexpr int64_t kBlock = 256;
      double block[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t n = std::min(kBlock, end - i);
        convert(dtype_, x + i * size, DType::kFloat64, block, n);
        unary(UnaryKind::kShrink, DType::kFloat64, block, block, n, params_);
        convert(DType::kFloat64, block, dtype_, y + i * size, n);
      }
    });
  }

 private:
  DType dtype_;
  UnaryParams params_;
};

std::unique_ptr<Op> make_unary(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  const auto call = unary_call(ctx.node());
  require(call.has_value(), ErrorCode::kInternal, "no entry for ", ctx.node().op_type);
  const UnaryParams params = call->params;
  const UnaryKind kind = *unary_kind(call->name, params);
  const DType dtype = ctx.dtype(0);
  ctx.output(0, dtype);
  const bool tensor = ctx.input_type(0).is_tensor();
  if (tensor && kind == UnaryKind::kShrink && dtype_is_integer(dtype) && dtype_file_bits(dtype) >= 8)
    return std::make_unique<ShrinkInteger>(dtype, params);
  if (!tensor || !unary_supported(kind, dtype))
    ctx.unsupported("the input is ", ctx.input_type(0), ", on which it is not defined");
  return std::make_unique<Unary>(kind, dtype, params);
}

// IsNaN: y = x is NaN.  IsInf: y = x is an infinity of an asked sign.
class Classify final : public Op {
 public:
  Classify(DType dtype, bool nan, bool positive, bool negative)
      : dtype_(dtype), nan_(nan), positive_(positive), negative_(negative) {}

  void plan(PlanContext& ctx) const override {
    ctx.output(0, ctx.shape(0));
    if (dtype_size(dtype_) == 1) ctx.reuse(0, 0);
  }

  void run(RunContext& ctx) const override {
    const auto size = static_cast<int64_t>(dtype_size(dtype_));
    const auto* x = ctx.in<std::byte>(0);
    bool* y = ctx.out<bool>(0);
    ctx.parallel(ctx.in(0).count(), kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
      if (dtype_ == DType::kFloat32) return classify(ctx.in<float>(0) + begin, y + begin, end - begin);
      // Every other type keeps its NaNs and, once float64 is past the float32 range, its infinities apart.
      constexpr int64_t kBlock = 256;
      float block[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t n = std::min(kBlock, end - i);
        if (dtype_ == DType::kFloat64) {
          const double* d = ctx.in<double>(0) + i;
          for (int64_t j = 0; j < n; ++j) block[j] = d[j] - d[j] == 0.0 ? 0.0f : static_cast<float>(d[j]);
        } else {
          convert(dtype_, x + i * size, DType::kFloat32, block, n);
        }
        classify(block, y + i, n);
      }
    });
  }

 private:
  void classify(const float* x, bool* y, int64_t n) const {
    if (nan_)
      kernels().elementwise.is_nan(x, y, n);
    else
      kernels().elementwise.is_inf(x, y, n, positive_, negative_);
  }

  DType dtype_;
  bool nan_, positive_, negative_;
};

std::unique_ptr<Op> make_classify(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  if (!ctx.input_type(0).is_tensor() || !dtype_is_float(ctx.dtype(0)))
    ctx.unsupported("the input is ", ctx.input_type(0), ", on which it is not defined");
  ctx.output(0, DType::kBool);
  const bool nan = ctx.node().op_type == "IsNaN";
  return std::make_unique<Classify>(ctx.dtype(0), nan, !nan && ctx.attr_int("detect_positive", 1) != 0,
                                    !nan && ctx.attr_int("detect_negative", 1) != 0);
}

}  // namespace

std::span<const OpDef> unary_ops() {
  static const std::vector<OpDef> kOps = [] {
    std::vector<OpDef> ops = {{"", "IsInf", 1, make_classify}, {"", "IsNaN", 1, make_classify}};
    for (const UnarySpec& spec : unary_specs()) ops.push_back({"", spec.op, 1, make_unary});
    return ops;
  }();
  return kOps;
}

}  // namespace pyinfer
