// One old node while it is rewritten: what a rewriting rule sees.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "graph/edit.h"
#include "graph/value_facts.h"

namespace pyinfer::onnx {

using Attributes = std::map<std::string, Attribute, std::less<>>;

class NodeUpgrade {
 public:
  NodeUpgrade(GraphEdit& edit, ValueFacts& facts, NodeId id)
      : edit_(edit), facts_(facts), id_(id), version_(edit.node(id).version) {}

  int64_t version() const { return version_; }  // that the model gives
  const std::string& op() const { return node().op_type; }
  void rename(std::string_view op_type) { node().op_type = op_type; }
  void rename(std::string_view domain, std::string_view op_type) {
    node().domain = domain;
    node().op_type = op_type;
  }

  size_t num_inputs() const { return node().inputs.size(); }
  // kNoValue for an omitted one; throws for one that the operator requires.
  ValueId input(size_t i) const { return i < num_inputs() ? node().inputs[i] : kNoValue; }
  ValueId required(size_t i) const;
  void set_input(size_t i, ValueId id) { edit_.set_input(id_, i, id); }
  size_t num_outputs() const { return node().outputs.size(); }
  ValueId output(size_t i) const { return i < num_outputs() ? node().outputs[i] : kNoValue; }
  void set_output(size_t i, ValueId id) { edit_.set_output(id_, i, id); }
  bool read(size_t output) const;  // whether anything reads an output

  bool has_attr(std::string_view name) const { return node().attributes.contains(name); }
  void set_attr(std::string_view name, Attribute value) {
    node().attributes[std::string(name)] = std::move(value);
  }
  void set_default(std::string_view name, Attribute value) {
    node().attributes.try_emplace(std::string(name), std::move(value));
  }
  void drop_attr(std::string_view name);
  // Each takes the attribute away; nothing when it is absent. Throws when it is of another type.
  std::optional<int64_t> take_int(std::string_view name) { return take<int64_t>(name); }
  std::optional<float> take_float(std::string_view name) { return take<float>(name); }
  std::optional<std::string> take_string(std::string_view name) { return take<std::string>(name); }
  std::optional<std::vector<int64_t>> take_ints(std::string_view name) {
    return take<std::vector<int64_t>>(name);
  }
  std::optional<std::vector<float>> take_floats(std::string_view name) {
    return take<std::vector<float>>(name);
  }

  const Tensor* constant(ValueId id) const {
    return edit_.graph().is_constant(id) ? &edit_.graph().value(id).constant : nullptr;
  }
  int rank(ValueId id) const { return facts_.of(id).rank; }      // -1: unknown
  DType dtype(ValueId id) const { return facts_.of(id).dtype; }  // kUndefined: unknown
  // The rank, or what the file declares, which may be wrong: for forms that a wrong rank makes fail later.
  int declared_rank(ValueId id) const;

  ValueId constant_value(Tensor tensor) { return edit_.add_constant(std::move(tensor)); }
  ValueId ints(std::span<const int64_t> values) { return edit_.add_constant(Tensor::vector_i64(values)); }
  ValueId ints(std::initializer_list<int64_t> values) {
    return ints(std::span(values.begin(), values.size()));
  }
  ValueId scalar(int64_t value) { return edit_.add_constant(Tensor::scalar_i64(value)); }
  ValueId scalar(float value) { return edit_.add_constant(Tensor::from<float>({}, std::span(&value, 1))); }
  // A scalar of the element type of `like`.
  ValueId scalar_like(ValueId like, float value);

  // A node of the newest form in front of this one; its output.
  ValueId add(std::string_view op_type, std::vector<ValueId> inputs, Attributes attributes = {});
  // The same for an operator of com.microsoft that is one here too.
  ValueId add_contrib(std::string_view op_type, std::vector<ValueId> inputs, Attributes attributes = {});
  // This node computes something else into the same outputs.
  void become(std::string_view op_type, const std::vector<ValueId>& inputs, Attributes attributes = {});
  // Output i of this node goes through another node before its readers see it.
  void then(size_t output, std::string_view op_type, std::vector<ValueId> more_inputs,
            Attributes attributes = {});
  // `result`, an output of the old node, is `value`. Nothing for kNoValue.
  void pass_on(ValueId value, ValueId result);
  // Outputs `first` and `second`, stacked along a new first axis, are what readers of `result` see.
  void stack_outputs(size_t first, size_t second, ValueId result);

 private:
  Node& node() { return edit_.node(id_); }
  const Node& node() const { return edit_.node(id_); }
  template <class T>
  std::optional<T> take(std::string_view name);
  void add_and_learn(Node added);

  GraphEdit& edit_;
  ValueFacts& facts_;
  NodeId id_;
  int64_t version_;
};

// A rewriting of nodes of `op` whose version is below `below`.
struct UpgradeRule {
  std::string_view op;
  int64_t below;
  void (*rewrite)(NodeUpgrade& node);
};

std::span<const UpgradeRule> attribute_rules();  // attributes that became inputs, or changed their form
std::span<const UpgradeRule> broadcast_rules();  // explicit broadcasting, operations on flattened inputs
std::span<const UpgradeRule> neural_rules();     // normalization, dropout, resizing

// A rewriting of nodes of com.microsoft's `op`. When it gives true, the node has become a standard operator
// as of `version`, to which the other rules apply.
struct ContribRule {
  std::string_view op;
  bool (*rewrite)(NodeUpgrade& node);
  int64_t version;
};

std::span<const ContribRule> contrib_rules();

}  // namespace pyinfer::onnx
