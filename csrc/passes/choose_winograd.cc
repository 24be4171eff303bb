// Marks convolutions whose windows are 3x3 and move by 1 with the attribute `winograd`, which lets them be
// computed by Winograd's minimal filtering where the shapes say that it pays (kernels/winograd.h). Equal up
// to rounding; an infinity or NaN in X reaches all outputs of its tile.
#include <algorithm>

#include "passes/match.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

bool all_ones(const Node& node, std::string_view name) {
  const auto* v = attribute<std::vector<int64_t>>(node, name);
  return v == nullptr || std::all_of(v->begin(), v->end(), [](int64_t x) { return x == 1; });
}

bool is_eligible(const GraphEdit& edit, const Node& node) {
  const bool conv = is_op(node, "Conv") || (node.domain == "com.microsoft" && node.op_type == "FusedConv") ||
                    (node.domain == "pyinfer" && node.op_type == "ConvNhwc");
  if (!conv || !all_ones(node, "strides") || !all_ones(node, "dilations")) return false;
  const auto* groups = attribute<int64_t>(node, "group");
  const Tensor* w = constant_input(edit, node, 1);
  return (groups == nullptr || *groups == 1) && w != nullptr && w->dtype() != DType::kFloat64 &&
         w->shape().rank() == 4 && w->shape()[2] == 3 && w->shape()[3] == 3;
}

}  // namespace

void choose_winograd(GraphEdit& edit, const PassContext&) {
  for (NodeId n = 0; n < edit.num_nodes(); ++n)
    if (!edit.removed(n) && is_eligible(edit, edit.node(n)))
      edit.node(n).attributes["winograd"] = {int64_t{1}};
}

}  // namespace pyinfer
