// Conversions between element types. Ranges may be split anywhere; x and y must not overlap.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/float_types.h"

namespace pyinfer {

struct ConvertKernels {
  // Exact.
  void (*f16_to_f32)(const Float16* x, float* y, int64_t n);
  void (*bf16_to_f32)(const BFloat16* x, float* y, int64_t n);
  // To nearest, ties to even; beyond the largest finite value: infinity.
  void (*f32_to_f16)(const float* x, Float16* y, int64_t n);
  void (*f32_to_bf16)(const float* x, BFloat16* y, int64_t n);
  // Between the usual pairs of bool, integers of 8 to 64 bits, float32 and float64, by the rules of
  // ops/convert.h; y may be x when both have elements of one size. False, and y untouched, for a pair that
  // has no loop here.
  bool (*plain)(DType from, const void* x, DType to, void* y, int64_t n);
};

}  // namespace pyinfer
