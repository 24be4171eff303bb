// Marks convolutions whose windows are 3x3 and move by 1, and for which Winograd's minimal filtering pays
// (kernels/winograd.h), with the attribute `winograd`: the side of its tiles, 2 or 4, or 1 where the spatial
// sizes are not known before a plan. Equal up to rounding; an infinity or NaN in X reaches all outputs of its
// tile.
#include <algorithm>
#include <optional>

#include "kernels/winograd.h"
#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

bool all_ones(const Node& node, std::string_view name) {
  const auto* v = attribute<std::vector<int64_t>>(node, name);
  return v == nullptr || std::all_of(v->begin(), v->end(), [](int64_t x) { return x == 1; });
}

bool is_eligible(const GraphEdit& edit, const Node& node) {
  const bool conv = is_op(node, "Conv") || (node.domain == "com.microsoft" && node.op_type == "FusedConv") ||
                    (node.domain == "pyinfer" && node.op_type == "ConvNhwc");
  if (!conv || !all_ones(node, "strides") || !all_ones(node, "dilations")) return false;
  const auto* groups = attribute<int64_t>(node, "group");
  const Tensor* w = constant_input(edit, node, 1);
  return (groups == nullptr || *groups == 1) && w != nullptr && w->dtype() != DType::kFloat64 &&
         w->shape().rank() == 4 && w->shape()[2] == 3 && w->shape()[3] == 3;
}

// The value of the attribute.
int64_t choose(const GraphEdit& edit, const ShapeFacts& facts, const Node& node) {
  const DimTerms* y = facts.dims(node.outputs[0]);
  const size_t height = node.op_type == "ConvNhwc" ? 1 : 2;
  if (y == nullptr || y->size() != 4 || (*y)[height] < 0 || (*y)[height + 1] < 0) return 1;
  const Shape& w = constant_input(edit, node, 1)->shape();
  ConvShape s{.window = {.rank = 2}, .batch = 1, .in_channels = w[1], .out_channels = w[0]};
  for (int d = 0; d < 2; ++d) {
    s.window.kernel[d] = 3;
    s.window.stride[d] = s.window.dilation[d] = 1;
    s.window.output[d] = (*y)[height + static_cast<size_t>(d)];
  }
  const ConvAlgorithm algorithm = choose_conv_algorithm(s);
  return algorithm == ConvAlgorithm::kDirect ? 0 : winograd_tile(algorithm);
}

}  // namespace

void choose_winograd(GraphEdit& edit, const PassContext& ctx) {
  std::optional<ShapeFacts> facts;
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n) || !is_eligible(edit, edit.node(n))) continue;
    if (!facts) facts.emplace(edit, !ctx.subgraph);
    const int64_t tile = choose(edit, *facts, edit.node(n));
    if (tile != 0) edit.node(n).attributes["winograd"] = {tile};
  }
}

}  // namespace pyinfer
