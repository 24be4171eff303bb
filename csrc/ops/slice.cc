// Slice: y[i] = x[start + i * step] along each of some axes.
#include <algorithm>

#include "base/math.h"
#include "ops/copy_box.h"

namespace pyinfer {
namespace {

struct Range {
  int64_t start, count, step;
};

// start:end:step on a dimension of n, clamped as the specification of Slice-13 says.
Range clamp_range(int64_t start, int64_t end, int64_t step, int64_t n) {
  require(step != 0, ErrorCode::kInvalidInput, "a step is 0");
  if (n == 0) return {0, 0, 1};
  const auto wrap = [&](int64_t i) { return i < 0 ? i + n : i; };
  start = std::clamp<int64_t>(wrap(start), 0, step > 0 ? n : n - 1);
  end = std::clamp<int64_t>(wrap(end), step > 0 ? 0 : -1, step > 0 ? n : n - 1);
  step = std::clamp(step, -n - 1, n + 1);  // a longer step also reads one element; keeps products small
  const int64_t distance = step > 0 ? end - start : start - end;
  const int64_t count = distance <= 0 ? 0 : ceil_div(distance, step > 0 ? step : -step);
  return {count > 0 ? start : 0, count, step};
}

class Slice final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    const Shape& in = ctx.shape(0);
    const std::vector<int64_t> starts = ctx.require_int64s(1), ends = ctx.require_int64s(2);
    const std::vector<int64_t> axes = ctx.has(3) ? ctx.require_int64s(3) : first_axes(starts.size());
    const std::vector<int64_t> steps =
        ctx.has(4) ? ctx.require_int64s(4) : std::vector<int64_t>(starts.size(), 1);
    require(ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
            ErrorCode::kInvalidInput, "starts, ends, axes and steps have ", starts.size(), ", ", ends.size(),
            ", ", axes.size(), " and ", steps.size(), " elements");
    Shape out = in;
    auto strides = in.strides();
    std::array<bool, Shape::kMaxRank> seen{};
    int64_t offset = 0;
    for (size_t i = 0; i < axes.size(); ++i) {
      const int axis = normalize_axis(axes[i], in.rank());
      const auto a = static_cast<size_t>(axis);
      require(!seen[a], ErrorCode::kInvalidModel, "axis ", axis, " is given twice");
      seen[a] = true;
      const Range range = clamp_range(starts[i], ends[i], steps[i], in[axis]);
      out[axis] = range.count;
      if (range.count == 0) continue;
      offset += range.start * strides[a];
      strides[a] *= range.count > 1 ? range.step : 1;
    }
    plan_strided_output(ctx, out, strides, out.count() == 0 ? 0 : offset);
  }
  void run(RunContext& ctx) const override { copy_boxes(ctx); }

 private:
  static std::vector<int64_t> first_axes(size_t n) {
    std::vector<int64_t> axes;
    for (size_t i = 0; i < n; ++i) axes.push_back(static_cast<int64_t>(i));
    return axes;
  }
};

std::unique_ptr<Op> make_slice(NodeContext& ctx) {
  ctx.expect_inputs(3, 5);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Slice>();
}

}  // namespace

std::span<const OpDef> slice_ops() {
  static constexpr OpDef kOps[] = {{"", "Slice", 1, make_slice}};
  return kOps;
}

}  // namespace pyinfer
