// The activation that a fused operator applies to its sums: attributes "activation" and its parameters as
// com.microsoft's FusedConv ("activation_params") and FusedGemm ("activation_alpha", "activation_beta").
#pragma once

#include "kernels/epilogue.h"
#include "ops/op.h"

namespace pyinfer {

struct FusedActivation {
  Activation kind = Activation::kNone;
  float alpha = 0.0f, beta = 0.0f;
};

// From the attributes whose names begin with `prefix`. Throws Error(kUnsupported) for an activation that no
// epilogue has.
FusedActivation fused_activation(const NodeContext& ctx, const std::string& prefix = "");

// Writes the activation into an epilogue.
void set_activation(Epilogue& e, const FusedActivation& a);

// The activation of one float64, in the order of operations of the epilogue.
double activate(const FusedActivation& a, double x);

}  // namespace pyinfer
