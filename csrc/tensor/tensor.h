// TensorView borrows, Tensor owns. Elements are always contiguous and in row-major order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/float_types.h"
#include "tensor/shape.h"

namespace pyinfer {

template <class T>
struct DTypeOf;
#define PYINFER_DTYPE_OF(T, D)               \
  template <>                                \
  struct DTypeOf<T> {                        \
    static constexpr DType value = DType::D; \
  };
PYINFER_DTYPE_OF(float, kFloat32)
PYINFER_DTYPE_OF(double, kFloat64)
PYINFER_DTYPE_OF(uint8_t, kUInt8)
PYINFER_DTYPE_OF(int8_t, kInt8)
PYINFER_DTYPE_OF(uint16_t, kUInt16)
PYINFER_DTYPE_OF(int16_t, kInt16)
PYINFER_DTYPE_OF(int32_t, kInt32)
PYINFER_DTYPE_OF(int64_t, kInt64)
PYINFER_DTYPE_OF(uint32_t, kUInt32)
PYINFER_DTYPE_OF(uint64_t, kUInt64)
PYINFER_DTYPE_OF(bool, kBool)
PYINFER_DTYPE_OF(std::string, kString)
PYINFER_DTYPE_OF(Float16, kFloat16)
PYINFER_DTYPE_OF(BFloat16, kBFloat16)
PYINFER_DTYPE_OF(Float8E4M3FN, kFloat8E4M3FN)
PYINFER_DTYPE_OF(Float8E4M3FNUZ, kFloat8E4M3FNUZ)
PYINFER_DTYPE_OF(Float8E5M2, kFloat8E5M2)
PYINFER_DTYPE_OF(Float8E5M2FNUZ, kFloat8E5M2FNUZ)
PYINFER_DTYPE_OF(Float8E8M0, kFloat8E8M0)
PYINFER_DTYPE_OF(Float4E2M1, kFloat4E2M1)
PYINFER_DTYPE_OF(Float6E2M3, kFloat6E2M3)
PYINFER_DTYPE_OF(Float6E3M2, kFloat6E3M2)
#undef PYINFER_DTYPE_OF

struct TensorView {
  DType dtype = DType::kUndefined;
  Shape shape;
  void* data = nullptr;
  // Elements between rows of the last axis; 0 where nothing lies between them, as everywhere but in operators
  // that have said to take more (PlanContext::rows_apart).
  int64_t row_stride = 0;

  int64_t row_or(int64_t length) const { return row_stride != 0 ? row_stride : length; }
  int64_t count() const { return shape.count(); }
  size_t bytes() const { return static_cast<size_t>(shape.count()) * dtype_size(dtype); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  template <class T>
  std::span<T> span() const {
    return {static_cast<T*>(data), static_cast<size_t>(count())};
  }
  // Of the longest string, in bytes; 0 for other types.
  int64_t longest_string() const;
  // What strings hold besides bytes().
  int64_t string_bytes() const;
};

// A tensor whose storage is shared and immutable once published: weights (which may lie in a mapped
// file), folded constants, values that outlive a run. Copying one copies a pointer.
// Copies all elements of `from`, strings too.
void copy_elements(const TensorView& from, void* to);

class Tensor {
 public:
  Tensor() = default;
  // Owns new storage: zeroed for strings (empty), uninitialised otherwise.
  Tensor(DType dtype, const Shape& shape);
  // Borrows `data`, which `keep_alive` keeps valid.
  Tensor(DType dtype, const Shape& shape, const void* data, std::shared_ptr<const void> keep_alive);

  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values) {
    Tensor t(DTypeOf<T>::value, shape);
    std::copy(values.begin(), values.end(), t.as<T>());
    return t;
  }
  static Tensor scalar_i64(int64_t value) { return from<int64_t>({}, std::span(&value, 1)); }
  static Tensor vector_i64(std::span<const int64_t> v) {
    return from<int64_t>({static_cast<int64_t>(v.size())}, v);
  }
  // Owns a copy of what `view` borrows.
  static Tensor copy_of(const TensorView& view);

  bool empty() const { return view_.dtype == DType::kUndefined; }
  DType dtype() const { return view_.dtype; }
  const Shape& shape() const { return view_.shape; }
  int64_t count() const { return view_.count(); }
  size_t bytes() const { return view_.bytes(); }
  const TensorView& view() const { return view_; }
  const std::shared_ptr<const void>& storage() const { return storage_; }
  template <class T>
  T* as() const {
    return view_.as<T>();
  }
  template <class T>
  std::span<T> span() const {
    return view_.span<T>();
  }
  // False for what without_data() made.
  bool has_data() const { return view_.data != nullptr || count() == 0; }
  // Type and shape alone.
  Tensor without_data() const { return {dtype(), shape(), nullptr, nullptr}; }
  // The same elements under another shape of equal count.
  Tensor reshaped(const Shape& shape) const;

 private:
  TensorView view_;
  std::shared_ptr<const void> storage_;
};

// The elements of an integer tensor (int32 or int64) as int64. Throws Error(kInvalidModel) for another type.
std::vector<int64_t> to_int64s(const TensorView& view);

}  // namespace pyinfer
