#include "ops/plan_context.h"

#include <algorithm>

#include "base/math.h"

namespace pyinfer {

void PlanContext::output(int i, const Shape& shape) {
  declare(i);
  if (!wants(i)) return;
  PlanValue& out = outputs_[static_cast<size_t>(i)];
  const auto bytes = checked_mul(shape.count(), static_cast<int64_t>(dtype_size(out.type.dtype)));
  // An empty tensor must still have strides: NumPy refuses one whose other dimensions overflow.
  auto spread = std::optional<int64_t>(1);
  for (int64_t d : shape.dims()) spread = spread ? checked_mul(*spread, std::max<int64_t>(d, 1)) : spread;
  spread = spread ? checked_mul(*spread, static_cast<int64_t>(dtype_size(out.type.dtype))) : spread;
  require(spread && bytes && *bytes <= limits_.max_tensor_bytes, ErrorCode::kLimit, "output ", i,
          " of shape ", shape, " would exceed max_tensor_bytes=", limits_.max_tensor_bytes);
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

PlanContext::PlanContext(std::span<const PlanValue* const> inputs, std::span<const ValueType> outputs,
                         const Limits& limits, int workers)
    : inputs_(inputs),
      outputs_(outputs.size()),
      declared_(outputs.size(), false),
      limits_(limits),
      workers_(workers) {
  for (size_t i = 0; i < outputs.size(); ++i) outputs_[i].type = outputs[i];
}

std::vector<int64_t> PlanContext::require_int64s(int i) const {
  return to_int64s(require_value(i).view());
}

void PlanContext::reuse(int i, int input) {
  shares_.push_back({i, input, false});
}

}  // namespace pyinfer
