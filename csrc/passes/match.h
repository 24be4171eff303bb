// Small questions that passes ask about nodes and constants.
#pragma once

#include <initializer_list>
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
  require(value != nullptr, ErrorCode::kInvalidModel, node, ": attribute '", name,
          "' is of another type than the operator has");
  return value;
}

// Input i, when it is a constant of the graph; else nullptr.
inline const Tensor* constant_input(const GraphEdit& edit, const Node& node, size_t i) {
  if (i >= node.inputs.size() || node.inputs[i] == kNoValue) return nullptr;
  const Tensor& t = edit.graph().value(node.inputs[i]).constant;
  return t.empty() ? nullptr : &t;
}

inline bool has_input(const Node& node, size_t i) {
  return i < node.inputs.size() && node.inputs[i] != kNoValue;
}

// The attribute "perm", when it is a permutation; else nullptr. Whether it fits its input is another
// question.
const std::vector<int64_t>* permutation(const Node& node);
bool keeps_order(const std::vector<int64_t>& perm);

// The bounds of a Clip of float32, infinite where it has none; nothing when they are no constants of that
// type.
struct ClipBounds {
  float low, high;
};
std::optional<ClipBounds> clip_bounds(const GraphEdit& edit, const Node& clip);

// The node that computes a value, when it is that operator of ai.onnx; else nullptr.
const Node* producer_of(const GraphEdit& edit, ValueId id, std::string_view op_type);

// The value of a floating constant of one element and at most `rank` dimensions: with another operand of so
// many, it changes no shape.
std::optional<double> scalar_value(const GraphEdit& edit, ValueId id, int64_t rank);

// The constant exponent of a Pow, of whatever type, when it changes no shape of `rank` dimensions.
std::optional<double> exponent(const GraphEdit& edit, const Node& pow, int64_t rank);

// Input i, when it is a constant of one integer for each of some dimensions; else nothing.
std::optional<std::vector<int64_t>> constant_dims(const GraphEdit& edit, const Node& node, size_t i);

// Whether these nodes alone read what they compute, but for `result`.
bool is_closed(const GraphEdit& edit, const std::vector<NodeId>& nodes, ValueId result);

// scale * values[0] * values[1] ...: a tree of products, in whatever order it was built, taken apart down to
// `whole`.
struct Factors {
  double scale = 1.0;
  std::vector<ValueId> values;
};
Factors factors(const GraphEdit& edit, ValueId id, int64_t rank, ValueId whole = kNoValue);

// Whether `id` is c0 + c1 x + c2 x^2 ..., however it was built, with coefficients that are nearly these.
bool is_polynomial(const GraphEdit& edit, ValueId id, ValueId x, int64_t rank,
                   std::initializer_list<double> coefficients);

// Equal but for the digits that exporters leave out of constants such as 1.4142.
bool nearly(double a, double b);

}  // namespace pyinfer
