// What a CPU backend must provide: one struct of function pointers per kernel family. The contract
// of each function stands in the family's own header.
#pragma once

#include "base/cpu_features.h"
#include "kernels/conv.h"
#include "kernels/conv_s8.h"
#include "kernels/conv_transpose.h"
#include "kernels/convert.h"
#include "kernels/elementwise.h"
#include "kernels/extreme.h"
#include "kernels/gemm.h"
#include "kernels/gemm_bits.h"
#include "kernels/gemm_s8.h"
#include "kernels/layout.h"
#include "kernels/movement.h"
#include "kernels/norm.h"
#include "kernels/pool.h"
#include "kernels/quantize.h"
#include "kernels/reduce.h"
#include "kernels/resample.h"
#include "kernels/roofline.h"
#include "kernels/winograd.h"

namespace pyinfer {

struct KernelTable {
  const char* name;
  ActivateRows activate_rows;
  ConvertKernels convert;
  ElementwiseKernels elementwise;
  ExtremeKernels extreme;
  GemmKernels gemm;
  ConvKernels conv;
  ConvTransposeKernels conv_transpose;
  LayoutKernels layout;
  MovementKernels movement;
  NormKernels norm;
  PoolKernels pool;
  ReduceKernels reduce;
  ResampleKernels resample;
  GemmBitsKernels gemm_bits;
  GemmS8Kernels gemm_s8;
  ConvS8Kernels conv_s8;
  QuantizeKernels quantize;
  RooflineKernels roofline;
  WinogradKernels winograd;
};

// The table of `isa`. Precondition: available_isas() contains it.
const KernelTable& kernel_table(Isa isa);

// The table of selected_isa(), with the families of a smaller one where this CPU runs those faster and nobody
// forces the instruction set.
const KernelTable& kernels();

}  // namespace pyinfer
