// Rewriting rules of the attention operators of com.microsoft; see ContribRule.
#pragma once

#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {

bool multi_head_attention(NodeUpgrade& n);
bool attention(NodeUpgrade& n);
bool quantized_attention(NodeUpgrade& n);
bool group_query_attention(NodeUpgrade& n);
bool rotary_embedding(NodeUpgrade& n);

}  // namespace pyinfer::onnx
