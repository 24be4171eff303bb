// Tensors cut into slices and put together again, outside of any plan: the elements of sequences, and what
// the bodies of loops take and give.
#pragma once

#include <span>
#include <vector>

#include "base/limits.h"
#include "graph/graph.h"

namespace pyinfer {

// Zeros or empty strings. Throws Error(kLimit) over max_tensor_bytes.
Tensor new_tensor(DType dtype, const Shape& shape, const Limits& limits);

// x[..., begin:end, ...] along `axis`, copied.
Tensor copy_slice(const TensorView& x, int axis, int64_t begin, int64_t end);

// One tensor of parts along `axis`. With `stack` that is a new axis and all parts have one shape; else their
// shapes agree in the other axes. `what` names a part in messages. Throws Error(kInvalidInput) when they do
// not fit together, Error(kLimit) over max_tensor_bytes.
Tensor join_tensors(std::span<const Tensor> parts, int64_t axis, bool stack, const Limits& limits,
                    std::string_view what);

// Bytes of the lists of the value, and of the elements of those of its tensors whose storage nobody else
// holds.
int64_t unshared_bytes(const Object& value);

// What a loop gives trip after trip, put together along a new axis.
class TripOutput {
 public:
  TripOutput(int64_t axis, bool reverse) : axis_(axis), reverse_(reverse) {}
  // Returns the bytes that all appended so far take.
  int64_t append(const Object& value, const Limits& limits);
  // `empty` is the result of no trips.
  Tensor join(const Tensor& empty, const Limits& limits);

 private:
  int64_t axis_;
  bool reverse_;
  int64_t bytes_ = 0;
  std::vector<Tensor> parts_;
};

// What TripOutput joins to after no trips: the declared dimensions of output `output` of `body`, 0 for those
// that are not known, and 0 along the new axis.
Tensor no_trips(const Graph& body, size_t output, DType dtype, int64_t axis);

}  // namespace pyinfer
