// The attributes that convolutions and pools share, checked and resolved to a Window.
#pragma once

#include <vector>

#include "kernels/window.h"
#include "ops/op.h"

namespace pyinfer {

// Of an image: NCHW as in ONNX, or NHWC, the internal layout that the layout pass chooses.
enum class Layout { kChannelsFirst, kChannelsLast };

// An image tensor's dimensions by role.
struct ImageShape {
  int64_t batch = 0, channels = 0;
  int rank = 0;  // spatial
  int64_t spatial[kMaxSpatialRank] = {};

  // Throws Error(kInvalidInput) for a tensor of fewer than 3 dimensions.
  ImageShape(const Shape& shape, Layout layout);
  ImageShape() = default;
  Shape shape(Layout layout) const;
  int64_t pixels() const;  // of one image
};

class SlidingWindow {
 public:
  enum class AutoPad { kNotSet, kSameUpper, kSameLower, kValid };

  explicit SlidingWindow(const NodeContext& ctx);

  const std::vector<int64_t>& kernel_shape() const { return kernel_shape_; }
  const std::vector<int64_t>& strides() const { return strides_; }
  const std::vector<int64_t>& dilations() const { return dilations_; }
  const std::vector<int64_t>& pads() const { return pads_; }
  AutoPad auto_pad() const { return auto_pad_; }

  // Kernel, strides, dilations and the sizes of `image`; outputs and pads are left 0. Throws
  // Error(kInvalidInput) where the attributes do not fit the rank.
  Window base(const ImageShape& image, std::span<const int64_t> kernel) const;
  // The whole window; `pad_end` (kMaxSpatialRank long, may be nullptr) receives the pads at the end.
  Window resolve(const ImageShape& image, std::span<const int64_t> kernel, bool ceil_mode = false,
                 int64_t* pad_end = nullptr) const;

 private:
  std::vector<int64_t> kernel_shape_, strides_, dilations_, pads_;
  AutoPad auto_pad_;
};

// Taps [begin, end) of axis d that read inside the image for output position `o`.
struct TapRange {
  int64_t begin, end;
};
inline TapRange valid_taps(const Window& w, int d, int64_t o) {
  const int64_t start = o * w.stride[d] - w.pad[d], step = w.dilation[d];
  const int64_t begin = start >= 0 ? 0 : (-start + step - 1) / step;
  const int64_t end = start >= w.input[d] ? 0 : (w.input[d] - start + step - 1) / step;
  const int64_t last = end < w.kernel[d] ? end : w.kernel[d];
  return {begin < last ? begin : last, last};
}

}  // namespace pyinfer
