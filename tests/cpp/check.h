// A small test harness: TEST(name) { CHECK(...); CHECK_EQ(a, b); CHECK_NEAR(a, b, tol); }
#pragma once

#include <cmath>
#include <iostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace pyinfer::test {

struct Case {
  const char* name;
  void (*body)();
};
std::vector<Case>& cases();
void report_failure(const char* file, int line, const std::string& message);

// Adds what the kernels of one instruction set computed to that set's hash of this test. All sets with fused
// multiply-add must reach the same hash, and `--bits` prints it, to be compared with another processor's; NaN
// counts as NaN whatever its payload. Only for values that follow from integers or exact arithmetic alone.
void report_bits(std::string_view isa, const std::vector<float>& values);
void report_bits(std::string_view isa, const std::vector<double>& values);
void report_bits(std::string_view isa, const std::vector<int32_t>& values);

struct Registrar {
  Registrar(const char* name, void (*body)()) { cases().push_back({name, body}); }
};

#define TEST(name)                                                              \
  static void test_##name();                                                    \
  static const ::pyinfer::test::Registrar registrar_##name(#name, test_##name); \
  static void test_##name()

#define CHECK(condition)                                                               \
  do {                                                                                 \
    if (!(condition)) ::pyinfer::test::report_failure(__FILE__, __LINE__, #condition); \
  } while (0)

#define CHECK_EQ(a, b)                                               \
  do {                                                               \
    const auto va = (a);                                             \
    const auto vb = (b);                                             \
    if (!(va == vb)) {                                               \
      std::ostringstream os;                                         \
      os << #a " == " #b ": " << va << " vs " << vb;                 \
      ::pyinfer::test::report_failure(__FILE__, __LINE__, os.str()); \
    }                                                                \
  } while (0)

#define CHECK_NEAR(a, b, tolerance)                                                               \
  do {                                                                                            \
    const double va = (a), vb = (b);                                                              \
    if (!(std::abs(va - vb) <= (tolerance)) && !(std::isnan(va) && std::isnan(vb)) && va != vb) { \
      std::ostringstream os;                                                                      \
      os << #a " ~ " #b ": " << va << " vs " << vb;                                               \
      ::pyinfer::test::report_failure(__FILE__, __LINE__, os.str());                              \
    }                                                                                             \
  } while (0)

}  // namespace pyinfer::test

#include <sstream>
