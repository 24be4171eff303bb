// A value of any ONNX type, and that type.
#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace pyinfer {

// tensor(dtype), or with flags: seq(...), optional(...), map(map_key, dtype), and their nestings in the
// order optional(seq(map)).
struct ValueType {
  DType dtype = DType::kUndefined;  // of the tensor, or of a map's values
  bool sequence = false;
  bool optional = false;
  DType map_key = DType::kUndefined;

  bool is_tensor() const { return !sequence && !optional && map_key == DType::kUndefined; }
  bool known() const { return dtype != DType::kUndefined; }
  bool operator==(const ValueType&) const = default;
  std::string str() const;  // "tensor(float)", "seq(tensor(int64))", "optional(tensor(float))"
};

// What a variable of any type holds at run time. Tensors share their storage.
struct Object {
  enum class Kind { kAbsent, kTensor, kSequence, kMap };

  Kind kind = Kind::kAbsent;
  Tensor tensor;
  std::vector<Object> items;  // a sequence's elements; a map's {keys, values}, both 1-D tensors

  static Object of(Tensor t);
  static Object sequence(std::vector<Object> items);
};

}  // namespace pyinfer
