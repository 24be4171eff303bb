// Runs one Op outside any plan: constant folding and shape arithmetic.
#pragma once

#include <optional>

#include "ops/op.h"

namespace pyinfer {

// The outputs of `op` on known inputs (nullptr for an omitted one), or nothing when the op is not pure, has
// an output that is no tensor, or would produce more than `max_bytes` in all. Errors of the op pass through.
std::optional<std::vector<Tensor>> evaluate(const Op& op, std::span<const PlanValue* const> inputs,
                                            std::span<const ValueType> output_types, const Limits& limits,
                                            int64_t max_bytes);

}  // namespace pyinfer
