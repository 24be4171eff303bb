// Plain loops with double accumulation: what the reductions and normalisations are tested against.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/norm.h"
#include "kernels/reduce.h"

namespace pyinfer::reference {

// Result `at` of [outer, inner].
double reduce(ReduceKind kind, const ReduceArgs& args, int64_t at);
int64_t arg_extreme(const ReduceArgs& args, int64_t at, bool largest, bool last);

// The elements of one line (of outer * inner) after the operation.
enum class AxisKind { kSoftmax, kLogSoftmax, kHardmax, kL1, kL2 };
std::vector<double> along_axis(AxisKind kind, const AxisArgs& args, int64_t line);

// Row `row` after layer or RMS normalisation.
std::vector<double> row_norm(const RowNormArgs& args, bool centred, int64_t row);

// All of [batch, channels, spatial] (or channels last) after group normalisation.
std::vector<double> group_norm(const GroupNormArgs& args, int64_t batch);

}  // namespace pyinfer::reference
