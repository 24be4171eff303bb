// Every type converts through one of five wide forms (int32, int64, uint64, float, double), a block at a
// time: the number of loops grows with the number of types, not with its square.
#include "ops/convert.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "kernels/kernel_table.h"

namespace pyinfer {
namespace {

constexpr int64_t kBlock = 512;

// The float next to d such that rounding it to a type of at most 22 mantissa bits gives what rounding d
// itself gives: inexact results get an odd last bit (von Neumann rounding).
float round_to_odd(double d) {
  const float f = static_cast<float>(d);
  if (static_cast<double>(f) == d || f != f) return f;
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  if (bits & 1u) return f;
  const bool too_large = std::abs(static_cast<double>(f)) > std::abs(d);
  return std::bit_cast<float>(too_large ? bits - 1 : bits + 1);
}

// To an integer of W's width, toward zero; out of range saturates, NaN is 0.
template <class I, class W>
I truncate(W v) {
  // Powers of two: exact in float and double.
  constexpr W kTop = static_cast<W>(std::numeric_limits<I>::max() / 2 + 1) * W{2};
  constexpr W kBottom = static_cast<W>(std::numeric_limits<I>::min());
  if (!(v < kTop)) return v != v ? I{0} : std::numeric_limits<I>::max();
  return v < kBottom ? std::numeric_limits<I>::min() : static_cast<I>(v);
}

template <class W>
constexpr bool kIsFraction = std::is_floating_point_v<W>;

// The low `kBits` bits of v, sign-extended when T is signed.
template <class T, int kBits, class W>
T low_bits(W v) {
  const auto u = static_cast<uint32_t>(v);
  if constexpr (std::is_signed_v<T>)
    return static_cast<T>(static_cast<int32_t>(u << (32 - kBits)) >> (32 - kBits));
  else
    return static_cast<T>(u & ((1u << kBits) - 1));
}

Float8E8M0 to_e8m0(float f, const ConvertOptions& options) {
  if (options.e8m0_round == RoundMode::kUp) return Float8E8M0(f, options.saturate);
  const uint32_t bits = std::bit_cast<uint32_t>(f) & 0x7fffffffu;
  const uint32_t exponent = bits >> 23, fraction = bits & 0x7fffffu;
  Float8E8M0 y;
  if (bits > 0x7f800000u) {
    y.bits = 255;
    return y;
  }
  // A tie rounds up, except between zero and the smallest power.
  const bool up = options.e8m0_round == RoundMode::kNearest &&
                  (fraction > 0x400000u || (fraction == 0x400000u && exponent > 0));
  y.bits = static_cast<uint8_t>(std::min(exponent + (up ? 1u : 0u), options.saturate ? 254u : 255u));
  return y;
}

// One element of type kTo from a wide form.
template <DType kTo, class W>
auto narrow(W v, const ConvertOptions& options) {
  using enum DType;
  if constexpr (kTo == kBool) {
    return v != W{0};
  } else if constexpr (kTo == kFloat32) {
    return static_cast<float>(v);
  } else if constexpr (kTo == kFloat64) {
    return static_cast<double>(v);
  } else if constexpr (kTo == kUInt64) {
    if constexpr (kIsFraction<W>)
      return v < W{0} ? static_cast<uint64_t>(truncate<int64_t>(v)) : truncate<uint64_t>(v);
    else
      return static_cast<uint64_t>(v);
  } else if constexpr (kTo == kInt64 || kTo == kUInt32) {
    using T = std::conditional_t<kTo == kInt64, int64_t, uint32_t>;
    if constexpr (kIsFraction<W>)
      return static_cast<T>(truncate<int64_t>(v));
    else
      return static_cast<T>(v);
  } else if constexpr (kIsFraction<W> &&
                       (kTo == kInt32 || kTo == kInt16 || kTo == kUInt16 || kTo == kInt8 || kTo == kUInt8 ||
                        kTo == kInt4 || kTo == kUInt4 || kTo == kInt2 || kTo == kUInt2)) {
    return narrow<kTo>(truncate<int32_t>(v), options);
  } else if constexpr (kTo == kInt32) {
    return static_cast<int32_t>(v);
  } else if constexpr (kTo == kInt16) {
    return static_cast<int16_t>(v);
  } else if constexpr (kTo == kUInt16) {
    return static_cast<uint16_t>(v);
  } else if constexpr (kTo == kInt8) {
    return static_cast<int8_t>(v);
  } else if constexpr (kTo == kUInt8) {
    return static_cast<uint8_t>(v);
  } else if constexpr (kTo == kInt4) {
    return low_bits<int8_t, 4>(v);
  } else if constexpr (kTo == kUInt4) {
    return low_bits<uint8_t, 4>(v);
  } else if constexpr (kTo == kInt2) {
    return low_bits<int8_t, 2>(v);
  } else if constexpr (kTo == kUInt2) {
    return low_bits<uint8_t, 2>(v);
  } else if constexpr (!std::is_same_v<W, float>) {
    if constexpr (std::is_same_v<W, double>)
      return narrow<kTo>(round_to_odd(v), options);
    else
      return narrow<kTo>(round_to_odd(static_cast<double>(v)), options);
  } else if constexpr (kTo == kFloat16) {
    return Float16(v);
  } else if constexpr (kTo == kBFloat16) {
    return BFloat16(v);
  } else if constexpr (kTo == kFloat8E4M3FN) {
    return Float8E4M3FN(v, options.saturate);
  } else if constexpr (kTo == kFloat8E4M3FNUZ) {
    return Float8E4M3FNUZ(v, options.saturate);
  } else if constexpr (kTo == kFloat8E5M2) {
    return Float8E5M2(v, options.saturate);
  } else if constexpr (kTo == kFloat8E5M2FNUZ) {
    return Float8E5M2FNUZ(v, options.saturate);
  } else if constexpr (kTo == kFloat8E8M0) {
    return to_e8m0(v, options);
  } else if constexpr (kTo == kFloat6E2M3) {
    return Float6E2M3(v, true);
  } else if constexpr (kTo == kFloat6E3M2) {
    return Float6E3M2(v, true);
  } else {
    static_assert(kTo == kFloat4E2M1);
    return Float4E2M1(v, true);
  }
}

template <DType kTo, class W>
void narrow_loop(const W* x, void* y, int64_t n, const ConvertOptions& options) {
  using T = decltype(narrow<kTo>(W{}, options));
  T* out = static_cast<T*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = narrow<kTo>(x[i], options);
}

template <class W>
void narrow_block(const W* x, DType to, void* y, int64_t n, const ConvertOptions& options) {
  switch (to) {
#define PYINFER_CASE(D) \
  case DType::D: return narrow_loop<DType::D>(x, y, n, options);
    PYINFER_CASE(kFloat32)
    PYINFER_CASE(kFloat64)
    PYINFER_CASE(kFloat16)
    PYINFER_CASE(kBFloat16)
    PYINFER_CASE(kBool)
    PYINFER_CASE(kInt8)
    PYINFER_CASE(kInt16)
    PYINFER_CASE(kInt32)
    PYINFER_CASE(kInt64)
    PYINFER_CASE(kUInt8)
    PYINFER_CASE(kUInt16)
    PYINFER_CASE(kUInt32)
    PYINFER_CASE(kUInt64)
    PYINFER_CASE(kInt4)
    PYINFER_CASE(kUInt4)
    PYINFER_CASE(kInt2)
    PYINFER_CASE(kUInt2)
    PYINFER_CASE(kFloat8E4M3FN)
    PYINFER_CASE(kFloat8E4M3FNUZ)
    PYINFER_CASE(kFloat8E5M2)
    PYINFER_CASE(kFloat8E5M2FNUZ)
    PYINFER_CASE(kFloat8E8M0)
    PYINFER_CASE(kFloat4E2M1)
    PYINFER_CASE(kFloat6E2M3)
    PYINFER_CASE(kFloat6E3M2)
#undef PYINFER_CASE
    default: fail(ErrorCode::kInternal, "no conversion to ", dtype_name(to));
  }
}

template <class T, class W>
void widen(const void* x, W* wide, int64_t n) {
  const T* p = static_cast<const T*>(x);
  for (int64_t i = 0; i < n; ++i) wide[i] = static_cast<W>(p[i]);
}

template <class W>
using Widen = void (*)(const void* x, W* wide, int64_t n);

template <class W>
void through(Widen<W> load, const std::byte* x, size_t x_size, DType to, std::byte* y, int64_t n,
             const ConvertOptions& options) {
  alignas(64) W wide[kBlock];
  const size_t y_size = dtype_size(to);
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = std::min(kBlock, n - i);
    load(x + static_cast<size_t>(i) * x_size, wide, m);
    narrow_block(wide, to, y + static_cast<size_t>(i) * y_size, m, options);
  }
}

// "inf", "nan" and the like are the caller's.
template <class F>
std::string shortest(F v) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, v).ptr;
  return {text, end};
}

std::string float_text(double v, bool is_f64) {
  if (v != v) return "NaN";
  if (std::isinf(v)) return v > 0 ? "INF" : "-INF";
  return is_f64 ? shortest(v) : shortest(static_cast<float>(v));
}

}  // namespace

void convert(DType from, const void* x, DType to, void* y, int64_t n, const ConvertOptions& options) {
  const auto* in = static_cast<const std::byte*>(x);
  auto* out = static_cast<std::byte*>(y);
  const size_t size = dtype_size(from);
  if (from == to) {
    if (n > 0) std::memmove(y, x, static_cast<size_t>(n) * size);
    return;
  }
  const ConvertKernels& k = kernels().convert;
  const auto* f32 = static_cast<const float*>(x);
  if (from == DType::kFloat32 && to == DType::kFloat16) return k.f32_to_f16(f32, static_cast<Float16*>(y), n);
  if (from == DType::kFloat32 && to == DType::kBFloat16)
    return k.f32_to_bf16(f32, static_cast<BFloat16*>(y), n);
  if (to == DType::kFloat32 && from == DType::kFloat16)
    return k.f16_to_f32(static_cast<const Float16*>(x), static_cast<float*>(y), n);
  if (to == DType::kFloat32 && from == DType::kBFloat16)
    return k.bf16_to_f32(static_cast<const BFloat16*>(x), static_cast<float*>(y), n);
  if (k.plain(from, x, to, y, n)) return;
  switch (from) {
#define PYINFER_CASE(D, T, W) \
  case DType::D: return through<W>(widen<T, W>, in, size, to, out, n, options);
    PYINFER_CASE(kFloat32, float, float)
    PYINFER_CASE(kFloat64, double, double)
    PYINFER_CASE(kFloat8E4M3FN, Float8E4M3FN, float)
    PYINFER_CASE(kFloat8E4M3FNUZ, Float8E4M3FNUZ, float)
    PYINFER_CASE(kFloat8E5M2, Float8E5M2, float)
    PYINFER_CASE(kFloat8E5M2FNUZ, Float8E5M2FNUZ, float)
    PYINFER_CASE(kFloat8E8M0, Float8E8M0, float)
    PYINFER_CASE(kFloat4E2M1, Float4E2M1, float)
    PYINFER_CASE(kFloat6E2M3, Float6E2M3, float)
    PYINFER_CASE(kFloat6E3M2, Float6E3M2, float)
    PYINFER_CASE(kBool, uint8_t, int32_t)
    PYINFER_CASE(kInt8, int8_t, int32_t)
    PYINFER_CASE(kInt4, int8_t, int32_t)
    PYINFER_CASE(kInt2, int8_t, int32_t)
    PYINFER_CASE(kUInt8, uint8_t, int32_t)
    PYINFER_CASE(kUInt4, uint8_t, int32_t)
    PYINFER_CASE(kUInt2, uint8_t, int32_t)
    PYINFER_CASE(kInt16, int16_t, int32_t)
    PYINFER_CASE(kUInt16, uint16_t, int32_t)
    PYINFER_CASE(kInt32, int32_t, int32_t)
    PYINFER_CASE(kUInt32, uint32_t, int64_t)
    PYINFER_CASE(kInt64, int64_t, int64_t)
    PYINFER_CASE(kUInt64, uint64_t, uint64_t)
#undef PYINFER_CASE
    case DType::kFloat16:
      return through<float>(
          [](const void* p, float* w, int64_t m) {
            kernels().convert.f16_to_f32(static_cast<const Float16*>(p), w, m);
          },
          in, size, to, out, n, options);
    case DType::kBFloat16:
      return through<float>(
          [](const void* p, float* w, int64_t m) {
            kernels().convert.bf16_to_f32(static_cast<const BFloat16*>(p), w, m);
          },
          in, size, to, out, n, options);
    default: fail(ErrorCode::kInternal, "no conversion from ", dtype_name(from));
  }
}

double number_from_string(const std::string& s) {
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  const char *p = s.data(), *end = p + s.size();
  while (p < end && is_space(*p)) ++p;
  while (p < end && is_space(end[-1])) --end;
  // from_chars takes no plus sign, but everything else: decimal, scientific, inf and nan in any case.
  if (p < end && *p == '+') ++p;
  double v = 0;
  const auto [stop, error] = std::from_chars(p, end, v);
  require(stop == end && p < end && error != std::errc::invalid_argument &&
              !(p[0] == '-' && p > s.data() && p[-1] == '+'),
          ErrorCode::kInvalidInput, "cannot cast the string '", std::string_view(s).substr(0, 64),
          "' to a number");
  if (error == std::errc::result_out_of_range) {
    // Too large or too small: the exponent's sign tells which.
    const std::string text(p, end);
    return std::strtod(text.c_str(), nullptr);
  }
  return v;
}

void convert_to_strings(DType from, const void* x, std::string* y, int64_t n) {
  const auto* in = static_cast<const std::byte*>(x);
  for (int64_t i = 0; i < n; ++i) {
    const void* element = in + static_cast<size_t>(i) * dtype_size(from);
    if (from == DType::kBool) {
      y[i] = *static_cast<const bool*>(element) ? "True" : "False";
    } else if (dtype_is_float(from)) {
      double v = 0;
      convert(from, element, DType::kFloat64, &v, 1);
      y[i] = float_text(v, from == DType::kFloat64);
    } else if (from == DType::kUInt64) {
      y[i] = std::to_string(*static_cast<const uint64_t*>(element));
    } else {
      int64_t v = 0;
      convert(from, element, DType::kInt64, &v, 1);
      y[i] = std::to_string(v);
    }
  }
}

void convert_from_strings(const std::string* x, DType to, void* y, int64_t n, const ConvertOptions& options) {
  auto* out = static_cast<std::byte*>(y);
  for (int64_t i = 0; i < n; ++i) {
    void* element = out + static_cast<size_t>(i) * dtype_size(to);
    // Integers of 64 bits have more digits than a double.
    if (to == DType::kInt64 || to == DType::kUInt64) {
      const std::string& s = x[i];
      const char* end = s.data() + s.size();
      int64_t v = 0;
      uint64_t u = 0;
      const auto [stop, error] =
          to == DType::kInt64 ? std::from_chars(s.data(), end, v) : std::from_chars(s.data(), end, u);
      if (stop == end && error == std::errc()) {
        if (to == DType::kInt64)
          *static_cast<int64_t*>(element) = v;
        else
          *static_cast<uint64_t*>(element) = u;
        continue;
      }
    }
    const double v = number_from_string(x[i]);
    convert(DType::kFloat64, &v, to, element, 1, options);
  }
}

}  // namespace pyinfer
