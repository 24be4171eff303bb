// Boxes of elements copied from inputs to outputs: the step of every operator that only moves data.
#pragma once

#include <vector>

#include "kernels/kernel_table.h"
#include "ops/op.h"

namespace pyinfer {

struct BoxCopy {
  CopyPlan plan;
  int input = 0;
  int output = 0;
  int64_t src_offset = 0;  // elements
  int64_t dst_offset = 0;  // elements
};

// What plan() leaves for copy_boxes().
struct BoxCopies final : StepState {
  std::vector<BoxCopy> boxes;
};

// Copies every element of a box; strings too. src and dst are the addresses of index 0.
void copy_box(const RunContext& ctx, const CopyPlan& plan, DType dtype, const void* src, void* dst);

// Copies all boxes of the state that plan() left.
void copy_boxes(const RunContext& ctx);

// The plan that copies `dims` elements of `dtype`; strides in elements.
CopyPlan plan_box(DType dtype, std::span<const int64_t> dims, std::span<const int64_t> src_strides,
                  std::span<const int64_t> dst_strides);

// Output 0 of shape `shape` is input 0 read through `src_strides` from element `offset` on. It becomes a view
// when that is the input as it lies.
void plan_strided_output(PlanContext& ctx, const Shape& shape, std::span<const int64_t> src_strides,
                         int64_t offset = 0);

// Sets every element of an output to `value`, an element of its type.
void fill_output(const RunContext& ctx, const TensorView& out, const void* value);

}  // namespace pyinfer
