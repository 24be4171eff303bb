#include "passes/pointwise.h"

#include <algorithm>

namespace pyinfer {

const Tensor* image_weights(const GraphEdit& edit, const Node& node) {
  if (node.domain != "pyinfer" || node.op_type != "ConvNhwc") return nullptr;
  const Tensor* w = constant_input(edit, node, kConvWeights);
  return w != nullptr && w->dtype() == DType::kFloat32 && w->shape().rank() == 4 && w->count() > 0 ? w
                                                                                                   : nullptr;
}

bool all_are(const Node& node, std::string_view name, int64_t value) {
  const auto* v = attribute<std::vector<int64_t>>(node, name);
  return v == nullptr || std::all_of(v->begin(), v->end(), [value](int64_t x) { return x == value; });
}

bool is_pointwise(const GraphEdit& edit, const Node& node) {
  const Tensor* w = image_weights(edit, node);
  const auto* groups = attribute<int64_t>(node, "group");
  return w != nullptr && w->shape()[2] == 1 && w->shape()[3] == 1 && (groups == nullptr || *groups == 1) &&
         all_are(node, "strides", 1) && all_are(node, "pads", 0);
}

void add_activation(Node& node, const Node& from, std::string_view prefix) {
  for (const auto& [name, value] : from.attributes)
    if (name.starts_with("activation")) node.attributes[join(prefix, name)] = value;
}

}  // namespace pyinfer
