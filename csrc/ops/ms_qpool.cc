// Pools of 8-bit images, and softmax of 8-bit rows: y = quantize(f(dequantize(x))), computed in float32.
//   QLinearGlobalAveragePool: the sum of an image's pixels is exact in int64; one division, one rounding.
#include <algorithm>

#include "kernels/kernel_table.h"
#include "ops/byte_grid.h"
#include "ops/elementwise.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

void expect_grids(NodeContext& ctx) {
  ctx.expect_inputs(2, 5);
  for (int i : {1, 3}) expect_grid(ctx, 0, i);
  ctx.output(0, ctx.dtype(0));
}

class GlobalAverage final : public Op {
 public:
  GlobalAverage(DType dtype, bool channels_last) : dtype_(dtype), last_(channels_last) {}
  void plan(PlanContext& ctx) const override {
    for (int i : {1, 3}) check_grid(ctx, i);
    Shape y = ctx.shape(0);
    require(y.rank() >= 3, ErrorCode::kInvalidInput, "an image of shape ", y,
            ", expected 3 dimensions or more");
    for (int d = 0; d < y.rank() - 2; ++d) y[d + (last_ ? 1 : 2)] = 1;
    require(ctx.shape(0).count() > 0 || y.count() == 0, ErrorCode::kInvalidInput, "an image of shape ",
            ctx.shape(0), " has no pixels");
    ctx.output(0, y);
    ctx.flops(ctx.shape(0).count());
  }
  void run(RunContext& ctx) const override {
    const Shape& x = ctx.in(0).shape;
    if (x.count() == 0) return;
    const int64_t channels = x[last_ ? x.rank() - 1 : 1], pixels = x.count() / x[0] / channels;
    const ByteGrid from = read_grid(ctx, 1), to = read_grid(ctx, 3);
    const int64_t step = last_ ? channels : 1;
    ctx.parallel(x[0] * channels, grain_for(pixels), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = last_ ? i / channels * pixels * channels + i % channels : i * pixels;
        int64_t sum = 0;
        for (int64_t p = 0; p < pixels; ++p) {
          const uint8_t bits = ctx.in<uint8_t>(0)[at + p * step];
          sum += dtype_ == DType::kInt8 ? static_cast<int8_t>(bits) : bits;
        }
        const double mean = static_cast<double>(sum - pixels * from.zero) / static_cast<double>(pixels);
        const auto value = static_cast<float>(mean * static_cast<double>(from.scale));
        kernels().quantize.quantize(&value, &to.scale, 0, &to.zero, 0, dtype_, ctx.out<uint8_t>(0) + i, 1);
      }
    });
  }

 private:
  DType dtype_;
  bool last_;
};

class QLinearSoftmax final : public Op {
 public:
  QLinearSoftmax(DType dtype, int64_t axis, bool flatten) : dtype_(dtype), axis_(axis), flatten_(flatten) {}
  void plan(PlanContext& ctx) const override {
    for (int i : {1, 3}) check_grid(ctx, i);
    const Shape& x = ctx.shape(0);
    (void)normalize_axis(axis_, x.rank());
    ctx.output(0, x);
    ctx.scratch(x.count() * 4);
    ctx.flops(10 * x.count());
  }
  void run(RunContext& ctx) const override {
    const Shape& x = ctx.in(0).shape;
    const int64_t count = x.count();
    if (count == 0) return;
    const int axis = normalize_axis(axis_, x.rank());
    const int64_t n = flatten_ ? x.count(axis, x.rank()) : x[axis];
    const int64_t inner = flatten_ ? 1 : x.count(axis + 1, x.rank());
    const ByteGrid from = read_grid(ctx, 1), to = read_grid(ctx, 3);
    const auto zero = static_cast<float>(from.zero);
    auto* wide = ctx.scratch_as<float>();
    ctx.parallel(count, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
      kernels().quantize.dequantize(dtype_, ctx.in<uint8_t>(0) + begin, &from.scale, 0, &zero, 0,
                                    wide + begin, end - begin);
    });
    const AxisArgs args{.x = wide, .y = wide, .n = n, .inner = inner};
    ctx.parallel(count / n, grain_for(n, kHeavyGrain),
                 [&](int64_t begin, int64_t end, int) { kernels().norm.softmax(args, begin, end); });
    ctx.parallel(count, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
      kernels().quantize.quantize(wide + begin, &to.scale, 0, &to.zero, 0, dtype_,
                                  ctx.out<uint8_t>(0) + begin, end - begin);
    });
  }

 private:
  DType dtype_;
  int64_t axis_;
  bool flatten_;
};

std::unique_ptr<Op> make_global_average(NodeContext& ctx) {
  expect_grids(ctx);
  return std::make_unique<GlobalAverage>(ctx.dtype(0), ctx.attr_int("channels_last", 0) != 0);
}

std::unique_ptr<Op> make_softmax(NodeContext& ctx) {
  expect_grids(ctx);
  const bool flatten = ctx.attr_int("opset") < 13;
  return std::make_unique<QLinearSoftmax>(ctx.dtype(0), ctx.attr_int("axis", flatten ? 1 : -1), flatten);
}

}  // namespace

std::span<const OpDef> ms_qpool_ops() {
  static constexpr OpDef kOps[] = {
      {"com.microsoft", "QLinearGlobalAveragePool", 1, make_global_average},
      {"com.microsoft", "QLinearSoftmax", 1, make_softmax},
  };
  return kOps;
}

}  // namespace pyinfer
