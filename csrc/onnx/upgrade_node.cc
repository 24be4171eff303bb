#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {

ValueId NodeUpgrade::required(size_t i) const {
  const ValueId id = input(i);
  require(id != kNoValue, ErrorCode::kInvalidModel, "input ", i, " is missing");
  return id;
}

bool NodeUpgrade::read(size_t i) const {
  const ValueId id = output(i);
  return id != kNoValue && (!edit_.readers(id).empty() || edit_.is_output(id));
}

int NodeUpgrade::declared_rank(ValueId id) const {
  if (const int known = rank(id); known >= 0) return known;
  const auto& shape = edit_.graph().value(id).shape;
  return shape ? static_cast<int>(shape->size()) : -1;
}

void NodeUpgrade::drop_attr(std::string_view name) {
  auto& attributes = node().attributes;
  if (const auto it = attributes.find(name); it != attributes.end()) attributes.erase(it);
}

template <class T>
std::optional<T> NodeUpgrade::take(std::string_view name) {
  auto& attributes = node().attributes;
  const auto it = attributes.find(name);
  if (it == attributes.end()) return std::nullopt;
  T* held = std::get_if<T>(&it->second.value);
  // An attribute without values may say nothing of its type.
  if (std::holds_alternative<std::monostate>(it->second.value)) {
    attributes.erase(it);
    return T{};
  }
  require(held != nullptr, ErrorCode::kInvalidModel, "attribute '", name, "' is of the wrong type");
  T value = std::move(*held);
  attributes.erase(it);
  return value;
}
template std::optional<int64_t> NodeUpgrade::take(std::string_view);
template std::optional<float> NodeUpgrade::take(std::string_view);
template std::optional<std::string> NodeUpgrade::take(std::string_view);
template std::optional<std::vector<int64_t>> NodeUpgrade::take(std::string_view);
template std::optional<std::vector<float>> NodeUpgrade::take(std::string_view);

ValueId NodeUpgrade::scalar_like(ValueId like, float value) {
  const ValueId id = scalar(value);
  return facts_.of(like).dtype == DType::kFloat32 ? id : add("CastLike", {id, like});
}

ValueId NodeUpgrade::add(std::string_view op_type, std::vector<ValueId> inputs, Attributes attributes) {
  const ValueId id = edit_.add(node(), op_type, std::move(inputs), std::move(attributes));
  facts_.learn(edit_.graph(), edit_.node(edit_.producer(id)));
  return id;
}

ValueId NodeUpgrade::add_contrib(std::string_view op_type, std::vector<ValueId> inputs,
                                 Attributes attributes) {
  const ValueId id = edit_.add(node(), op_type, std::move(inputs), std::move(attributes));
  Node& added = edit_.node(edit_.producer(id));
  added.domain = "com.microsoft";
  added.version = 1;
  while (!added.inputs.empty() && added.inputs.back() == kNoValue) added.inputs.pop_back();
  facts_.learn(edit_.graph(), added);
  return id;
}

void NodeUpgrade::add_and_learn(Node added) {
  facts_.learn(edit_.graph(), edit_.node(edit_.add_node(std::move(added))));
}

void NodeUpgrade::become(std::string_view op_type, const std::vector<ValueId>& inputs,
                         Attributes attributes) {
  rename(op_type);
  edit_.set_inputs(id_, inputs);
  node().attributes = std::move(attributes);
}

void NodeUpgrade::then(size_t output, std::string_view op_type, std::vector<ValueId> more_inputs,
                       Attributes attributes) {
  const ValueId result = this->output(output);
  const ValueId raw = edit_.add_value();
  edit_.set_output(id_, output, raw);
  Node after;
  after.name = node().name;
  after.op_type = op_type;
  after.version = kNewestOpset;
  after.inputs = {raw};
  after.inputs.insert(after.inputs.end(), more_inputs.begin(), more_inputs.end());
  after.outputs = {result};
  after.attributes = std::move(attributes);
  add_and_learn(std::move(after));
}

void NodeUpgrade::pass_on(ValueId value, ValueId result) {
  if (result == kNoValue) return;
  Node identity;
  identity.name = node().name;
  identity.op_type = "Identity";
  identity.version = kNewestOpset;
  identity.inputs = {value};
  identity.outputs = {result};
  add_and_learn(std::move(identity));
}

void NodeUpgrade::stack_outputs(size_t first, size_t second, ValueId result) {
  std::vector<ValueId> parts;
  for (size_t i : {first, second}) {
    const ValueId raw = edit_.add_value();
    edit_.set_output(id_, i, raw);
    parts.push_back(add("Unsqueeze", {raw, ints({0})}));
  }
  Node stack;
  stack.name = node().name;
  stack.op_type = "Concat";
  stack.version = kNewestOpset;
  stack.inputs = std::move(parts);
  stack.outputs = {result};
  stack.attributes["axis"] = {int64_t{0}};
  add_and_learn(std::move(stack));
}

}  // namespace pyinfer::onnx
