// NumPy broadcasting as loops over contiguous runs.
//
// plan_broadcast collapses the shapes of N contiguous operands against the output's shape into as few
// dimensions as it can; for_each_run walks any range of the output and hands each run to an inner kernel. In
// a run the output is contiguous, and each operand is contiguous (step 1) or one element (step 0).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/elementwise.h"
#include "tensor/shape.h"

namespace pyinfer {

// Outermost dimension first. rank >= 1, all dims positive unless count is 0.
template <int N>
struct BroadcastLoops {
  int rank = 1;
  int64_t count = 0;  // elements of the output
  std::array<int64_t, Shape::kMaxRank> dims{};
  std::array<std::array<int64_t, Shape::kMaxRank>, N>
      strides{};  // in elements of that operand; 0 where it repeats

  int step(int operand) const { return static_cast<int>(strides[operand][rank - 1]); }
  int64_t run_length() const { return dims[rank - 1]; }
};

namespace detail {
void collapse_broadcast(const Shape& out, std::span<const Shape* const> operands, int& rank, int64_t& count,
                        int64_t* dims, std::span<std::array<int64_t, Shape::kMaxRank>> strides);
}

// Precondition: each operand broadcasts to `out`. plan_broadcast(out, a, b) gives BroadcastLoops<2>.
template <class... Shapes>
BroadcastLoops<sizeof...(Shapes)> plan_broadcast(const Shape& out, const Shapes&... operands) {
  BroadcastLoops<sizeof...(Shapes)> loops;
  const Shape* const list[] = {&operands...};
  detail::collapse_broadcast(out, list, loops.rank, loops.count, loops.dims.data(), loops.strides);
  return loops;
}

// Calls fn(y, offsets, n) for runs that cover the output's elements [begin, end) in order: y is the first
// element's index, offsets[k] that of operand k. Any split of the output gives the same elements.
template <int N, class Fn>
void for_each_run(const BroadcastLoops<N>& loops, int64_t begin, int64_t end, Fn fn) {
  if (begin >= end) return;
  const int inner = loops.rank - 1;
  std::array<int64_t, Shape::kMaxRank> index{};
  std::array<int64_t, N> row{};  // offsets of the first element of the current inner row
  int64_t rest = begin;
  for (int d = inner; d >= 0; --d) {
    index[d] = rest % loops.dims[d];
    rest /= loops.dims[d];
    if (d < inner)
      for (int k = 0; k < N; ++k) row[k] += index[d] * loops.strides[k][d];
  }
  for (int64_t at = begin, first = index[inner]; at < end; first = 0) {
    const int64_t n = std::min(loops.dims[inner] - first, end - at);
    std::array<int64_t, N> offsets = row;
    for (int k = 0; k < N; ++k) offsets[k] += first * loops.strides[k][inner];
    fn(at, offsets, n);
    at += n;
    for (int d = inner - 1; d >= 0; --d) {
      for (int k = 0; k < N; ++k) row[k] += loops.strides[k][d];
      if (++index[d] < loops.dims[d]) break;
      for (int k = 0; k < N; ++k) row[k] -= loops.dims[d] * loops.strides[k][d];
      index[d] = 0;
    }
  }
}

// y = f(a, b) for the output's elements [begin, end); sizes are those of one element in bytes.
void run_binary(const BinaryFns& fns, const BroadcastLoops<2>& loops, const void* a, const void* b,
                size_t operand_size, void* y, size_t result_size, int64_t begin, int64_t end);

// y = c ? a : b for the output's elements [begin, end); operands in the order c, a, b.
void run_where(const ElementwiseKernels& kernels, const BroadcastLoops<3>& loops, const bool* c,
               const void* a, const void* b, size_t element_size, void* y, int64_t begin, int64_t end);

}  // namespace pyinfer
