// Nodes of older operator sets, rewritten to mean the same in the newest, and nodes of com.microsoft that
// standard operators can express.
#pragma once

#include "graph/problems.h"

namespace pyinfer::onnx {

// Rewrites the nodes of `graph` and of its subgraphs. Nodes that no newer form can express become `problems`,
// and leave the graph.
void upgrade(Graph& graph, Problems& problems);

}  // namespace pyinfer::onnx
