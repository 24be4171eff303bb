#include "ops/run_context.h"

#include "base/math.h"

namespace pyinfer {

TensorView RunContext::allocate(int i, DType dtype, const Shape& shape) {
  const auto bytes = checked_mul(shape.count(), static_cast<int64_t>(dtype_size(dtype)));
  require(bytes && *bytes <= limits_.max_tensor_bytes, ErrorCode::kLimit, "output ", i, " of shape ",
          shape.str(), " would exceed max_tensor_bytes=", limits_.max_tensor_bytes);
  Tensor tensor(dtype, shape);
  const TensorView view = tensor.view();
  set(i, std::move(tensor));
  return view;
}

bool RunContext::borrowed(int i) const {
  const Slot& slot = input_slot(i);
  const bool arena = slot.object.kind == Object::Kind::kAbsent && slot.view.dtype != DType::kUndefined;
  return arena || (slot.object.kind == Object::Kind::kTensor && slot.object.tensor.storage() == nullptr);
}

Object RunContext::object(int i) const {
  const Slot& slot = input_slot(i);
  return borrowed(i) ? Object::of(Tensor::copy_of(slot.view)) : slot.object;
}

Object RunContext::object(int i, HeldBytes& held) const {
  if (borrowed(i)) held.add(static_cast<int64_t>(input_slot(i).view.bytes()));
  return object(i);
}

void RunContext::set(int i, Object object) {
  Slot& slot = output_slot(i);
  slot.view = object.kind == Object::Kind::kTensor ? object.tensor.view() : TensorView{};
  slot.object = std::move(object);
}

}  // namespace pyinfer
