#include "ops/sliding_window.h"

#include <algorithm>

#include "base/math.h"

namespace pyinfer {
namespace {

// Keeps products of two attributes, and their sums with a dimension, inside 63 bits.
constexpr int64_t kMaxAttribute = int64_t{1} << 30;

std::vector<int64_t> bounded(const NodeContext& ctx, std::string_view name, int64_t least) {
  std::vector<int64_t> values = ctx.attr_ints(name);
  for (int64_t v : values)
    require(v >= least && v <= kMaxAttribute, ErrorCode::kInvalidModel, "attribute '", name, "' holds ", v,
            ", expected values in [", least, ", ", kMaxAttribute, "]");
  return values;
}

SlidingWindow::AutoPad auto_pad_of(const std::string& name) {
  using AutoPad = SlidingWindow::AutoPad;
  if (name.empty() || name == "NOTSET") return AutoPad::kNotSet;
  if (name == "SAME_UPPER") return AutoPad::kSameUpper;
  if (name == "SAME_LOWER") return AutoPad::kSameLower;
  require(name == "VALID", ErrorCode::kInvalidModel, "attribute 'auto_pad' = '", name,
          "', expected NOTSET, SAME_UPPER, SAME_LOWER or VALID");
  return AutoPad::kValid;
}

void expect_length(const std::vector<int64_t>& values, int64_t length, const char* name) {
  require(values.empty() || static_cast<int64_t>(values.size()) == length, ErrorCode::kInvalidInput,
          "attribute '", name, "' has ", values.size(), " values, expected ", length);
}

}  // namespace

ImageShape::ImageShape(const Shape& s, Layout layout) {
  require(s.rank() >= 3 && s.rank() - 2 <= kMaxSpatialRank, ErrorCode::kInvalidInput, "an image of shape ", s,
          ", expected 3 to ", kMaxSpatialRank + 2, " dimensions");
  const bool first = layout == Layout::kChannelsFirst;
  batch = s[0];
  channels = s[first ? 1 : s.rank() - 1];
  rank = s.rank() - 2;
  for (int d = 0; d < rank; ++d) spatial[d] = s[d + (first ? 2 : 1)];
}

Shape ImageShape::shape(Layout layout) const {
  Shape s{batch};
  if (layout == Layout::kChannelsFirst) s.push_back(channels);
  for (int d = 0; d < rank; ++d) s.push_back(spatial[d]);
  if (layout == Layout::kChannelsLast) s.push_back(channels);
  return s;
}

int64_t ImageShape::pixels() const {
  return Shape(std::span(spatial, static_cast<size_t>(rank))).count();
}

SlidingWindow::SlidingWindow(const NodeContext& ctx)
    : kernel_shape_(bounded(ctx, "kernel_shape", 1)),
      strides_(bounded(ctx, "strides", 1)),
      dilations_(bounded(ctx, "dilations", 1)),
      pads_(bounded(ctx, "pads", 0)),
      auto_pad_(auto_pad_of(ctx.attr_string("auto_pad", ""))) {}

Window SlidingWindow::base(const ImageShape& image, std::span<const int64_t> kernel) const {
  const int rank = image.rank;
  require(static_cast<int>(kernel.size()) == rank, ErrorCode::kInvalidInput, "a kernel of ", kernel.size(),
          " dimensions over an image of ", rank);
  expect_length(strides_, rank, "strides");
  expect_length(dilations_, rank, "dilations");
  expect_length(pads_, 2 * rank, "pads");
  if (!kernel_shape_.empty())
    require(std::equal(kernel.begin(), kernel.end(), kernel_shape_.begin(), kernel_shape_.end()),
            ErrorCode::kInvalidInput, "attribute 'kernel_shape' does not match the weights");
  Window w;
  w.rank = rank;
  for (int d = 0; d < rank; ++d) {
    const auto i = static_cast<size_t>(d);
    w.input[d] = image.spatial[d];
    w.kernel[d] = kernel[i];
    w.stride[d] = strides_.empty() ? 1 : strides_[i];
    w.dilation[d] = dilations_.empty() ? 1 : dilations_[i];
    require(w.kernel[d] >= 1 && w.kernel[d] <= kMaxAttribute, ErrorCode::kInvalidInput, "kernel size ",
            w.kernel[d], " on spatial axis ", d, ", expected 1 to ", kMaxAttribute);
    require(w.input[d] <= INT64_MAX / 4, ErrorCode::kLimit, "spatial size ", w.input[d], " is too large");
  }
  return w;
}

Window SlidingWindow::resolve(const ImageShape& image, std::span<const int64_t> kernel, bool ceil_mode,
                              int64_t* pad_end) const {
  Window w = base(image, kernel);
  for (int d = 0; d < w.rank; ++d) {
    const auto i = static_cast<size_t>(d), j = i + static_cast<size_t>(w.rank);
    const int64_t extent = (w.kernel[d] - 1) * w.dilation[d] + 1, input = w.input[d], stride = w.stride[d];
    int64_t end = 0;
    if (auto_pad_ == AutoPad::kSameUpper || auto_pad_ == AutoPad::kSameLower) {
      w.output[d] = ceil_div(input, stride);
      const int64_t total = std::max<int64_t>(0, (w.output[d] - 1) * stride + extent - input);
      w.pad[d] = auto_pad_ == AutoPad::kSameUpper ? total / 2 : total - total / 2;
      end = total - w.pad[d];
    } else {
      if (auto_pad_ == AutoPad::kNotSet && !pads_.empty()) {
        w.pad[d] = pads_[i];
        end = pads_[j];
      }
      const int64_t room = input + w.pad[d] + end - extent;
      // Rounding up, one window remains even where it reaches past the padding.
      const bool fits = room >= 0 || (ceil_mode && room > -stride);
      require(fits, ErrorCode::kInvalidInput, "a kernel that spans ", extent, " does not fit spatial axis ",
              d, " of ", input, " padded to ", input + w.pad[d] + end);
      w.output[d] = room / stride + 1;  // the quotient is rounded toward zero
      // A window that would start in the padding at the end is left out.
      if (ceil_mode && room >= 0 && room % stride != 0 && w.output[d] * stride < input + w.pad[d])
        ++w.output[d];
    }
    if (pad_end != nullptr) pad_end[d] = end;
  }
  return w;
}

}  // namespace pyinfer
