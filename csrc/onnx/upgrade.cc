#include "onnx/upgrade.h"

#include <algorithm>

#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {
namespace {

// Rules by operator; several for one operator in ascending order of `below`.
std::vector<UpgradeRule> sorted_rules() {
  std::vector<UpgradeRule> all;
  for (auto part : {attribute_rules(), broadcast_rules(), neural_rules()})
    all.insert(all.end(), part.begin(), part.end());
  std::ranges::stable_sort(all, {}, &UpgradeRule::op);
  return all;
}

void upgrade_node(GraphEdit& edit, ValueFacts& facts, NodeId n) {
  static const std::vector<UpgradeRule> rules = sorted_rules();
  const int64_t version = edit.node(n).version;
  require(version <= kNewestOpset, ErrorCode::kUnsupported, "operator set ", version,
          " is newer than what this version of pyinfer knows, which is ", kNewestOpset);
  NodeUpgrade node(edit, facts, n);
  // A hint to share memory, of operator sets 1 to 5.
  if (version < 6) node.drop_attr("consumed_inputs");
  const auto [first, last] =
      std::ranges::equal_range(rules, std::string_view(edit.node(n).op_type), {}, &UpgradeRule::op);
  for (auto rule = first; rule != last; ++rule) {
    if (version >= rule->below) continue;
    rule->rewrite(node);
    edit.node(n).version = kNewestOpset;
  }
}

void standardize_node(GraphEdit& edit, ValueFacts& facts, NodeId n) {
  for (const ContribRule& rule : contrib_rules()) {
    if (rule.op != edit.node(n).op_type) continue;
    NodeUpgrade node(edit, facts, n);
    if (!rule.rewrite(node)) return;
    edit.node(n).domain.clear();
    edit.node(n).version = rule.version;
    return;
  }
}

void upgrade_graph(Graph& graph, bool main) {
  for (Node& node : graph.nodes)
    for (Graph* g : subgraphs(node)) upgrade_graph(*g, false);
  GraphEdit edit(graph);
  ValueFacts facts(graph, main);
  const NodeId last = edit.num_nodes();
  for (NodeId n = 0; n < last; ++n) {
    try {
      if (edit.node(n).domain == "com.microsoft") standardize_node(edit, facts, n);
      if (edit.node(n).domain.empty()) upgrade_node(edit, facts, n);
    } catch (const Error& e) {
      fail(e.code(), edit.node(n).str(), " (opset ", edit.node(n).version, "): ", e.message());
    }
    facts.learn(edit.graph(), edit.node(n));
  }
  edit.finish();
}

}  // namespace

void upgrade(Graph& graph) {
  upgrade_graph(graph, true);
}

}  // namespace pyinfer::onnx
