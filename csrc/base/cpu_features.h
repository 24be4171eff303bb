// What this CPU can do, and which instruction set the kernels use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pyinfer {

// Ordered: a CPU that runs one runs those of its architecture before it.
enum class Isa { kBaseline, kAvx2, kAvx512, kNeon };

std::string_view isa_name(Isa isa);

// The best instruction set that this CPU runs and this build contains, or the one that
// PYINFER_CPU_ISA names ("baseline", "avx2", "avx512", "neon"). Throws Error(kInvalidInput) for an
// unknown name or one that this CPU cannot run. Decided once per process.
Isa selected_isa();

// Whether this CPU has AVX-512 on units of 256 bits (AMD's Zen 4).
bool computes_512_bits_in_halves();

// Whether PYINFER_CPU_ISA names it.
bool isa_is_forced();

// Every instruction set that this CPU runs and this build contains, ascending.
std::vector<Isa> available_isas();

}  // namespace pyinfer
