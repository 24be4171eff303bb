// ModelProto to Graph: names resolved, subgraphs and captures linked, local functions inlined, weights
// decoded, older operator versions rewritten to the newest.
#pragma once

#include "graph/problems.h"
#include "onnx/proto.h"
#include "onnx/tensor_decode.h"

namespace pyinfer::onnx {

// Nodes that cannot be run for a reason that is known here become `problems` and are left out of the graph.
// Throws Error(kInvalidModel) naming the node or value at fault, kLimit, kUnsupported.
Graph import_graph(const ModelProto& model, const DataSource& source, Problems& problems);

}  // namespace pyinfer::onnx
