// What can be told of values without shape inference: enough to pick the plain newest form of an old node
// where a general one would cost time or hide a pattern from the passes, and for a pass to know float32.
#pragma once

#include <vector>

#include "graph/graph.h"

namespace pyinfer {

// Only what holds in every run; unknown otherwise.
struct ValueFact {
  DType dtype = DType::kUndefined;
  int rank = -1;
  int64_t length = -1;  // elements of a value of rank 1
};

class ValueFacts {
 public:
  // The declared inputs of the main graph are checked in every run; those of a subgraph are not trusted.
  ValueFacts(const Graph& graph, bool main);

  ValueFact of(ValueId id) const;
  // To be called for producers before readers.
  void learn(const Graph& graph, const Node& node);

 private:
  void set(const Graph& graph, ValueId id, ValueFact fact);
  void learn_constant(const Graph& graph, ValueId id);

  std::vector<ValueFact> facts_;  // by value
};

}  // namespace pyinfer
