// x * hard_sigmoid(x) with alpha = 1/6 and beta = 1/2, and x * clip(x + 3, 0, 6) / 6, are HardSwish(x).
#include <cmath>

#include "passes/match.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

// The other input of a product when input i is the output of `op_type`; its only reader is the product.
NodeId gate_of(const GraphEdit& edit, NodeId mul, size_t i, std::string_view op_type) {
  const ValueId gate = edit.node(mul).inputs[i];
  const NodeId g = edit.producer(gate);
  return g != kNoNode && is_op(edit.node(g), op_type) && edit.only_reader(gate) == mul ? g : kNoNode;
}

bool near(std::optional<float> v, double expected) {
  return v && std::abs(*v - expected) <= 1e-6 * std::abs(expected);
}

// The scalar constant that `node` combines with `x`, when it does nothing else.
std::optional<float> scalar_beside(const GraphEdit& edit, const Node& node, ValueId x) {
  if (node.inputs.size() != 2) return std::nullopt;
  const size_t at = node.inputs[0] == x ? 1 : 0;
  if (node.inputs[1 - at] != x) return std::nullopt;
  return scalar<float>(constant_input(edit, node, at));
}

void become(GraphEdit& edit, NodeId n, ValueId x) {
  Node& node = edit.node(n);
  node.op_type = "HardSwish";
  node.version = kNewestOpset;
  node.attributes.clear();
  edit.set_inputs(n, {x});
}

bool hard_swish(GraphEdit& edit, NodeId n) {
  for (size_t i : {0u, 1u}) {
    const ValueId x = edit.node(n).inputs[1 - i];
    const NodeId g = gate_of(edit, n, i, "HardSigmoid");
    if (g == kNoNode || edit.node(g).inputs[0] != x) continue;
    const auto *alpha = attribute<float>(edit.node(g), "alpha"),
               *beta = attribute<float>(edit.node(g), "beta");
    if (!near(alpha ? *alpha : 0.2f, 1.0 / 6.0) || !near(beta ? *beta : 0.5f, 0.5)) continue;
    become(edit, n, x);
    edit.remove_node(g);
    return true;
  }
  return false;
}

// n is Div(_, 6) or Mul(_, 1/6) of Mul(x, Clip(x + 3, 0, 6)).
bool clipped_hard_swish(GraphEdit& edit, NodeId n) {
  const bool div = is_op(edit.node(n), "Div");
  const ValueId product = edit.node(n).inputs[0];
  const auto factor = scalar<float>(constant_input(edit, edit.node(n), 1));
  const NodeId mul = edit.producer(product);
  if (mul == kNoNode || !is_op(edit.node(mul), "Mul") || edit.only_reader(product) != n ||
      !near(factor, div ? 6.0 : 1.0 / 6.0))
    return false;
  for (size_t i : {0u, 1u}) {
    const ValueId x = edit.node(mul).inputs[1 - i];
    const NodeId clip = gate_of(edit, mul, i, "Clip");
    if (clip == kNoNode) continue;
    const auto low = scalar<float>(constant_input(edit, edit.node(clip), 1)),
               high = scalar<float>(constant_input(edit, edit.node(clip), 2));
    const ValueId sum = edit.node(clip).inputs[0];
    const NodeId add = edit.producer(sum);
    if (low != 0.0f || high != 6.0f || add == kNoNode || !is_op(edit.node(add), "Add") ||
        edit.only_reader(sum) != clip || !near(scalar_beside(edit, edit.node(add), x), 3.0))
      continue;
    become(edit, n, x);
    for (NodeId gone : {mul, clip, add}) edit.remove_node(gone);
    return true;
  }
  return false;
}

}  // namespace

void fuse_hard_swish(GraphEdit& edit, const PassContext&) {
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n)) continue;
    const Node& node = edit.node(n);
    if ((!is_op(node, "Mul") && !is_op(node, "Div")) || node.inputs.size() != 2) continue;
    if (clipped_hard_swish(edit, n) || is_op(edit.node(n), "Div")) continue;
    hard_swish(edit, n);
  }
}

}  // namespace pyinfer
