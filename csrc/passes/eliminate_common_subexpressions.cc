// Two nodes of the same operator, attributes and inputs compute the same: the second's readers read the
// first.
#include <cstring>
#include <map>
#include <tuple>

#include "ops/registry.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

bool same(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || !(a.shape() == b.shape())) return false;
  if (a.dtype() == DType::kString) {
    const auto x = a.span<std::string>(), y = b.span<std::string>();
    return std::equal(x.begin(), x.end(), y.begin());
  }
  return a.bytes() == 0 || std::memcmp(a.view().data, b.view().data, a.bytes()) == 0;
}

bool same(const Attribute& a, const Attribute& b) {
  if (a.value.index() != b.value.index()) return false;
  if (const auto* t = std::get_if<Tensor>(&a.value)) return same(*t, std::get<Tensor>(b.value));
  if (std::holds_alternative<std::vector<Tensor>>(a.value)) return false;
  // Bitwise, so that NaN equals itself and -0 differs from 0.
  if (const auto* f = std::get_if<float>(&a.value))
    return std::memcmp(f, &std::get<float>(b.value), sizeof *f) == 0;
  return std::visit(
      [&](const auto& x) {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, Tensor> || std::is_same_v<T, std::vector<Tensor>>)
          return false;
        else
          return x == std::get<T>(b.value);
      },
      a.value);
}

bool same_attributes(const Node& a, const Node& b) {
  if (a.attributes.size() != b.attributes.size()) return false;
  for (auto i = a.attributes.begin(), j = b.attributes.begin(); i != a.attributes.end(); ++i, ++j)
    if (i->first != j->first || !same(i->second, j->second)) return false;
  return true;
}

// Random operators with the same attributes are different draws; subgraphs are not compared.
bool comparable(const Node& node) {
  const bool random = node.op_type.starts_with("Random") || node.op_type == "Bernoulli" ||
                      node.op_type == "Multinomial" || node.op_type == "Dropout";
  return !random && subgraphs(node).empty() && !node.inputs.empty();
}

}  // namespace

void eliminate_common_subexpressions(GraphEdit& edit, const PassContext&) {
  using Key = std::tuple<std::string, std::string, std::vector<ValueId>>;
  std::map<Key, std::vector<NodeId>> seen;
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n) || !comparable(edit.node(n))) continue;
    const Node& node = edit.node(n);
    std::vector<NodeId>& candidates = seen[{node.domain, node.op_type, node.inputs}];
    NodeId twin = kNoNode;
    for (NodeId c : candidates) {
      const Node& other = edit.node(c);
      bool covers = node.version == other.version && same_attributes(node, other) &&
                    node.outputs.size() == other.outputs.size();
      for (size_t i = 0; covers && i < node.outputs.size(); ++i)
        covers = (node.outputs[i] == kNoValue) == (other.outputs[i] == kNoValue);
      if (covers) twin = c;
    }
    if (twin == kNoNode) {
      candidates.push_back(n);
      continue;
    }
    const std::vector<ValueId> mine = node.outputs, theirs = edit.node(twin).outputs;
    for (size_t i = 0; i < mine.size(); ++i)
      if (mine[i] != kNoValue) edit.replace_uses(mine[i], theirs[i]);
    edit.remove_node(n);
  }
}

}  // namespace pyinfer
