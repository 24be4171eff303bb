// x * hard_sigmoid(x) with alpha = 1/6 and beta = 1/2, and x * clip(x + 3, 0, 6) / 6, are HardSwish(x).
#include <algorithm>

#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

// The other input of a product when input i is the output of `op_type`; its only reader is the product.
NodeId gate_of(const GraphEdit& edit, NodeId mul, size_t i, std::string_view op_type) {
  const ValueId gate = edit.node(mul).inputs[i];
  const NodeId g = edit.producer(gate);
  return g != kNoNode && is_op(edit.node(g), op_type) && edit.only_reader(gate) == mul ? g : kNoNode;
}

// Whether `id` is a constant near `expected` that changes no shape of `rank` dimensions.
bool is_near(const GraphEdit& edit, ValueId id, int64_t rank, double expected) {
  const auto v = scalar_value(edit, id, rank);
  return v && nearly(*v, expected);
}

// Whether `node` combines `x` with such a constant, and does nothing else.
bool is_near_beside(const GraphEdit& edit, const Node& node, ValueId x, int64_t rank, double expected) {
  if (node.inputs.size() != 2) return false;
  const size_t at = node.inputs[0] == x ? 1 : 0;
  return node.inputs[1 - at] == x && is_near(edit, node.inputs[at], rank, expected);
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
    if (!nearly(alpha ? *alpha : 0.2f, 1.0 / 6.0) || !nearly(beta ? *beta : 0.5f, 0.5)) continue;
    become(edit, n, x);
    edit.remove_node(g);
    return true;
  }
  return false;
}

// n is Div(_, 6) or Mul(_, 1/6) of Mul(x, Clip(x + 3, 0, 6)).
bool clipped_hard_swish(GraphEdit& edit, const ShapeFacts& facts, NodeId n) {
  const bool div = is_op(edit.node(n), "Div");
  const ValueId product = edit.node(n).inputs[0];
  const NodeId mul = edit.producer(product);
  if (mul == kNoNode || !is_op(edit.node(mul), "Mul") || edit.only_reader(product) != n) return false;
  for (size_t i : {0u, 1u}) {
    const ValueId x = edit.node(mul).inputs[1 - i];
    const NodeId clip = gate_of(edit, mul, i, "Clip");
    const int64_t rank = std::max(facts.rank(x), 0);
    if (clip == kNoNode || !is_near(edit, edit.node(n).inputs[1], rank, div ? 6.0 : 1.0 / 6.0)) continue;
    const auto bounds = clip_bounds(edit, edit.node(clip));
    const ValueId sum = edit.node(clip).inputs[0];
    const NodeId add = edit.producer(sum);
    if (!bounds || bounds->low != 0.0f || bounds->high != 6.0f || add == kNoNode ||
        !is_op(edit.node(add), "Add") || edit.only_reader(sum) != clip ||
        !is_near_beside(edit, edit.node(add), x, rank, 3.0))
      continue;
    become(edit, n, x);
    for (NodeId gone : {mul, clip, add}) edit.remove_node(gone);
    return true;
  }
  return false;
}

}  // namespace

void fuse_hard_swish(GraphEdit& edit, const PassContext& ctx) {
  const ShapeFacts facts(edit, !ctx.subgraph);
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n)) continue;
    const Node& node = edit.node(n);
    if ((!is_op(node, "Mul") && !is_op(node, "Div")) || node.inputs.size() != 2) continue;
    if (clipped_hard_swish(edit, facts, n) || is_op(edit.node(n), "Div")) continue;
    hard_swish(edit, n);
  }
}

}  // namespace pyinfer
