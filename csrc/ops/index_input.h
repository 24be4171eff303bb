// Index tensors, checked before any memory is touched through them.
#pragma once

#include "tensor/tensor.h"

namespace pyinfer {

// out[i] = indices[i], in [0, size) after a negative one has counted from the end. Throws
// Error(kInvalidInput) for one outside [-size, size).
void read_indices(const TensorView& indices, int64_t size, int64_t* out);

// at[i] becomes the offset in an array of shape `data` of the element at i with i[axis] = at[i], for every i
// of the box `shape`.
void element_offsets(const Shape& shape, const Shape& data, int axis, int64_t* at);

// The last dimension of int64 `indices` holds tuples that index the dimensions of `data` after `batch_dims`
// common ones. rows[i] becomes the number of the row (of the dimensions that are left) of tuple i; gives
// the number of tuples. Throws Error(kInvalidInput) for an index out of range.
int64_t row_offsets(const TensorView& indices, const Shape& data, int batch_dims, int64_t* rows);

}  // namespace pyinfer
