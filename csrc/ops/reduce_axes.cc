#include "ops/reduce_axes.h"

#include "base/math.h"

namespace pyinfer {
namespace {

// Overflows only next to a dimension that is 0.
int64_t product(int64_t a, int64_t b) {
  const auto n = checked_mul(a, b);
  require(n.has_value(), ErrorCode::kLimit, "dimensions of ", a, " and ", b, " are too large together");
  return *n;
}

}  // namespace

ReduceAttributes read_reduce_attributes(const NodeContext& ctx, int axes_input) {
  if (ctx.has_input(axes_input)) ctx.expect_dtype(axes_input, {DType::kInt64, DType::kInt32});
  return {ctx.attr_int("keepdims", 1) != 0, ctx.attr_int("noop_with_empty_axes", 0) != 0,
          ctx.attr_ints("axes")};
}

std::vector<bool> reduced_axes(PlanContext& ctx, const ReduceAttributes& attributes, int axes_input) {
  const int rank = ctx.shape(0).rank();
  const std::vector<int64_t> axes = ctx.has(axes_input) ? ctx.require_int64s(axes_input) : attributes.axes;
  std::vector<bool> reduced(static_cast<size_t>(rank), axes.empty() && !attributes.noop_with_empty_axes);
  for (int64_t axis : axes) reduced[static_cast<size_t>(normalize_axis(axis, rank))] = true;
  return reduced;
}

ReduceAxes::ReduceAxes(const Shape& shape, const std::vector<bool>& reduced_dims) : is_reduced(reduced_dims) {
  const auto strides = shape.strides();
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] == 1) continue;
    std::vector<Dim>& same = is_reduced[static_cast<size_t>(d)] ? reduced : kept;
    const Dim dim{shape[d], strides[static_cast<size_t>(d)]};
    if (!same.empty() && same.back().stride == dim.size * dim.stride && dim.size != 0)
      same.back() = {product(same.back().size, dim.size), dim.stride};
    else
      same.push_back(dim);
  }
  if (!kept.empty() && kept.back().stride == 1 && (reduced.empty() || reduced.back().stride != 1)) {
    inner = kept.back().size;
    kept.pop_back();
  }
  if (!reduced.empty()) {
    run = reduced.back().size;
    run_stride = reduced.back().stride;
    reduced.pop_back();
  }
  reduced_count_ = run;
  for (const Dim& d : kept) kept_count_ = product(kept_count_, d.size);
  for (const Dim& d : reduced) reduced_count_ = product(reduced_count_, d.size);
}

Shape ReduceAxes::output(const Shape& shape, bool keep_dims) const {
  Shape out;
  for (int d = 0; d < shape.rank(); ++d) {
    if (!is_reduced[static_cast<size_t>(d)])
      out.push_back(shape[d]);
    else if (keep_dims)
      out.push_back(1);
  }
  return out;
}

}  // namespace pyinfer
