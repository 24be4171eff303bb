// Scales and zero points of a stack of matrices: one for all, one per row of A, or one per column of B.
#pragma once

#include <algorithm>
#include <array>

#include "ops/plan_context.h"

namespace pyinfer {

class LineValues {
 public:
  LineValues() = default;
  // `values` is a scalar, a vector of one value per line (rows of the matrices of `stack`, else columns), or
  // has the rank of `stack` and 1 where the other axis of the matrices is. Throws Error(kInvalidInput).
  LineValues(const Shape& values, const Shape& stack, bool rows) : one_(values.count() == 1) {
    const int rank = stack.rank();
    const bool vector = rank == 1;
    lines_ = vector ? 1 : stack[rows ? rank - 2 : rank - 1];
    matrices_ = stack.count(0, std::max(rank - 2, 0));
    if (one_) return;
    bool fits = values.rank() == 1 && values[0] == lines_;
    if (!vector && values.rank() == rank) {
      fits = values[rows ? rank - 1 : rank - 2] == 1 && values[rows ? rank - 2 : rank - 1] == lines_;
      for (int d = 0; d < rank - 2; ++d) fits = fits && (values[d] == 1 || values[d] == stack[d]);
    }
    require(fits, ErrorCode::kInvalidInput, "a scale or zero point of shape ", values,
            " for matrices of shape ", stack, ", expected one value, or ", lines_,
            rows ? " for the rows" : " for the columns");
    // Strides of the stack's dimensions in `values`.
    stack_ = stack;
    int64_t stride = lines_;
    for (int d = rank - 3; d >= 0 && values.rank() == rank && rank > 1; --d) {
      strides_[static_cast<size_t>(d)] = values[d] == 1 ? 0 : stride;
      stride *= values[d];
    }
  }

  bool one() const { return one_; }
  int64_t count() const { return one_ ? 1 : Shape({lines_, matrices_}).count(); }

  // out[matrix * lines + line] = value(index into the tensor), or one value.
  template <class T, class F>
  void expand(T* out, F value) const {
    if (one_) {
      *out = value(0);
      return;
    }
    for (int64_t m = 0; m < matrices_; ++m) {
      int64_t rest = m, base = 0;
      for (int d = stack_.rank() - 3; d >= 0; --d) {
        base += rest % stack_[d] * strides_[static_cast<size_t>(d)];
        rest /= stack_[d];
      }
      for (int64_t i = 0; i < lines_; ++i) *out++ = value(base + i);
    }
  }

 private:
  bool one_ = true;
  int64_t lines_ = 1, matrices_ = 1;
  Shape stack_;
  std::array<int64_t, Shape::kMaxRank> strides_{};
};

}  // namespace pyinfer
