// Changes to a graph. A GraphEdit knows who produces and who reads each value, and keeps that right while
// nodes come and go; finish() puts the nodes in order again.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace pyinfer {

using NodeId = int32_t;
inline constexpr NodeId kNoNode = -1;

class GraphEdit {
 public:
  // Nothing else may change `graph` until finish(). Its subgraphs may be changed by edits of their own
  // before or after, not during this one.
  explicit GraphEdit(Graph& graph);

  Graph& graph() { return graph_; }
  const Graph& graph() const { return graph_; }
  // Nodes are numbered from 0 in the order of the graph, then in that of their addition. Removed ones keep
  // their number.
  NodeId num_nodes() const { return static_cast<NodeId>(graph_.nodes.size()); }
  bool removed(NodeId n) const { return removed_[static_cast<size_t>(n)]; }
  // Names and attributes may be changed freely, inputs and outputs only by the functions below. The
  // reference is good until the next node is added.
  Node& node(NodeId n) { return graph_.nodes[static_cast<size_t>(n)]; }
  const Node& node(NodeId n) const { return graph_.nodes[static_cast<size_t>(n)]; }

  // kNoNode for inputs, constants and captured values.
  NodeId producer(ValueId id) const { return id == kNoValue ? kNoNode : producer_[static_cast<size_t>(id)]; }
  // The nodes that read a value as an input or in a subgraph, once for each reading.
  const std::vector<NodeId>& readers(ValueId id) const { return readers_[static_cast<size_t>(id)]; }
  // Of the graph.
  bool is_output(ValueId id) const { return !outputs_[static_cast<size_t>(id)].empty(); }
  // The one node that reads this value, when it reads it once and the value is no output; else kNoNode.
  NodeId only_reader(ValueId id) const;

  ValueId add_value(std::string name = {}, ValueType type = {});
  ValueId add_constant(Tensor tensor, std::string name = {});
  // Where the node is in the list does not matter: finish() puts it before its first reader.
  NodeId add_node(Node node);
  // Adds a node of the newest form of an ai.onnx operator with one new output, which is returned. It takes
  // the name of `like`.
  ValueId add(const Node& like, std::string_view op_type, std::vector<ValueId> inputs,
              std::map<std::string, Attribute, std::less<>> attributes = {});

  // `index` may be one past the inputs (outputs), or more: those between are omitted. Setting the last one to
  // kNoValue drops it.
  void set_input(NodeId n, size_t index, ValueId id);
  void set_output(NodeId n, size_t index, ValueId id);
  void set_inputs(NodeId n, const std::vector<ValueId>& ids);
  // Drops the inputs from `count` on.
  void truncate_inputs(NodeId n, size_t count);
  // Its outputs then have no producer: give them one, or see to it that nothing reads them.
  void remove_node(NodeId n);
  // All that read `from` (inputs, subgraphs, outputs of the graph) read `to`.
  void replace_uses(ValueId from, ValueId to);
  // The value is this constant from now on, in subgraphs too. Its producer no longer has it as output.
  void set_constant(ValueId id, Tensor tensor);
  // Removes the nodes whose outputs nothing reads, and those that only such nodes need.
  void remove_unused();

  // Drops what was removed, weights and captures that nothing reads, and sorts the nodes. The edit ends here.
  void finish();

 private:
  void add_reader(ValueId id, NodeId n);
  void drop_reader(ValueId id, NodeId n);
  bool unused(ValueId id) const { return readers(id).empty() && !is_output(id); }
  void sort();

  Graph& graph_;
  std::vector<NodeId> producer_;              // by value
  std::vector<std::vector<NodeId>> readers_;  // by value
  std::vector<std::vector<size_t>> outputs_;  // by value: its places among the outputs of the graph
  std::vector<bool> removed_;                 // by node
};

}  // namespace pyinfer
