// Elements of any real type, read and written as the type in which an operator computes.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace pyinfer {

// Elements that the blockwise loops convert at once.
inline constexpr int64_t kBlock = 256;

// Elements [at, at + n) of `base` as C: in place when they are of that type, else converted into `buffer`.
// C is float (from any float type), double (from any float type), int64_t or uint64_t (from integers and
// bool).
template <class C>
const C* load_as(DType dtype, const void* base, int64_t at, int64_t n, C* buffer);

// Writes n elements at [at, at + n) of `base`, rounded once. `from` may be their own place.
template <class C>
void store_as(DType dtype, void* base, int64_t at, int64_t n, const C* from);

// The place of element `at`, for results of type C that may be computed there; else `buffer`.
template <class C>
C* place_as(DType dtype, void* base, int64_t at, C* buffer) {
  return dtype == DTypeOf<C>::value ? static_cast<C*>(base) + at : buffer;
}

// The type in which a float type is computed: double for float64, float for the others.
template <class F>
void with_compute_type(DType dtype, F&& f) {
  if (dtype == DType::kFloat64)
    f.template operator()<double>();
  else
    f.template operator()<float>();
}
inline int64_t compute_size(DType dtype) {
  return dtype == DType::kFloat64 ? 8 : 4;
}

}  // namespace pyinfer
