// The vector type of the kernel bodies: F32, always 16 virtual lanes (two AVX2 registers, one
// AVX-512, four NEON, an array in the portable baseline), so that every instruction set runs
// the same arithmetic in the same order. Exactly one instruction set is chosen by the flags under
// which a kernels/cpu/isa_*.cc file is compiled; everything lives in an anonymous namespace.
#pragma once

#if defined(PYINFER_ISA_AVX2)
  #include "kernels/cpu/simd/vec_avx2.h"
#else
  #include "kernels/cpu/simd/vec_baseline.h"
#endif
