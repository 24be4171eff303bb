#include "onnx/upgrade.h"

namespace pyinfer::onnx {

void upgrade(Graph& graph) {
  for (Node& node : graph.nodes)
    for (Graph* g : subgraphs(node)) upgrade(*g);
}

}  // namespace pyinfer::onnx
