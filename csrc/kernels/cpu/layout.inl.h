// Body of the layout family (contract: kernels/layout.h).
#pragma once

#include "kernels/cpu/matrix_tile.inl.h"
#include "kernels/cpu/simd/vec.h"
#include "kernels/layout.h"

namespace pyinfer {
namespace {

// dst(j,i) = src(i,j) for rows x columns <= 16 x 16.
inline void transpose_corner(const float* src, int64_t src_stride, float* dst, int64_t dst_stride, int rows,
                             int columns) {
  float in[256] = {}, out[256];
  for (int i = 0; i < rows; ++i) store(in + i * 16, load_n(src + i * src_stride, columns));
  transpose_16x16(in, 16, out, 16);
  for (int j = 0; j < columns; ++j) store_n(dst + j * dst_stride, load(out + j * 16), rows);
}

inline void layout_transpose(const TransposeArgs& args, int64_t column_begin, int64_t column_end) {
  for (int64_t j = column_begin; j < column_end; j += 16) {
    const int columns = static_cast<int>(min_of(16, column_end - j));
    for (int64_t i = 0; i < args.rows; i += 16) {
      const int rows = static_cast<int>(min_of(16, args.rows - i));
      const float* src = args.src + i * args.src_stride + j;
      float* dst = args.dst + j * args.dst_stride + i;
      if (rows == 16 && columns == 16) {
        transpose_16x16(src, args.src_stride, dst, args.dst_stride);
      } else {
        transpose_corner(src, args.src_stride, dst, args.dst_stride, rows, columns);
      }
    }
  }
}

constexpr LayoutKernels kLayoutKernels = {.transpose = layout_transpose};

}  // namespace
}  // namespace pyinfer
