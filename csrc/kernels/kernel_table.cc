#include "kernels/kernel_table.h"

#include "base/error.h"

namespace pyinfer {

// One per kernels/cpu/isa_*.cc.
#if defined(__aarch64__)
extern const KernelTable kNeonKernels;
#else
extern const KernelTable kBaselineKernels;
#endif
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif

const KernelTable& kernel_table(Isa isa) {
  switch (isa) {
#if defined(__aarch64__)
    case Isa::kNeon: return kNeonKernels;
#else
    case Isa::kBaseline: return kBaselineKernels;
#endif
#if defined(__x86_64__)
    case Isa::kAvx2: return kAvx2Kernels;
    case Isa::kAvx512: return kAvx512Kernels;
#endif
    default: fail(ErrorCode::kInternal, "no kernels for ", isa_name(isa));
  }
}

const KernelTable& kernels() {
  static const KernelTable& table = kernel_table(selected_isa());
  return table;
}

}  // namespace pyinfer
