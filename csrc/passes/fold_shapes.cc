// Shape(x) = constant, where the file declares every dimension of the graph input x that is asked for.
// A run rejects inputs of other dimensions, so the declaration can be relied on.
#include <algorithm>

#include "passes/match.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

int64_t int_attribute(const Node& node, std::string_view name, int64_t otherwise) {
  const auto* value = attribute<int64_t>(node, name);
  return value ? *value : otherwise;
}

}  // namespace

void fold_shapes(GraphEdit& edit, const PassContext& ctx) {
  const Graph& graph = edit.graph();
  if (ctx.subgraph) return;
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n)) continue;
    const Node& node = edit.node(n);
    if (node.op_type != "Shape" || !node.domain.empty() || node.inputs.size() != 1 ||
        node.outputs.size() != 1)
      continue;
    const ValueId x = node.inputs[0];
    if (std::find(graph.inputs.begin(), graph.inputs.end(), x) == graph.inputs.end() || !graph.value(x).shape)
      continue;
    const std::vector<Dim>& dims = *graph.value(x).shape;
    const auto rank = static_cast<int64_t>(dims.size());
    const auto clamp = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank); };
    const int64_t start = clamp(int_attribute(node, "start", 0)),
                  end = clamp(int_attribute(node, "end", rank));
    std::vector<int64_t> values;
    for (int64_t i = start; i < end; ++i) values.push_back(dims[static_cast<size_t>(i)].value);
    if (std::any_of(values.begin(), values.end(), [](int64_t v) { return v < 0; })) continue;
    edit.set_constant(node.outputs[0], Tensor::vector_i64(values));
    edit.remove_node(n);
  }
}

}  // namespace pyinfer
