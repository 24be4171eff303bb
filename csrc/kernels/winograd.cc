#include "kernels/winograd.h"

#include <algorithm>
#include <utility>

namespace pyinfer {
namespace {

constexpr int kMostPoints = 6, kMostTaps = 5, kMostWindow = 9;  // of an axis; pixels of a window

// Rows of G: row p is [1, p, p^2, ...] over the product of p's distances from the other points; the last row,
// of the point at infinity, picks the last tap. Of the identity that row is the only one.
struct WeightTransform {
  double g[kMostPoints][kMostTaps] = {};

  explicit WeightTransform(const WinogradAxis& axis) {
    constexpr double kFour[] = {0, 1, -1}, kSix[] = {0, 0.625, -0.625, 1.5, -1.5};
    const double* at = axis.points == 6 ? kSix : kFour;
    for (int64_t i = 0; i + 1 < axis.points; ++i) {
      double distances = 1, power = 1;
      for (int64_t j = 0; j + 1 < axis.points; ++j) distances *= j == i ? 1 : at[i] - at[j];
      for (int64_t k = 0; k < axis.taps; ++k, power *= at[i]) g[i][k] = power / distances;
    }
    g[axis.points - 1][axis.taps - 1] = 1;
  }
};

using PanelRow = double[kPanelWidth];

// out = sum over taps k of g[k] * w(k), whose rows are `step` apart.
void combine(const double* g, int64_t taps, const PanelRow* w, int64_t step, PanelRow& out) {
  for (int j = 0; j < kPanelWidth; ++j) out[j] = g[0] * w[0][j];
  for (int64_t k = 1; k < taps; ++k) {
    for (int j = 0; j < kPanelWidth; ++j) out[j] += g[k] * w[k * step][j];
  }
}

WinogradAxis axis_of(const Window& w, int d, int64_t m) {
  const bool moves = w.kernel[d] > 1, last = d + 1 == w.rank;
  WinogradAxis axis{.taps = w.kernel[d],
                    .m = moves ? m : 1,
                    .input = w.input[d],
                    .output = w.output[d],
                    .pad = w.pad[d],
                    .input_step = last ? 1 : w.input[d + 1],
                    .output_step = last ? 1 : w.output[d + 1]};
  axis.points = axis.m + axis.taps - 1;
  axis.tiles = (axis.output + axis.m - 1) / axis.m;
  return axis;
}

}  // namespace

bool fits_winograd(const ConvShape& s, int64_t m) {
  const Window& w = s.window;
  if (s.groups != 1 || w.rank < 1 || w.rank > 2) return false;
  for (int d = 0; d < w.rank; ++d)
    if (w.stride[d] != 1 || w.dilation[d] != 1) return false;
  const int64_t first = w.rank == 2 ? w.kernel[0] : 1, last = w.kernel[w.rank - 1];
  if (first == 3 && last == 3) return true;
  const int64_t taps = first == 1 ? last : last == 1 ? first : 0;
  return taps == 3 || (taps == 5 && m == 2);
}

WinogradGrid::WinogradGrid(const ConvShape& s, int64_t m) : x(axis_of(s.window, s.window.rank - 1, m)) {
  if (s.window.rank == 2) y = axis_of(s.window, 0, m);
  if (x.taps == 1) std::swap(x, y);
  points = y.points * x.points;
}

int64_t winograd_tiles(const ConvShape& s, int64_t m) {
  const WinogradGrid grid(s, m);
  return s.batch * grid.y.tiles * grid.x.tiles;
}

int64_t packed_winograd_weights_size(const ConvShape& s, int64_t m) {
  return WinogradGrid(s, m).points * packed_b_size(s.in_channels, s.out_channels);
}

void pack_winograd_weights(const ConvShape& s, int64_t m, const float* weights, float* packed) {
  const WinogradGrid grid(s, m);
  const WeightTransform along_y(grid.y), along_x(grid.x);
  const int64_t across = grid.x.taps, taps = grid.y.taps * across;
  const int64_t matrix = packed_b_size(s.in_channels, s.out_channels);
  for (int64_t panel = 0; panel < panel_count(s.out_channels); ++panel) {
    const int64_t first = panel * kPanelWidth;
    const int64_t columns = std::min<int64_t>(kPanelWidth, s.out_channels - first);
    for (int64_t c = 0; c < s.in_channels; ++c, packed += kPanelWidth) {
      PanelRow w[kMostWindow] = {}, row[kMostTaps], point;
      for (int64_t j = 0; j < columns; ++j) {
        const float* in = weights + ((first + j) * s.in_channels + c) * taps;
        for (int64_t t = 0; t < taps; ++t) w[t][j] = in[t];
      }
      float* out = packed;
      for (int64_t y = 0; y < grid.y.points; ++y) {
        for (int64_t x = 0; x < across; ++x) combine(along_y.g[y], grid.y.taps, w + x, across, row[x]);
        for (int64_t x = 0; x < grid.x.points; ++x, out += matrix) {
          combine(along_x.g[x], across, row, 1, point);
          for (int j = 0; j < kPanelWidth; ++j) out[j] = static_cast<float>(point[j]);
        }
      }
    }
  }
}

WinogradTiling::WinogradTiling(const ConvShape& s, int64_t m)
    : tiles(winograd_tiles(s, m)), panels(panel_count(s.out_channels)) {
  const int64_t points = WinogradGrid(s, m).points;
  cost = points * s.in_channels * kPanelWidth;
  constexpr int64_t kInputGoal = int64_t{1} << 18, kProductsGoal = int64_t{1} << 17;  // bytes
  constexpr int64_t kLeast = 16, kMost = 96, kWork = int64_t{1} << 20;                // multiply-adds
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
  if (!fits_winograd(s, 2) || s.in_channels < kFewChannels || s.out_channels < kFewChannels)
    return ConvAlgorithm::kDirect;
  const double inputs = static_cast<double>(s.in_channels);
  const double outputs = static_cast<double>(panel_count(s.out_channels) * kPanelWidth);
  const auto cost = [&](double rows, double matrices, double transforms) {
    const double weights = matrices * inputs * outputs;
    return rows * weights / kFloatsPerCycle + weights / kWeightsPerCycle + transforms;
  };
  const WinogradGrid image(s, 2);
  ConvAlgorithm best = ConvAlgorithm::kDirect;
  double least = cost(static_cast<double>(image.y.output) * static_cast<double>(image.x.output),
                      static_cast<double>(image.y.taps * image.x.taps), 0);
  for (const ConvAlgorithm a : {ConvAlgorithm::kWinograd2, ConvAlgorithm::kWinograd4}) {
    const int64_t m = winograd_tile(a);
    if (!fits_winograd(s, m)) continue;
    const WinogradGrid grid(s, m);
    const double tiles = static_cast<double>(grid.y.tiles) * static_cast<double>(grid.x.tiles);
    const double matrices = static_cast<double>(grid.points);
    const double c = cost(tiles, matrices, tiles * matrices * (inputs + outputs) * kTransform);
    if (c < least) best = a, least = c;
  }
  return best;
}

}  // namespace pyinfer
