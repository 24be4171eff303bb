// What passes take for granted of the nodes that a file holds.
#pragma once

#include "graph/graph.h"

namespace pyinfer {

// Whether every node has an output and the inputs that its operator requires, and every Transpose a
// permutation. A graph that has not is lowered as it is, which says what is wrong with it.
bool well_formed(const Graph& graph);

}  // namespace pyinfer
