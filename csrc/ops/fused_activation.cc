#include "ops/fused_activation.h"

#include <cfloat>
#include <cmath>

namespace pyinfer {

FusedActivation fused_activation(const NodeContext& ctx) {
  const std::string name = ctx.attr_string("activation", "");
  const std::vector<float> params = ctx.attr_floats("activation_params");
  const auto param = [&](size_t i, const char* attribute, float otherwise) {
    if (i < params.size()) return params[i];
    return ctx.attr_float(attribute, otherwise);
  };
  if (name.empty()) return {};
  if (name == "Relu") return {Activation::kRelu};
  if (name == "Clip")
    return {Activation::kClip, param(0, "activation_alpha", -FLT_MAX), param(1, "activation_beta", FLT_MAX)};
  if (name == "LeakyRelu") return {Activation::kLeakyRelu, param(0, "activation_alpha", 0.01f)};
  if (name == "HardSigmoid")
    return {Activation::kHardSigmoid, param(0, "activation_alpha", 0.2f), param(1, "activation_beta", 0.5f)};
  if (name == "HardSwish") return {Activation::kHardSwish, 1.0f / 6.0f, 0.5f};
  ctx.unsupported("activation '", name, "'; supported: Relu, Clip, LeakyRelu, HardSigmoid, HardSwish");
}

double activate(const FusedActivation& a, double x) {
  const auto hard_sigmoid = [](double v, double alpha, double beta) {
    return std::max(0.0, std::min(1.0, std::fma(alpha, v, beta)));
  };
  switch (a.kind) {
    case Activation::kNone: return x;
    case Activation::kRelu: return x < 0 ? 0 : x;
    case Activation::kClip: return x < a.alpha ? a.alpha : x > a.beta ? a.beta : x;
    case Activation::kLeakyRelu: return x >= 0 ? x : a.alpha * x;
    case Activation::kHardSigmoid: return hard_sigmoid(x, a.alpha, a.beta);
    case Activation::kHardSwish: return x * hard_sigmoid(x, 1.0 / 6.0, 0.5);
    default: fail(ErrorCode::kInternal, "no float64 form of activation ", static_cast<int>(a.kind));
  }
}

}  // namespace pyinfer
