#include "kernels/conv_transpose.h"

#include <algorithm>
#include <array>

namespace pyinfer {

int64_t packed_conv_transpose_weights_size(const ConvShape& s) {
  return packed_conv_weights_size(s);
}

namespace {

// Counts at[d] up to count(d) along the axes, the last one fastest; false after the last.
template <class Count>
bool advance(const Window& w, std::array<int64_t, kMaxSpatialRank>& at, Count count) {
  for (int d = w.rank - 1; d >= 0; --d) {
    if (++at[d] < count(d)) return true;
    at[d] = 0;
  }
  return false;
}

}  // namespace

void pack_conv_transpose_weights(const ConvShape& s, const float* weights, float* packed) {
  const Window& w = s.window;
  const int64_t taps = spatial_size(w.kernel, w.rank);
  const int64_t channels = s.in_channels / s.groups, outputs = s.out_channels / s.groups;

  // One panel of one combination of classes, those of the taps `first`.
  const auto pack_panel = [&](const std::array<int64_t, kMaxSpatialRank>& first, const float* in,
                              int64_t columns) {
    std::array<int64_t, kMaxSpatialRank> at{};
    do {
      int64_t tap = 0;
      for (int d = 0; d < w.rank; ++d) tap = tap * w.kernel[d] + first[d] + at[d] * tap_period(w, d);
      for (int64_t c = 0; c < channels; ++c, packed += kPanelWidth)
        for (int64_t j = 0; j < kPanelWidth; ++j)
          packed[j] = j < columns ? in[(c * outputs + j) * taps + tap] : 0.0f;
    } while (advance(w, at, [&](int d) { return tap_class(w, d, first[d]).count; }));
  };

  for (int64_t g = 0; g < s.groups; ++g) {
    std::array<int64_t, kMaxSpatialRank> first{};
    do {
      for (int64_t panel = 0; panel < panel_count(outputs); ++panel) {
        const int64_t column = panel * kPanelWidth;
        pack_panel(first, weights + (g * channels * outputs + column) * taps,
                   std::min<int64_t>(kPanelWidth, outputs - column));
      }
    } while (advance(w, first, [&](int d) { return std::min(tap_period(w, d), w.kernel[d]); }));
  }
}

}  // namespace pyinfer
