#include "ops/resize_axis.h"

#include <algorithm>
#include <cmath>

namespace pyinfer {
namespace {

// Where output index i lies on the input, as the specification of Resize-19 says.
double coordinate(Coordinates kind, const ResizeAxis& a, int64_t i) {
  const auto x = static_cast<double>(i), in = static_cast<double>(a.in);
  const double out = a.scale * in;  // may be fractional where a scale was given
  switch (kind) {
    case Coordinates::kHalfPixel: break;
    case Coordinates::kHalfPixelSymmetric:
      return in / 2 * (1 - static_cast<double>(a.out) / out) + (x + 0.5) / a.scale - 0.5;
    case Coordinates::kPytorchHalfPixel:
      if (a.out == 1) return 0;
      break;
    case Coordinates::kAlignCorners: return out == 1 ? 0 : x * (in - 1) / (out - 1);
    case Coordinates::kAsymmetric: return x / a.scale;
    case Coordinates::kCropAndResize: {
      const double length = (a.roi_end - a.roi_start) * (in - 1);
      return a.roi_start * (in - 1) + (out == 1 ? length / 2 : x * length / (out - 1));
    }
  }
  return (x + 0.5) / a.scale - 0.5;
}

int64_t nearest_index(NearestMode mode, double x) {
  const double low = std::floor(x), part = x - low;
  bool up = false;
  switch (mode) {
    case NearestMode::kRoundPreferFloor: up = part > 0.5; break;
    case NearestMode::kRoundPreferCeil: up = part >= 0.5; break;
    case NearestMode::kFloor: break;
    case NearestMode::kCeil: up = part > 0; break;
  }
  return static_cast<int64_t>(low) + (up ? 1 : 0);
}

// The filters, at a distance of |x| input elements.
double linear_filter(double x) {
  return std::max(0.0, 1 - std::fabs(x));
}
double cubic_filter(double x, double a) {
  x = std::fabs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

double stretch_of(const ResizeRule& rule, double scale) {
  return rule.antialias ? std::min(scale, 1.0) : 1.0;
}

// Half the number of taps: elements at or before the coordinate that the filter reaches.
int64_t reach(const ResizeRule& rule, double scale) {
  const double radius = rule.mode == ResizeMode::kCubic ? 2 : 1;
  return -static_cast<int64_t>(std::floor(-radius / stretch_of(rule, scale)));
}

// The weights of output index i, whose coordinate is x, go to column i of `table`.
void weigh(const ResizeRule& rule, const ResizeAxis& axis, double x, int64_t i, ResizeTaps& table) {
  const double stretch = stretch_of(rule, axis.scale);
  const int64_t before = table.taps / 2;
  // An integral coordinate counts as the end of the interval on its left.
  const auto left = static_cast<int64_t>(std::ceil(x)) - 1;
  double sum = 0;
  for (int64_t t = 0; t < table.taps; ++t) {
    const int64_t at = left + 1 - before + t;
    const double distance = (static_cast<double>(at) - x) * stretch;
    double w =
        rule.mode == ResizeMode::kCubic ? cubic_filter(distance, rule.cubic_a) : linear_filter(distance);
    if (rule.exclude_outside && (at < 0 || at >= axis.in)) w = 0;
    const auto k = static_cast<size_t>(t * axis.out + i);
    table.index[k] = std::clamp<int64_t>(at, 0, axis.in - 1);
    table.weight[k] = w;
    sum += w;
  }
  if (sum == 0 || !(rule.antialias || rule.exclude_outside)) return;
  for (int64_t t = 0; t < table.taps; ++t) table.weight[static_cast<size_t>(t * axis.out + i)] /= sum;
}

}  // namespace

int64_t count_taps(const ResizeRule& rule, double scale) {
  return rule.mode == ResizeMode::kNearest ? 1 : 2 * reach(rule, scale);
}

ResizeTaps resize_taps(const ResizeRule& rule, const ResizeAxis& axis) {
  ResizeTaps table;
  table.taps = count_taps(rule, axis.scale);
  table.index.resize(static_cast<size_t>(table.taps * axis.out));
  if (rule.mode != ResizeMode::kNearest) table.weight.resize(table.index.size());
  // Beyond these the nearest element is the first or the last one, whatever the filter.
  const double far = static_cast<double>(axis.in + table.taps) + 2;
  for (int64_t i = 0; i < axis.out; ++i) {
    const double x = coordinate(rule.coordinates, axis, i);
    if (rule.coordinates == Coordinates::kCropAndResize && (x < 0 || x > static_cast<double>(axis.in - 1))) {
      table.outside.resize(static_cast<size_t>(axis.out), false);
      table.outside[static_cast<size_t>(i)] = true;
    }
    const double near = std::clamp(x, -far, far);
    if (rule.mode == ResizeMode::kNearest)
      table.index[static_cast<size_t>(i)] =
          std::clamp<int64_t>(nearest_index(rule.nearest, near), 0, axis.in - 1);
    else
      weigh(rule, axis, near, i, table);
  }
  return table;
}

}  // namespace pyinfer
