#include "kernels/broadcast.h"

namespace pyinfer {

void detail::collapse_broadcast(const Shape& out, std::span<const Shape* const> operands, int& rank,
                                int64_t& count, int64_t* dims,
                                std::span<std::array<int64_t, Shape::kMaxRank>> strides) {
  // From the innermost dimension out: one of size 1 vanishes; one joins the dimension inside it when every
  // operand steps over both as over one.
  std::array<int64_t, Shape::kMaxRank> inner_dims{};
  std::array<std::array<int64_t, Shape::kMaxRank>, 4> inner_strides{};
  std::array<int64_t, 4> size{1, 1, 1, 1};  // elements of each operand in the dimensions seen so far
  const auto operand_count = operands.size();
  int found = 0;
  count = out.count();
  for (int d = out.rank() - 1; d >= 0; --d) {
    std::array<int64_t, 4> stride{};
    for (size_t k = 0; k < operand_count; ++k) {
      const int at = d - (out.rank() - operands[k]->rank());
      const int64_t dim = at >= 0 ? (*operands[k])[at] : 1;
      stride[k] = dim == 1 ? 0 : size[k];
      size[k] *= dim;
    }
    if (out[d] == 1) continue;
    bool joins = found > 0;
    for (size_t k = 0; k < operand_count && joins; ++k)
      joins = stride[k] == inner_strides[k][found - 1] * inner_dims[found - 1];
    if (joins) {
      inner_dims[found - 1] *= out[d];
      continue;
    }
    inner_dims[found] = out[d];
    for (size_t k = 0; k < operand_count; ++k) inner_strides[k][found] = stride[k];
    ++found;
  }
  if (found == 0) {
    inner_dims[0] = 1;
    found = 1;
  }
  rank = found;
  for (int d = 0; d < found; ++d) {
    dims[d] = inner_dims[found - 1 - d];
    for (size_t k = 0; k < operand_count; ++k) strides[k][d] = inner_strides[k][found - 1 - d];
  }
}

namespace {
const void* element(const void* base, int64_t index, size_t size) {
  return static_cast<const std::byte*>(base) + static_cast<size_t>(index) * size;
}
void* element(void* base, int64_t index, size_t size) {
  return static_cast<std::byte*>(base) + static_cast<size_t>(index) * size;
}
}  // namespace

void run_binary(const BinaryFns& fns, const BroadcastLoops<2>& loops, const void* a, const void* b,
                size_t operand_size, void* y, size_t result_size, int64_t begin, int64_t end) {
  // Both steps are 0 only when the output has one element.
  const BinaryFn fn = loops.step(0) == 0   ? fns.scalar_vector
                      : loops.step(1) == 0 ? fns.vector_scalar
                                           : fns.vector_vector;
  for_each_run(loops, begin, end, [&](int64_t at, const std::array<int64_t, 2>& offsets, int64_t n) {
    fn(element(a, offsets[0], operand_size), element(b, offsets[1], operand_size),
       element(y, at, result_size), n);
  });
}

void run_where(const ElementwiseKernels& kernels, const BroadcastLoops<3>& loops, const bool* c,
               const void* a, const void* b, size_t element_size, void* y, int64_t begin, int64_t end) {
  for_each_run(loops, begin, end, [&](int64_t at, const std::array<int64_t, 3>& offsets, int64_t n) {
    kernels.where(element_size, c + offsets[0], loops.step(0), element(a, offsets[1], element_size),
                  loops.step(1), element(b, offsets[2], element_size), loops.step(2),
                  element(y, at, element_size), n);
  });
}

}  // namespace pyinfer
