#include "ops/tensor_list.h"

#include <algorithm>

#include "base/error.h"
#include "base/math.h"

namespace pyinfer {
namespace {

void copy_elements(DType dtype, const void* src, int64_t src_at, void* dst, int64_t dst_at, int64_t n) {
  if (n == 0) return;
  if (dtype == DType::kString) {
    std::copy_n(static_cast<const std::string*>(src) + src_at, n, static_cast<std::string*>(dst) + dst_at);
    return;
  }
  const size_t size = dtype_size(dtype);
  std::memcpy(static_cast<std::byte*>(dst) + static_cast<size_t>(dst_at) * size,
              static_cast<const std::byte*>(src) + static_cast<size_t>(src_at) * size,
              static_cast<size_t>(n) * size);
}

}  // namespace

Tensor new_tensor(DType dtype, const Shape& shape, const Limits& limits) {
  const auto bytes = checked_mul(shape.count(), static_cast<int64_t>(dtype_size(dtype)));
  require(bytes && *bytes <= limits.max_tensor_bytes, ErrorCode::kLimit, "a tensor of shape ", shape,
          " would exceed max_tensor_bytes=", limits.max_tensor_bytes);
  Tensor out(dtype, shape);
  if (dtype != DType::kString && *bytes > 0) std::memset(out.view().data, 0, out.bytes());
  return out;
}

Tensor copy_slice(const TensorView& x, int axis, int64_t begin, int64_t end) {
  Shape shape = x.shape;
  shape[axis] = end - begin;
  Tensor out(x.dtype, shape);
  const int64_t outer = x.shape.count(0, axis), inner = x.shape.count(axis + 1, x.shape.rank());
  for (int64_t o = 0; o < outer; ++o)
    copy_elements(x.dtype, x.data, (o * x.shape[axis] + begin) * inner, out.view().data,
                  o * (end - begin) * inner, (end - begin) * inner);
  return out;
}

Tensor join_tensors(std::span<const Tensor> parts, int64_t axis, bool stack, const Limits& limits,
                    std::string_view what) {
  require(!parts.empty(), ErrorCode::kInvalidInput, "no ", what, " to join");
  const DType dtype = parts[0].dtype();
  Shape shape = parts[0].shape();
  if (stack)
    require(shape.rank() < Shape::kMaxRank, ErrorCode::kLimit, "rank ", shape.rank() + 1, " is too high");
  const int at = normalize_axis(axis, shape.rank() + (stack ? 1 : 0));
  int64_t total = 0;
  for (const Tensor& part : parts) {
    Shape expected = parts[0].shape();
    const bool same_rank = part.shape().rank() == expected.rank();
    if (!stack && same_rank) expected[at] = part.shape()[at];
    require(part.dtype() == dtype && part.shape() == expected, ErrorCode::kInvalidInput, what,
            " do not fit together: ", dtype_name(dtype), parts[0].shape(), " and ", dtype_name(part.dtype()),
            part.shape());
    const auto sum = checked_add(total, stack ? 1 : part.shape()[at]);
    require(sum.has_value(), ErrorCode::kLimit, what, " are too long together");
    total = *sum;
  }
  if (stack)
    shape.insert(at, total);
  else
    shape[at] = total;
  Tensor out = new_tensor(dtype, shape, limits);
  const int64_t outer = shape.count(0, at), inner = shape.count(at + 1, shape.rank());
  int64_t done = 0;
  for (const Tensor& part : parts) {
    const int64_t length = stack ? 1 : part.shape()[at];
    for (int64_t o = 0; o < outer; ++o)
      copy_elements(dtype, part.view().data, o * length * inner, out.view().data, (o * total + done) * inner,
                    length * inner);
    done += length;
  }
  return out;
}

int64_t unshared_bytes(const Object& value) {
  const TensorView& view = value.tensor.view();
  const bool own = value.tensor.storage().use_count() == 1;
  int64_t sum = own ? static_cast<int64_t>(view.bytes()) + view.string_bytes() : 0;
  for (const Object& item : value.items) sum += static_cast<int64_t>(sizeof(Object)) + unshared_bytes(item);
  return sum;
}

int64_t TripOutput::append(const Object& value, const Limits& limits) {
  require(value.kind == Object::Kind::kTensor, ErrorCode::kInvalidModel,
          "an output of every trip must be a tensor");
  // Values without elements take room as well: bounds the trips whose outputs are kept.
  bytes_ += static_cast<int64_t>(value.tensor.bytes()) + value.tensor.view().string_bytes() + 1;
  require(bytes_ <= limits.max_tensor_bytes, ErrorCode::kLimit,
          "the outputs of all trips would exceed max_tensor_bytes=", limits.max_tensor_bytes);
  parts_.push_back(value.tensor);
  return bytes_ + static_cast<int64_t>(parts_.size() * sizeof(Tensor));
}

Tensor TripOutput::join(const Tensor& empty, const Limits& limits) {
  if (parts_.empty()) return empty;
  if (reverse_) std::ranges::reverse(parts_);
  Tensor joined = join_tensors(parts_, axis_, true, limits, "outputs of trips");
  parts_.clear();
  bytes_ = 0;
  return joined;
}

Tensor no_trips(const Graph& body, size_t output, DType dtype, int64_t axis) {
  Shape shape;
  if (const auto& declared = body.value(body.outputs[output]).shape)
    for (const Dim& d : *declared) shape.push_back(std::max<int64_t>(d.value, 0));
  require(shape.rank() < Shape::kMaxRank, ErrorCode::kLimit, "rank ", shape.rank() + 1, " is too high");
  shape.insert(normalize_axis(axis, shape.rank() + 1), 0);
  return {dtype, shape};
}

}  // namespace pyinfer
