// Shape: y = dims(x)[start:end].  Size: y = count(x).  Both are known while planning.
#include <algorithm>
#include <numeric>

#include "ops/op.h"

namespace pyinfer {
namespace {

class ShapeOp final : public Op {
 public:
  ShapeOp(int64_t start, int64_t end) : start_(start), end_(end) {}
  void plan(PlanContext& ctx) const override {
    const Shape& s = ctx.shape(0);
    const int64_t rank = s.rank();
    const auto clamp = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank); };
    const int64_t start = clamp(start_), end = std::max(clamp(end_), start);
    ctx.output_value(0, Tensor::vector_i64(
                            s.dims().subspan(static_cast<size_t>(start), static_cast<size_t>(end - start))));
  }
  void run(RunContext&) const override {}

 private:
  int64_t start_, end_;
};

class SizeOp final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    ctx.output_value(0, Tensor::scalar_i64(ctx.shape(0).count()));
  }
  void run(RunContext&) const override {}
};

std::unique_ptr<Op> make_shape(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.output(0, DType::kInt64);
  return std::make_unique<ShapeOp>(ctx.attr_int("start", 0), ctx.attr_int("end", INT64_MAX));
}

std::unique_ptr<Op> make_size(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.output(0, DType::kInt64);
  return std::make_unique<SizeOp>();
}

}  // namespace

std::span<const OpDef> shape_ops() {
  static constexpr OpDef kOps[] = {{"", "Shape", 1, make_shape}, {"", "Size", 1, make_size}};
  return kOps;
}

}  // namespace pyinfer
