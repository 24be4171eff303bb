// Graph to Program: every node becomes an Op.
#pragma once

#include "base/parallel.h"
#include "graph/problems.h"
#include "plan/program.h"

namespace pyinfer {

// Types of all inputs must be known. Fills in the types of the other values of `graph`. Throws one Error
// that lists every node that cannot be run, with its operator, version, input types and the reason: those of
// `problems`, which import has left out of `graph`, and those found here.
Program lower(Graph& graph, const Limits& limits, Parallel& parallel, Problems problems = {});

}  // namespace pyinfer
