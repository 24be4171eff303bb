// Nodes of older operator sets, rewritten to mean the same in the newest, and nodes of com.microsoft that
// standard operators can express.
#pragma once

#include "graph/graph.h"

namespace pyinfer::onnx {

// Rewrites the nodes of `graph` and of its subgraphs. Throws Error(kUnsupported) for a node that no newer
// form can express, and for one of an operator set newer than kNewestOpset.
void upgrade(Graph& graph);

}  // namespace pyinfer::onnx
