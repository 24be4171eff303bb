#include "ops/elements.h"

#include <cstring>

#include "kernels/kernel_table.h"
#include "ops/dispatch.h"

namespace pyinfer {
namespace {

template <class C, class F>
void with_type(DType dtype, F&& f) {
  if constexpr (std::is_floating_point_v<C>)
    dispatch<float, double, Float16, BFloat16>(dtype, f);
  else
    dispatch<int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, bool>(dtype, f);
}

}  // namespace

template <class C>
const C* load_as(DType dtype, const void* base, int64_t at, int64_t n, C* buffer) {
  if (dtype == DTypeOf<C>::value) return static_cast<const C*>(base) + at;
  if constexpr (std::is_same_v<C, float>) {
    const ConvertKernels& convert = kernels().convert;
    if (dtype == DType::kFloat16) {
      convert.f16_to_f32(static_cast<const Float16*>(base) + at, buffer, n);
      return buffer;
    }
    if (dtype == DType::kBFloat16) {
      convert.bf16_to_f32(static_cast<const BFloat16*>(base) + at, buffer, n);
      return buffer;
    }
  }
  with_type<C>(dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(base) + at;
    if constexpr (std::is_arithmetic_v<T>)
      for (int64_t i = 0; i < n; ++i) buffer[i] = static_cast<C>(x[i]);
    else
      for (int64_t i = 0; i < n; ++i) buffer[i] = static_cast<C>(static_cast<float>(x[i]));
  });
  return buffer;
}

template <class C>
void store_as(DType dtype, void* base, int64_t at, int64_t n, const C* from) {
  if constexpr (std::is_same_v<C, float>) {
    const ConvertKernels& convert = kernels().convert;
    if (dtype == DType::kFloat16) return convert.f32_to_f16(from, static_cast<Float16*>(base) + at, n);
    if (dtype == DType::kBFloat16) return convert.f32_to_bf16(from, static_cast<BFloat16*>(base) + at, n);
  }
  with_type<C>(dtype, [&]<class T>() {
    T* y = static_cast<T*>(base) + at;
    if constexpr (std::is_same_v<T, C>) {
      if (y != from && n > 0) std::memcpy(y, from, static_cast<size_t>(n) * sizeof(T));
    } else if constexpr (std::is_same_v<T, bool>) {
      for (int64_t i = 0; i < n; ++i) y[i] = from[i] != 0;
    } else if constexpr (std::is_arithmetic_v<T>) {
      for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(from[i]);
    } else {
      for (int64_t i = 0; i < n; ++i) y[i] = T(static_cast<float>(from[i]));
    }
  });
}

#define PYINFER_ELEMENTS(C)                                               \
  template const C* load_as<C>(DType, const void*, int64_t, int64_t, C*); \
  template void store_as<C>(DType, void*, int64_t, int64_t, const C*);
PYINFER_ELEMENTS(float)
PYINFER_ELEMENTS(double)
PYINFER_ELEMENTS(int64_t)
PYINFER_ELEMENTS(uint64_t)
#undef PYINFER_ELEMENTS

}  // namespace pyinfer
