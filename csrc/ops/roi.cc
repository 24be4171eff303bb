// RoiAlign: y[r, c, i, j] = the mean (or largest) of x[batch[r], c] at points spread over bin (i, j) of
// region r. MaxRoiPool: the largest element of x in each bin of a region of whole pixels.
#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "ops/dispatch.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

constexpr auto kBad = ErrorCode::kInvalidInput;
constexpr double kMaxSamples = 1 << 14;  // along one axis of a bin

template <class T>
auto wide(T v) {
  if constexpr (std::is_same_v<T, double>)
    return v;
  else
    return static_cast<float>(v);
}
template <class T>
using Wide = decltype(wide(T{}));

struct AlignRule {
  int64_t height, width, samples;
  float scale;
  bool max, half_pixel;
};

// One region on the feature map.
template <class C>
struct Region {
  C y, x, bin_height, bin_width;
  int64_t rows, columns;  // samples in a bin
};

template <class T>
Region<Wide<T>> region_of(const AlignRule& rule, const T* roi) {
  using C = Wide<T>;
  const C scale = static_cast<C>(rule.scale), shift = rule.half_pixel ? C(0.5) : C(0);
  const C x0 = wide(roi[0]) * scale - shift, y0 = wide(roi[1]) * scale - shift;
  C width = wide(roi[2]) * scale - shift - x0, height = wide(roi[3]) * scale - shift - y0;
  if (!rule.half_pixel) {
    width = std::max(width, C(1));
    height = std::max(height, C(1));
  }
  Region<C> r{
      y0,           x0,          height / static_cast<C>(rule.height), width / static_cast<C>(rule.width),
      rule.samples, rule.samples};
  if (rule.samples == 0) {
    const C rows = std::ceil(r.bin_height), columns = std::ceil(r.bin_width);
    require(rows <= C(kMaxSamples) && columns <= C(kMaxSamples), kBad, "a region of ", height, " x ", width,
            " pixels needs too many samples");
    r.rows = std::max<int64_t>(0, static_cast<int64_t>(rows));
    r.columns = std::max<int64_t>(0, static_cast<int64_t>(columns));
  }
  return r;
}

// The four elements around a point and their weights. False outside of the map, by more than a pixel.
template <class C>
bool corners_of(C y, C x, int64_t height, int64_t width, int64_t* offset, C* weight) {
  if (!(y >= -1 && y <= static_cast<C>(height) && x >= -1 && x <= static_cast<C>(width))) return false;
  y = std::clamp<C>(y, 0, static_cast<C>(height - 1));
  x = std::clamp<C>(x, 0, static_cast<C>(width - 1));
  const auto y0 = static_cast<int64_t>(y), x0 = static_cast<int64_t>(x);
  const int64_t y1 = std::min(y0 + 1, height - 1), x1 = std::min(x0 + 1, width - 1);
  const C ly = y - static_cast<C>(y0), lx = x - static_cast<C>(x0);
  offset[0] = y0 * width + x0;
  offset[1] = y0 * width + x1;
  offset[2] = y1 * width + x0;
  offset[3] = y1 * width + x1;
  weight[0] = (1 - ly) * (1 - lx);
  weight[1] = (1 - ly) * lx;
  weight[2] = ly * (1 - lx);
  weight[3] = ly * lx;
  return true;
}

template <class C>
struct Sample {
  int64_t offset[4];
  C weight[4];
  bool inside;
};
constexpr int64_t kGroup = 64;

class RoiAlign final : public Op {
 public:
  explicit RoiAlign(AlignRule rule) : rule_(rule) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &rois = ctx.shape(1);
    require(x.rank() == 4 && rois.rank() == 2 && rois[1] == 4 && ctx.shape(2) == Shape{rois[0]}, kBad,
            "X, rois and batch_indices have shapes ", x, ", ", rois, " and ", ctx.shape(2));
    const Shape out{rois[0], x[1], rule_.height, rule_.width};
    require(x.count() > 0 || out.count() == 0, kBad, "nothing to sample in ", x);
    ctx.output(0, out);
    ScratchLayout layout;
    layout.take(ctx.workers() * x[1], sizeof(double));
    ctx.scratch(layout.bytes());
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    dispatch<float, double, Float16, BFloat16>(ctx.in(0).dtype, [&]<class T>() { align<T>(ctx); });
  }

 private:
  template <class T>
  void align(const RunContext& ctx) const {
    const Shape& shape = ctx.in(0).shape;
    const auto* batch = ctx.in<int64_t>(2);
    const int64_t rois = ctx.in(1).shape[0], channels = shape[1];
    for (int64_t r = 0; r < rois; ++r) {
      require(batch[r] >= 0 && batch[r] < shape[0], kBad, "batch index ", batch[r], " of ", shape[0]);
      region_of(rule_, ctx.in<T>(1) + r * 4);
    }
    ctx.parallel(rois * rule_.height, 1, [&](int64_t begin, int64_t end, int worker) {
      auto* sums = reinterpret_cast<Wide<T>*>(ctx.scratch_as<double>() + worker * channels);
      for (int64_t u = begin; u < end; ++u) {
        const int64_t r = u / rule_.height, i = u % rule_.height;
        const auto region = region_of(rule_, ctx.in<T>(1) + r * 4);
        const T* image = ctx.in<T>(0) + batch[r] * channels * shape[2] * shape[3];
        T* y = ctx.out<T>(0) + (r * channels * rule_.height + i) * rule_.width;
        for (int64_t j = 0; j < rule_.width; ++j) {
          pool_bin(region, i, j, shape, image, sums);
          for (int64_t c = 0; c < channels; ++c) y[c * rule_.height * rule_.width + j] = T(sums[c]);
        }
      }
    });
  }

  // sums(c) = what bin (i, j) of the region gives for channel c. Samples are taken in groups, so that a
  // channel's memory is visited once a group.
  template <class T, class C>
  void pool_bin(const Region<C>& r, int64_t i, int64_t j, const Shape& shape, const T* image, C* sums) const {
    std::fill_n(sums, shape[1], C(0));
    Sample<C> group[kGroup];
    for (int64_t s = 0; s < r.rows * r.columns; s += kGroup) {
      const int64_t count = std::min(kGroup, r.rows * r.columns - s);
      for (int64_t k = 0; k < count; ++k) {
        const C y = r.y + static_cast<C>(i) * r.bin_height +
                    (static_cast<C>((s + k) / r.columns) + C(0.5)) * r.bin_height / static_cast<C>(r.rows);
        const C x = r.x + static_cast<C>(j) * r.bin_width +
                    (static_cast<C>((s + k) % r.columns) + C(0.5)) * r.bin_width / static_cast<C>(r.columns);
        group[k].inside = corners_of(y, x, shape[2], shape[3], group[k].offset, group[k].weight);
      }
      if (rule_.max)
        take_largest(group, count, s == 0, shape, image, sums);
      else
        take_sums(group, count, shape, image, sums);
    }
    if (rule_.max) return;
    const auto count = static_cast<C>(std::max<int64_t>(1, r.rows * r.columns));
    for (int64_t c = 0; c < shape[1]; ++c) sums[c] /= count;
  }

  template <class T, class C>
  static void take_sums(const Sample<C>* group, int64_t count, const Shape& shape, const T* image, C* sums) {
    for (int64_t c = 0; c < shape[1]; ++c, image += shape[2] * shape[3]) {
      C sum = sums[c];
      for (int64_t k = 0; k < count; ++k) {
        const Sample<C>& s = group[k];
        if (!s.inside) continue;
        sum += s.weight[0] * wide(image[s.offset[0]]) + s.weight[1] * wide(image[s.offset[1]]) +
               s.weight[2] * wide(image[s.offset[2]]) + s.weight[3] * wide(image[s.offset[3]]);
      }
      sums[c] = sum;
    }
  }

  // The largest of the weighted corners, as the reference implementation has it; outside counts as zero.
  template <class T, class C>
  static void take_largest(const Sample<C>* group, int64_t count, bool first, const Shape& shape,
                           const T* image, C* best) {
    for (int64_t c = 0; c < shape[1]; ++c, image += shape[2] * shape[3]) {
      for (int64_t k = 0; k < count; ++k) {
        const Sample<C>& s = group[k];
        C v[4] = {};
        for (int m = 0; m < 4 && s.inside; ++m) v[m] = s.weight[m] * wide(image[s.offset[m]]);
        const C largest = std::max({v[0], v[1], v[2], v[3]});
        best[c] = first && k == 0 ? largest : std::max(best[c], largest);
      }
    }
  }

  AlignRule rule_;
};

// Rounded to a pixel, far from the limits of an integer.
template <class C>
int64_t pixel(C v) {
  constexpr C kFar = C(1 << 30);
  return v != v ? 0 : static_cast<int64_t>(std::round(std::clamp(v, -kFar, kFar)));
}

class MaxRoiPool final : public Op {
 public:
  MaxRoiPool(int64_t height, int64_t width, float scale) : height_(height), width_(width), scale_(scale) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &rois = ctx.shape(1);
    require(x.rank() == 4 && rois.rank() == 2 && rois[1] == 5, kBad, "X and rois have shapes ", x, " and ",
            rois);
    ctx.output(0, {rois[0], x[1], height_, width_});
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    dispatch<float, double, Float16, BFloat16>(ctx.in(0).dtype, [&]<class T>() { pool<T>(ctx); });
  }

 private:
  template <class T>
  void pool(const RunContext& ctx) const {
    const Shape& shape = ctx.in(0).shape;
    const T* rois = ctx.in<T>(1);
    const int64_t n = ctx.in(1).shape[0];
    for (int64_t r = 0; r < n; ++r) {
      const auto batch = static_cast<double>(wide(rois[r * 5]));
      require(batch >= 0 && batch < static_cast<double>(shape[0]), kBad, "batch index ", batch, " of ",
              shape[0]);
    }
    ctx.parallel(n * shape[1], 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t u = begin; u < end; ++u) {
        const T* roi = rois + u / shape[1] * 5;
        const auto batch = static_cast<int64_t>(wide(roi[0]));
        const T* plane = ctx.in<T>(0) + (batch * shape[1] + u % shape[1]) * shape[2] * shape[3];
        pool_plane(roi, plane, shape[2], shape[3], ctx.out<T>(0) + u * height_ * width_);
      }
    });
  }

  template <class T>
  void pool_plane(const T* roi, const T* plane, int64_t height, int64_t width, T* y) const {
    using C = Wide<T>;
    const auto at = [&](int i) { return pixel(wide(roi[i]) * static_cast<C>(scale_)); };
    const int64_t x0 = at(1), y0 = at(2), columns = std::max<int64_t>(at(3) - x0 + 1, 1),
                  rows = std::max<int64_t>(at(4) - y0 + 1, 1);
    // Bin i of n over a region of `length` pixels from `start` on, cut to the map.
    const auto bin = [](int64_t i, int64_t n, int64_t length, int64_t start, int64_t limit) {
      return std::pair{std::clamp<int64_t>(start + i * length / n, 0, limit),
                       std::clamp<int64_t>(start + ceil_div((i + 1) * length, n), 0, limit)};
    };
    for (int64_t i = 0; i < height_; ++i) {
      const auto [top, bottom] = bin(i, height_, rows, y0, height);
      for (int64_t j = 0; j < width_; ++j) {
        const auto [left, right] = bin(j, width_, columns, x0, width);
        const bool empty = top >= bottom || left >= right;
        C best = empty ? C(0) : wide(plane[top * width + left]);
        for (int64_t p = top; p < bottom; ++p)
          for (int64_t q = left; q < right; ++q) best = std::max(best, C(wide(plane[p * width + q])));
        *y++ = T(best);
      }
    }
  }

  int64_t height_, width_;
  float scale_;
};

constexpr int64_t kMaxPooled = 1 << 20;

std::unique_ptr<Op> make_roi_align(NodeContext& ctx) {
  ctx.expect_inputs(3, 3);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  ctx.expect_same_dtype(0, 1);
  ctx.expect_dtype(2, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  const std::string mode = ctx.attr_string("mode", "avg");
  const std::string shift = ctx.attr_string("coordinate_transformation_mode", "half_pixel");
  require(mode == "avg" || mode == "max", ErrorCode::kInvalidModel, "mode=", mode, " is neither avg nor max");
  require(shift == "half_pixel" || shift == "output_half_pixel", ErrorCode::kInvalidModel,
          "coordinate_transformation_mode=", shift, " is neither half_pixel nor output_half_pixel");
  const AlignRule rule{ctx.attr_int("output_height", 1),
                       ctx.attr_int("output_width", 1),
                       ctx.attr_int("sampling_ratio", 0),
                       ctx.attr_float("spatial_scale", 1),
                       mode == "max",
                       shift == "half_pixel"};
  require(rule.height > 0 && rule.height <= kMaxPooled && rule.width > 0 && rule.width <= kMaxPooled &&
              rule.samples >= 0 && rule.samples <= static_cast<int64_t>(kMaxSamples),
          ErrorCode::kInvalidModel, "output_height=", rule.height, ", output_width=", rule.width,
          ", sampling_ratio=", rule.samples);
  return std::make_unique<RoiAlign>(rule);
}

std::unique_ptr<Op> make_max_roi_pool(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  ctx.expect_same_dtype(0, 1);
  ctx.output(0, ctx.dtype(0));
  const std::vector<int64_t> size = ctx.attr_ints("pooled_shape");
  require(size.size() == 2 && size[0] > 0 && size[0] <= kMaxPooled && size[1] > 0 && size[1] <= kMaxPooled,
          ErrorCode::kInvalidModel, "pooled_shape must be two positive sizes");
  return std::make_unique<MaxRoiPool>(size[0], size[1], ctx.attr_float("spatial_scale", 1));
}

}  // namespace

std::span<const OpDef> roi_ops() {
  static constexpr OpDef kOps[] = {
      {"", "MaxRoiPool", 1, make_max_roi_pool},
      {"", "RoiAlign", 1, make_roi_align},
  };
  return kOps;
}

}  // namespace pyinfer
