// Which scale and zero point go with which element of a quantized tensor: one for the whole tensor, one per
// index of an axis, or one per block of `block` indices of an axis.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/math.h"
#include "ops/op.h"

namespace pyinfer {

// Sees x as [outer, axis, inner] and the scales as one element, [axis], or [outer, ceil(axis / block),
// inner].
class QuantizeGrid final : public StepState {
 public:
  // Throws Error(kInvalidInput) when `scale` fits none of the three.
  QuantizeGrid(const Shape& x, const Shape& scale, int64_t axis, int64_t block_size) {
    if (scale.count() == 1 && scale.rank() <= 1) {
      unit_ = 1;
      units_ = x.count();
      return;
    }
    require(axis >= -x.rank() && axis < x.rank(), ErrorCode::kInvalidInput, "axis ", axis,
            " is out of range for rank ", x.rank());
    const int at = static_cast<int>(axis < 0 ? axis + x.rank() : axis);
    axis_ = x[at];
    inner_ = x.count(at + 1, x.rank());
    if (block_size == 0) {
      require(scale.rank() == 1 && scale[0] == axis_, ErrorCode::kInvalidInput, "scale of shape ", scale,
              " fits no axis ", axis, " of ", x);
      mode_ = Mode::kPerAxis;
    } else {
      Shape expected = x;
      expected[at] = ceil_div(axis_, std::min(block_size, std::max<int64_t>(axis_, 1)));
      require(scale == expected, ErrorCode::kInvalidInput, "scale of shape ", scale, ", expected ", expected,
              " for ", x, " in blocks of ", block_size, " along axis ", axis);
      mode_ = Mode::kBlocked;
      block_ = std::min(block_size, std::max<int64_t>(axis_, 1));
      blocks_ = expected[at];
    }
    // One unit is a row of `inner` elements, or of the whole axis when that is innermost.
    unit_ = inner_ > 1 ? inner_ : axis_;
    units_ = unit_ == 0 ? 0 : x.count() / unit_;
  }

  // Work is cut into units: rows, or single elements when there is one scale.
  int64_t units() const { return units_; }
  int64_t grain(int64_t elements) const {
    return std::max<int64_t>(1, elements / std::max<int64_t>(unit_, 1));
  }

  // Calls f(first element, first scale, step of the scale (0 or 1), elements) for the units [begin, end).
  template <class F>
  void runs(int64_t begin, int64_t end, F&& f) const {
    if (mode_ == Mode::kPerTensor) return f(begin, int64_t{0}, 0, end - begin);
    for (int64_t u = begin; u < end; ++u) {
      if (inner_ > 1) {
        const int64_t i = u % axis_, outer = u / axis_;
        if (mode_ == Mode::kPerAxis)
          f(u * inner_, i, 0, inner_);
        else
          f(u * inner_, (outer * blocks_ + i / block_) * inner_, 1, inner_);
      } else if (mode_ == Mode::kPerAxis) {
        f(u * axis_, int64_t{0}, 1, axis_);
      } else {
        for (int64_t b = 0; b < blocks_; ++b)
          f(u * axis_ + b * block_, u * blocks_ + b, 0, std::min(block_, axis_ - b * block_));
      }
    }
  }

 private:
  enum class Mode { kPerTensor, kPerAxis, kBlocked };
  Mode mode_ = Mode::kPerTensor;
  int64_t axis_ = 1, inner_ = 1, block_ = 1, blocks_ = 1;
  int64_t unit_ = 1, units_ = 0;
};

}  // namespace pyinfer
