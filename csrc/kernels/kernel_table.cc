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

namespace {

KernelTable choose() {
  KernelTable table = kernel_table(selected_isa());
#if defined(__x86_64__)
  // In halves, a wide register saves instructions where those are the limit, and matrix tiles have few: the
  // smaller tiles of AVX2 reach the same rate with panels that fit the first cache. Activations have many.
  if (!isa_is_forced() && selected_isa() == Isa::kAvx512 && computes_512_bits_in_halves()) {
    table.gemm = kAvx2Kernels.gemm;
    table.conv = kAvx2Kernels.conv;
    table.conv_transpose = kAvx2Kernels.conv_transpose;
    table.winograd = kAvx2Kernels.winograd;
  }
#endif
  return table;
}

}  // namespace

const KernelTable& kernels() {
  static const KernelTable table = choose();
  return table;
}

}  // namespace pyinfer
