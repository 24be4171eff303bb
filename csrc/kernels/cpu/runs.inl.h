// Walking runs of floats 16 at a time.
#pragma once

#include "kernels/cpu/simd/vec.h"

namespace pyinfer {
namespace {

// The first n of 16 lanes, 1 <= n <= 16: one well-predicted branch, so that a loop has its body once for
// whole vectors and the tail, and the compiler inlines long polynomials into it.
inline F32 load_upto(const float* p, int n) {
  return n == 16 ? load(p) : load_n(p, n);
}
inline void store_upto(float* p, F32 v, int n) {
  if (n == 16) {
    store(p, v);
  } else {
    store_n(p, v, n);
  }
}

// use(at, count) for the vectors of a run: 16 elements each, the last perhaps fewer.
template <class Use>
inline void each_vector(int64_t n, Use use) {
  for (int64_t i = 0; i < n; i += 16) use(i, n - i < 16 ? static_cast<int>(n - i) : 16);
}

// y = op(x). y may be x. Everything is inlined: F32 passed to a function goes through memory.
template <class Op>
[[gnu::flatten]] void map_run(const float* x, float* y, int64_t n, Op op) {
  each_vector(n, [&](int64_t i, int count) { store_upto(y + i, op(load_upto(x + i, count)), count); });
}

}  // namespace
}  // namespace pyinfer
