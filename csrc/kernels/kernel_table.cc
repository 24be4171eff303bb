#include "kernels/kernel_table.h"

#include "base/error.h"

namespace pyinfer {

// One per kernels/cpu/isa_*.cc.
extern const KernelTable kBaselineKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif

const KernelTable& kernel_table(Isa isa) {
  switch (isa) {
    case Isa::kBaseline: return kBaselineKernels;
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
