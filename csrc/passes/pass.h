// What a pass is. Each has a file of its own, and its place in the list of pipeline.cc.
#pragma once

#include "base/limits.h"
#include "graph/edit.h"

namespace pyinfer {

struct PassContext {
  const Limits& limits;
  bool subgraph;  // of If, Loop ...: what its inputs declare is never checked
  bool& repeat;   // set by a pass that brings work for those before it: the list starts again after it
};

// Each leaves the outputs of the graph as they are (folds of weights and other orders of sums: up to
// rounding).
void channels_last(GraphEdit& edit, const PassContext& ctx);
void choose_winograd(GraphEdit& edit, const PassContext& ctx);
void eliminate_common_subexpressions(GraphEdit& edit, const PassContext& ctx);
void eliminate_dead_code(GraphEdit& edit, const PassContext& ctx);
void eliminate_identity(GraphEdit& edit, const PassContext& ctx);
void fold_affine(GraphEdit& edit, const PassContext& ctx);
void fold_batch_norm(GraphEdit& edit, const PassContext& ctx);
void fold_constants(GraphEdit& edit, const PassContext& ctx);
void fold_shapes(GraphEdit& edit, const PassContext& ctx);
void fuse_attention(GraphEdit& edit, const PassContext& ctx);
void fuse_elementwise(GraphEdit& edit, const PassContext& ctx);
void fuse_epilogue(GraphEdit& edit, const PassContext& ctx);
void fuse_expand_depthwise(GraphEdit& edit, const PassContext& ctx);
void fuse_gelu(GraphEdit& edit, const PassContext& ctx);
void fuse_hard_swish(GraphEdit& edit, const PassContext& ctx);
void fuse_layer_norm(GraphEdit& edit, const PassContext& ctx);
void fuse_pointwise_pair(GraphEdit& edit, const PassContext& ctx);
void fuse_quantized(GraphEdit& edit, const PassContext& ctx);
void inline_if(GraphEdit& edit, const PassContext& ctx);

}  // namespace pyinfer
