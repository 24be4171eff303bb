// op(constants) = constant.
#include <algorithm>

#include "ops/evaluate.h"
#include "ops/registry.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

// A result may be this large, or twice as large as what it is computed from: else a few bytes of file
// could become gigabytes of constant, which is better computed when it is needed.
constexpr int64_t kAlwaysFolded = 1 << 20;

// Without bodies: nodes with subgraphs are left to the run.
class FoldContext final : public NodeContext {
 public:
  using NodeContext::NodeContext;
  std::unique_ptr<Body> body(std::string_view, const std::vector<ValueType>&) override {
    fail(ErrorCode::kUnsupported, "subgraphs are not folded");
  }
};

std::optional<std::vector<Tensor>> fold(const Graph& graph, const Node& node, const PassContext& ctx) {
  const OpDef* def = find_op(node.domain, node.op_type, node.version);
  if (def == nullptr) return std::nullopt;
  std::vector<PlanValue> known(node.inputs.size());
  std::vector<const PlanValue*> inputs;
  int64_t bytes = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] == kNoValue) {
      inputs.push_back(nullptr);
      continue;
    }
    const Value& v = graph.value(node.inputs[i]);
    known[i] = {.type = {.dtype = v.constant.dtype()},
                .shape_known = true,
                .shape = v.constant.shape(),
                .value = v.constant};
    inputs.push_back(&known[i]);
    bytes += static_cast<int64_t>(v.constant.bytes());
  }
  try {
    FoldContext context(graph, node, ctx.limits,
                        std::make_shared<PackedWeights>(ctx.limits.max_initializer_bytes));
    const std::unique_ptr<Op> op = def->make(context);
    return evaluate(*op, inputs, context.output_types(), ctx.limits, std::max(kAlwaysFolded, 2 * bytes));
  } catch (const Error&) {
    return std::nullopt;  // reported with the node's name when the graph is lowered or run
  }
}

}  // namespace

void fold_constants(GraphEdit& edit, const PassContext& ctx) {
  Graph& graph = edit.graph();
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n)) continue;
    const Node& node = edit.node(n);
    if (!subgraphs(node).empty()) continue;
    const bool constant = std::all_of(node.inputs.begin(), node.inputs.end(),
                                      [&](ValueId id) { return id == kNoValue || graph.is_constant(id); });
    if (!constant) continue;
    const std::vector<ValueId> outputs = node.outputs;
    const auto values = fold(graph, node, ctx);
    if (!values) continue;
    for (size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i] != kNoValue) edit.set_constant(outputs[i], (*values)[i]);
    edit.remove_node(n);
  }
}

}  // namespace pyinfer
