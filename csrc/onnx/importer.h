// ModelProto to Graph: names resolved, subgraphs and captures linked, local functions inlined, weights
// decoded, older operator versions rewritten to the newest.
#pragma once

#include "graph/graph.h"
#include "onnx/proto.h"
#include "onnx/tensor_decode.h"

namespace pyinfer::onnx {

// Throws Error(kInvalidModel) naming the node or value at fault, kLimit, kUnsupported.
Graph import_graph(const ModelProto& model, const DataSource& source);

}  // namespace pyinfer::onnx
