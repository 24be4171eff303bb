#define PYINFER_ISA_AVX512
#include "kernels/cpu/all_families.inl.h"

namespace pyinfer {
extern constexpr KernelTable kAvx512Kernels = make_table("avx512");
}
