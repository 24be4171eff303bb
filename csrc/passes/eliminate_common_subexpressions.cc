// Two nodes of the same operator, attributes and inputs compute the same: the second's readers read the
// first.
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "ops/registry.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

// What two nodes have in common that compute the same, as bytes: of floats the bits, so that NaN equals
// itself and -0 differs from 0. Each part says its length first.
class Key {
 public:
  explicit Key(const Node& node) {
    add(node.domain);
    add(node.op_type);
    add(node.version);
    add(node.inputs);
    add(node.outputs.size());
    for (ValueId id : node.outputs) add(id == kNoValue);
    for (const auto& [name, attribute] : node.attributes) {
      add(name);
      add(attribute.value.index());
      std::visit([this](const auto& value) { add(value); }, attribute.value);
    }
  }
  // False where a part cannot be compared.
  bool comparable() const { return comparable_; }
  const std::string& bytes() const { return bytes_; }

 private:
  template <class T>
  requires std::is_arithmetic_v<T>
  void add(T v) { bytes_.append(reinterpret_cast<const char*>(&v), sizeof v); }
  void add(std::string_view s) {
    add(s.size());
    bytes_ += s;
  }
  void add(const std::string& s) { add(std::string_view(s)); }
  template <class T>
  void add(const std::vector<T>& list) {
    add(list.size());
    for (const T& v : list) add(v);
  }
  void add(const Tensor& t) {
    add(static_cast<int64_t>(t.dtype()));
    add(t.shape().rank());
    for (int64_t d : t.shape().dims()) add(d);
    if (t.dtype() == DType::kString)
      for (const std::string& s : t.span<std::string>()) add(s);
    else
      bytes_.append(static_cast<const char*>(t.view().data), t.bytes());
  }
  void add(std::monostate) {}
  void add(const std::shared_ptr<Graph>&) { comparable_ = false; }
  void add(const ValueType&) { comparable_ = false; }

  std::string bytes_;
  bool comparable_ = true;
};

// Random operators with the same attributes are different draws; subgraphs are not compared.
bool may_be_twin(const Node& node) {
  const bool random = node.op_type.starts_with("Random") || node.op_type == "Bernoulli" ||
                      node.op_type == "Multinomial" || node.op_type == "Dropout";
  return !random && subgraphs(node).empty() && !node.inputs.empty();
}

}  // namespace

void eliminate_common_subexpressions(GraphEdit& edit, const PassContext&) {
  std::unordered_map<std::string, NodeId> seen;
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n) || !may_be_twin(edit.node(n))) continue;
    const Key key(edit.node(n));
    if (!key.comparable()) continue;
    const auto [twin, is_first] = seen.emplace(key.bytes(), n);
    if (is_first) continue;
    const std::vector<ValueId> mine = edit.node(n).outputs, theirs = edit.node(twin->second).outputs;
    for (size_t i = 0; i < mine.size(); ++i)
      if (mine[i] != kNoValue) edit.replace_uses(mine[i], theirs[i]);
    edit.remove_node(n);
  }
}

}  // namespace pyinfer
