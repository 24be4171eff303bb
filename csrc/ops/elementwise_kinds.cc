#include "ops/elementwise_kinds.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

// The meaning of a and b stands with UnaryKind.
constexpr UnarySpec kSpecs[] = {
    {"Abs", UnaryKind::kAbs, {}, {}},
    {"Acos", UnaryKind::kAcos, {}, {}},
    {"Acosh", UnaryKind::kAcosh, {}, {}},
    {"Asin", UnaryKind::kAsin, {}, {}},
    {"Asinh", UnaryKind::kAsinh, {}, {}},
    {"Atan", UnaryKind::kAtan, {}, {}},
    {"Atanh", UnaryKind::kAtanh, {}, {}},
    {"BitwiseNot", UnaryKind::kBitwiseNot, {}, {}},
    {"Ceil", UnaryKind::kCeil, {}, {}},
    {"Celu", UnaryKind::kCelu, {"alpha", 1.0f}, {}},
    {"Cos", UnaryKind::kCos, {}, {}},
    {"Cosh", UnaryKind::kCosh, {}, {}},
    {"Elu", UnaryKind::kElu, {"alpha", 1.0f}, {}},
    {"Erf", UnaryKind::kErf, {}, {}},
    {"Exp", UnaryKind::kExp, {}, {}},
    {"Floor", UnaryKind::kFloor, {}, {}},
    {"Gelu", UnaryKind::kGeluErf, {}, {}},
    {"HardSigmoid", UnaryKind::kHardSigmoid, {"alpha", 0.2f}, {"beta", 0.5f}},
    {"HardSwish", UnaryKind::kHardSwish, {}, {}},
    {"LeakyRelu", UnaryKind::kLeakyRelu, {"alpha", 0.01f}, {}},
    {"Log", UnaryKind::kLog, {}, {}},
    {"Mish", UnaryKind::kMish, {}, {}},
    {"Neg", UnaryKind::kNeg, {}, {}},
    {"Not", UnaryKind::kNot, {}, {}},
    {"Reciprocal", UnaryKind::kReciprocal, {}, {}},
    {"Relu", UnaryKind::kRelu, {}, {}},
    {"Round", UnaryKind::kRound, {}, {}},
    {"Selu", UnaryKind::kSelu, {"alpha", 1.67326319f}, {"gamma", 1.05070102f}},
    {"Shrink", UnaryKind::kShrink, {"bias", 0.0f}, {"lambd", 0.5f}},
    {"Sigmoid", UnaryKind::kSigmoid, {}, {}},
    {"Sign", UnaryKind::kSign, {}, {}},
    {"Sin", UnaryKind::kSin, {}, {}},
    {"Sinh", UnaryKind::kSinh, {}, {}},
    {"Softplus", UnaryKind::kSoftplus, {}, {}},
    {"Softsign", UnaryKind::kSoftsign, {}, {}},
    {"Sqrt", UnaryKind::kSqrt, {}, {}},
    {"Swish", UnaryKind::kSwish, {"alpha", 1.0f}, {}},
    {"Tan", UnaryKind::kTan, {}, {}},
    {"Tanh", UnaryKind::kTanh, {}, {}},
    {"ThresholdedRelu", UnaryKind::kThresholdedRelu, {"alpha", 1.0f}, {}},
};

constexpr std::pair<std::string_view, BinaryKind> kBinary[] = {
    {"Add", BinaryKind::kAdd}, {"Div", BinaryKind::kDiv}, {"Max", BinaryKind::kMax},
    {"Min", BinaryKind::kMin}, {"Mul", BinaryKind::kMul}, {"PRelu", BinaryKind::kPRelu},
    {"Pow", BinaryKind::kPow}, {"Sub", BinaryKind::kSub}, {"Sum", BinaryKind::kAdd},
};

const UnarySpec* spec_of(std::string_view name) {
  const auto* spec = std::ranges::find(kSpecs, name, &UnarySpec::op);
  return spec == std::end(kSpecs) ? nullptr : spec;
}

}  // namespace

std::span<const UnarySpec> unary_specs() {
  return kSpecs;
}

std::optional<UnaryCall> unary_call(const Node& node) {
  const UnarySpec* spec = node.domain.empty() ? spec_of(node.op_type) : nullptr;
  if (spec == nullptr) return std::nullopt;
  const auto value = [&](const UnarySpec::Parameter& p) {
    return p.attribute.empty() ? p.otherwise : attr_float(node, p.attribute, p.otherwise);
  };
  UnaryCall call{spec->op, {value(spec->a), value(spec->b)}};
  if (spec->kind == UnaryKind::kGeluErf) {
    const std::string approximate = attr_string(node, "approximate", "none");
    require(approximate == "none" || approximate == "tanh", ErrorCode::kInvalidModel,
            "attribute 'approximate' must be none or tanh, got '", approximate, "'");
    if (approximate == "tanh") call.name = "GeluTanh";
  }
  return call;
}

std::optional<UnaryKind> unary_kind(std::string_view name, const UnaryParams& params) {
  if (name == "GeluTanh") return UnaryKind::kGeluTanh;
  if (name == "Clip") return UnaryKind::kClip;
  const UnarySpec* spec = spec_of(name);
  if (spec == nullptr) return std::nullopt;
  return spec->kind == UnaryKind::kSwish && params.a == 1.0f ? UnaryKind::kSilu : spec->kind;
}

std::optional<BinaryKind> binary_kind(std::string_view name) {
  const auto* entry = std::ranges::find(kBinary, name, &std::pair<std::string_view, BinaryKind>::first);
  return entry == std::end(kBinary) ? std::nullopt : std::optional(entry->second);
}

bool is_cheap(UnaryKind kind) {
  switch (kind) {
    case UnaryKind::kAbs:
    case UnaryKind::kNeg:
    case UnaryKind::kSign:
    case UnaryKind::kFloor:
    case UnaryKind::kCeil:
    case UnaryKind::kRound:
    case UnaryKind::kClip:
    case UnaryKind::kRelu:
    case UnaryKind::kLeakyRelu:
    case UnaryKind::kThresholdedRelu:
    case UnaryKind::kHardSigmoid:
    case UnaryKind::kHardSwish:
    case UnaryKind::kNot:
    case UnaryKind::kBitwiseNot: return true;
    default: return false;
  }
}

bool is_cheap(BinaryKind kind) {
  return kind != BinaryKind::kPow && kind != BinaryKind::kMod && kind != BinaryKind::kFMod;
}

}  // namespace pyinfer
