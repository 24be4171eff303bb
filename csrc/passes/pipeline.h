// The passes over the graph, in one ordered list (passes/pipeline.cc).
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "graph/graph.h"

namespace pyinfer {

struct PassOptions {
  std::set<std::string, std::less<>> disabled;  // names of passes to leave out, of pass_names()
  const Limits& limits;
};

// Runs every pass that is not disabled, on `graph` and its subgraphs.
void run_passes(Graph& graph, const PassOptions& options);

// In the order in which they run.
std::vector<std::string_view> pass_names();

}  // namespace pyinfer
