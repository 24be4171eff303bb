// Which attributes an operator has at a version of its operator set, and how many outputs.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"

namespace pyinfer::onnx {

// Why a node of that operator cannot be taken as `given`, its attributes, and the number of its outputs up to
// the last that has a name describe it: something that the operator does not have, or an operator set of
// ai.onnx, ai.onnx.ml, com.microsoft ... newer than the newest known. Nothing where there is no such reason,
// or nothing is known of the operator.
std::optional<Error> check_operator(std::string_view domain, std::string_view op_type, int64_t version,
                                    std::span<const std::string_view> given, int64_t outputs);

}  // namespace pyinfer::onnx
