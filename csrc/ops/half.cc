#include "ops/half.h"

#include "ops/dispatch.h"

namespace pyinfer {
namespace {

constexpr int64_t kConvertGrain = 16384;

const void* at(DType dtype, const void* p, int64_t i) {
  return static_cast<const std::byte*>(p) + i * static_cast<int64_t>(dtype_size(dtype));
}

}  // namespace

void widen(DType dtype, const void* from, float* to, int64_t n) {
  dispatch<float, Float16, BFloat16>(dtype, [&]<class T>() {
    const T* p = static_cast<const T*>(from);
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(p[i]);
  });
}

void narrow(DType dtype, const float* from, void* to, int64_t n) {
  dispatch<float, Float16, BFloat16>(dtype, [&]<class T>() {
    T* p = static_cast<T*>(to);
    for (int64_t i = 0; i < n; ++i) p[i] = T(from[i]);
  });
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
