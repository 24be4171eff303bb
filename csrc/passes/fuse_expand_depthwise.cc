// A convolution of 1x1 that only one of one filter per channel reads becomes one step with it:
//   act(D * expand_act(X * E + B) + C) = ExpandDepthwiseNhwc(X, E, B, D, C)
// The image between them, the largest of an inverted residual block, is never whole in memory. To the bit.
#include <algorithm>

#include "passes/match.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

constexpr size_t kWeights = 1, kBias = 2, kResidual = 3;

using Ints = std::vector<int64_t>;

bool all_are(const Node& node, std::string_view name, int64_t value) {
  const auto* v = attribute<Ints>(node, name);
  return v == nullptr || std::all_of(v->begin(), v->end(), [value](int64_t x) { return x == value; });
}

// The weights of a convolution of float32 over two axes of a channels-last image, without residual; else
// nullptr.
const Tensor* plain_weights(const GraphEdit& edit, const Node& node) {
  if (node.domain != "pyinfer" || node.op_type != "ConvNhwc" || has_input(node, kResidual)) return nullptr;
  const Tensor* w = constant_input(edit, node, kWeights);
  return w != nullptr && w->dtype() == DType::kFloat32 && w->shape().rank() == 4 && w->count() > 0 ? w
                                                                                                   : nullptr;
}

bool is_expansion(const GraphEdit& edit, const Node& node) {
  const Tensor* w = plain_weights(edit, node);
  const auto* groups = attribute<int64_t>(node, "group");
  return w != nullptr && w->shape()[2] == 1 && w->shape()[3] == 1 && (groups == nullptr || *groups == 1) &&
         all_are(node, "strides", 1) && all_are(node, "pads", 0);
}

// Of each axis, less padding than a window's extent: no output reads padding alone, whatever the image.
bool pads_less_than_window(const Node& node, const Shape& w) {
  const Ints *pads = attribute<Ints>(node, "pads"), *dilations = attribute<Ints>(node, "dilations");
  if (pads == nullptr) return true;
  if (pads->size() != 4 || (dilations != nullptr && dilations->size() != 2)) return false;
  for (size_t d = 0; d < 2; ++d) {
    const int64_t taps = w[static_cast<int>(d) + 2], gap = dilations != nullptr ? (*dilations)[d] : 1;
    constexpr int64_t kMost = 1 << 16;
    const int64_t begin = (*pads)[d], end = (*pads)[d + 2];
    if (taps > kMost || gap < 1 || gap > kMost || begin < 0 || begin > kMost || end < 0 ||
        begin + std::min(end, kMost) > (taps - 1) * gap)
      return false;
  }
  return true;
}

bool is_filter_per_channel(const GraphEdit& edit, const Node& node) {
  const Tensor* w = plain_weights(edit, node);
  const auto* groups = attribute<int64_t>(node, "group");
  return w != nullptr && w->shape()[1] == 1 && groups != nullptr && *groups == w->shape()[0] &&
         pads_less_than_window(node, w->shape());
}

void join(GraphEdit& edit, NodeId first, NodeId second) {
  const Node expand = edit.node(first);
  Node& node = edit.node(second);
  node.op_type = "ExpandDepthwiseNhwc";
  for (std::string_view name : {"group", "winograd"}) node.attributes.erase(std::string(name));
  for (const auto& [name, value] : expand.attributes)
    if (name.starts_with("activation")) node.attributes["expand_" + name] = value;
  const auto input = [](const Node& n, size_t i) { return has_input(n, i) ? n.inputs[i] : kNoValue; };
  edit.set_inputs(second, {expand.inputs[0], expand.inputs[kWeights], input(expand, kBias),
                           node.inputs[kWeights], input(node, kBias)});
  edit.remove_node(first);
}

}  // namespace

void fuse_expand_depthwise(GraphEdit& edit, const PassContext&) {
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n) || !is_expansion(edit, edit.node(n))) continue;
    const NodeId next = edit.only_reader(edit.node(n).outputs[0]);
    if (next != kNoNode && is_filter_per_channel(edit, edit.node(next)) &&
        edit.node(next).inputs[0] == edit.node(n).outputs[0] &&
        constant_input(edit, edit.node(next), kWeights)->shape()[0] ==
            constant_input(edit, edit.node(n), kWeights)->shape()[0])
      join(edit, n, next);
  }
}

}  // namespace pyinfer
