#include "passes/pipeline.h"

namespace pyinfer {

void run_passes(Graph&, const PassOptions&) {}

std::vector<std::string_view> pass_names() { return {}; }

}  // namespace pyinfer
