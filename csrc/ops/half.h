// float16 and bfloat16 tensors are computed in float32: widened, computed, rounded once.
#pragma once

#include <cstdint>

#include "ops/run_context.h"
#include "tensor/dtype.h"

namespace pyinfer {

constexpr bool is_half(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

// float32 copies of `n` elements of type float32, float16 or bfloat16, and back. No overlap.
void widen(DType dtype, const void* from, float* to, int64_t n);
void narrow(DType dtype, const float* from, void* to, int64_t n);

// The same, spread over the workers.
void widen(const RunContext& ctx, DType dtype, const void* from, float* to, int64_t n);
void narrow(const RunContext& ctx, DType dtype, const float* from, void* to, int64_t n);

}  // namespace pyinfer
