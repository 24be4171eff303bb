#include "kernels/conv_transpose.h"

#include <algorithm>
#include <array>
#include <vector>

namespace pyinfer {

int64_t packed_conv_transpose_weights_size(const ConvShape& s) {
  return packed_conv_weights_size(s);
}

void pack_conv_transpose_weights(const ConvShape& s, const float* weights, float* packed) {
  const Window& w = s.window;
  const int64_t taps = spatial_size(w.kernel, w.rank);
  const int64_t channels = s.in_channels / s.groups, outputs = s.out_channels / s.groups;

  struct Tap {
    std::array<int64_t, kMaxSpatialRank> residues;
    int64_t index;
  };
  std::vector<Tap> order(static_cast<size_t>(taps));
  for (int64_t t = 0; t < taps; ++t) {
    order[t] = {{}, t};
    int64_t rest = t;
    for (int d = w.rank - 1; d >= 0; --d) {
      order[t].residues[d] = rest % w.kernel[d] * w.dilation[d] % w.stride[d];
      rest /= w.kernel[d];
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Tap& a, const Tap& b) { return a.residues < b.residues; });

  for (int64_t g = 0; g < s.groups; ++g) {
    for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
      while (end < order.size() && order[end].residues == order[begin].residues) ++end;
      for (int64_t panel = 0; panel < panel_count(outputs); ++panel) {
        const int64_t first = panel * kPanelWidth;
        const int64_t columns = std::min<int64_t>(kPanelWidth, outputs - first);
        for (size_t t = begin; t < end; ++t) {
          for (int64_t c = 0; c < channels; ++c, packed += kPanelWidth) {
            const float* in = weights + ((g * channels + c) * outputs + first) * taps + order[t].index;
            for (int64_t j = 0; j < kPanelWidth; ++j) packed[j] = j < columns ? in[j * taps] : 0.0f;
          }
        }
      }
    }
  }
}

}  // namespace pyinfer
