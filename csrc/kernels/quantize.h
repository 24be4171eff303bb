// Linear quantization of contiguous runs. A step is 1, or 0 for an operand that is one element for the whole
// run. y may be x when both have elements of one type and overlaps nothing else; n may be 0.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace pyinfer {

// One operand of a sum or product of bytes: (x[i step] - zero) factor.
struct ByteTerm {
  const uint8_t* x = nullptr;
  int step = 1;      // or 0
  int32_t zero = 0;  // in the range of the type
  float factor = 0.0f;
};
enum class ByteCombination : uint8_t { kSum, kProduct };

struct QuantizeKernels {
  // y[i] = clamp(round(x[i] / s[i]) + z[i], range of `to`), to nearest with ties to even; NaN gives the low
  // end. `to` is an integer type of at most 16 bits; zero points lie in its range.
  void (*quantize)(const float* x, const float* s, int s_step, const int32_t* z, int z_step, DType to,
                   void* y, int64_t n);

  // y[i] = (x[i] - z[i]) * s[i], each step rounded to float32. `from` is float32 or an integer type of at
  // most 32 signed bits.
  void (*dequantize)(DType from, const void* x, const float* s, int s_step, const float* z, int z_step,
                     float* y, int64_t n);

  // y[i] = clamp(round(a_i + b_i) + y_zero, range of the type), or a_i b_i, each step rounded to float32; all
  // of uint8, or all of int8. NaN gives the low end.
  void (*combine_bytes)(ByteCombination kind, const ByteTerm& a, const ByteTerm& b, int32_t y_zero,
                        bool is_signed, uint8_t* y, int64_t n);

  // The least and the greatest of x and 0; NaNs do not count.
  void (*range_with_zero)(const float* x, int64_t n, float* low, float* high);
};

}  // namespace pyinfer
