#include "ops/index_input.h"

#include "base/error.h"

namespace pyinfer {
namespace {

[[noreturn]] void out_of_range(int64_t index, int64_t size) {
  fail(ErrorCode::kInvalidInput, "index ", index, " is out of range for a dimension of ", size);
}

template <class T>
void read(const T* indices, int64_t n, int64_t size, int64_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t index = indices[i];
    if (index < -size || index >= size) out_of_range(index, size);
    out[i] = index < 0 ? index + size : index;
  }
}

}  // namespace

void read_indices(const TensorView& indices, int64_t size, int64_t* out) {
  const int64_t n = indices.count();
  if (indices.dtype == DType::kInt32)
    read(indices.as<const int32_t>(), n, size, out);
  else
    read(indices.as<const int64_t>(), n, size, out);
}

void element_offsets(const Shape& shape, const Shape& data, int axis, int64_t* at) {
  if (shape.count() == 0) return;
  const auto strides = data.strides();
  const int last = shape.rank() - 1;
  const int64_t along = strides[static_cast<size_t>(axis)], width = shape[last], step = axis == last ? 0 : 1;
  std::array<int64_t, Shape::kMaxRank> index{};
  int64_t base = 0;  // offset of the line at `index` with index[axis] = 0
  for (int64_t line = shape.count(0, last); line > 0; --line, at += width) {
    for (int64_t i = 0; i < width; ++i) at[i] = base + i * step + at[i] * along;
    for (int d = last - 1; d >= 0; --d) {
      const auto k = static_cast<size_t>(d);
      const int64_t stride = d == axis ? 0 : strides[k];
      base += stride;
      if (++index[k] < shape[d]) break;
      base -= stride * shape[d];
      index[k] = 0;
    }
  }
}

int64_t row_offsets(const TensorView& indices, const Shape& data, int batch_dims, int64_t* rows) {
  const int last = indices.shape.rank() - 1;
  const int64_t depth = indices.shape[last];
  const int64_t batches = indices.shape.count(0, batch_dims), each = indices.shape.count(batch_dims, last);
  const auto* tuple = indices.as<const int64_t>();
  for (int64_t b = 0; b < batches; ++b) {
    for (int64_t i = 0; i < each; ++i, tuple += depth) {
      int64_t row = b;
      for (int64_t k = 0; k < depth; ++k) {
        const int64_t size = data[batch_dims + static_cast<int>(k)];
        if (tuple[k] < -size || tuple[k] >= size) out_of_range(tuple[k], size);
        row = row * size + (tuple[k] < 0 ? tuple[k] + size : tuple[k]);
      }
      *rows++ = row;
    }
  }
  return batches * each;
}

}  // namespace pyinfer
