#include "kernels/conv.h"

#include <algorithm>

namespace pyinfer {

int64_t packed_conv_weights_size(const ConvShape& s) {
  const int64_t k = spatial_size(s.window.kernel, s.window.rank) * (s.in_channels / s.groups);
  return conv_panels(s) * kPanelWidth * k;
}

void pack_conv_weights(const ConvShape& s, const float* weights, float* packed) {
  const int64_t taps = spatial_size(s.window.kernel, s.window.rank);
  const int64_t channels = s.in_channels / s.groups, outputs = s.out_channels / s.groups;
  for (int64_t g = 0; g < s.groups; ++g) {
    for (int64_t panel = 0; panel < panel_count(outputs); ++panel) {
      const int64_t first = panel * kPanelWidth;
      const int64_t columns = std::min<int64_t>(kPanelWidth, outputs - first);
      for (int64_t t = 0; t < taps; ++t) {
        for (int64_t c = 0; c < channels; ++c, packed += kPanelWidth) {
          const float* in = weights + ((g * outputs + first) * channels + c) * taps + t;
          for (int64_t j = 0; j < kPanelWidth; ++j) packed[j] = j < columns ? in[j * channels * taps] : 0.0f;
        }
      }
    }
  }
}

int64_t packed_depthwise_weights_size(const ConvShape& s) {
  return spatial_size(s.window.kernel, s.window.rank) * s.in_channels;
}

void pack_depthwise_weights(const ConvShape& s, const float* weights, float* packed) {
  const int64_t taps = spatial_size(s.window.kernel, s.window.rank);
  for (int64_t t = 0; t < taps; ++t) {
    for (int64_t c = 0; c < s.in_channels; ++c) *packed++ = weights[c * taps + t];
  }
}

}  // namespace pyinfer
