#include "plan/memory.h"

#include <algorithm>
#include <numeric>

#include "base/aligned.h"
#include "base/math.h"

namespace pyinfer {

int64_t assign_offsets(std::vector<Lifetime>& lifetimes) {
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  std::vector<size_t> placed;  // sorted by offset
  int64_t total = 0;
  for (size_t i : order) {
    Lifetime& piece = lifetimes[i];
    const int64_t size = round_up(piece.bytes, kCacheLine);
    if (size == 0) continue;
    int64_t offset = 0;
    for (size_t j : placed) {
      const Lifetime& other = lifetimes[j];
      if (other.last < piece.first || piece.last < other.first) continue;
      if (offset + size <= other.offset) break;
      offset = std::max(offset, other.offset + round_up(other.bytes, kCacheLine));
    }
    piece.offset = offset;
    const auto at = std::upper_bound(placed.begin(), placed.end(), offset,
                                     [&](int64_t o, size_t j) { return o < lifetimes[j].offset; });
    placed.insert(at, i);
    total = std::max(total, offset + size);
  }
  return total;
}

}  // namespace pyinfer
