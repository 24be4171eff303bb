// Nodes of older operator sets, rewritten to mean the same in the newest.
#pragma once

#include "graph/graph.h"

namespace pyinfer::onnx {

// The newest operator set of ai.onnx whose meanings the operators implement.
inline constexpr int64_t kNewestOpset = 28;

// Rewrites the nodes of `graph` and of its subgraphs.
void upgrade(Graph& graph);

}  // namespace pyinfer::onnx
