// Body of ConvertKernels::plain: plain loops that the compiler vectorises. Types of up to 32 bits meet in
// int32, a block at a time.
#pragma once

#include "kernels/convert.h"

namespace pyinfer {
namespace {

// Toward zero; out of range saturates, NaN gives 0. The conversion itself sees only what fits, without a
// branch.
inline int32_t truncate_to_i32(float v) {
  constexpr float kTop = 2147483648.0f, kLargest = 2147483520.0f;
  float c = v > -kTop ? v : -kTop;
  c = c < kLargest ? c : kLargest;
  int32_t r = static_cast<int32_t>(c);
  r = v >= kTop ? 0x7fffffff : r;
  return v != v ? 0 : r;
}
inline int64_t truncate_to_i64(float v) {
  constexpr float kTop = 9223372036854775808.0f, kLargest = 9223371487098961920.0f;
  float c = v > -kTop ? v : -kTop;
  c = c < kLargest ? c : kLargest;
  int64_t r = static_cast<int64_t>(c);
  r = v >= kTop ? 0x7fffffffffffffff : r;
  return v != v ? 0 : r;
}

// y[i] = f(x[i]) from x of From to y of To.
template <class From, class To, class F>
bool convert_loop(const void* x, void* y, int64_t n, F f) {
  const From* p = static_cast<const From*>(x);
  To* out = static_cast<To*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<To>(f(p[i]));
  return true;
}
template <class From, class To>
bool convert_loop(const void* x, void* y, int64_t n) {
  return convert_loop<From, To>(x, y, n, [](From v) { return static_cast<To>(v); });
}

bool convert_from_i32(const void* x, DType to, void* y, int64_t n) {
  switch (to) {
    case DType::kBool: return convert_loop<int32_t, uint8_t>(x, y, n, [](int32_t v) { return v != 0; });
    case DType::kInt8:
    case DType::kUInt8: return convert_loop<int32_t, uint8_t>(x, y, n);
    case DType::kInt16:
    case DType::kUInt16: return convert_loop<int32_t, uint16_t>(x, y, n);
    case DType::kInt32:
    case DType::kUInt32: return convert_loop<int32_t, int32_t>(x, y, n);
    case DType::kInt64:
    case DType::kUInt64: return convert_loop<int32_t, int64_t>(x, y, n);
    case DType::kFloat32: return convert_loop<int32_t, float>(x, y, n);
    case DType::kFloat64: return convert_loop<int32_t, double>(x, y, n);
    default: return false;
  }
}

// From From by way of a block of int32.
template <class From, class F>
bool convert_by_i32(const void* x, DType to, void* y, int64_t n, F f) {
  constexpr int64_t kBlock = 512;
  int32_t block[kBlock];
  // Asks once whether there is a loop, with nothing to do.
  if (!convert_from_i32(block, to, y, 0)) return false;
  const From* p = static_cast<const From*>(x);
  auto* out = static_cast<unsigned char*>(y);
  const int64_t size = to == DType::kInt64 || to == DType::kUInt64 || to == DType::kFloat64   ? 8
                       : to == DType::kInt32 || to == DType::kUInt32 || to == DType::kFloat32 ? 4
                       : to == DType::kInt16 || to == DType::kUInt16                          ? 2
                                                                                              : 1;
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = n - i < kBlock ? n - i : kBlock;
    convert_loop<From, int32_t>(p + i, block, m, f);
    convert_from_i32(block, to, out + i * size, m);
  }
  return true;
}
template <class From>
bool convert_by_i32(const void* x, DType to, void* y, int64_t n) {
  return convert_by_i32<From>(x, to, y, n, [](From v) { return static_cast<int32_t>(v); });
}

bool convert_from_i64(const void* x, DType to, void* y, int64_t n) {
  switch (to) {
    case DType::kBool: return convert_loop<int64_t, uint8_t>(x, y, n, [](int64_t v) { return v != 0; });
    case DType::kInt32:
    case DType::kUInt32: return convert_loop<int64_t, uint32_t>(x, y, n);
    case DType::kFloat32: return convert_loop<int64_t, float>(x, y, n);
    case DType::kFloat64: return convert_loop<int64_t, double>(x, y, n);
    default: return false;
  }
}

bool convert_from_f32(const void* x, DType to, void* y, int64_t n) {
  switch (to) {
    case DType::kBool: return convert_loop<float, uint8_t>(x, y, n, [](float v) { return v != 0.0f; });
    case DType::kInt32: return convert_loop<float, int32_t>(x, y, n, truncate_to_i32);
    case DType::kInt64: return convert_loop<float, int64_t>(x, y, n, truncate_to_i64);
    case DType::kFloat64: return convert_loop<float, double>(x, y, n);
    case DType::kInt8:
    case DType::kUInt8:
    case DType::kInt16:
    case DType::kUInt16:
      return convert_by_i32<float>(x, to, y, n, [](float v) { return truncate_to_i32(v); });
    default: return false;
  }
}

bool convert_plain(DType from, const void* x, DType to, void* y, int64_t n) {
  switch (from) {
    case DType::kBool:
    case DType::kUInt8: return convert_by_i32<uint8_t>(x, to, y, n);
    case DType::kInt8: return convert_by_i32<int8_t>(x, to, y, n);
    case DType::kUInt16: return convert_by_i32<uint16_t>(x, to, y, n);
    case DType::kInt16: return convert_by_i32<int16_t>(x, to, y, n);
    case DType::kInt32: return convert_from_i32(x, to, y, n);
    case DType::kInt64: return convert_from_i64(x, to, y, n);
    case DType::kFloat32: return convert_from_f32(x, to, y, n);
    case DType::kFloat64: return to == DType::kFloat32 && convert_loop<double, float>(x, y, n);
    default: return false;
  }
}

}  // namespace
}  // namespace pyinfer
