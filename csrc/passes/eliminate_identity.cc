// f(x) = x: Identity, inference Dropout, Transpose that permutes nothing, Sum or Max of one input, Pad by
// nothing, x * 1, x / 1. f(g(x)) of two Reshapes is the second alone, of two Transposes one.
#include <algorithm>

#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

bool all_zero(const Tensor* t) {
  if (t == nullptr || t->dtype() != DType::kInt64) return false;
  const auto v = t->span<int64_t>();
  return std::all_of(v.begin(), v.end(), [](int64_t x) { return x == 0; });
}

// Whether input i is a constant 1 that changes no shape of `rank` dimensions.
bool is_one(const GraphEdit& edit, const Node& node, size_t i, int64_t rank) {
  const Tensor* t = constant_input(edit, node, i);
  if (t == nullptr || t->count() != 1 || t->shape().rank() > rank) return false;
  return t->dtype() == DType::kInt64 ? *t->as<int64_t>() == 1
                                     : scalar_value(edit, node.inputs[i], rank) == 1.0;
}

bool is_false(const Tensor* t) {
  return t != nullptr && t->dtype() == DType::kBool && t->count() == 1 && !*t->as<bool>();
}

// A Transpose whose perm cannot fit is left for the operator to refuse; where that is certain now, so is
// this.
bool keeps_order_of(const Node& node, int rank) {
  const auto* perm = permutation(node);
  if (perm == nullptr || rank < 0) return false;
  require(static_cast<int>(perm->size()) == rank, ErrorCode::kInvalidModel, node, ": perm has ", perm->size(),
          " elements, the input has ", rank, " dimensions");
  return keeps_order(*perm);
}

// Whether the first output is always the first input.
bool passes_on(const GraphEdit& edit, const ShapeFacts& facts, const Node& node) {
  if (!node.domain.empty() || node.inputs.empty() || node.inputs[0] == kNoValue) return false;
  if (is_op(node, "Identity")) return true;
  if (is_op(node, "Dropout")) {
    const bool mask = node.outputs.size() > 1 && node.outputs[1] != kNoValue;
    return !mask && (!has_input(node, 2) || is_false(constant_input(edit, node, 2)));
  }
  if (is_op(node, "Transpose")) return keeps_order_of(node, facts.rank(node.inputs[0]));
  if (is_op(node, "Sum") || is_op(node, "Max") || is_op(node, "Min") || is_op(node, "Mean"))
    return node.inputs.size() == 1;
  if (is_op(node, "Pad")) return all_zero(constant_input(edit, node, 1));
  if (is_op(node, "Mul") || is_op(node, "Div"))
    return is_one(edit, node, 1, std::max(facts.rank(node.inputs[0]), 0));
  return false;
}

void merge_reshapes(GraphEdit& edit, NodeId n) {
  const Node& node = edit.node(n);
  const Tensor* shape = constant_input(edit, node, 1);
  const NodeId before = edit.producer(node.inputs[0]);
  if (shape == nullptr || shape->dtype() != DType::kInt64 || before == kNoNode ||
      !is_op(edit.node(before), "Reshape"))
    return;
  const auto dims = shape->span<int64_t>();
  // A zero copies a dimension of the very input.
  if (std::find(dims.begin(), dims.end(), 0) != dims.end()) return;
  edit.set_input(n, 0, edit.node(before).inputs[0]);
}

void merge_transposes(GraphEdit& edit, NodeId n) {
  const NodeId before = edit.producer(edit.node(n).inputs[0]);
  if (before == kNoNode || !is_op(edit.node(before), "Transpose")) return;
  const auto *outer = permutation(edit.node(n)), *inner = permutation(edit.node(before));
  if (!outer || !inner || outer->size() != inner->size()) return;
  std::vector<int64_t> perm;
  for (int64_t p : *outer) perm.push_back((*inner)[static_cast<size_t>(p)]);
  edit.set_input(n, 0, edit.node(before).inputs[0]);
  edit.node(n).attributes["perm"] = Attribute{std::move(perm)};
}

}  // namespace

void eliminate_identity(GraphEdit& edit, const PassContext& ctx) {
  const ShapeFacts facts(edit, !ctx.subgraph);
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n)) continue;
    if (is_op(edit.node(n), "Reshape") && has_input(edit.node(n), 0)) merge_reshapes(edit, n);
    if (is_op(edit.node(n), "Transpose") && has_input(edit.node(n), 0)) merge_transposes(edit, n);
    const Node& node = edit.node(n);
    if (node.outputs.empty() || node.outputs[0] == kNoValue || !passes_on(edit, facts, node)) continue;
    const ValueId from = node.outputs[0], to = node.inputs[0];
    edit.replace_uses(from, to);
    edit.remove_node(n);
  }
}

}  // namespace pyinfer
