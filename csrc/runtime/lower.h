// Graph to Program: every node becomes an Op.
#pragma once

#include <functional>

#include "base/parallel.h"
#include "graph/problems.h"
#include "plan/program.h"

namespace pyinfer {

// Gives back the memory of elements that nobody reads any more, where a file can give them again.
using ReleaseConstant = std::function<void(const Tensor&)>;

// Types of all inputs must be known. Fills in the types of the other values of `graph`. Throws one Error
// that lists every node that cannot be run, with its operator, version, input types and the reason: those of
// `problems`, which import has left out of `graph`, and those found here.
// Constants that every reader has packed lose their elements, which `release` hears of before.
Program lower(Graph& graph, const Limits& limits, Parallel& parallel, const ReleaseConstant& release = {},
              Problems problems = {});

}  // namespace pyinfer
