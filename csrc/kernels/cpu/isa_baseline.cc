#include "kernels/cpu/all_families.inl.h"

namespace pyinfer {
extern constexpr KernelTable kBaselineKernels = make_table("baseline");
}
