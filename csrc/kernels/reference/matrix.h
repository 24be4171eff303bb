// Plain loops with double accumulation: what the fast matrix kernels are tested against.
#pragma once

#include <cstdint>

#include "kernels/epilogue.h"
#include "kernels/gemm.h"

namespace pyinfer::reference {

// act(x + bias + residual) of output (i, j).
double apply(const Epilogue& e, double x, int64_t i, int64_t j);

// As GemmKernels::run over the whole matrix, but `b` is K x N (or N x K) unpacked, rows ldb apart.
void gemm(const GemmArgs& args, const float* b, int64_t ldb, bool transposed, float* c);

}  // namespace pyinfer::reference
