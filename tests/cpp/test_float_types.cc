#include "check.h"
#include "tensor/float_types.h"

using namespace pyinfer;

TEST(float16_round_trips_every_code) {
  for (uint32_t i = 0; i < 65536; ++i) {
    Float16 h;
    h.bits = static_cast<uint16_t>(i);
    const float f = static_cast<float>(h);
    if (std::isnan(f)) continue;
    CHECK_EQ(Float16(f).bits, h.bits);
  }
}

TEST(float8_known_values) {
  CHECK_EQ(static_cast<float>(Float8E4M3FN(1000.0f, true)), 448.0f);
  CHECK(std::isnan(static_cast<float>(Float8E4M3FN(1000.0f, false))));
  CHECK(std::isinf(static_cast<float>(Float8E5M2(1e9f, false))));
  CHECK_EQ(static_cast<float>(Float4E2M1(100.0f)), 6.0f);
  CHECK_EQ(static_cast<float>(Float6E2M3(100.0f)), 7.5f);
  CHECK_EQ(static_cast<float>(Float6E3M2(-100.0f)), -28.0f);
  CHECK_EQ(static_cast<float>(BFloat16(1.0f)), 1.0f);
  CHECK_EQ(static_cast<float>(Float8E8M0(3.0f)), 4.0f);
}
