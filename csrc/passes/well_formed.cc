#include "passes/well_formed.h"

#include <algorithm>
#include <span>
#include <string_view>

namespace pyinfer {
namespace {

struct Least {
  std::string_view op_type;
  size_t inputs;
};

// Operators of ai.onnx and com.microsoft that passes know, where they require another number than one.
constexpr Least kLeast[] = {
    {"Add", 2},
    {"And", 2},
    {"BatchNormalization", 5},
    {"Conv", 2},
    {"ConvTranspose", 2},
    {"Div", 2},
    {"Equal", 2},
    {"Expand", 2},
    {"FusedConv", 2},
    {"FusedGemm", 2},
    {"FusedMatMul", 2},
    {"Gather", 2},
    {"Gemm", 2},
    {"Greater", 2},
    {"GreaterOrEqual", 2},
    {"Less", 2},
    {"LessOrEqual", 2},
    {"MatMul", 2},
    {"Mod", 2},
    {"Mul", 2},
    {"Or", 2},
    {"PRelu", 2},
    {"Pad", 2},
    {"Pow", 2},
    {"Reshape", 2},
    {"Slice", 3},
    {"Sub", 2},
    {"Tile", 2},
    {"Unsqueeze", 2},
    {"Where", 3},
    {"Xor", 2},
    // Their first input is optional, or they have none.
    {"Loop", 0},
    {"Optional", 0},
    {"RandomNormal", 0},
    {"RandomUniform", 0},
    {"Scan", 0},
    {"SequenceEmpty", 0},
};

// Their first output may be omitted for the sake of others.
constexpr std::string_view kOfMany[] = {"GRU",  "If",    "LSTM", "Loop",  "RNN",
                                        "Scan", "Split", "TopK", "Unique"};

// No input of these is optional.
constexpr std::string_view kVariadic[] = {"Concat", "Max", "Mean", "Min", "Sum"};

bool is_among(std::string_view op_type, std::span<const std::string_view> list) {
  return std::ranges::find(list, op_type) != list.end();
}

bool is_permutation(std::vector<int64_t> perm) {
  std::ranges::sort(perm);
  for (size_t i = 0; i < perm.size(); ++i)
    if (perm[i] != static_cast<int64_t>(i)) return false;
  return true;
}

bool well_formed(const Node& node) {
  if (!node.domain.empty() && node.domain != "com.microsoft") return true;
  const std::string_view op = node.op_type;
  if (node.outputs.empty() || (node.outputs[0] == kNoValue && !is_among(op, kOfMany))) return false;
  const auto* known = std::ranges::find(kLeast, op, &Least::op_type);
  size_t least = node.domain.empty() ? 1 : 0;
  if (known != std::end(kLeast)) least = known->inputs;
  if (is_among(op, kVariadic)) least = std::max<size_t>(node.inputs.size(), 1);
  if (node.inputs.size() < least) return false;
  for (size_t i = 0; i < least; ++i)
    if (node.inputs[i] == kNoValue) return false;
  if (op != "Transpose") return true;
  const auto it = node.attributes.find("perm");
  const auto* perm =
      it == node.attributes.end() ? nullptr : std::get_if<std::vector<int64_t>>(&it->second.value);
  return perm == nullptr || is_permutation(*perm);
}

}  // namespace

bool well_formed(const Graph& graph) {
  return std::ranges::all_of(graph.nodes, [](const Node& node) { return well_formed(node); });
}

}  // namespace pyinfer
