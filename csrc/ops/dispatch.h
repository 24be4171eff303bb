// From an element type known at run time to the C++ type that holds it.
#pragma once

#include "base/error.h"
#include "tensor/tensor.h"

namespace pyinfer {

// Calls f.template operator()<T>() for the one of Ts that `dtype` names. Throws Error(kInternal) for another
// type: factories reject those at load.
template <class... Ts, class F>
void dispatch(DType dtype, F&& f) {
  const bool found = ((dtype == DTypeOf<Ts>::value && (f.template operator()<Ts>(), true)) || ...);
  require(found, ErrorCode::kInternal, "no kernel for ", dtype_name(dtype));
}

}  // namespace pyinfer
