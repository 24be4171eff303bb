#include "ops/plan_context.h"

#include "base/math.h"

namespace pyinfer {

void PlanContext::output(int i, const Shape& shape) {
  declare(i);
  if (!wants(i)) return;
  PlanValue& out = outputs_[static_cast<size_t>(i)];
  const auto bytes = checked_mul(shape.count(), static_cast<int64_t>(dtype_size(out.type.dtype)));
  require(bytes && *bytes <= limits_.max_tensor_bytes, ErrorCode::kLimit, "output ", i, " of shape ",
          shape.str(), " would exceed max_tensor_bytes=", limits_.max_tensor_bytes);
  out.shape = shape;
  out.shape_known = true;
}

void PlanContext::output_value(int i, Tensor value) {
  output(i, value.shape());
  if (wants(i)) outputs_[static_cast<size_t>(i)].value = std::move(value);
}

void PlanContext::output_view(int i, int input, const Shape& shape) {
  output(i, shape);
  shares_.push_back({i, input, true});
}

}  // namespace pyinfer
