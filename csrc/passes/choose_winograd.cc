// Marks convolutions that Winograd's minimal filtering can compute, windows of 3x3 or of 3 or 5 along one
// axis that move by 1 (kernels/winograd.h), and for which it pays, with the attribute `winograd`: the outputs
// of its tiles along an axis, 2 or 4, or 1 where the spatial sizes are not known before a plan. Equal up to
// rounding; an infinity or NaN in X reaches all outputs of its tile.
#include <optional>

#include "kernels/winograd.h"
#include "passes/pass.h"
#include "passes/pointwise.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

// The shape of a convolution that can be computed this way, but for its spatial sizes.
std::optional<ConvShape> eligible_shape(const GraphEdit& edit, const Node& node) {
  const bool conv = is_op(node, "Conv") || (node.domain == "com.microsoft" && node.op_type == "FusedConv") ||
                    (node.domain == "pyinfer" && node.op_type == "ConvNhwc");
  if (!conv || !all_are(node, "strides", 1) || !all_are(node, "dilations", 1)) return std::nullopt;
  const auto* groups = attribute<int64_t>(node, "group");
  const Tensor* w = constant_input(edit, node, 1);
  if ((groups != nullptr && *groups != 1) || w == nullptr || w->dtype() == DType::kFloat64)
    return std::nullopt;
  const Shape& weights = w->shape();
  if (weights.rank() < 3 || weights.rank() > 4) return std::nullopt;
  ConvShape s{.window = {.rank = weights.rank() - 2},
              .batch = 1,
              .in_channels = weights[1],
              .out_channels = weights[0]};
  for (int d = 0; d < s.window.rank; ++d) {
    s.window.kernel[d] = weights[d + 2];
    s.window.stride[d] = s.window.dilation[d] = 1;
  }
  if (!fits_winograd(s, 2)) return std::nullopt;
  return s;
}

// The value of the attribute.
int64_t choose(const ShapeFacts& facts, const Node& node, ConvShape s) {
  const DimTerms* y = facts.dims(node.outputs[0]);
  const size_t first = node.op_type == "ConvNhwc" ? 1 : 2, rank = static_cast<size_t>(s.window.rank);
  if (y == nullptr || y->size() != rank + 2) return 1;
  for (size_t d = 0; d < rank; ++d) {
    if ((*y)[first + d] < 0) return 1;
    s.window.output[d] = (*y)[first + d];
  }
  const ConvAlgorithm algorithm = choose_conv_algorithm(s);
  return algorithm == ConvAlgorithm::kDirect ? 0 : winograd_tile(algorithm);
}

}  // namespace

void choose_winograd(GraphEdit& edit, const PassContext& ctx) {
  std::optional<ShapeFacts> facts;
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n)) continue;
    const std::optional<ConvShape> shape = eligible_shape(edit, edit.node(n));
    if (!shape) continue;
    if (!facts) facts.emplace(edit, !ctx.subgraph);
    const int64_t tile = choose(*facts, edit.node(n), *shape);
    if (tile != 0) edit.node(n).attributes["winograd"] = {tile};
  }
}

}  // namespace pyinfer
