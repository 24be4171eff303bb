// The model as read from its file: nodes and the values between them. Passes change it only through
// GraphEdit (graph/edit.h).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tensor/object.h"

namespace pyinfer {

class Graph;

// The newest operator set of ai.onnx. Import rewrites what is older where the meaning changed
// (onnx/upgrade.h), so this is the one that operators implement and that passes write.
inline constexpr int64_t kNewestOpset = 28;

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;  // an omitted optional input or output

struct Dim {
  int64_t value = -1;  // -1: unknown
  std::string symbol;  // a name for an unknown dimension; may be empty
};

struct Value {
  std::string name;
  ValueType type;
  std::optional<std::vector<Dim>> shape;  // as declared; nothing is known when absent
  Tensor constant;                        // weights and folded values; else empty
};

struct Attribute {
  std::variant<std::monostate, int64_t, float, std::string, Tensor, std::vector<int64_t>, std::vector<float>,
               std::vector<std::string>, std::vector<Tensor>, std::shared_ptr<Graph>, ValueType>
      value;
};

struct Node {
  std::string name;
  std::string domain;  // "" is ai.onnx
  std::string op_type;
  int64_t version = 0;  // of the operator set that the model imports for `domain`
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::map<std::string, Attribute, std::less<>> attributes;

  // "Conv 'conv1'", for messages.
  std::string str() const;
};

// A value of the enclosing graph that a subgraph reads.
struct Capture {
  ValueId outer;
  ValueId inner;
};

class Graph {
 public:
  std::string name;
  std::vector<Value> values;
  std::vector<Node> nodes;  // in an order in which every value is produced before it is read
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::vector<Capture> captures;  // subgraphs only

  ValueId add_value(Value value);
  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  bool is_constant(ValueId id) const { return id != kNoValue && !value(id).constant.empty(); }
};

// The subgraphs among a node's attributes, in the order of their names.
std::vector<Graph*> subgraphs(const Node& node);

// The node's inputs, then the outer values that its subgraphs capture, in the order of subgraphs().
std::vector<ValueId> all_inputs(const Node& node);

// Sorts the nodes so that producers come first. Throws Error(kInvalidModel) on a cycle.
void sort_nodes(Graph& graph);

// Readable text: inputs, one line a node, outputs.
std::string dump(const Graph& graph);

}  // namespace pyinfer
