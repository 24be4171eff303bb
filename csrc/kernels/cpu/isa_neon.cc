#define PYINFER_ISA_NEON
#include "kernels/cpu/all_families.inl.h"

namespace pyinfer {
extern constexpr KernelTable kNeonKernels = make_table("neon");
}
