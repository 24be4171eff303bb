// GridSample: y[n, c, p..] = x[n, c] interpolated at the point grid[n, p..], whose coordinates run from -1
// to 1. AffineGrid: grid[n, p..] = theta[n] * (position of p.., 1).
#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "ops/dispatch.h"
#include "ops/elements.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

constexpr auto kBad = ErrorCode::kInvalidInput;
constexpr int64_t kMaxTaps = 4096;  // of one point; four to the sixth power
constexpr int64_t kBlockTaps = 4096, kBlockPoints = 64;

enum class Mode { kNearest, kLinear, kCubic };
enum class Padding { kZeros, kBorder, kReflection };

struct Rule {
  Mode mode = Mode::kLinear;
  Padding padding = Padding::kZeros;
  bool align = false;
  int taps() const { return mode == Mode::kNearest ? 1 : mode == Mode::kLinear ? 2 : 4; }
};

struct Tap {
  int64_t offset;  // elements, within a channel
  double weight;
};

// `x` mirrored at both borders as often as needed.
template <class C>
C reflect(C x, C low, C high) {
  const C range = high - low;
  if (range <= 0) return low;
  const C beyond = x < low ? low - x : x > high ? x - high : C(0);
  if (beyond == 0) return x;
  const C times = std::floor(beyond / range), rest = beyond - times * range;
  const bool from_low = (x < low) == (std::fmod(times, C(2)) == 0);
  return from_low ? low + rest : high - rest;
}

void cubic_weights(double t, double* w) {
  constexpr double a = -0.75;
  w[0] = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
  w[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
  w[2] = ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1;
  w[3] = ((a * (2 - t) - 5 * a) * (2 - t) + 8 * a) * (2 - t) - 4 * a;
}

// What one axis of n elements contributes: up to four indices (-1: outside, counts as zero) and weights.
struct AxisTaps {
  int64_t index[4];
  double weight[4] = {1, 0, 0, 0};
};

// C is the type of the grid: where it is float32, so is the arithmetic that decides the nearest element.
template <class C>
AxisTaps axis_taps(const Rule& rule, C at, int64_t n) {
  const auto length = static_cast<C>(n);
  C x = rule.align ? (at + 1) / 2 * (length - 1) : ((at + 1) * length - 1) / 2;
  const C low = rule.align ? C(0) : C(-0.5), high = rule.align ? length - 1 : length - C(0.5);
  if (x != x) x = rule.padding == Padding::kZeros ? -length - 8 : C(0);
  if (rule.mode == Mode::kNearest) x = std::nearbyint(x);
  if (x < low || x > high) {
    if (rule.padding == Padding::kBorder) x = std::clamp<C>(x, 0, length - 1);
    if (rule.padding == Padding::kReflection)
      x = std::isinf(x) ? low : reflect(x, low, high);
    else
      x = std::clamp<C>(x, -length - 8, 2 * length + 8);
  }
  AxisTaps taps;
  const C floor = rule.mode == Mode::kNearest ? std::nearbyint(x) : std::floor(x);
  const auto part = static_cast<double>(x - floor);
  auto first = static_cast<int64_t>(floor);
  if (rule.mode == Mode::kLinear) {
    taps.weight[0] = 1 - part;
    taps.weight[1] = part;
  } else if (rule.mode == Mode::kCubic) {
    cubic_weights(part, taps.weight);
    --first;
  }
  for (int t = 0; t < rule.taps(); ++t) {
    int64_t i = first + t;
    if (rule.padding == Padding::kReflection)
      i = static_cast<int64_t>(
          reflect(static_cast<double>(i), static_cast<double>(low), static_cast<double>(high)));
    const bool inside = i >= 0 && i < n;
    taps.index[t] = inside ? i : rule.padding == Padding::kZeros ? -1 : std::clamp<int64_t>(i, 0, n - 1);
  }
  return taps;
}

// The products of the axes' taps, without those outside; gives their number. `point` lists the coordinates
// from the last axis to the first. `taps` has room for twice as many as there can be.
template <class C>
int64_t point_taps(const Rule& rule, const Shape& x, const C* point, Tap* taps, int64_t room) {
  const int axes = x.rank() - 2;
  int64_t n = 1;
  taps[0] = {0, 1};
  for (int d = 0; d < axes; ++d) {
    const AxisTaps axis = axis_taps(rule, point[axes - 1 - d], x[d + 2]);
    const int64_t held = n;
    n = 0;
    Tap* const outer = taps + room - held;  // in the upper half of the room
    std::copy_n(taps, held, outer);
    for (int64_t i = 0; i < held; ++i)
      for (int t = 0; t < rule.taps(); ++t)
        if (axis.index[t] >= 0)
          taps[n++] = {outer[i].offset * x[d + 2] + axis.index[t], outer[i].weight * axis.weight[t]};
  }
  return n;
}

// The taps of a block of points of one image, one point after the other.
struct Block {
  int64_t image, first, count;
  Tap* taps;
  int64_t start[kBlockPoints + 1];  // by point, where its taps begin
};

template <class T>
auto wide(T v) {
  if constexpr (std::is_same_v<T, double>)
    return v;
  else
    return static_cast<float>(v);
}

class GridSample final : public Op {
 public:
  explicit GridSample(Rule rule) : rule_(rule) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &grid = ctx.shape(1);
    const int axes = x.rank() - 2;
    require(axes >= 1 && grid.rank() == x.rank() && grid[0] == x[0] && grid[axes + 1] == axes, kBad,
            "an input of shape ", x, " and a grid of shape ", grid);
    require(taps_of(axes) <= kMaxTaps, ErrorCode::kUnsupported, "interpolation over ", axes, " axes");
    Shape out{x[0], x[1]};
    for (int i = 1; i <= axes; ++i) out.push_back(grid[i]);
    require(x.count(2, x.rank()) > 0 || out.count() == 0, kBad, "nothing to sample in ", x);
    ctx.output(0, out);
    ScratchLayout layout;
    layout.take(ctx.workers() * (block_points(axes) + 2) * taps_of(axes), sizeof(Tap));
    ctx.scratch(layout.bytes());
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    if (ctx.in(1).dtype == DType::kFloat64)
      sample_points<double>(ctx);
    else
      sample_points<float>(ctx);
  }

 private:
  // The most taps that a point may have; kMaxTaps + 1 when it is more than that.
  int64_t taps_of(int axes) const {
    int64_t taps = 1;
    for (int i = 0; i < axes; ++i) taps = std::min(taps * rule_.taps(), kMaxTaps + 1);
    return taps;
  }
  int64_t block_points(int axes) const {
    return std::clamp<int64_t>(kBlockTaps / taps_of(axes), 1, kBlockPoints);
  }

  template <class C>
  void sample_points(const RunContext& ctx) const {
    const TensorView &x = ctx.in(0), &grid = ctx.in(1), &y = ctx.out(0);
    const int axes = x.shape.rank() - 2;
    const int64_t points = y.shape.count(2, y.shape.rank()), taps = taps_of(axes), size = block_points(axes);
    const int64_t blocks = ceil_div(points, size);
    const int64_t grain = std::max<int64_t>(1, (32 << 10) / (size * taps * x.shape[1] + 1));
    ctx.parallel(x.shape[0] * blocks, grain, [&](int64_t begin, int64_t end, int worker) {
      Tap* const room = ctx.scratch_as<Tap>() + worker * (size + 2) * taps;
      C buffer[Shape::kMaxRank];
      for (int64_t u = begin; u < end; ++u) {
        Block block{u / blocks, u % blocks * size, 0, room + 2 * taps, {}};
        block.count = std::min(size, points - block.first);
        for (int64_t p = 0; p < block.count; ++p) {
          const int64_t at = (block.image * points + block.first + p) * axes;
          const C* point = load_as<C>(grid.dtype, grid.data, at, axes, buffer);
          const int64_t n = point_taps(rule_, x.shape, point, room, 2 * taps);
          std::copy_n(room, n, block.taps + block.start[p]);
          block.start[p + 1] = block.start[p] + n;
        }
        if (rule_.mode == Mode::kNearest)
          copy_block(x, y, block);
        else
          dispatch<float, double, Float16, BFloat16>(x.dtype, [&]<class T>() { sum_block<T>(x, y, block); });
      }
    });
  }

  // Calls body(where the channel begins in x, where the block does in y) for each channel; in elements.
  template <class Body>
  static void for_each_channel(const TensorView& x, const TensorView& y, const Block& block,
                               const Body& body) {
    const int64_t plane = x.shape.count(2, x.shape.rank()), points = y.shape.count(2, y.shape.rank());
    for (int64_t c = block.image * x.shape[1]; c < (block.image + 1) * x.shape[1]; ++c)
      body(c * plane, c * points + block.first);
  }

  static void copy_block(const TensorView& x, const TensorView& y, const Block& block) {
    const size_t size = dtype_size(y.dtype);
    for_each_channel(x, y, block, [&](int64_t from, int64_t to) {
      for (int64_t p = 0; p < block.count; ++p) {
        const bool inside = block.start[p + 1] > block.start[p];
        const int64_t at = inside ? from + block.taps[block.start[p]].offset : 0;
        if (y.dtype == DType::kString) {
          y.as<std::string>()[to + p] = inside ? x.as<std::string>()[at] : std::string();
          continue;
        }
        std::byte* element = y.as<std::byte>() + static_cast<size_t>(to + p) * size;
        if (inside)
          std::memcpy(element, x.as<std::byte>() + static_cast<size_t>(at) * size, size);
        else
          std::memset(element, 0, size);
      }
    });
  }

  template <class T>
  static void sum_block(const TensorView& x, const TensorView& y, const Block& block) {
    using A = decltype(wide(T{}));
    for_each_channel(x, y, block, [&](int64_t from, int64_t to) {
      const T* plane = x.as<T>() + from;
      for (int64_t p = 0; p < block.count; ++p) {
        A sum = 0;
        for (const Tap* t = block.taps + block.start[p]; t != block.taps + block.start[p + 1]; ++t)
          sum += static_cast<A>(t->weight) * wide(plane[t->offset]);
        y.as<T>()[to + p] = T(sum);
      }
    });
  }

  Rule rule_;
};

class AffineGrid final : public Op {
 public:
  explicit AffineGrid(bool align) : align_(align) {}

  void plan(PlanContext& ctx) const override {
    const std::vector<int64_t> size = ctx.require_int64s(1);
    const auto axes = static_cast<int64_t>(size.size()) - 2;
    require(axes == 2 || axes == 3, kBad, "size has ", size.size(), " elements, expected 4 or 5");
    require((ctx.shape(0) == Shape{size[0], axes, axes + 1}), kBad, "theta has shape ", ctx.shape(0),
            ", expected [", size[0], ", ", axes, ", ", axes + 1, "]");
    Shape out{size[0]};
    for (size_t i = 2; i < size.size(); ++i) {
      require(size[i] >= 0, kBad, "size has ", size[i]);
      out.push_back(size[i]);
    }
    out.push_back(axes);
    ctx.output(0, out);
  }

  void run(RunContext& ctx) const override {
    dispatch<float, double, Float16, BFloat16>(ctx.in(0).dtype, [&]<class T>() { fill_grid<T>(ctx); });
  }

 private:
  template <class T>
  void fill_grid(const RunContext& ctx) const {
    const Shape& out = ctx.out(0).shape;
    const int axes = out.rank() - 2;
    const int64_t points = out.count(1, axes + 1);
    ctx.parallel(out[0] * points, 2048, [&](int64_t begin, int64_t end, int) {
      for (int64_t p = begin; p < end; ++p) {
        double position[4] = {0, 0, 0, 0};  // from the last axis to the first, then one
        int64_t rest = p % points;
        for (int d = 0; d < axes; ++d) {
          const int64_t n = out[axes - d];
          position[d] = coordinate(rest % n, n);
          rest /= n;
        }
        position[axes] = 1;
        const T* row = ctx.in<T>(0) + p / points * axes * (axes + 1);
        for (int i = 0; i < axes; ++i, row += axes + 1) {
          double sum = 0;
          for (int k = 0; k <= axes; ++k) sum += static_cast<double>(wide(row[k])) * position[k];
          ctx.out<T>(0)[p * axes + i] = T(static_cast<decltype(wide(T{}))>(sum));
        }
      }
    });
  }

  double coordinate(int64_t i, int64_t n) const {
    if (align_) return n == 1 ? -1 : -1 + 2.0 * static_cast<double>(i) / static_cast<double>(n - 1);
    return (2 * static_cast<double>(i) + 1) / static_cast<double>(n) - 1;
  }

  bool align_;
};

std::unique_ptr<Op> make_grid_sample(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(1, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  ctx.output(0, ctx.dtype(0));
  Rule rule;
  rule.align = ctx.attr_int("align_corners", 0) != 0;
  const std::string mode = ctx.attr_string("mode", "linear"),
                    padding = ctx.attr_string("padding_mode", "zeros");
  // Operator set 16 knew the last two by their names in two dimensions.
  if (mode == "nearest")
    rule.mode = Mode::kNearest;
  else if (mode == "cubic" || mode == "bicubic")
    rule.mode = Mode::kCubic;
  else
    require(mode == "linear" || mode == "bilinear", ErrorCode::kInvalidModel, "mode=", mode, " is unknown");
  if (padding == "border")
    rule.padding = Padding::kBorder;
  else if (padding == "reflection")
    rule.padding = Padding::kReflection;
  else
    require(padding == "zeros", ErrorCode::kInvalidModel, "padding_mode=", padding, " is unknown");
  if (rule.mode != Mode::kNearest)
    ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  return std::make_unique<GridSample>(rule);
}

std::unique_ptr<Op> make_affine_grid(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  ctx.expect_dtype(1, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<AffineGrid>(ctx.attr_int("align_corners", 0) != 0);
}

}  // namespace

std::span<const OpDef> grid_sample_ops() {
  static constexpr OpDef kOps[] = {
      {"", "AffineGrid", 1, make_affine_grid},
      {"", "GridSample", 1, make_grid_sample},
  };
  return kOps;
}

}  // namespace pyinfer
