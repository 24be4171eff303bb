// The equation of Einsum, and the labels that operands of given shapes bind.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/shape.h"

namespace pyinfer {

class EinsumEquation {
 public:
  // Throws Error(kInvalidModel) for text that is no equation of `operands` terms.
  EinsumEquation(std::string_view text, int operands);

  // Dimensions by label. Labels are small numbers; an operand's label may repeat (its diagonal).
  struct Binding {
    std::vector<int64_t> sizes;              // by label
    std::vector<std::vector<int>> operands;  // the label of each dimension
    std::vector<int> output;
  };
  // Throws Error(kInvalidInput) where shapes do not fit. Dimensions of 1 broadcast, as in NumPy.
  Binding bind(std::span<const Shape> shapes) const;

 private:
  static constexpr char kEllipsis = '.';
  std::vector<std::string> terms_;  // letters, and kEllipsis for "..."
  std::string output_;
};

}  // namespace pyinfer
