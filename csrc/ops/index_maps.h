// y[i0, i1, ...] = x[from0[i0], from1[i1], ...]: repeated, mirrored or skipped indices of each axis.
#pragma once

#include <vector>

#include "ops/copy_box.h"

namespace pyinfer {

struct IndexMaps {
  // Elements of the last axes, which are untouched, move together; of each axis before them, where an output
  // index reads: in elements, of the last such axis in runs. Empty: nothing is mapped.
  int64_t run = 1;
  std::vector<std::vector<int64_t>> from;
  int64_t stretch_begin = 0, stretch_end = 0;  // output indices of the last mapped axis that read one run on
  // Where every index is repeated equally often on each axis: a box that says so, and `from` is not used.
  CopyPlan repeats;
};

// `index[d]` holds an input index for every output index of axis d; untouched where it is empty.
// Precondition: all indices are valid, and at least one axis is mapped.
IndexMaps make_index_maps(DType dtype, const Shape& in, const std::vector<std::vector<int64_t>>& index);

// Gathers output 0 from input 0. Precondition: the output has elements.
void gather_maps(const RunContext& ctx, const IndexMaps& maps);

}  // namespace pyinfer
