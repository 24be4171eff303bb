// Runs every TEST, or those whose name contains one of the arguments. Exit status 1 on any failure.
#include <algorithm>
#include <cstring>
#include <exception>

#include "check.h"

namespace pyinfer::test {
namespace {
int g_failures = 0;
}
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
    const bool ok = failures() == before;
    (ok ? passed : failed)++;
    if (!ok) std::cerr << "FAILED " << c.name << "\n";
  }
  std::cout << passed << " passed, " << failed << " failed\n";
  return failed ? 1 : 0;
}
