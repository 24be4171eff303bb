#include "tensor/tensor.h"

#include "base/aligned.h"
#include "base/error.h"

namespace pyinfer {

void copy_elements(const TensorView& from, void* to) {
  if (from.dtype == DType::kString)
    std::copy_n(from.as<std::string>(), from.count(), static_cast<std::string*>(to));
  else if (const size_t n = from.bytes(); n > 0)
    std::memcpy(to, from.data, n);
}

Tensor::Tensor(DType dtype, const Shape& shape) {
  view_ = {dtype, shape, nullptr};
  if (dtype == DType::kString) {
    auto strings = std::make_shared<std::vector<std::string>>(static_cast<size_t>(shape.count()));
    view_.data = strings->data();
    storage_ = std::move(strings);
  } else {
    auto bytes = std::make_shared<AlignedBytes>(std::max<size_t>(view_.bytes(), 1));
    view_.data = bytes->data();
    storage_ = std::move(bytes);
  }
}

Tensor::Tensor(DType dtype, const Shape& shape, const void* data, std::shared_ptr<const void> keep_alive)
    : view_{dtype, shape, const_cast<void*>(data)}, storage_(std::move(keep_alive)) {}

int64_t TensorView::longest_string() const {
  size_t longest = 0;
  if (dtype == DType::kString)
    for (const std::string& s : span<const std::string>()) longest = std::max(longest, s.size());
  return static_cast<int64_t>(longest);
}

int64_t TensorView::string_bytes() const {
  const size_t inside = std::string().capacity();
  size_t bytes = 0;
  if (dtype == DType::kString)
    for (const std::string& s : span<const std::string>())
      bytes += s.capacity() > inside ? s.capacity() + 1 : 0;
  return static_cast<int64_t>(bytes);
}

Tensor Tensor::copy_of(const TensorView& view) {
  Tensor t(view.dtype, view.shape);
  copy_elements(view, t.view_.data);
  return t;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  require(shape.count() == count(), ErrorCode::kInternal, "reshape of ", view_.shape, " to ", shape);
  Tensor t = *this;
  t.view_.shape = shape;
  return t;
}

std::vector<int64_t> to_int64s(const TensorView& view) {
  if (view.dtype == DType::kInt64) {
    const auto s = view.span<const int64_t>();
    return {s.begin(), s.end()};
  }
  require(view.dtype == DType::kInt32, ErrorCode::kInvalidModel, "expected an int64 or int32 tensor, got ",
          dtype_name(view.dtype));
  const auto s = view.span<const int32_t>();
  return {s.begin(), s.end()};
}

}  // namespace pyinfer
