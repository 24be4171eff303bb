#include "ops/half.h"

#include <algorithm>

#include "kernels/kernel_table.h"

namespace pyinfer {
namespace {

constexpr int64_t kConvertGrain = 16384;

const void* at(DType dtype, const void* p, int64_t i) {
  return static_cast<const std::byte*>(p) + i * static_cast<int64_t>(dtype_size(dtype));
}

}  // namespace

void widen(DType dtype, const void* from, float* to, int64_t n) {
  if (dtype == DType::kFloat16)
    kernels().convert.f16_to_f32(static_cast<const Float16*>(from), to, n);
  else if (dtype == DType::kBFloat16)
    kernels().convert.bf16_to_f32(static_cast<const BFloat16*>(from), to, n);
  else
    std::copy_n(static_cast<const float*>(from), n, to);
}

void narrow(DType dtype, const float* from, void* to, int64_t n) {
  if (dtype == DType::kFloat16)
    kernels().convert.f32_to_f16(from, static_cast<Float16*>(to), n);
  else if (dtype == DType::kBFloat16)
    kernels().convert.f32_to_bf16(from, static_cast<BFloat16*>(to), n);
  else
    std::copy_n(from, n, static_cast<float*>(to));
}

void widen(const RunContext& ctx, DType dtype, const void* from, float* to, int64_t n) {
  ctx.parallel(n, kConvertGrain, [&](int64_t begin, int64_t end, int) {
    widen(dtype, at(dtype, from, begin), to + begin, end - begin);
  });
}

void narrow(const RunContext& ctx, DType dtype, const float* from, void* to, int64_t n) {
  ctx.parallel(n, kConvertGrain, [&](int64_t begin, int64_t end, int) {
    narrow(dtype, from + begin, const_cast<void*>(at(dtype, to, begin)), end - begin);
  });
}

}  // namespace pyinfer
