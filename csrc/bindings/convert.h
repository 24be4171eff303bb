// Python values to Objects and back. Call with the GIL held.
#pragma once

#include <pybind11/pytypes.h>

#include "tensor/object.h"

namespace pyinfer::bindings {

// Arrays are borrowed: the caller keeps `value` alive while the Object is in use. Strings are copied.
// Throws Error(kInvalidInput) naming `name` when the value does not have type `type`.
Object to_object(const pybind11::handle& value, const ValueType& type, const std::string& name);

// Storage that nobody else holds moves into the array; anything shared is copied.
pybind11::object to_python(Object object);

}  // namespace pyinfer::bindings
