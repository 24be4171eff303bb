#include "tensor/object.h"

#include "base/error.h"

namespace pyinfer {

std::string ValueType::str() const {
  std::string s = join("tensor(", dtype_name(dtype), ")");
  if (map_key != DType::kUndefined) s = join("map(", dtype_name(map_key), ", ", s, ")");
  if (sequence) s = join("seq(", s, ")");
  if (optional) s = join("optional(", s, ")");
  return s;
}

Object Object::of(Tensor t) {
  Object o;
  o.kind = Kind::kTensor;
  o.tensor = std::move(t);
  return o;
}

Object Object::sequence(std::vector<Object> items) {
  Object o;
  o.kind = Kind::kSequence;
  o.items = std::move(items);
  return o;
}

}  // namespace pyinfer
