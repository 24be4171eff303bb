#include "onnx/upgrade.h"

#include <algorithm>

#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {
namespace {

// Rules by operator; several for one operator in ascending order of `below`.
const std::vector<UpgradeRule>& upgrade_rules() {
  static const std::vector<UpgradeRule> rules = [] {
    std::vector<UpgradeRule> all;
    for (auto part : {attribute_rules(), broadcast_rules(), neural_rules()})
      all.insert(all.end(), part.begin(), part.end());
    std::ranges::stable_sort(all, {}, &UpgradeRule::op);
    return all;
  }();
  return rules;
}

void upgrade_node(GraphEdit& edit, ValueFacts& facts, NodeId n) {
  const int64_t version = edit.node(n).version;
  NodeUpgrade node(edit, facts, n);
  // A hint to share memory, of operator sets 1 to 5.
  if (version < 6) node.drop_attr("consumed_inputs");
  const auto [first, last] =
      std::ranges::equal_range(upgrade_rules(), std::string_view(edit.node(n).op_type), {}, &UpgradeRule::op);
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

// What a node computes can be judged unless it depends on a node that was refused, or that holds such a one.
class Judged {
 public:
  explicit Judged(const Graph& graph) : graph_(graph), by_value_(graph.values.size()) {
    add(graph.inputs);
    for (const Capture& c : graph.captures) add(std::span(&c.inner, 1));
  }
  void add(std::span<const ValueId> ids) {
    for (ValueId id : ids)
      if (id != kNoValue) by_value_[static_cast<size_t>(id)] = true;
  }
  bool all(std::span<const ValueId> ids) const {
    return std::ranges::all_of(ids, [&](ValueId id) {
      const auto i = static_cast<size_t>(id);
      return id == kNoValue || graph_.is_constant(id) || i >= by_value_.size() || by_value_[i];
    });
  }

 private:
  const Graph& graph_;
  std::vector<bool> by_value_;  // those that an upgrade adds lie behind
};

void upgrade_graph(Graph& graph, bool main, Problems& problems) {
  std::vector<bool> sound;  // by node: whether its subgraphs are
  for (Node& node : graph.nodes) {
    const int before = problems.count();
    for (const auto& [name, attribute] : node.attributes) {
      const auto* subgraph = std::get_if<std::shared_ptr<Graph>>(&attribute.value);
      if (subgraph == nullptr) continue;
      Problems inner;
      upgrade_graph(**subgraph, false, inner);
      problems.add(node, name, inner);
    }
    sound.push_back(problems.count() == before);
  }
  Judged judged(graph);
  GraphEdit edit(graph);
  ValueFacts facts(graph, main);
  const NodeId last = edit.num_nodes();
  for (NodeId n = 0; n < last; ++n) {
    if (!sound[static_cast<size_t>(n)]) edit.remove_node(n);
    if (edit.removed(n) || !judged.all(all_inputs(edit.node(n)))) continue;
    const std::vector<ValueId> outputs = edit.node(n).outputs;
    try {
      if (edit.node(n).domain == "com.microsoft") standardize_node(edit, facts, n);
      if (edit.node(n).domain.empty()) upgrade_node(edit, facts, n);
    } catch (const Error& e) {
      problems.add(edit.node(n), e.code(), e.message());
      edit.remove_node(n);
      continue;
    }
    judged.add(outputs);
    facts.learn(edit.graph(), edit.node(n));
  }
  edit.finish();
}

}  // namespace

void upgrade(Graph& graph, Problems& problems) {
  upgrade_graph(graph, true, problems);
}

std::vector<OperatorName> imported_operators() {
  std::vector<OperatorName> names = {{"", "Constant"}};
  for (const UpgradeRule& rule : upgrade_rules()) names.push_back({"", rule.op});
  for (const ContribRule& rule : contrib_rules()) names.push_back({"com.microsoft", rule.op});
  return names;
}

}  // namespace pyinfer::onnx
