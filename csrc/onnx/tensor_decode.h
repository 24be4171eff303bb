// TensorProto to Tensor.
#pragma once

#include <memory>

#include "base/limits.h"
#include "onnx/external_data.h"
#include "onnx/proto.h"
#include "tensor/tensor.h"

namespace pyinfer::onnx {

// Where the bytes of a model's tensors are.
struct DataSource {
  const Limits& limits;
  // Keeps the parsed bytes valid. Null: raw_data is always copied.
  std::shared_ptr<const void> keep_alive;
  // Null: external data is an error.
  ExternalData* external = nullptr;
  // The mapped file that holds the parsed bytes, when there is one: what was copied from it is given back.
  const MappedFile* file = nullptr;

  void release(std::span<const std::byte> bytes) const {
    if (file) file->release(bytes.data(), bytes.size());
    if (external) external->release(bytes.data(), bytes.size());
  }
};

// Little-endian raw_data and external data of the element's alignment are borrowed, all else is copied.
// Types of 2 and 4 bits are unpacked, first element in the low bits. A tensor must hold exactly the
// elements that its dimensions declare, in one place; this is checked before anything is allocated.
// Throws Error(kInvalidModel), Error(kUnsupported) for types without a DType and for segments,
// Error(kLimit) over max_tensor_bytes, and Error(kIo). The messages name the tensor.
Tensor decode_tensor(const TensorProto& proto, const DataSource& source);

// The dense tensor: zeros (empty strings), and `values` at `indices`, which are int64, either [N] into
// the flattened tensor or [N, rank], in any order, each at most once. Its name is that of `values`.
Tensor decode_sparse_tensor(const SparseTensorProto& proto, const DataSource& source);

}  // namespace pyinfer::onnx
