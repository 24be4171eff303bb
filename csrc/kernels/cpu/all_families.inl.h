// Included by every isa_*.cc: the bodies of all kernel families, then the table that names them.
#pragma once

#include "kernels/cpu/activation.inl.h"
#include "kernels/cpu/conv.inl.h"
#include "kernels/cpu/conv_s8.inl.h"
#include "kernels/cpu/conv_transpose.inl.h"
#include "kernels/cpu/convert.inl.h"
#include "kernels/cpu/elementwise.inl.h"
#include "kernels/cpu/extreme.inl.h"
#include "kernels/cpu/gemm.inl.h"
#include "kernels/cpu/gemm_bits.inl.h"
#include "kernels/cpu/gemm_s8.inl.h"
#include "kernels/cpu/layout.inl.h"
#include "kernels/cpu/movement.inl.h"
#include "kernels/cpu/norm.inl.h"
#include "kernels/cpu/pool.inl.h"
#include "kernels/cpu/quantize.inl.h"
#include "kernels/cpu/reduce.inl.h"
#include "kernels/cpu/resample.inl.h"
#include "kernels/cpu/roofline.inl.h"
#include "kernels/cpu/simd/vec.h"
#include "kernels/cpu/winograd.inl.h"
#include "kernels/kernel_table.h"

namespace pyinfer {
namespace {

constexpr KernelTable make_table(const char* name) {
  return {
      .name = name,
      .activate_rows = activate_rows,
      .convert = kConvert,
      .elementwise = kElementwise,
      .extreme = kExtremeKernels,
      .gemm = kGemmKernels,
      .conv = kConvKernels,
      .conv_transpose = kConvTransposeKernels,
      .layout = kLayoutKernels,
      .movement = kMovementKernels,
      .norm = kNormKernels,
      .pool = kPoolKernels,
      .reduce = kReduceKernels,
      .resample = kResampleKernels,
      .gemm_bits = kGemmBitsKernels,
      .gemm_s8 = kGemmS8Kernels,
      .conv_s8 = kConvS8Kernels,
      .quantize = kQuantize,
      .roofline = kRooflineKernels,
      .winograd = kWinogradKernels,
  };
}

}  // namespace
}  // namespace pyinfer
