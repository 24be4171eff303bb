#include "passes/pipeline.h"

#include "passes/pass.h"
#include "passes/well_formed.h"

namespace pyinfer {
namespace {

struct Pass {
  std::string_view name;
  void (*run)(GraphEdit& edit, const PassContext& ctx);
};

// THE ordered list. Integers stay integers before constants, their weights among them, are folded. Shapes
// become constants before constants are folded; then conditions are constants, and what the branches bring is
// folded in turn; what folding leaves alone is simplified; then weights absorb what follows them, which needs
// the simplified neighbours. Patterns become single operators before images go channels last, and what is
// left behind a product joins it. Last, what no longer changes is marked for its algorithm, convolutions that
// have all their parts are joined, and so are elementwise operators that no other pass has taken.
constexpr Pass kPasses[] = {
    {"fuse_quantized", fuse_quantized},
    {"fold_shapes", fold_shapes},
    {"fold_constants", fold_constants},
    {"inline_if", inline_if},
    {"eliminate_identity", eliminate_identity},
    {"eliminate_common_subexpressions", eliminate_common_subexpressions},
    {"fold_batch_norm", fold_batch_norm},
    {"fold_affine", fold_affine},
    {"fuse_gelu", fuse_gelu},
    {"fuse_hard_swish", fuse_hard_swish},
    {"fuse_layer_norm", fuse_layer_norm},
    {"fuse_attention", fuse_attention},
    {"channels_last", channels_last},
    {"fuse_epilogue", fuse_epilogue},
    {"eliminate_dead_code", eliminate_dead_code},
    {"choose_winograd", choose_winograd},
    {"fuse_expand_depthwise", fuse_expand_depthwise},
    {"fuse_pointwise_pair", fuse_pointwise_pair},
    {"fuse_elementwise", fuse_elementwise},
};

// Bounds the time that a chain of conditions takes, each known when the branch before it is in its place.
constexpr int kMaxRepeats = 32;

void run_on(Graph& graph, const PassOptions& options, bool subgraph) {
  int repeats = 0;
  bool repeat = true;  // what passes bring in may be anything too
  for (const Pass* pass = std::begin(kPasses); pass != std::end(kPasses);) {
    if (repeat && !well_formed(graph)) break;
    repeat = false;
    if (!options.disabled.contains(pass->name)) {
      GraphEdit edit(graph);
      pass->run(edit, {options.limits, subgraph, repeat});
      edit.finish();
    }
    pass = repeat && ++repeats <= kMaxRepeats ? std::begin(kPasses) : pass + 1;
  }
  for (Node& node : graph.nodes)
    for (Graph* g : subgraphs(node)) run_on(*g, options, true);
}

}  // namespace

void run_passes(Graph& graph, const PassOptions& options) {
  run_on(graph, options, false);
}

std::vector<std::string_view> pass_names() {
  std::vector<std::string_view> names;
  for (const Pass& p : kPasses) names.push_back(p.name);
  return names;
}

}  // namespace pyinfer
