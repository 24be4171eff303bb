#include "ops/op.h"

namespace pyinfer {
namespace {

template <class T>
const T* find(const Node& node, std::string_view name, const char* expected) {
  const auto it = node.attributes.find(name);
  if (it == node.attributes.end()) return nullptr;
  const T* value = std::get_if<T>(&it->second.value);
  require(value != nullptr, ErrorCode::kInvalidModel, "attribute '", name, "' is not of type ", expected);
  return value;
}

// Like find, but an attribute that holds nothing (an empty list) counts as an empty list.
template <class T>
T list(const Node& node, std::string_view name, const char* expected) {
  const auto it = node.attributes.find(name);
  if (it == node.attributes.end() || std::holds_alternative<std::monostate>(it->second.value)) return {};
  return *find<T>(node, name, expected);
}

template <class T>
const T& needed(const T* value, std::string_view name) {
  require(value != nullptr, ErrorCode::kInvalidModel, "attribute '", name, "' is required");
  return *value;
}

}  // namespace

float attr_float(const Node& node, std::string_view name, float otherwise) {
  const auto* v = find<float>(node, name, "float");
  return v ? *v : otherwise;
}
std::string attr_string(const Node& node, std::string_view name, std::string_view otherwise) {
  const auto* v = find<std::string>(node, name, "string");
  return v ? *v : std::string(otherwise);
}

const ValueType& NodeContext::input_type(int i) const {
  static const ValueType kNone;
  return has_input(i) ? graph_.value(node_.inputs[static_cast<size_t>(i)]).type : kNone;
}

const Tensor* NodeContext::constant(int i) const {
  if (!has_input(i)) return nullptr;
  const Tensor& t = graph_.value(node_.inputs[static_cast<size_t>(i)]).constant;
  return t.empty() ? nullptr : &t;
}

const std::optional<std::vector<Dim>>& NodeContext::declared_shape(int i) const {
  static const std::optional<std::vector<Dim>> kNone;
  return has_input(i) ? graph_.value(node_.inputs[static_cast<size_t>(i)]).shape : kNone;
}

void NodeContext::expect_inputs(int least, int most) const {
  require(num_inputs() <= most, ErrorCode::kInvalidModel, "expected at most ", most, " inputs, got ",
          num_inputs());
  for (int i = 0; i < least; ++i)
    require(has_input(i), ErrorCode::kInvalidModel, "input ", i, " is missing (at least ", least,
            " are required)");
}

void NodeContext::expect_dtype(int i, std::initializer_list<DType> allowed) const {
  const ValueType& type = input_type(i);
  if (type.is_tensor())
    for (DType d : allowed)
      if (d == type.dtype) return;
  std::string names;
  for (DType d : allowed) names += join(names.empty() ? "" : ", ", dtype_name(d));
  unsupported("input ", i, " is ", type, "; supported: ", names);
}

void NodeContext::expect_same_dtype(int i, int j) const {
  require(input_type(i) == input_type(j), ErrorCode::kInvalidModel, "inputs ", i, " and ", j,
          " must have the same type, got ", input_type(i), " and ", input_type(j));
}

int64_t NodeContext::attr_int(std::string_view name) const {
  return needed(find<int64_t>(node_, name, "int"), name);
}
int64_t NodeContext::attr_int(std::string_view name, int64_t otherwise) const {
  const auto* v = find<int64_t>(node_, name, "int");
  return v ? *v : otherwise;
}
float NodeContext::attr_float(std::string_view name) const {
  return needed(find<float>(node_, name, "float"), name);
}
float NodeContext::attr_float(std::string_view name, float otherwise) const {
  return pyinfer::attr_float(node_, name, otherwise);
}
std::string NodeContext::attr_string(std::string_view name) const {
  return needed(find<std::string>(node_, name, "string"), name);
}
std::string NodeContext::attr_string(std::string_view name, std::string_view otherwise) const {
  return pyinfer::attr_string(node_, name, otherwise);
}
std::vector<int64_t> NodeContext::attr_ints(std::string_view name) const {
  return list<std::vector<int64_t>>(node_, name, "ints");
}
std::vector<float> NodeContext::attr_floats(std::string_view name) const {
  return list<std::vector<float>>(node_, name, "floats");
}
std::vector<std::string> NodeContext::attr_strings(std::string_view name) const {
  return list<std::vector<std::string>>(node_, name, "strings");
}
const Tensor* NodeContext::attr_tensor(std::string_view name) const {
  return find<Tensor>(node_, name, "tensor");
}
const std::vector<Tensor>* NodeContext::attr_tensors(std::string_view name) const {
  return find<std::vector<Tensor>>(node_, name, "tensors");
}
const ValueType* NodeContext::attr_type(std::string_view name) const {
  return find<ValueType>(node_, name, "type");
}
const Graph* NodeContext::attr_graph(std::string_view name) const {
  const auto* v = find<std::shared_ptr<Graph>>(node_, name, "graph");
  return v ? v->get() : nullptr;
}

DType NodeContext::attr_dtype(std::string_view name, DType otherwise) const {
  const auto* v = find<int64_t>(node_, name, "int");
  if (v == nullptr) return otherwise;
  require(*v > 0 && *v < kDTypeCount, ErrorCode::kInvalidModel, "attribute '", name, "' = ", *v,
          " names no element type");
  return static_cast<DType>(*v);
}

void NodeContext::output(int i, const ValueType& type) {
  if (static_cast<size_t>(i) < output_types_.size() && has_output(i))
    output_types_[static_cast<size_t>(i)] = type;
}

NodeContext::NodeContext(const Graph& graph, const Node& node, const Limits& limits,
                         std::shared_ptr<PackedWeights> weights)
    : graph_(graph),
      node_(node),
      limits_(limits),
      weights_(std::move(weights)),
      output_types_(node.outputs.size()) {}

NodeContext::~NodeContext() = default;

void NodeContext::packed(int i) {
  packed_.push_back(i);
}

PackedWeights::Packed NodeContext::pack(int i, std::string_view layout, int64_t bytes,
                                        FunctionRef<void(std::byte*)> fill) {
  const Tensor* source = constant(i);
  packed(i);
  return weights_->get({&source, 1}, layout, bytes, fill);
}

bool NodeContext::has_attr(std::string_view name) const {
  return node_.attributes.find(name) != node_.attributes.end();
}

}  // namespace pyinfer
