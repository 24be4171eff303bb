#include "base/cpu_features.h"

#include <cstdlib>

#include "base/error.h"

namespace pyinfer {

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kBaseline: return "baseline";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kNeon: return "neon";
  }
  return "?";
}

std::vector<Isa> available_isas() {
#if defined(__aarch64__)
  return {Isa::kNeon};  // part of the base architecture: nothing would use the baseline
#elif defined(__x86_64__)
  std::vector<Isa> isas{Isa::kBaseline};
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (avx2) isas.push_back(Isa::kAvx2);
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vnni");
  if (avx2 && avx512) isas.push_back(Isa::kAvx512);
  return isas;
#else
  return {Isa::kBaseline};
#endif
}

bool computes_512_bits_in_halves() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_is("amdfam19h") && __builtin_cpu_supports("avx512f");
#else
  return false;
#endif
}

bool isa_is_forced() {
  const char* forced = std::getenv("PYINFER_CPU_ISA");
  return forced != nullptr && *forced != '\0';
}

namespace {
Isa choose() {
  const std::vector<Isa> isas = available_isas();
  if (!isa_is_forced()) return isas.back();
  const std::string_view forced = std::getenv("PYINFER_CPU_ISA");
  std::string names;
  for (Isa isa : isas) {
    if (isa_name(isa) == forced) return isa;
    names += join(names.empty() ? "" : ", ", isa_name(isa));
  }
  fail(ErrorCode::kInvalidInput, "PYINFER_CPU_ISA=", forced,
       " cannot be used here; expected one of: ", names);
}
}  // namespace

Isa selected_isa() {
  static const Isa isa = choose();
  return isa;
}

}  // namespace pyinfer
