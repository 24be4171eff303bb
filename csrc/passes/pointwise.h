// Convolutions of 1x1 in channels-last images, as the passes look for them that join one to its neighbour.
#pragma once

#include "passes/match.h"

namespace pyinfer {

// Inputs of ConvNhwc.
inline constexpr size_t kConvWeights = 1, kConvBias = 2, kConvResidual = 3;

// The constant weights of a ConvNhwc of float32 over two axes, not empty, whose attributes fit; else nullptr.
const Tensor* image_weights(const GraphEdit& edit, const Node& node);

// Whether every element of an attribute is `value`, or the attribute is absent.
bool all_are(const Node& node, std::string_view name, int64_t value);

// Whether a node is such a convolution of single pixels, all channels in one group.
bool is_pointwise(const GraphEdit& edit, const Node& node);

// Input i, or kNoValue.
inline ValueId input_or_none(const Node& node, size_t i) {
  return has_input(node, i) ? node.inputs[i] : kNoValue;
}

// Adds the activation of `from` to a node, its attributes' names behind `prefix`.
void add_activation(Node& node, const Node& from, std::string_view prefix);

}  // namespace pyinfer
