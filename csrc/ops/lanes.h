// Reductions in the canonical order: element i goes to lane i mod 16, and the lanes are joined by one fixed
// tree, so that the result has the same bits on every CPU and however the elements arrive.
#pragma once

#include <array>
#include <cstdint>

namespace pyinfer {

template <class C>
class Lanes {
 public:
  static constexpr int kLanes = 16;

  explicit Lanes(C init) { lanes_.fill(init); }

  // lane = join(lane, map(x)) for n more elements.
  template <class Map, class Join>
  void feed(const C* x, int64_t n, Map map, Join join) {
    int64_t i = 0;
    for (; i < n && next_ != 0; ++i) feed_one(map(x[i]), join);
    for (; i + kLanes <= n; i += kLanes)
      for (int l = 0; l < kLanes; ++l) {
        C& lane = lanes_[static_cast<size_t>(l)];
        lane = join(lane, map(x[i + l]));
      }
    for (; i < n; ++i) feed_one(map(x[i]), join);
  }

  template <class Join>
  C total(Join join) const {
    std::array<C, kLanes> t = lanes_;
    for (size_t half = kLanes / 2; half > 0; half /= 2)
      for (size_t l = 0; l < half; ++l) t[l] = join(t[l], t[l + half]);
    return t[0];
  }

 private:
  template <class Join>
  void feed_one(C v, Join join) {
    C& lane = lanes_[static_cast<size_t>(next_)];
    lane = join(lane, v);
    next_ = (next_ + 1) % kLanes;
  }

  std::array<C, kLanes> lanes_;
  int next_ = 0;
};

// The usual joins. Extremes are NaN when an operand is.
inline constexpr auto kJoinAdd = [](auto a, auto b) { return a + b; };
inline constexpr auto kJoinMul = [](auto a, auto b) { return a * b; };
inline constexpr auto kJoinMax = [](auto a, auto b) { return a > b || a != a ? a : b; };
inline constexpr auto kJoinMin = [](auto a, auto b) { return a < b || a != a ? a : b; };

template <class C, class Map>
C lane_sum(const C* x, int64_t n, Map map) {
  Lanes<C> lanes(C{0});
  lanes.feed(x, n, map, kJoinAdd);
  return lanes.total(kJoinAdd);
}
template <class C>
C lane_sum(const C* x, int64_t n) {
  return lane_sum(x, n, [](C v) { return v; });
}

}  // namespace pyinfer
