// A convolution of 1x1 that only one of one filter per channel reads becomes one step with it:
//   act(D * expand_act(X * E + B) + C) = ExpandDepthwiseNhwc(X, E, B, D, C)
// The image between them, the largest of an inverted residual block, is never whole in memory. To the bit.
#include <algorithm>

#include "passes/pass.h"
#include "passes/pointwise.h"

namespace pyinfer {
namespace {

using Ints = std::vector<int64_t>;

bool is_expansion(const GraphEdit& edit, const Node& node) {
  return is_pointwise(edit, node) && !has_input(node, kConvResidual);
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
  const Tensor* w = image_weights(edit, node);
  const auto* groups = attribute<int64_t>(node, "group");
  return w != nullptr && !has_input(node, kConvResidual) && w->shape()[1] == 1 && groups != nullptr &&
         *groups == w->shape()[0] && pads_less_than_window(node, w->shape());
}

void join(GraphEdit& edit, NodeId first, NodeId second) {
  const Node expand = edit.node(first);
  Node& node = edit.node(second);
  node.op_type = "ExpandDepthwiseNhwc";
  for (std::string_view name : {"group", "winograd"}) node.attributes.erase(std::string(name));
  add_activation(node, expand, "expand_");
  edit.set_inputs(second, {expand.inputs[0], expand.inputs[kConvWeights], input_or_none(expand, kConvBias),
                           node.inputs[kConvWeights], input_or_none(node, kConvBias)});
  edit.remove_node(first);
}

}  // namespace

void fuse_expand_depthwise(GraphEdit& edit, const PassContext&) {
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n) || !is_expansion(edit, edit.node(n))) continue;
    const NodeId next = edit.only_reader(edit.node(n).outputs[0]);
    if (next != kNoNode && is_filter_per_channel(edit, edit.node(next)) &&
        edit.node(next).inputs[0] == edit.node(n).outputs[0] &&
        image_weights(edit, edit.node(next))->shape()[0] == image_weights(edit, edit.node(n))->shape()[0])
      join(edit, n, next);
  }
}

}  // namespace pyinfer
