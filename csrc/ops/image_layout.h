// Between channels-first and channels-last images, spread over the workers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "ops/run_context.h"
#include "ops/work.h"

namespace pyinfer {

// dst(i, c, r) = src(i, r, c) for `count` matrices of rows x columns floats. No overlap.
inline void transpose_stack(const RunContext& ctx, const float* src, float* dst, int64_t count, int64_t rows,
                            int64_t columns) {
  constexpr int64_t kColumns = 16, kGoal = int64_t{1} << 16;
  const int64_t blocks = ceil_div(columns, kColumns);
  ctx.parallel(count * blocks, grain_for(kColumns * rows, kGoal), [&](int64_t begin, int64_t end, int) {
    while (begin < end) {
      const int64_t i = begin / blocks, first = begin % blocks, last = std::min(blocks, first + end - begin);
      const TransposeArgs args{.rows = rows,
                               .columns = columns,
                               .src = src + i * rows * columns,
                               .src_stride = columns,
                               .dst = dst + i * rows * columns,
                               .dst_stride = rows};
      kernels().layout.transpose(args, first * kColumns, std::min(last * kColumns, columns));
      begin += last - first;
    }
  });
}

}  // namespace pyinfer
