#include "ops/run_context.h"

#include <algorithm>

#include "base/math.h"

namespace pyinfer {
namespace {

int64_t longest_string(const Object& object) {
  int64_t longest = object.tensor.view().longest_string();
  for (const Object& item : object.items) longest = std::max(longest, longest_string(item));
  return longest;
}

}  // namespace

int64_t RunContext::longest_strings() const {
  int64_t longest = 0;
  for (int i = 0; i < num_inputs(); ++i) {
    if (!has(i)) continue;
    const Slot& slot = input_slot(i);
    longest +=
        slot.view.dtype == DType::kUndefined ? longest_string(slot.object) : slot.view.longest_string();
  }
  return longest;
}

void RunContext::check_strings(int64_t count, std::optional<int64_t> bytes) const {
  require(bytes && *bytes <= RunGuard::room(limits_.max_total_bytes), ErrorCode::kLimit, count,
          " strings could take ", bytes ? std::to_string(*bytes) : "2^63 or more",
          " bytes, and this run exceed ", "max_total_bytes=", limits_.max_total_bytes);
}

void RunContext::expect_strings(int64_t extra) const {
  for (int i = 0; i < num_outputs(); ++i)
    if (wants(i) && out(i).dtype == DType::kString && out(i).count() > 0)
      check_strings(out(i).count(), checked_mul(out(i).count(), longest_strings() + extra));
}

TensorView RunContext::allocate(int i, DType dtype, const Shape& shape, std::optional<int64_t> string_bytes) {
  const auto bytes = checked_mul(shape.count(), static_cast<int64_t>(dtype_size(dtype)));
  require(bytes && *bytes <= limits_.max_tensor_bytes, ErrorCode::kLimit, "output ", i, " of shape ", shape,
          " would exceed max_tensor_bytes=", limits_.max_tensor_bytes);
  if (dtype == DType::kString)
    check_strings(shape.count(), string_bytes ? string_bytes : checked_mul(shape.count(), longest_strings()));
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
  if (borrowed(i)) {
    const TensorView& view = input_slot(i).view;
    held.add(static_cast<int64_t>(view.bytes()) + view.string_bytes());
  }
  return object(i);
}

void RunContext::set(int i, Object object) {
  Slot& slot = output_slot(i);
  slot.view = object.kind == Object::Kind::kTensor ? object.tensor.view() : TensorView{};
  slot.object = std::move(object);
}

}  // namespace pyinfer
