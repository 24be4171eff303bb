// What this CPU can do at most, to hold the other kernels against.
#pragma once

#include <cstdint>

namespace pyinfer {

inline constexpr int64_t kRooflineBlock = 48;  // floats

struct RooflineKernels {
  // `rounds` times acc = acc * x + x on as many independent vectors as stay in registers; 0 < x < 1 keeps
  // the values normal. Returns something that depends on all of them.
  float (*multiply_add)(int64_t rounds, float x);
  int64_t flops_per_round;
  // The sum of n floats, in no particular order; n is a multiple of kRooflineBlock.
  float (*read)(const float* src, int64_t n);
  // dst(i) = src(i) with plain stores; n is a multiple of kRooflineBlock; no overlap.
  void (*copy)(const float* src, float* dst, int64_t n);
};

}  // namespace pyinfer
