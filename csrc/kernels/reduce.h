// Reductions of float32. x is [outer, reduce, inner], row-major; y is [outer, inner].
//
//   y(o, i) = finish(join over r of map(x(o, r, i)))
//
// Each result has one fixed order of additions, whatever the range, the thread or the instruction set. Where
// inner is 1, element r goes to lane r mod 16, and the lanes are joined by one tree (r and r + 8, then 4, 2,
// 1). Where inner is more, each result is a chain over ascending r for every kReduceRows of r, and these are
// joined in ascending order: one chain over all rows of an image would round ten times worse. x and y must
// not overlap.
#pragma once

#include <cstdint>

namespace pyinfer {

enum class ReduceKind : uint8_t {
  kSum,
  kMean,  // of nothing: NaN
  kMax,   // NaN when an element is; of nothing: -inf
  kMin,   // NaN when an element is; of nothing: +inf
  kProd,
  kSumSquare,
  kL1,         // sum |x|
  kL2,         // sqrt(sum x^2)
  kLogSum,     // log(sum x)
  kLogSumExp,  // m + log(sum exp(x - m)), m the maximum; m itself where that is infinite or NaN
};

inline constexpr int64_t kReduceRows = 64;

struct ReduceArgs {
  const float* x = nullptr;
  int64_t reduce = 0;
  int64_t inner = 1;
};

// The lanes of a sum that is fed piece by piece: element number i of all pieces together goes to lane i
// mod 16.
struct ReduceLanes {
  float lane[16];
  int next = 0;
};

struct ReduceKernels {
  // The results [begin, end) of y.
  void (*reduce)(ReduceKind kind, const ReduceArgs& args, float* y, int64_t begin, int64_t end);

  // The same for one result whose elements lie in several pieces: start, feed each in order, finish; `count`
  // is the number of elements fed. `start` and `finish` bracket any kind but kLogSumExp.
  void (*start)(ReduceKind kind, ReduceLanes& lanes);
  void (*feed)(ReduceKind kind, ReduceLanes& lanes, const float* x, int64_t n);
  float (*finish)(ReduceKind kind, const ReduceLanes& lanes, int64_t count);

  // The place along `reduce` (> 0) of the largest element, or the smallest: the first of equals, or the last.
  // NaN counts as more extreme than any number, as in NumPy.
  void (*arg_max)(const ReduceArgs& args, int64_t* y, int64_t begin, int64_t end, bool last);
  void (*arg_min)(const ReduceArgs& args, int64_t* y, int64_t begin, int64_t end, bool last);
};

}  // namespace pyinfer
