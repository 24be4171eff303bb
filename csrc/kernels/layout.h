// Changes of layout of 4-byte elements.
#pragma once

#include <cstdint>

namespace pyinfer {

struct TransposeArgs {
  int64_t rows = 0, columns = 0;
  const float* src = nullptr;  // rows x columns, rows src_stride apart
  int64_t src_stride = 0;
  float* dst = nullptr;  // columns x rows, rows dst_stride apart; no overlap with src
  int64_t dst_stride = 0;
};

struct LayoutKernels {
  // dst(j,i) = src(i,j), bits unchanged, for columns j in [column_begin, column_end) of src, which are
  // rows of dst. An image goes from [C, HW] to [HW, C] with rows = C, and back with rows = HW.
  void (*transpose)(const TransposeArgs& args, int64_t column_begin, int64_t column_end);
};

}  // namespace pyinfer
