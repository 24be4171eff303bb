#include "graph/edit.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace pyinfer {
namespace {

void trim(std::vector<ValueId>& ids) {
  while (!ids.empty() && ids.back() == kNoValue) ids.pop_back();
}

// `id` becomes a constant of `graph`, and by value of every subgraph that captures it.
void spread_constant(Graph& graph, ValueId id, const Tensor& tensor) {
  Value& v = graph.value(id);
  v.type = {.dtype = tensor.dtype()};
  v.constant = tensor;
  for (Node& node : graph.nodes)
    for (Graph* sub : subgraphs(node))
      for (size_t i = sub->captures.size(); i-- > 0;) {
        if (sub->captures[i].outer != id) continue;
        const ValueId inner = sub->captures[i].inner;
        sub->captures.erase(sub->captures.begin() + static_cast<std::ptrdiff_t>(i));
        spread_constant(*sub, inner, tensor);
      }
}

}  // namespace

GraphEdit::GraphEdit(Graph& graph)
    : graph_(graph),
      producer_(graph.values.size(), kNoNode),
      readers_(graph.values.size()),
      outputs_(graph.values.size()),
      removed_(graph.nodes.size(), false) {
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    if (const ValueId id = graph.outputs[i]; id != kNoValue) outputs_[static_cast<size_t>(id)].push_back(i);
  for (NodeId n = 0; n < num_nodes(); ++n) {
    for (ValueId id : all_inputs(node(n))) add_reader(id, n);
    for (ValueId id : node(n).outputs)
      if (id != kNoValue) producer_[static_cast<size_t>(id)] = n;
  }
}

void GraphEdit::add_reader(ValueId id, NodeId n) {
  if (id != kNoValue) readers_[static_cast<size_t>(id)].push_back(n);
}

void GraphEdit::drop_reader(ValueId id, NodeId n) {
  if (id == kNoValue) return;
  std::vector<NodeId>& list = readers_[static_cast<size_t>(id)];
  if (const auto it = std::find(list.begin(), list.end(), n); it != list.end()) list.erase(it);
}

NodeId GraphEdit::only_reader(ValueId id) const {
  if (readers(id).size() != 1 || is_output(id)) return kNoNode;
  const NodeId n = readers(id)[0];
  const std::vector<ValueId>& inputs = node(n).inputs;
  return std::find(inputs.begin(), inputs.end(), id) == inputs.end() ? kNoNode : n;
}

ValueId GraphEdit::add_value(std::string name, ValueType type) {
  producer_.push_back(kNoNode);
  readers_.emplace_back();
  outputs_.emplace_back();
  return graph_.add_value({.name = std::move(name), .type = type, .shape = {}, .constant = {}});
}

ValueId GraphEdit::add_constant(Tensor tensor, std::string name) {
  const ValueId id = add_value(std::move(name), {.dtype = tensor.dtype()});
  graph_.value(id).constant = std::move(tensor);
  return id;
}

NodeId GraphEdit::add_node(Node added) {
  const NodeId n = num_nodes();
  graph_.nodes.push_back(std::move(added));
  removed_.push_back(false);
  for (ValueId id : all_inputs(node(n))) add_reader(id, n);
  for (ValueId id : node(n).outputs)
    if (id != kNoValue) producer_[static_cast<size_t>(id)] = n;
  return n;
}

ValueId GraphEdit::add(const Node& like, std::string_view op_type, std::vector<ValueId> inputs,
                       std::map<std::string, Attribute, std::less<>> attributes) {
  Node added;
  added.name = like.name;
  added.op_type = op_type;
  added.version = kNewestOpset;
  added.inputs = std::move(inputs);
  added.attributes = std::move(attributes);
  const ValueId output = add_value();
  added.outputs = {output};
  add_node(std::move(added));
  return output;
}

void GraphEdit::set_input(NodeId n, size_t index, ValueId id) {
  std::vector<ValueId>& inputs = node(n).inputs;
  if (index >= inputs.size()) inputs.resize(index + 1, kNoValue);
  drop_reader(inputs[index], n);
  inputs[index] = id;
  add_reader(id, n);
  trim(inputs);
}

void GraphEdit::set_output(NodeId n, size_t index, ValueId id) {
  std::vector<ValueId>& outputs = node(n).outputs;
  if (index >= outputs.size()) outputs.resize(index + 1, kNoValue);
  const ValueId before = outputs[index];
  if (before != kNoValue && producer(before) == n) producer_[static_cast<size_t>(before)] = kNoNode;
  outputs[index] = id;
  if (id != kNoValue) producer_[static_cast<size_t>(id)] = n;
  trim(outputs);
}

void GraphEdit::set_inputs(NodeId n, const std::vector<ValueId>& ids) {
  truncate_inputs(n, 0);
  for (size_t i = 0; i < ids.size(); ++i) set_input(n, i, ids[i]);
}

void GraphEdit::truncate_inputs(NodeId n, size_t count) {
  std::vector<ValueId>& inputs = node(n).inputs;
  for (; inputs.size() > count; inputs.pop_back()) drop_reader(inputs.back(), n);
}

void GraphEdit::remove_node(NodeId n) {
  if (removed(n)) return;
  for (ValueId id : all_inputs(node(n))) drop_reader(id, n);
  for (ValueId id : node(n).outputs)
    if (id != kNoValue && producer(id) == n) producer_[static_cast<size_t>(id)] = kNoNode;
  removed_[static_cast<size_t>(n)] = true;
  node(n) = Node();
}

void GraphEdit::replace_uses(ValueId from, ValueId to) {
  if (from == to) return;
  const std::vector<NodeId> readers = std::move(readers_[static_cast<size_t>(from)]);
  readers_[static_cast<size_t>(from)].clear();
  for (NodeId n : readers) add_reader(to, n);
  for (NodeId n : readers) {
    std::replace(node(n).inputs.begin(), node(n).inputs.end(), from, to);
    for (Graph* sub : subgraphs(node(n)))
      for (Capture& c : sub->captures)
        if (c.outer == from) c.outer = to;
  }
  for (const size_t i : std::exchange(outputs_[static_cast<size_t>(from)], {})) {
    graph_.outputs[i] = to;
    outputs_[static_cast<size_t>(to)].push_back(i);
  }
  if (const Tensor tensor = graph_.value(to).constant; !tensor.empty()) set_constant(to, tensor);
}

void GraphEdit::set_constant(ValueId id, Tensor tensor) {
  if (const NodeId n = producer(id); n != kNoNode) {
    std::replace(node(n).outputs.begin(), node(n).outputs.end(), id, kNoValue);
    producer_[static_cast<size_t>(id)] = kNoNode;
  }
  spread_constant(graph_, id, tensor);
  // The subgraphs that captured the value no longer do.
  std::vector<NodeId>& list = readers_[static_cast<size_t>(id)];
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  std::vector<NodeId> now;
  for (NodeId n : list) now.insert(now.end(), static_cast<size_t>(std::ranges::count(node(n).inputs, id)), n);
  list = std::move(now);
}

void GraphEdit::remove_unused() {
  std::vector<NodeId> pending;
  for (NodeId n = 0; n < num_nodes(); ++n) pending.push_back(n);
  while (!pending.empty()) {
    const NodeId n = pending.back();
    pending.pop_back();
    const auto is_unused = [&](ValueId id) { return id == kNoValue || unused(id); };
    if (removed(n) || !std::ranges::all_of(node(n).outputs, is_unused)) continue;
    const std::vector<ValueId> read = all_inputs(node(n));
    remove_node(n);
    for (ValueId id : read)
      if (const NodeId p = producer(id); p != kNoNode) pending.push_back(p);
  }
}

// The order of the old nodes stays; a producer that is not there yet goes right before its first reader.
void GraphEdit::sort() {
  enum : char { kNew, kOpen, kDone };
  std::vector<char> state(graph_.nodes.size(), kNew);
  std::vector<NodeId> order, stack;
  for (NodeId root = 0; root < num_nodes(); ++root) {
    if (!removed(root)) stack.push_back(root);
    while (!stack.empty()) {
      const NodeId n = stack.back();
      char& mark = state[static_cast<size_t>(n)];
      if (mark != kNew) {
        stack.pop_back();
        if (mark == kOpen) order.push_back(n);
        mark = kDone;
        continue;
      }
      mark = kOpen;
      const std::vector<ValueId> inputs = all_inputs(node(n));
      for (size_t i = inputs.size(); i-- > 0;) {
        const NodeId p = producer(inputs[i]);
        if (p == kNoNode || state[static_cast<size_t>(p)] == kDone) continue;
        require(state[static_cast<size_t>(p)] == kNew, ErrorCode::kInternal, node(n),
                ": an edit made a cycle");
        stack.push_back(p);
      }
    }
  }
  std::vector<Node> sorted;
  sorted.reserve(order.size());
  for (NodeId n : order) sorted.push_back(std::move(node(n)));
  graph_.nodes = std::move(sorted);
}

void GraphEdit::finish() {
  sort();
  std::erase_if(graph_.captures, [&](const Capture& c) { return unused(c.inner); });
  for (size_t i = 0; i < graph_.values.size(); ++i)
    if (unused(static_cast<ValueId>(i))) graph_.values[i].constant = Tensor();
}

}  // namespace pyinfer
