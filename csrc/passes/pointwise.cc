#include "passes/pointwise.h"

#include <algorithm>

namespace pyinfer {

namespace {

// Whether the operator takes the attributes of its windows: what it refuses is left for it to refuse.
bool has_sound_window(const Node& node, const Shape& w) {
  using Ints = std::vector<int64_t>;
  const auto has = [&](std::string_view name, size_t length, int64_t least) {
    const Ints* v = attribute<Ints>(node, name);
    return v == nullptr ||
           (v->size() == length && std::all_of(v->begin(), v->end(), [&](int64_t x) { return x >= least; }));
  };
  const Ints* kernel = attribute<Ints>(node, "kernel_shape");
  const auto* auto_pad = attribute<std::string>(node, "auto_pad");
  return has("strides", 2, 1) && has("dilations", 2, 1) && has("pads", 4, 0) &&
         (kernel == nullptr || *kernel == Ints{w[2], w[3]}) &&
         (auto_pad == nullptr || *auto_pad == "NOTSET" || *auto_pad == "VALID" || *auto_pad == "SAME_UPPER" ||
          *auto_pad == "SAME_LOWER");
}

}  // namespace

const Tensor* image_weights(const GraphEdit& edit, const Node& node) {
  if (node.domain != "pyinfer" || node.op_type != "ConvNhwc") return nullptr;
  const Tensor* w = constant_input(edit, node, kConvWeights);
  const bool fits = w != nullptr && w->dtype() == DType::kFloat32 && w->shape().rank() == 4 &&
                    w->count() > 0 && has_sound_window(node, w->shape());
  return fits ? w : nullptr;
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
