#define PYINFER_ISA_AVX2
#include "kernels/cpu/all_families.inl.h"

namespace pyinfer {
extern constexpr KernelTable kAvx2Kernels = make_table("avx2");
}
