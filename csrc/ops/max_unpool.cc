// MaxUnpool: y = 0 but y[indices[i]] = x[i], the indices numbering the elements of the unpooled image, which
// is placed at the beginning of a larger output when one is asked for.
#include <algorithm>
#include <cstring>

#include "ops/sliding_window.h"

namespace pyinfer {
namespace {

struct UnpoolState : StepState {
  Shape image;  // of the indices
};

class MaxUnpool final : public Op {
 public:
  explicit MaxUnpool(NodeContext& ctx) : window_(ctx) {
    require(!window_.kernel_shape().empty(), ErrorCode::kInvalidModel,
            "attribute 'kernel_shape' is required");
  }

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(ctx.shape(1) == x, ErrorCode::kInvalidInput, "indices of shape ", ctx.shape(1), ", expected ", x);
    auto state = std::make_unique<UnpoolState>();
    state->image = image_shape(x);
    const Shape& image = state->image;
    Shape y = image;
    if (ctx.has(2)) {
      const std::vector<int64_t> dims = ctx.require_int64s(2);
      bool fits = static_cast<int>(dims.size()) == image.rank();
      for (size_t d = 0; fits && d < dims.size(); ++d) fits = dims[d] >= image[static_cast<int>(d)];
      require(fits, ErrorCode::kInvalidInput, "output_shape must be at least ", image, " along every axis");
      y = Shape(dims);
    }
    ctx.output(0, y);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const Shape& image = ctx.state<UnpoolState>().image;
    const TensorView& y = ctx.out(0);
    if (y.count() == 0) return;
    std::memset(y.data, 0, y.bytes());
    const size_t size = dtype_size(y.dtype);
    const auto* x = static_cast<const std::byte*>(ctx.in(0).data);
    const auto* indices = ctx.in<int64_t>(1);
    const int64_t count = ctx.in(0).count(), pixels = image.count();
    const auto strides = y.shape.strides();
    const bool same = image == y.shape;
    for (int64_t i = 0; i < count; ++i) {
      int64_t at = indices[i];
      require(at >= 0 && at < pixels, ErrorCode::kInvalidInput, "index ", at, ", expected 0 to ", pixels - 1);
      if (!same) {
        int64_t rest = at;
        at = 0;
        for (int d = image.rank() - 1; d >= 0; --d) {
          at += rest % image[d] * strides[static_cast<size_t>(d)];
          rest /= image[d];
        }
      }
      std::memcpy(static_cast<std::byte*>(y.data) + static_cast<size_t>(at) * size,
                  x + static_cast<size_t>(i) * size, size);
    }
  }

 private:
  // The image whose maxima x holds.
  Shape image_shape(const Shape& x) const {
    const ImageShape image(x, Layout::kChannelsFirst);
    const Window w = window_.base(image, window_.kernel_shape());
    Shape out{x[0], x[1]};
    for (int d = 0; d < w.rank; ++d) {
      const auto i = static_cast<size_t>(d);
      require(w.input[d] <= INT64_MAX / 4 / w.stride[d], ErrorCode::kLimit, "spatial size ", w.input[d],
              " is too large");
      int64_t size = (w.input[d] - 1) * w.stride[d] + w.kernel[d];
      if (!window_.pads().empty())
        size -= window_.pads()[i] + window_.pads()[i + static_cast<size_t>(w.rank)];
      require(size >= 0, ErrorCode::kInvalidInput, "spatial axis ", d, " would have size ", size,
              " after its pads are cut");
      out.push_back(size);
    }
    return out;
  }

  SlidingWindow window_;
};

std::unique_ptr<Op> make_max_unpool(NodeContext& ctx) {
  ctx.expect_inputs(2, 3);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64});
  ctx.expect_dtype(1, {DType::kInt64});
  if (ctx.has_input(2)) ctx.expect_dtype(2, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<MaxUnpool>(ctx);
}

}  // namespace

std::span<const OpDef> max_unpool_ops() {
  static constexpr OpDef kOps[] = {{"", "MaxUnpool", 1, make_max_unpool}};
  return kOps;
}

}  // namespace pyinfer
