#include "kernels/reference/rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pyinfer::reference {
namespace {

std::vector<double> line_of(const float* x, int64_t n, int64_t inner, int64_t line) {
  std::vector<double> v;
  for (int64_t r = 0; r < n; ++r) v.push_back(x[line / inner * n * inner + r * inner + line % inner]);
  return v;
}

double maximum(const std::vector<double>& v) {
  double m = -std::numeric_limits<double>::infinity();
  for (double x : v) m = std::isnan(x) || std::isnan(m) ? std::nan("") : std::max(m, x);
  return m;
}

// Whether x comes before y where the most extreme is sought.
bool beats(double x, double y, bool largest) {
  if (std::isnan(x) || std::isnan(y)) return std::isnan(x) && !std::isnan(y);
  return largest ? x > y : x < y;
}

int64_t place_of_extreme(const std::vector<double>& v, bool largest, bool last) {
  size_t best = 0;
  for (size_t i = 1; i < v.size(); ++i)
    if (last ? !beats(v[best], v[i], largest) : beats(v[i], v[best], largest)) best = i;
  return static_cast<int64_t>(best);
}

}  // namespace

double reduce(ReduceKind kind, const ReduceArgs& args, int64_t at) {
  const std::vector<double> v = line_of(args.x, args.reduce, args.inner, at);
  double sum = 0, product = 1, squares = 0, absolutes = 0, shifted = 0;
  double low = std::numeric_limits<double>::infinity();
  const double high = maximum(v), shift = std::isfinite(high) ? high : 0;
  for (double x : v) {
    sum += x;
    product *= x;
    squares += x * x;
    absolutes += std::abs(x);
    shifted += std::exp(x - shift);
    low = std::isnan(x) || std::isnan(low) ? std::nan("") : std::min(low, x);
  }
  switch (kind) {
    case ReduceKind::kSum: return sum;
    case ReduceKind::kMean: return sum / static_cast<double>(v.size());
    case ReduceKind::kMax: return high;
    case ReduceKind::kMin: return low;
    case ReduceKind::kProd: return product;
    case ReduceKind::kSumSquare: return squares;
    case ReduceKind::kL1: return absolutes;
    case ReduceKind::kL2: return std::sqrt(squares);
    case ReduceKind::kLogSum: return std::log(sum);
    case ReduceKind::kLogSumExp: return shift + std::log(shifted);
  }
  return 0;
}

int64_t arg_extreme(const ReduceArgs& args, int64_t at, bool largest, bool last) {
  return place_of_extreme(line_of(args.x, args.reduce, args.inner, at), largest, last);
}

std::vector<double> along_axis(AxisKind kind, const AxisArgs& args, int64_t line) {
  std::vector<double> v = line_of(args.x, args.n, args.inner, line);
  const double top = maximum(v);
  double exponentials = 0, absolutes = 0, squares = 0;
  for (double x : v) {
    exponentials += std::exp(x - top);
    absolutes += std::abs(x);
    squares += x * x;
  }
  const int64_t place = v.empty() ? 0 : place_of_extreme(v, true, false);
  for (size_t i = 0; i < v.size(); ++i) {
    switch (kind) {
      case AxisKind::kSoftmax: v[i] = std::exp(v[i] - top) / exponentials; break;
      case AxisKind::kLogSoftmax: v[i] = v[i] - top - std::log(exponentials); break;
      case AxisKind::kHardmax: v[i] = static_cast<int64_t>(i) == place ? 1 : 0; break;
      case AxisKind::kL1: v[i] = absolutes == 0 ? 0 : v[i] / absolutes; break;
      case AxisKind::kL2: v[i] = squares == 0 ? 0 : v[i] / std::sqrt(squares); break;
    }
  }
  return v;
}

std::vector<double> row_norm(const RowNormArgs& args, bool centred, int64_t row) {
  std::vector<double> v = line_of(args.x, args.n, 1, row);
  double mean = 0, squares = 0;
  for (double x : v) mean += x / static_cast<double>(v.size());
  if (!centred) mean = 0;
  for (double x : v) squares += (x - mean) * (x - mean);
  const double deviation = std::sqrt(squares / static_cast<double>(v.size()) + double(args.epsilon));
  for (size_t i = 0; i < v.size(); ++i) {
    v[i] = (v[i] - mean) / deviation * (args.scale ? double(args.scale[i]) : 1.0) +
           (args.bias ? double(args.bias[i]) : 0.0);
  }
  return v;
}

std::vector<double> group_norm(const GroupNormArgs& args, int64_t batch) {
  const int64_t width = args.channels / args.groups;
  std::vector<double> y(static_cast<size_t>(batch * args.channels * args.spatial));
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t g = 0; g < args.groups; ++g) {
      std::vector<int64_t> places, channels;
      for (int64_t c = g * width; c < (g + 1) * width; ++c)
        for (int64_t s = 0; s < args.spatial; ++s) {
          places.push_back(args.channels_last ? (b * args.spatial + s) * args.channels + c
                                              : (b * args.channels + c) * args.spatial + s);
          channels.push_back(c);
        }
      double mean = 0, squares = 0;
      const auto n = static_cast<double>(places.size());
      for (int64_t p : places) mean += args.x[p] / n;
      for (int64_t p : places) squares += (args.x[p] - mean) * (args.x[p] - mean);
      const double deviation = std::sqrt(squares / n + double(args.epsilon));
      for (size_t i = 0; i < places.size(); ++i) {
        const int64_t c = channels[i];
        y[static_cast<size_t>(places[i])] =
            (args.x[places[i]] - mean) / deviation * (args.scale ? args.scale[c] : 1.0f) +
            (args.bias ? args.bias[c] : 0.0f);
      }
    }
  }
  return y;
}

}  // namespace pyinfer::reference
