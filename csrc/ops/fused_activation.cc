#include "ops/fused_activation.h"

#include <cfloat>
#include <cmath>
#include <numbers>

#include "kernels/kernel_table.h"
#include "kernels/math_f64.h"

namespace pyinfer {

FusedActivation fused_activation(const NodeContext& ctx, const std::string& prefix) {
  const std::string name = ctx.attr_string(prefix + "activation", "");
  const std::vector<float> params = ctx.attr_floats(prefix + "activation_params");
  const auto param = [&](size_t i, const char* attribute, float otherwise) {
    if (i < params.size()) return params[i];
    return ctx.attr_float(prefix + attribute, otherwise);
  };
  if (name.empty()) return {};
  if (name == "Relu") return {Activation::kRelu};
  if (name == "Clip")
    return {Activation::kClip, param(0, "activation_alpha", -FLT_MAX), param(1, "activation_beta", FLT_MAX)};
  if (name == "LeakyRelu") return {Activation::kLeakyRelu, param(0, "activation_alpha", 0.01f)};
  if (name == "HardSigmoid")
    return {Activation::kHardSigmoid, param(0, "activation_alpha", 0.2f), param(1, "activation_beta", 0.5f)};
  if (name == "HardSwish") return {Activation::kHardSwish, 1.0f / 6.0f, 0.5f};
  if (name == "Sigmoid") return {Activation::kSigmoid};
  if (name == "Tanh") return {Activation::kTanh};
  if (name == "Silu") return {Activation::kSilu};
  if (name == "Swish") return {Activation::kSwish, param(0, "activation_alpha", 1.0f)};
  if (name == "Gelu") return {Activation::kGeluErf};
  if (name == "GeluTanh") return {Activation::kGeluTanh};
  if (name == "Mish") return {Activation::kMish};
  if (name == "Softplus") return {Activation::kSoftplus};
  if (name == "Elu") return {Activation::kElu, param(0, "activation_alpha", 1.0f)};
  ctx.unsupported(
      "activation '", name,
      "'; supported: Relu, Clip, LeakyRelu, HardSigmoid, HardSwish, Sigmoid, Tanh, Silu, Swish, Gelu, "
      "GeluTanh, Mish, Softplus, Elu");
}

void set_activation(Epilogue& e, const FusedActivation& a) {
  e.activation = a.kind;
  e.alpha = a.alpha;
  e.beta = a.beta;
  e.activate_rows = kernels().activate_rows;
}

double activate(const FusedActivation& a, double x) {
  const auto hard_sigmoid = [](double v, double alpha, double beta) {
    return std::max(0.0, std::min(1.0, std::fma(alpha, v, beta)));
  };
  const auto sigmoid = [](double v) { return 1.0 / (1.0 + f64::exp(-v)); };
  const auto softplus = [](double v) { return std::max(v, 0.0) + f64::log1p(f64::exp(-std::fabs(v))); };
  switch (a.kind) {
    case Activation::kNone: return x;
    case Activation::kRelu: return x < 0 ? 0 : x;
    case Activation::kClip: {
      const double low = x < a.alpha ? a.alpha : x;
      return low > a.beta ? a.beta : low;
    }
    case Activation::kLeakyRelu: return x >= 0 ? x : a.alpha * x;
    case Activation::kHardSigmoid: return hard_sigmoid(x, a.alpha, a.beta);
    case Activation::kHardSwish: return x * hard_sigmoid(x, 1.0 / 6.0, 0.5);
    case Activation::kSigmoid: return sigmoid(x);
    case Activation::kTanh: return f64::tanh(x);
    case Activation::kSilu: return x * sigmoid(x);
    case Activation::kSwish: return x * sigmoid(a.alpha * x);
    case Activation::kGeluErf: return x / 2 * (1 + f64::erf(x / std::numbers::sqrt2));
    case Activation::kGeluTanh:
      return x / 2 * (1 + f64::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kMish: return x * f64::tanh(softplus(x));
    case Activation::kSoftplus: return softplus(x);
    case Activation::kElu: return x > 0 ? x : a.alpha * f64::expm1(x);
  }
  return x;
}

}  // namespace pyinfer
