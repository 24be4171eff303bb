// Which kernel computes an elementwise operator, and with which parameters.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "graph/graph.h"
#include "kernels/elementwise.h"

namespace pyinfer {

// An operator of one tensor of ai.onnx. Attributes become parameters of the kernel; where one has no name,
// the parameter is `otherwise`.
struct UnarySpec {
  struct Parameter {
    std::string_view attribute;
    float otherwise = 0.0f;
  };
  std::string_view op;
  UnaryKind kind;
  Parameter a, b;
};
std::span<const UnarySpec> unary_specs();

// An operator of one tensor without its attributes: `name` is the operator's, but GeluTanh for a Gelu that is
// approximate.
struct UnaryCall {
  std::string_view name;
  UnaryParams params;
};
// Nothing where the node is no such operator of ai.onnx. Throws Error(kInvalidModel) for attributes that it
// cannot have.
std::optional<UnaryCall> unary_call(const Node& node);

// The kernels under the names of operators of ai.onnx, and of GeluTanh; Clip has its bounds as parameters.
std::optional<UnaryKind> unary_kind(std::string_view name, const UnaryParams& params);
// Those of two tensors whose result is of their type.
std::optional<BinaryKind> binary_kind(std::string_view name);

// Whether it takes a few instructions an element.
bool is_cheap(UnaryKind kind);
bool is_cheap(BinaryKind kind);

}  // namespace pyinfer
