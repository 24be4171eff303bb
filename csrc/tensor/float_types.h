// Floating types that C++ lacks, as their bits; conversions round to nearest, ties to even.
// Formats: IEEE 754 binary16, bfloat16, OCP FP8 (E4M3FN, E5M2), FNUZ variants, OCP MX E8M0, FP4 and FP6.
#pragma once

#include <bit>
#include <cstdint>

namespace pyinfer {

namespace detail {

// A format of 1 sign bit, E exponent bits, M mantissa bits.
struct MiniFloat {
  int exponent_bits, mantissa_bits, bias;
  uint32_t max_finite;  // code of the largest finite magnitude
  uint32_t infinity;    // code, or 0 when the format has none
  uint32_t nan;         // code, or 0 when the format has none
  bool fnuz;            // no negative zero: its code is NaN
};

// The code of `f`. Values beyond the largest finite one become it when `saturate`, else infinity or NaN.
constexpr uint32_t encode(const MiniFloat& t, float f, bool saturate) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t sign = (bits >> 31) << (t.exponent_bits + t.mantissa_bits);
  if (magnitude > 0x7f800000u) return t.fnuz ? t.nan : (t.nan | sign);
  uint32_t code = 0;
  if (magnitude == 0x7f800000u) {
    code = t.max_finite + 1;
  } else {
    int e = static_cast<int>(magnitude >> 23) - 127 + t.bias;
    uint32_t m = (magnitude & 0x7fffffu) | (magnitude >= 0x800000u ? 0x800000u : 0u);
    int shift = 23 - t.mantissa_bits;
    if (e <= 0) {
      shift += 1 - e;
      e = 1;
    }
    if (shift <= 25) {
      const uint32_t half = 1u << (shift - 1);
      m = (m + half - 1 + ((m >> shift) & 1u)) >> shift;
      code = (static_cast<uint32_t>(e - 1) << t.mantissa_bits) + m;
    }
  }
  if (code > t.max_finite) {
    if (saturate || (t.infinity == 0 && t.nan == 0)) return t.max_finite | sign;
    if (t.infinity != 0) return t.infinity | sign;
    return t.fnuz ? t.nan : (t.nan | sign);
  }
  return t.fnuz && code == 0 ? 0 : code | sign;
}

constexpr float decode(const MiniFloat& t, uint32_t code) {
  const uint32_t sign_bit = 1u << (t.exponent_bits + t.mantissa_bits);
  const uint32_t sign = code & sign_bit ? 0x80000000u : 0u;
  const uint32_t magnitude = code & (sign_bit - 1);
  if (t.fnuz ? code == t.nan : (magnitude > t.max_finite && !(t.infinity != 0 && magnitude == t.infinity)))
    return std::bit_cast<float>(0x7fc00000u | sign);
  if (t.infinity != 0 && magnitude == t.infinity) return std::bit_cast<float>(0x7f800000u | sign);
  const uint32_t mantissa = magnitude & ((1u << t.mantissa_bits) - 1);
  const int e = static_cast<int>(magnitude >> t.mantissa_bits);
  if (e > 0)
    return std::bit_cast<float>(sign | static_cast<uint32_t>(e - t.bias + 127) << 23 |
                                mantissa << (23 - t.mantissa_bits));
  // Subnormal: mantissa * 2^(1 - bias - M), exact in float32 for every format here.
  const float unit = std::bit_cast<float>(static_cast<uint32_t>(1 - t.bias - t.mantissa_bits + 127) << 23);
  const float value = static_cast<float>(mantissa) * unit;
  return sign ? -value : value;
}

template <class Bits, const MiniFloat& Format>
struct Mini {
  Bits bits = 0;
  Mini() = default;
  constexpr explicit Mini(float f, bool saturate = false)
      : bits(static_cast<Bits>(encode(Format, f, saturate))) {}
  constexpr explicit operator float() const { return decode(Format, bits); }
};

inline constexpr MiniFloat kFormatF16{5, 10, 15, 0x7bff, 0x7c00, 0x7e00, false};
inline constexpr MiniFloat kFormatE4M3FN{4, 3, 7, 0x7e, 0, 0x7f, false};
inline constexpr MiniFloat kFormatE4M3FNUZ{4, 3, 8, 0x7f, 0, 0x80, true};
inline constexpr MiniFloat kFormatE5M2{5, 2, 15, 0x7b, 0x7c, 0x7e, false};
inline constexpr MiniFloat kFormatE5M2FNUZ{5, 2, 16, 0x7f, 0, 0x80, true};
inline constexpr MiniFloat kFormatE2M1{2, 1, 1, 0x7, 0, 0, false};
inline constexpr MiniFloat kFormatE2M3{2, 3, 1, 0x1f, 0, 0, false};
inline constexpr MiniFloat kFormatE3M2{3, 2, 3, 0x1f, 0, 0, false};

}  // namespace detail

using Float16 = detail::Mini<uint16_t, detail::kFormatF16>;
using Float8E4M3FN = detail::Mini<uint8_t, detail::kFormatE4M3FN>;
using Float8E4M3FNUZ = detail::Mini<uint8_t, detail::kFormatE4M3FNUZ>;
using Float8E5M2 = detail::Mini<uint8_t, detail::kFormatE5M2>;
using Float8E5M2FNUZ = detail::Mini<uint8_t, detail::kFormatE5M2FNUZ>;
using Float4E2M1 = detail::Mini<uint8_t, detail::kFormatE2M1>;
using Float6E2M3 = detail::Mini<uint8_t, detail::kFormatE2M3>;
using Float6E3M2 = detail::Mini<uint8_t, detail::kFormatE3M2>;

// The upper half of a float32.
struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  constexpr explicit BFloat16(float f, bool = false) {
    const uint32_t b = std::bit_cast<uint32_t>(f);
    if ((b & 0x7fffffffu) > 0x7f800000u)
      bits = static_cast<uint16_t>((b >> 16) | 0x40u);
    else
      bits = static_cast<uint16_t>((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
  }
  constexpr explicit operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

// A power of two, 2^(bits - 127), without sign or zero; 255 is NaN. From float: rounds up in magnitude
// (ONNX Cast's default round_mode for this type); other modes are the Cast operator's business.
struct Float8E8M0 {
  uint8_t bits = 0;
  Float8E8M0() = default;
  constexpr explicit Float8E8M0(float f, bool saturate = true) {
    const uint32_t b = std::bit_cast<uint32_t>(f);
    const uint32_t exponent = b >> 23 & 0xffu;
    if ((b & 0x7fffffffu) > 0x7f800000u) {
      bits = 255;
    } else {
      const uint32_t up = exponent + ((b & 0x7fffffu) != 0 ? 1u : 0u);
      bits = static_cast<uint8_t>(up > 254 ? (saturate ? 254u : 255u) : up);
    }
  }
  constexpr explicit operator float() const {
    if (bits == 255) return std::bit_cast<float>(0x7fc00000u);
    if (bits == 0) return std::bit_cast<float>(0x00400000u);
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 23);
  }
};

}  // namespace pyinfer
