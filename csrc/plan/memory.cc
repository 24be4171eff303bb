#include "plan/memory.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "base/aligned.h"
#include "base/math.h"

namespace pyinfer {

namespace {

// Beyond so many pieces, looking at all that lie in the way takes seconds.
constexpr size_t kMostCompared = 8192;

// The gaps of an arena that grows at its end.
class Gaps {
 public:
  int64_t take(int64_t size) {
    const auto fit = by_size_.lower_bound({size, 0});
    if (fit == by_size_.end()) return grow(size);
    const auto [room, offset] = *fit;
    remove(offset, room);
    if (room > size) add(offset + size, room - size);
    return offset;
  }
  void give(int64_t offset, int64_t size) {
    const auto next = by_offset_.lower_bound(offset);
    if (next != by_offset_.end() && next->first == offset + size) {
      const int64_t room = next->second;
      remove(offset + size, room);
      size += room;
    }
    const auto after = by_offset_.lower_bound(offset);
    if (after != by_offset_.begin())
      if (const auto [before, room] = *std::prev(after); before + room == offset) {
        remove(before, room);
        offset = before;
        size += room;
      }
    add(offset, size);
  }
  int64_t total() const { return total_; }

 private:
  int64_t grow(int64_t size) {
    // A gap at the end is a part of the new piece.
    if (!by_offset_.empty())
      if (const auto [offset, room] = *by_offset_.rbegin(); offset + room == total_) {
        remove(offset, room);
        total_ = offset;
      }
    return std::exchange(total_, total_ + size);
  }
  void add(int64_t offset, int64_t size) {
    by_offset_[offset] = size;
    by_size_.insert({size, offset});
  }
  void remove(int64_t offset, int64_t size) {
    by_offset_.erase(offset);
    by_size_.erase({size, offset});
  }

  std::map<int64_t, int64_t> by_offset_;
  std::set<std::pair<int64_t, int64_t>> by_size_;  // and offset
  int64_t total_ = 0;
};

int64_t assign_in_order(std::vector<Lifetime>& lifetimes) {
  std::vector<size_t> begin(lifetimes.size());
  std::iota(begin.begin(), begin.end(), size_t{0});
  std::vector<size_t> end = begin;
  std::ranges::stable_sort(begin, {}, [&](size_t i) { return lifetimes[i].first; });
  std::ranges::stable_sort(end, {}, [&](size_t i) { return lifetimes[i].last; });
  Gaps gaps;
  auto over = end.begin();
  for (size_t i : begin) {
    Lifetime& piece = lifetimes[i];
    // Every piece that ends before this one begins has begun before it, too.
    for (; over != end.end() && lifetimes[*over].last < piece.first; ++over)
      if (lifetimes[*over].bytes > 0)
        gaps.give(lifetimes[*over].offset, round_up(lifetimes[*over].bytes, kCacheLine));
    if (piece.bytes > 0) piece.offset = gaps.take(round_up(piece.bytes, kCacheLine));
  }
  return gaps.total();
}

}  // namespace

int64_t assign_offsets(std::vector<Lifetime>& lifetimes) {
  if (lifetimes.size() > kMostCompared) return assign_in_order(lifetimes);
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
