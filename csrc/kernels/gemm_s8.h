// Matrix product of 8-bit integers, exact:
//   C(i,j) = sum_k (A(i,k) - a_zero(i)) * (B(k,j) - b_zero(j))   modulo 2^32, as int32
// No intermediate saturates, whatever the operands.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm.h"

namespace pyinfer {

// Sums as bytes: Y(i,j) = clamp(round(float(C(i,j) + bias(j)) * multiplier(j)) + zero, low, high), the sum
// modulo 2^32, rounded to nearest with ties to even; NaN gives low.
struct S8Requantize {
  const int32_t* bias = nullptr;          // per column; null: 0
  const float* multiplier = nullptr;      // per column
  int32_t zero = 0, low = 0, high = 255;  // in the range of Y's type
  uint8_t* y = nullptr;                   // M x N of uint8 or int8, rows ldy apart; overlaps nothing else
  int64_t ldy = 0;
};

struct GemmS8Args {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;  // M x K of uint8 or int8
  bool a_signed = false;
  int64_t lda = 0;
  const int32_t* a_zero = nullptr;  // null: 0. In the range of A's type
  bool a_zero_per_row = false;      // else one for all rows
  const int8_t* b = nullptr;        // packed
  bool b_signed = false;            // the type B had before packing
  const int32_t* b_zero = nullptr;  // null: 0. In the range of B's type
  bool b_zero_per_column = false;   // else one for all columns
  int32_t* c = nullptr;             // M x N, rows ldc apart; overlaps nothing else
  int64_t ldc = 0;
  const S8Requantize* bytes = nullptr;  // where given, Y is written, and not C
};

struct PackS8Args {
  int64_t k = 0, n = 0;
  const void* b = nullptr;  // uint8 or int8
  bool b_signed = false;
  int64_t ldb = 0;           // elements between rows of the stored matrix
  bool transposed = false;   // false: stored K x N; true: stored N x K
  int8_t* packed = nullptr;  // packed_size(k, n) bytes, no overlap with b
};

struct GemmS8Kernels {
  // The packed layout belongs to the instruction set: pack and run with the same table.
  int64_t (*packed_size)(int64_t k, int64_t n);
  // Packs panels [panel_begin, panel_end) of panel_count(n).
  void (*pack_b)(const PackS8Args& args, int64_t panel_begin, int64_t panel_end);
  // Bytes of scratch for one call of run, aligned to 64. Independent of m.
  size_t (*scratch_bytes)(int64_t k);
  // Rows [row_begin, row_end) of panels [panel_begin, panel_end).
  void (*run)(const GemmS8Args& args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
              int64_t panel_end, void* scratch);
};

}  // namespace pyinfer
