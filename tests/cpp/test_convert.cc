// Half precision blocks: every code, every rounding boundary, every length.
#include <bit>
#include <cmath>

#include "check.h"
#include "kernels/kernel_table.h"

using namespace pyinfer;

namespace {

bool is_nan_code(Float16 h) {
  return (h.bits & 0x7fff) > 0x7c00;
}
bool is_nan_code(BFloat16 h) {
  return (h.bits & 0x7fff) > 0x7f80;
}

template <class H>
void check_all_codes(void (*to_f32)(const H*, float*, int64_t), void (*from_f32)(const float*, H*, int64_t)) {
  std::vector<H> h(65536), back(65536);
  for (uint32_t i = 0; i < 65536; ++i) h[i].bits = static_cast<uint16_t>(i);
  std::vector<float> f(65536);
  to_f32(h.data(), f.data(), 65536);
  from_f32(f.data(), back.data(), 65536);
  for (uint32_t i = 0; i < 65536; ++i) {
    if (is_nan_code(h[i])) {
      CHECK(std::isnan(f[i]) && is_nan_code(back[i]) && (back[i].bits & 0x8000) == (h[i].bits & 0x8000));
    } else {
      CHECK_EQ(std::bit_cast<uint32_t>(f[i]), std::bit_cast<uint32_t>(static_cast<float>(h[i])));
      CHECK_EQ(back[i].bits, h[i].bits);
    }
  }
}

template <class H>
void check_roundings(void (*from_f32)(const float*, H*, int64_t)) {
  std::vector<float> x;
  for (uint64_t b = 0; b < (uint64_t{1} << 32); b += 40961)
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(b)));
  // Halfway between neighbours, and one to either side.
  for (uint32_t i = 0; i < 65536; ++i) {
    H a;
    a.bits = static_cast<uint16_t>(i);
    const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(a));
    for (uint32_t d : {0xfffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u})
      x.push_back(std::bit_cast<float>(bits + d));
  }
  std::vector<H> y(x.size());
  from_f32(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      CHECK(is_nan_code(y[i]));
    } else {
      CHECK_EQ(y[i].bits, H(x[i]).bits);
    }
  }
}

}  // namespace

TEST(convert_half_every_code_and_rounding) {
  for (Isa isa : available_isas()) {
    const ConvertKernels& k = kernel_table(isa).convert;
    check_all_codes<Float16>(k.f16_to_f32, k.f32_to_f16);
    check_all_codes<BFloat16>(k.bf16_to_f32, k.f32_to_bf16);
    check_roundings<Float16>(k.f32_to_f16);
    check_roundings<BFloat16>(k.f32_to_bf16);
  }
}

TEST(convert_half_every_length) {
  for (Isa isa : available_isas()) {
    const ConvertKernels& k = kernel_table(isa).convert;
    for (int64_t n = 0; n <= 35; ++n) {
      std::vector<float> x(40), back(40, -1.0f);
      for (size_t i = 0; i < 40; ++i) x[i] = static_cast<float>(i) + 0.5f;
      std::vector<Float16> h(40);
      k.f32_to_f16(x.data() + 1, h.data() + 1, n);
      k.f16_to_f32(h.data() + 1, back.data() + 1, n);
      for (size_t i = 0; i < 40; ++i) {
        const bool inside = i >= 1 && i <= static_cast<size_t>(n);
        CHECK_EQ(h[i].bits, inside ? Float16(x[i]).bits : 0);
        CHECK_EQ(back[i], inside ? x[i] : -1.0f);
      }
    }
  }
}
