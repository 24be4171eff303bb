// How the elements of N operands meet in one output under NumPy's rules: dimensions that all operands walk
// alike are merged at planning, and the innermost one is left to a kernel as a run.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "tensor/shape.h"

namespace pyinfer {

template <int N>
class BroadcastWalk {
 public:
  using Offsets = std::array<int64_t, N>;

  BroadcastWalk() = default;
  // Precondition: every operand broadcasts to `out`.
  BroadcastWalk(const Shape& out, const std::array<const Shape*, N>& operands) : count_(out.count()) {
    // Innermost first: dims_[0] is the run.
    for (int i = out.rank() - 1; i >= 0; --i) {
      if (out[i] == 1) continue;
      std::array<bool, N> moves;
      for (int k = 0; k < N; ++k) {
        const Shape& s = *operands[static_cast<size_t>(k)];
        const int at = i - (out.rank() - s.rank());
        moves[static_cast<size_t>(k)] = at >= 0 && s[at] != 1;
      }
      add(out[i], moves);
    }
    if (rank_ == 0) {
      rank_ = 1;
      dims_[0] = 1;
      for (auto& s : strides_) s[0] = 1;
    }
  }

  int64_t count() const { return count_; }
  // Elements of a run, and per operand whether it moves by 1 or by 0 within one. When the output is just the
  // operands broadcast together, one of them moves.
  int64_t run() const { return dims_[0]; }
  int step(int k) const { return static_cast<int>(strides_[static_cast<size_t>(k)][0]); }

  // Calls f(offsets of the operands, offset in the output, n) for the runs of output elements [begin, end),
  // the first and the last of which may be cut short.
  template <class F>
  void walk(int64_t begin, int64_t end, F&& f) const {
    if (begin >= end) return;
    Offsets at{};
    if (rank_ == 1) {  // one run
      for (size_t k = 0; k < N; ++k) at[k] = begin * strides_[k][0];
      f(at, begin, end - begin);
      return;
    }
    std::array<int64_t, Shape::kMaxRank> index{};
    int64_t rest = begin;
    for (int d = 0; d < rank_; ++d) {
      const auto i = static_cast<size_t>(d);
      index[i] = rest % dims_[i];
      rest /= dims_[i];
      for (size_t k = 0; k < N; ++k) at[k] += index[i] * strides_[k][i];
    }
    for (int64_t o = begin; o < end;) {
      const int64_t n = std::min(dims_[0] - index[0], end - o);
      f(at, o, n);
      o += n;
      for (size_t k = 0; k < N; ++k) at[k] -= index[0] * strides_[k][0];
      index[0] = 0;
      for (size_t d = 1; d < static_cast<size_t>(rank_); ++d) {
        for (size_t k = 0; k < N; ++k) at[k] += strides_[k][d];
        if (++index[d] < dims_[d]) break;
        for (size_t k = 0; k < N; ++k) at[k] -= dims_[d] * strides_[k][d];
        index[d] = 0;
      }
    }
  }

 private:
  // Puts a dimension outside those there are, merged with the outermost when every operand goes on as it
  // does.
  void add(int64_t dim, const std::array<bool, N>& moves) {
    const auto top = static_cast<size_t>(rank_ - 1);
    bool merge = rank_ > 0;
    for (size_t k = 0; merge && k < N; ++k) merge = moves[k] == (strides_[k][top] != 0);
    for (size_t k = 0; k < N; ++k) {
      if (!merge) strides_[k][static_cast<size_t>(rank_)] = moves[k] ? extent_[k] : 0;
      if (moves[k]) extent_[k] *= dim;
    }
    if (merge) {
      dims_[top] *= dim;
    } else {
      dims_[static_cast<size_t>(rank_++)] = dim;
    }
  }

  int64_t count_ = 0;
  int rank_ = 0;
  std::array<int64_t, Shape::kMaxRank> dims_{};
  std::array<std::array<int64_t, Shape::kMaxRank>, N> strides_{};
  std::array<int64_t, N> extent_ = filled();

  static std::array<int64_t, N> filled() {
    std::array<int64_t, N> ones;
    ones.fill(1);
    return ones;
  }
};

}  // namespace pyinfer
