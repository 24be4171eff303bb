// Small questions that passes ask about nodes and constants.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "graph/edit.h"

namespace pyinfer {

inline bool is_op(const Node& node, std::string_view op_type) {
  return node.domain.empty() && node.op_type == op_type;
}

// An attribute, or nullptr where the node has none of that name. Throws Error(kInvalidModel) when it is not
// of type T: a pass must not take the default in place of what the file says.
template <class T>
const T* attribute(const Node& node, std::string_view name) {
  const auto it = node.attributes.find(name);
  if (it == node.attributes.end()) return nullptr;
  const T* value = std::get_if<T>(&it->second.value);
  require(value != nullptr, ErrorCode::kInvalidModel, node.str(), ": attribute '", name,
          "' is of another type than the operator has");
  return value;
}

// Input i, when it is a constant of the graph; else nullptr.
inline const Tensor* constant_input(const GraphEdit& edit, const Node& node, size_t i) {
  if (i >= node.inputs.size() || node.inputs[i] == kNoValue) return nullptr;
  const Tensor& t = const_cast<GraphEdit&>(edit).graph().value(node.inputs[i]).constant;
  return t.empty() ? nullptr : &t;
}

inline bool has_input(const Node& node, size_t i) {
  return i < node.inputs.size() && node.inputs[i] != kNoValue;
}

// The value of a constant of one element and type T.
template <class T>
std::optional<T> scalar(const Tensor* t) {
  if (t == nullptr || t->dtype() != DTypeOf<T>::value || t->count() != 1) return std::nullopt;
  return *t->as<T>();
}

}  // namespace pyinfer
