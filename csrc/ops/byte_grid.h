// The scale and zero point of a whole 8-bit tensor, read from two inputs that follow each other:
//   dequantize(q) = (q - zero) * scale.  Without a zero point it is 0.
#pragma once

#include "ops/op.h"
#include "ops/requantize.h"

namespace pyinfer {

struct ByteGrid {
  float scale = 1.0f;
  int32_t zero = 0;
};

// The scale at `input` and the zero point after it.
inline ByteGrid read_grid(const RunContext& ctx, int input) {
  return {*ctx.in<float>(input), ctx.has(input + 1) ? byte_at(ctx.in(input + 1), 0) : 0};
}

// Throws unless both hold one value.
inline void check_grid(const PlanContext& ctx, int input) {
  for (int i : {input, input + 1})
    if (ctx.has(i))
      require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i, " has shape ", ctx.shape(i),
              ", expected one value");
}

// Throws unless `data` is of 8 bits and the grid at `input` fits it.
inline void expect_grid(const NodeContext& ctx, int data, int input) {
  ctx.expect_dtype(data, {DType::kInt8, DType::kUInt8});
  ctx.expect_dtype(input, {DType::kFloat32});
  if (ctx.has_input(input + 1)) ctx.expect_same_dtype(data, input + 1);
}

}  // namespace pyinfer
