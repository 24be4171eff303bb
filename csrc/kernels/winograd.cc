#include "kernels/winograd.h"

#include <algorithm>

namespace pyinfer {
namespace {

// Rows of G: row p is [1, p, p^2] over the product of p's distances from the other points; the last row, of
// the point at infinity, is [0, 0, 1].
struct WeightTransform {
  int64_t points;
  double g[6][3] = {};

  explicit WeightTransform(int64_t m) : points(m + 2) {
    constexpr double kTwo[] = {0, 1, -1}, kFour[] = {0, 0.625, -0.625, 1.5, -1.5};
    const double* at = m == 4 ? kFour : kTwo;
    for (int64_t i = 0; i + 1 < points; ++i) {
      double distances = 1;
      for (int64_t j = 0; j + 1 < points; ++j) distances *= j == i ? 1 : at[i] - at[j];
      for (int k = 0; k < 3; ++k) g[i][k] = (k == 0 ? 1 : k == 1 ? at[i] : at[i] * at[i]) / distances;
    }
    g[points - 1][2] = 1;
  }
};

}  // namespace

int64_t packed_winograd_weights_size(const ConvShape& s, int64_t m) {
  return (m + 2) * (m + 2) * packed_b_size(s.in_channels, s.out_channels);
}

void pack_winograd_weights(const ConvShape& s, int64_t m, const float* weights, float* packed) {
  const WeightTransform transform(m);
  const int64_t points = transform.points, matrix = packed_b_size(s.in_channels, s.out_channels);
  for (int64_t panel = 0; panel < panel_count(s.out_channels); ++panel) {
    const int64_t first = panel * kPanelWidth;
    const int64_t columns = std::min<int64_t>(kPanelWidth, s.out_channels - first);
    for (int64_t c = 0; c < s.in_channels; ++c, packed += kPanelWidth) {
      double w[3][3][kPanelWidth] = {}, rows[6][3][kPanelWidth];
      for (int64_t j = 0; j < columns; ++j) {
        const float* in = weights + ((first + j) * s.in_channels + c) * 9;
        for (int t = 0; t < 9; ++t) w[t / 3][t % 3][j] = in[t];
      }
      for (int64_t y = 0; y < points; ++y) {
        const double* g = transform.g[y];
        for (int x = 0; x < 3; ++x) {
          for (int j = 0; j < kPanelWidth; ++j)
            rows[y][x][j] = g[0] * w[0][x][j] + g[1] * w[1][x][j] + g[2] * w[2][x][j];
        }
      }
      for (int64_t e = 0; e < points * points; ++e) {
        const double* g = transform.g[e % points];
        const auto& row = rows[e / points];
        float* out = packed + e * matrix;
        for (int j = 0; j < kPanelWidth; ++j)
          out[j] = static_cast<float>(g[0] * row[0][j] + g[1] * row[1][j] + g[2] * row[2][j]);
      }
    }
  }
}

WinogradTiling::WinogradTiling(const ConvShape& s, int64_t m)
    : tiles(winograd_tiles(s, m)),
      panels(panel_count(s.out_channels)),
      cost((m + 2) * (m + 2) * s.in_channels * kPanelWidth) {
  constexpr int64_t kInputGoal = int64_t{1} << 18, kProductsGoal = int64_t{1} << 17;  // bytes
  constexpr int64_t kLeast = 16, kMost = 96, kWork = int64_t{1} << 20;                // multiply-adds
  const int64_t points = (m + 2) * (m + 2);
  const int64_t most = std::clamp<int64_t>(kInputGoal / (points * s.in_channels * 4), kLeast, kMost);
  const int64_t blocks = std::max<int64_t>((tiles + most - 1) / most, 1);
  tile_step = std::max<int64_t>((tiles + blocks - 1) / blocks, 1);
  panel_step = std::max(kProductsGoal / (points * tile_step * kPanelWidth * 4), kWork / (tile_step * cost));
  panel_step = std::clamp<int64_t>(panel_step, 1, std::max<int64_t>(panels, 1));
  panel_tasks = (panels + panel_step - 1) / panel_step;
  // Many tasks come in fours, so that two and four threads get equal shares of a single block.
  if (panel_tasks > 2) {
    const int64_t fours = (panel_tasks + 3) / 4 * 4;
    panel_step = (panels + fours - 1) / fours;
  }
  panel_tasks = (panels + panel_step - 1) / panel_step;
}

// Costs are in cycles of a core that multiplies and adds 16 floats in each, for one image.
ConvAlgorithm choose_conv_algorithm(const ConvShape& s) {
  constexpr double kFloatsPerCycle = 16, kWeightsPerCycle = 2, kTransform = 0.4;  // cycles a float
  constexpr int64_t kFewChannels = 16;
  if (!fits_winograd(s) || s.in_channels < kFewChannels || s.out_channels < kFewChannels)
    return ConvAlgorithm::kDirect;
  const double inputs = static_cast<double>(s.in_channels);
  const double outputs = static_cast<double>(panel_count(s.out_channels) * kPanelWidth);
  const double height = static_cast<double>(s.window.output[0]),
               width = static_cast<double>(s.window.output[1]);
  const auto cost = [&](double rows, double matrices, double transforms) {
    const double weights = matrices * inputs * outputs;
    return rows * weights / kFloatsPerCycle + weights / kWeightsPerCycle + transforms;
  };
  ConvAlgorithm best = ConvAlgorithm::kDirect;
  double least = cost(height * width, 9, 0);
  for (const ConvAlgorithm a : {ConvAlgorithm::kWinograd2, ConvAlgorithm::kWinograd4}) {
    const int64_t m = winograd_tile(a), matrices = (m + 2) * (m + 2);
    ConvShape image = s;
    image.batch = 1;
    const double tiles = static_cast<double>(winograd_tiles(image, m));
    const double transforms = tiles * static_cast<double>(matrices) * (inputs + outputs) * kTransform;
    const double c = cost(tiles, static_cast<double>(matrices), transforms);
    if (c < least) best = a, least = c;
  }
  return best;
}

}  // namespace pyinfer
