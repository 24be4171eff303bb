// What elementwise operators share: how a broadcast binary loop is planned and run over the workers.
#pragma once

#include <cstring>
#include <memory>

#include "kernels/broadcast.h"
#include "kernels/elementwise.h"
#include "ops/op.h"

namespace pyinfer {

// Elements that one worker takes at a time; some ten microseconds of a cheap operation.
inline constexpr int64_t kElementwiseGrain = 32768;
// The same for operations of tens of instructions an element.
inline constexpr int64_t kHeavyGrain = 8192;

template <int N>
struct WalkState final : StepState {
  WalkState(const Shape& out, const std::array<const Shape*, N>& operands) : walk(out, operands) {}
  BroadcastWalk<N> walk;
};

// y[i] = y[0] for elements of `size` bytes.
inline void fill_from_first(std::byte* y, size_t size, int64_t n) {
  for (int64_t i = 1; i < n; ++i) std::memcpy(y + static_cast<size_t>(i) * size, y, size);
}

// An operand or a result of which element `first` lies at `data`: a whole tensor, or the part of one that a
// buffer holds.
struct ElementRange {
  std::byte* data;
  int64_t size;  // bytes of an element
  int64_t first = 0;
  ElementRange(const void* d, size_t s, int64_t f)  // an operand is only read
      : data(static_cast<std::byte*>(const_cast<void*>(d))), size(static_cast<int64_t>(s)), first(f) {}
  ElementRange(const TensorView& t) : ElementRange(t.data, dtype_size(t.dtype), 0) {}
  std::byte* at(int64_t i) const { return data + (i - first) * size; }
};

// y = f(a, b) over the output elements [begin, end) of `walk`. y may be an operand of the output's shape.
inline void binary_range(const BroadcastWalk<2>& walk, const BinaryFns& fns, const ElementRange& a,
                         const ElementRange& b, const ElementRange& y, int64_t begin, int64_t end) {
  // Where the output is larger than both operands, a run may move neither.
  const bool constant = walk.step(0) == 0 && walk.step(1) == 0;
  const BinaryFn f = constant            ? fns.vector_vector
                     : walk.step(0) == 0 ? fns.scalar_vector
                     : walk.step(1) == 0 ? fns.vector_scalar
                                         : fns.vector_vector;
  walk.walk(begin, end, [&](const std::array<int64_t, 2>& at, int64_t out, int64_t n) {
    std::byte* to = y.at(out);
    f(a.at(at[0]), b.at(at[1]), to, constant ? 1 : n);
    if (constant) fill_from_first(to, static_cast<size_t>(y.size), n);
  });
}

inline void run_binary(const RunContext& ctx, const BroadcastWalk<2>& walk, const BinaryFns& fns,
                       const TensorView& a, const TensorView& b, const TensorView& y,
                       int64_t grain = kElementwiseGrain) {
  ctx.parallel(walk.count(), grain,
               [&](int64_t begin, int64_t end, int) { binary_range(walk, fns, a, b, y, begin, end); });
}

// Plans output 0 as inputs 0 and 1 broadcast together, computed in place where shapes and sizes allow.
inline void plan_binary(PlanContext& ctx, DType out_dtype) {
  const Shape &a = ctx.shape(0), &b = ctx.shape(1);
  const Shape out = broadcast_shapes(a, b);
  ctx.output(0, out);
  ctx.state(std::make_unique<WalkState<2>>(out, std::array{&a, &b}));
  for (int i : {0, 1})
    if (ctx.shape(i) == out && dtype_size(ctx.dtype(i)) == dtype_size(out_dtype)) ctx.reuse(0, i);
  ctx.flops(out.count());
}

}  // namespace pyinfer
