// Nodes of older operator sets, rewritten to mean the same in the newest, and nodes of com.microsoft that
// standard operators can express.
#pragma once

#include <string_view>
#include <vector>

#include "graph/problems.h"

namespace pyinfer::onnx {

// Rewrites the nodes of `graph` and of its subgraphs. Nodes that no newer form can express become `problems`,
// and leave the graph.
void upgrade(Graph& graph, Problems& problems);

struct OperatorName {
  std::string_view domain, name;
};

// The operators that a model may use because import turns them into others, or, as Constant, into values.
// Some are operators of the registry too, whose older versions are rewritten.
std::vector<OperatorName> imported_operators();

}  // namespace pyinfer::onnx
