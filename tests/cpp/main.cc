// Runs every TEST, or those whose name contains one of the arguments. Exit status 1 on any failure.
// With --bits first, prints `bits TEST HASH` for each test that reports what kernels computed.
#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>
#include <iomanip>
#include <map>

#include "check.h"

namespace pyinfer::test {
namespace {
int g_failures = 0;
std::map<std::string, uint64_t, std::less<>> g_bits;  // of the running test, by instruction set

// FNV-1a over words.
void mix(std::string_view isa, uint32_t word) {
  uint64_t& hash = g_bits.try_emplace(std::string(isa), 0xcbf29ce484222325u).first->second;
  hash = (hash ^ word) * 0x100000001b3u;
}

// The hash that all instruction sets with fused multiply-add reached.
void compare_bits(const char* test, bool print) {
  g_bits.erase("baseline");
  for (const auto& [isa, hash] : g_bits) {
    const auto& [first, expected] = *g_bits.begin();
    if (hash != expected) report_failure(test, 0, "other bits on " + isa + " than on " + first);
  }
  if (print && !g_bits.empty())
    std::cout << "bits " << test << " " << std::hex << std::setfill('0') << std::setw(16)
              << g_bits.begin()->second << std::dec << std::endl;
  g_bits.clear();
}
}  // namespace
std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
void report_failure(const char* file, int line, const std::string& message) {
  if (++g_failures <= 50) std::cerr << file << ":" << line << ": " << message << "\n";
}
int failures() {
  return g_failures;
}
void report_bits(std::string_view isa, const std::vector<float>& values) {
  for (float v : values) mix(isa, v != v ? 0x7fc00000u : std::bit_cast<uint32_t>(v));
}
void report_bits(std::string_view isa, const std::vector<double>& values) {
  for (double v : values) {
    const uint64_t bits = v != v ? 0x7ff8000000000000u : std::bit_cast<uint64_t>(v);
    mix(isa, static_cast<uint32_t>(bits >> 32));
    mix(isa, static_cast<uint32_t>(bits));
  }
}
void report_bits(std::string_view isa, const std::vector<int32_t>& values) {
  for (int32_t v : values) mix(isa, static_cast<uint32_t>(v));
}
}  // namespace pyinfer::test

// AddressSanitizer keeps freed memory for as long as this many megabytes of it; its default, 256, would count
// in the tests of what is resident.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=64";
}

int main(int argc, char** argv) {
  using namespace pyinfer::test;
  int passed = 0, failed = 0;
  const bool print_bits = argc > 1 && std::strcmp(argv[1], "--bits") == 0;
  argc -= print_bits, argv += print_bits;
  for (const Case& c : cases()) {
    const bool wanted = argc == 1 || std::any_of(argv + 1, argv + argc,
                                                 [&](const char* part) { return std::strstr(c.name, part); });
    if (!wanted) continue;
    const int before = failures();
    try {
      c.body();
    } catch (const std::exception& e) {
      report_failure(c.name, 0, std::string("exception: ") + e.what());
    }
    compare_bits(c.name, print_bits);
    const bool ok = failures() == before;
    (ok ? passed : failed)++;
    if (!ok) std::cerr << "FAILED " << c.name << "\n";
  }
  std::cout << passed << " passed, " << failed << " failed\n";
  return failed ? 1 : 0;
}
