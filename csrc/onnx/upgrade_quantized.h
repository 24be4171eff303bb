// Rewriting rules of operators of com.microsoft on quantized weights; see ContribRule.
#pragma once

#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {

bool gather_block_quantized(NodeUpgrade& n);
bool matmul_bnb4(NodeUpgrade& n);
bool dynamic_quantize_lstm(NodeUpgrade& n);
bool quantized_embed_layer_norm(NodeUpgrade& n);

}  // namespace pyinfer::onnx
