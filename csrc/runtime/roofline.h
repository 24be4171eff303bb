// What this machine can do at most on some threads, measured.
#pragma once

#include <cstdint>
#include <vector>

namespace pyinfer {

// Bytes per second on working sets of `bytes`, all threads together.
struct Bandwidth {
  int64_t bytes;
  double read;  // of bytes read
  double copy;  // of bytes read and bytes written, added
};

struct Roofline {
  double flops;                      // per second; a fused multiply-add is two
  std::vector<Bandwidth> bandwidth;  // smallest working set first, from a second-level cache to memory
};

// Takes a fraction of a second.
Roofline measure_roofline(int threads);

}  // namespace pyinfer
