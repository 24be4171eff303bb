// If(true, then_branch, else_branch) = then_branch, its nodes in place of the If; If(false, ...) likewise.
#include <map>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

// The names that are taken, and the number to try next behind each: many branches may use one name.
using Names = std::unordered_map<std::string, int64_t>;

// `name`, or where that is taken (branches may use the names of each other), one that is not.
std::string unique(Names& taken, const std::string& name) {
  if (name.empty() || taken.try_emplace(name, 2).second) return name;
  for (int64_t next = taken[name];; ++next) {
    std::string candidate = join(name, "_", next);
    if (!taken.try_emplace(candidate, 2).second) continue;
    taken[name] = next + 1;
    return candidate;
  }
}

// The names and the constants of a graph that takes in branches.
class Inliner {
 public:
  explicit Inliner(GraphEdit& edit) : edit_(edit) {
    const Graph& graph = edit.graph();
    for (NodeId n = 0; n < edit.num_nodes(); ++n) nodes_.try_emplace(edit.node(n).name, 2);
    for (size_t i = 0; i < graph.values.size(); ++i) {
      values_.try_emplace(graph.values[i].name, 2);
      if (const Tensor& t = graph.values[i].constant; !t.empty())
        constants_.emplace(t.view().data, static_cast<ValueId>(i));
    }
  }

  void inline_branch(NodeId n, Graph& branch) {
    move_values(branch);
    for (Node& node : branch.nodes) {
      node.name = unique(nodes_, node.name);
      rename(node.inputs);
      rename(node.outputs);
      for (Graph* sub : subgraphs(node))
        for (Capture& c : sub->captures) c.outer = outer(c.outer);
      edit_.add_node(std::move(node));
    }
    const std::vector<ValueId> results = edit_.node(n).outputs;
    edit_.remove_node(n);
    for (size_t i = 0; i < results.size(); ++i)
      if (results[i] != kNoValue) edit_.replace_uses(results[i], outer(branch.outputs[i]));
  }

 private:
  // Gives every value of the branch a place in the graph: what it captures has one already.
  void move_values(Graph& branch) {
    outer_.assign(branch.values.size(), kNoValue);
    for (const Capture& c : branch.captures) outer_[static_cast<size_t>(c.inner)] = c.outer;
    for (size_t i = 0; i < branch.values.size(); ++i) {
      if (outer_[i] != kNoValue) continue;
      Value& value = branch.values[i];
      if (const ValueId same = find_constant(value.constant); same != kNoValue) {
        outer_[i] = same;
        continue;
      }
      const std::string name = unique(values_, value.name);
      outer_[i] = value.constant.empty() ? edit_.add_value(name, value.type)
                                         : edit_.add_constant(std::move(value.constant), name);
      edit_.graph().value(outer_[i]).shape = std::move(value.shape);
    }
  }

  // The constant of the graph that `tensor` is; a branch that reads one has it as a constant of its own.
  ValueId find_constant(const Tensor& tensor) const {
    const auto it = tensor.empty() ? constants_.end() : constants_.find(tensor.view().data);
    if (it == constants_.end()) return kNoValue;
    const Tensor& there = edit_.graph().value(it->second).constant;
    return there.dtype() == tensor.dtype() && there.shape() == tensor.shape() ? it->second : kNoValue;
  }

  ValueId outer(ValueId inner) const {
    return inner == kNoValue ? kNoValue : outer_[static_cast<size_t>(inner)];
  }
  void rename(std::vector<ValueId>& ids) const {
    for (ValueId& id : ids) id = outer(id);
  }

  GraphEdit& edit_;
  Names values_, nodes_;
  std::map<const void*, ValueId> constants_;
  std::vector<ValueId> outer_;  // by value of the branch
};

// The branch that always runs, when it is known and gives what the node does; else nullptr.
std::shared_ptr<Graph> taken_branch(const GraphEdit& edit, const Node& node) {
  if (!is_op(node, "If") || node.inputs.size() != 1) return nullptr;
  const Tensor* condition = constant_input(edit, node, 0);
  if (condition == nullptr || condition->dtype() != DType::kBool || condition->count() != 1) return nullptr;
  const char* name = *condition->as<bool>() ? "then_branch" : "else_branch";
  const auto* branch = attribute<std::shared_ptr<Graph>>(node, name);
  const bool fits = branch && (*branch)->inputs.empty() && (*branch)->outputs.size() >= node.outputs.size();
  return fits ? *branch : nullptr;
}

}  // namespace

void inline_if(GraphEdit& edit, const PassContext& ctx) {
  std::optional<Inliner> inliner;
  // Nodes that come in are visited too: a branch may hold another such If.
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n)) continue;
    const std::shared_ptr<Graph> branch = taken_branch(edit, edit.node(n));
    if (branch == nullptr) continue;
    if (!inliner) inliner.emplace(edit);
    inliner->inline_branch(n, *branch);
    ctx.repeat = true;
  }
}

}  // namespace pyinfer
