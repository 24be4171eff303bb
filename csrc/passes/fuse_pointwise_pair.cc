// A convolution of 1x1 that only another one reads becomes one step with it:
//   act(W2 * first_act(W1 * X + B1) + B2 + R) = PointwisePairNhwc(X, W1, B1, W2, B2, R)
// where the weights of both lie in the caches together: the image between them is never whole in memory. To
// the bit.
#include "passes/pass.h"
#include "passes/pointwise.h"

namespace pyinfer {
namespace {

constexpr int64_t kMostWeights = 48 * 1024;  // of both, in floats

void join_pair(GraphEdit& edit, NodeId first, NodeId second) {
  const Node before = edit.node(first);
  Node& node = edit.node(second);
  node.op_type = "PointwisePairNhwc";
  for (std::string_view name : {"group", "strides", "pads", "dilations", "kernel_shape", "auto_pad"})
    node.attributes.erase(std::string(name));
  add_activation(node, before, "first_");
  edit.set_inputs(second, {before.inputs[0], before.inputs[kConvWeights], input_or_none(before, kConvBias),
                           node.inputs[kConvWeights], input_or_none(node, kConvBias),
                           input_or_none(node, kConvResidual)});
  edit.remove_node(first);
}

}  // namespace

void fuse_pointwise_pair(GraphEdit& edit, const PassContext&) {
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n) || !is_pointwise(edit, edit.node(n)) || has_input(edit.node(n), kConvResidual))
      continue;
    const NodeId next = edit.only_reader(edit.node(n).outputs[0]);
    if (next == kNoNode || !is_pointwise(edit, edit.node(next)) ||
        edit.node(next).inputs[0] != edit.node(n).outputs[0])
      continue;
    const Tensor &w = *image_weights(edit, edit.node(n)), &next_w = *image_weights(edit, edit.node(next));
    if (w.shape()[0] == next_w.shape()[1] && w.count() <= kMostWeights &&
        next_w.count() <= kMostWeights - w.count())
      join_pair(edit, n, next);
  }
}

}  // namespace pyinfer
