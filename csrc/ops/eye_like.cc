// EyeLike: y[i, j] = (j == i + k), in the shape of x.
#include <algorithm>
#include <cstring>

#include "ops/convert.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

class EyeLike final : public Op {
 public:
  explicit EyeLike(int64_t k) : k_(k) {}
  void plan(PlanContext& ctx) const override {
    require(ctx.shape(0).rank() == 2, ErrorCode::kInvalidInput, "input 0 must be a matrix, got shape ",
            ctx.shape(0));
    ctx.output(0, ctx.shape(0));
  }
  void run(RunContext& ctx) const override {
    const TensorView& y = ctx.out(0);
    if (y.count() == 0) return;
    std::memset(y.data, 0, y.bytes());
    const int64_t rows = y.shape[0], columns = y.shape[1];
    if (k_ >= columns || k_ <= -rows) return;
    const auto size = static_cast<int64_t>(dtype_size(y.dtype));
    const bool one = true;
    for (int64_t i = std::max<int64_t>(0, -k_); i < rows && i + k_ < columns; ++i)
      convert(DType::kBool, &one, y.dtype, y.as<std::byte>() + (i * columns + i + k_) * size, 1);
  }

 private:
  int64_t k_;
};

std::unique_ptr<Op> make_eye_like(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  if (!ctx.input_type(0).is_tensor()) ctx.unsupported("input 0 is ", ctx.input_type(0));
  const DType to = ctx.attr_dtype("dtype", ctx.dtype(0));
  // In types without a zero of all-zero bits there is nothing to fill with.
  if (to != DType::kBool && (!(dtype_is_integer(to) || dtype_is_float(to)) || to == DType::kFloat8E8M0))
    ctx.unsupported("a matrix of ", dtype_name(to));
  ctx.output(0, to);
  return std::make_unique<EyeLike>(ctx.attr_int("k", 0));
}

}  // namespace

std::span<const OpDef> eye_like_ops() {
  static constexpr OpDef kOps[] = {{"", "EyeLike", 1, make_eye_like}};
  return kOps;
}

}  // namespace pyinfer
