// Lifetimes to offsets.
#pragma once

#include <cstdint>
#include <vector>

namespace pyinfer {

// A piece of memory needed from step `first` to step `last`, both included.
struct Lifetime {
  int64_t bytes;
  int32_t first, last;
  int64_t offset = 0;  // filled by assign_offsets
};

// Gives every piece an offset, a multiple of the cache line, so that pieces alive at the same time do not
// overlap. Largest first, each at the lowest gap that fits; very many in the order of their steps, each in
// the smallest gap that fits, which takes less time and more memory. Returns the bytes of the whole arena.
int64_t assign_offsets(std::vector<Lifetime>& lifetimes);

}  // namespace pyinfer
