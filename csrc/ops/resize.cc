// Resize: y = x sampled at other points along some axes. Nearest copies elements; linear and cubic are
// weighted sums, taken one axis after the other.
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <type_traits>

#include "base/math.h"
#include "ops/convert.h"
#include "ops/copy_box.h"
#include "ops/index_maps.h"
#include "ops/lines.h"
#include "ops/resize_axis.h"

namespace pyinfer {
namespace {

constexpr auto kBad = ErrorCode::kInvalidInput;
constexpr int64_t kNarrow = 16;  // below this many inner elements, a whole row is one gather

// One axis: [outer, length, inner] to [outer, out, inner].
struct Pass {
  int64_t outer, length, inner, out;
  int64_t taps;
  bool flat;                    // rows of length * inner elements are gathered one by one
  std::vector<int32_t> gather;  // flat: [taps, out * inner]
  std::vector<int64_t> rows;    // else: [out, taps], in elements
  std::vector<float> weight;    // in the order of either
  std::vector<double> wide_weight;
};

struct ResizeState final : StepState {
  IndexMaps maps;                                          // nearest
  std::vector<Pass> passes;                                // the others
  int64_t buffer = 0;                                      // elements of each of two scratch buffers
  std::vector<std::pair<int, std::vector<bool>>> outside;  // axis, and which of its indices are extrapolated
};

struct Attributes {
  ResizeRule rule;
  std::vector<int64_t> axes;
  bool all_axes = true;
  enum class Policy { kStretch, kNotLarger, kNotSmaller } policy = Policy::kStretch;
  float extrapolation = 0;
};

template <class C>
Pass make_pass(const Shape& shape, int axis, int64_t out, const ResizeTaps& table) {
  const Lines lines(shape, axis);
  Pass p{lines.outer, lines.length, lines.inner, out, table.taps, false, {}, {}, {}, {}};
  p.flat = lines.inner < kNarrow && lines.length * lines.inner < INT32_MAX;
  const int64_t width = p.flat ? out * lines.inner : out;
  auto& weight = std::get<std::vector<C>&>(std::tie(p.weight, p.wide_weight));
  weight.resize(static_cast<size_t>(table.taps * width));
  if (p.flat)
    p.gather.resize(weight.size());
  else
    p.rows.resize(weight.size());
  for (int64_t t = 0; t < table.taps; ++t) {
    for (int64_t i = 0; i < width; ++i) {
      const auto from = static_cast<size_t>(t * out + (p.flat ? i / lines.inner : i));
      const auto to = static_cast<size_t>(p.flat ? t * width + i : i * table.taps + t);
      weight[to] = static_cast<C>(table.weight[from]);
      if (p.flat)
        p.gather[to] = static_cast<int32_t>(table.index[from] * lines.inner + i % lines.inner);
      else
        p.rows[to] = table.index[from] * lines.inner;
    }
  }
  return p;
}

// The two sums in double, for what float32 cannot hold; the float32 ones are kernels.
void gather_sums(const double* x, const int32_t* index, const double* weight, int64_t taps, int64_t n,
                 double* y) {
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int64_t t = 0; t < taps; ++t) sum += weight[t * n + i] * x[index[t * n + i]];
    y[i] = sum;
  }
}
void row_sums(const double* x, const int64_t* offset, const double* weight, int64_t taps, int64_t n,
              double* y) {
  for (int64_t j = 0; j < n; ++j) {
    double sum = 0;
    for (int64_t t = 0; t < taps; ++t) sum += weight[t] * x[offset[t] + j];
    y[j] = sum;
  }
}

template <class C>
void run_pass(const RunContext& ctx, const Pass& p, const C* x, C* y) {
  constexpr bool kFloat = std::is_same_v<C, float>;
  [[maybe_unused]] const ResampleKernels& kernel = kernels().resample;
  const int64_t in_row = p.length * p.inner, out_row = p.out * p.inner;
  const int64_t units = p.flat ? p.outer : p.outer * p.out, cost = p.taps * (p.flat ? out_row : p.inner);
  const int64_t grain = std::max<int64_t>(1, (32 << 10) / cost);
  ctx.parallel(units, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t i = u % p.out * p.taps;
      const C* from = x + (p.flat ? u : u / p.out) * in_row;
      C* to = y + u * (p.flat ? out_row : p.inner);
      if constexpr (kFloat) {
        if (p.flat)
          kernel.gather(from, p.gather.data(), p.weight.data(), p.taps, out_row, to);
        else
          kernel.rows(from, p.rows.data() + i, p.weight.data() + i, p.taps, p.inner, to);
      } else {
        if (p.flat)
          gather_sums(from, p.gather.data(), p.wide_weight.data(), p.taps, out_row, to);
        else
          row_sums(from, p.rows.data() + i, p.wide_weight.data() + i, p.taps, p.inner, to);
      }
    }
  });
}

class Resize final : public Op {
 public:
  Resize(Attributes attributes, DType dtype) : a_(std::move(attributes)), dtype_(dtype) {
    single_ = dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
  }

  void plan(PlanContext& ctx) const override {
    const Shape& in = ctx.shape(0);
    const std::vector<ResizeAxis> axes = resized_axes(ctx, in);
    Shape out;
    for (const ResizeAxis& axis : axes) out.push_back(axis.out);
    ctx.output(0, out);
    if (out.count() == 0) return;
    require(in.count() > 0, kBad, "cannot resize ", in, " to ", out);
    const bool crop = a_.rule.coordinates == Coordinates::kCropAndResize;
    std::vector<int> changed;
    for (int i = 0; i < in.rank(); ++i) {
      const ResizeAxis& axis = axes[static_cast<size_t>(i)];
      const bool whole = !crop || (axis.roi_start == 0 && axis.roi_end == 1);
      if (axis.out != axis.in || axis.scale != 1 || !whole) changed.push_back(i);
    }
    if (changed.empty()) return ctx.output_view(0, 0, out);
    plan_sampling(ctx, in, axes, changed);
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const auto& state = ctx.state<ResizeState>();
    if (a_.rule.mode == ResizeMode::kNearest)
      gather_maps(ctx, state.maps);
    else if (single_)
      run_passes<float>(ctx, state);
    else
      run_passes<double>(ctx, state);
    for (const auto& [axis, outside] : state.outside) extrapolate(ctx, axis, outside);
  }

 private:
  void plan_sampling(PlanContext& ctx, const Shape& in, const std::vector<ResizeAxis>& axes,
                     std::vector<int>& changed) const {
    auto state = std::make_unique<ResizeState>();
    const bool nearest = a_.rule.mode == ResizeMode::kNearest;
    // Shrinking axes first: less is left for the others. The choice sees nothing but sizes of resized axes.
    const auto& size = [&](int i) -> const ResizeAxis& { return axes[static_cast<size_t>(i)]; };
    const auto growth = [&](int i) {
      return static_cast<double>(size(i).out) / static_cast<double>(size(i).in);
    };
    std::stable_sort(changed.begin(), changed.end(), [&](int a, int b) { return growth(a) < growth(b); });
    std::vector<std::vector<int64_t>> index(axes.size());
    Shape shape = in;
    int64_t largest = in.count();
    for (int i : changed) {
      const ResizeAxis& axis = size(i);
      const int64_t bytes_per_tap =
          nearest || Lines(shape, i).inner >= kNarrow ? 32 : 32 * Lines(shape, i).inner;
      const auto bytes = checked_mul(axis.out, count_taps(a_.rule, axis.scale));
      require(bytes && *bytes <= ctx.limits().max_tensor_bytes / bytes_per_tap, ErrorCode::kLimit,
              "resizing ", axis.in, " elements to ", axis.out, " needs too large a table");
      ResizeTaps table = resize_taps(a_.rule, axis);
      if (!table.outside.empty()) state->outside.emplace_back(i, std::move(table.outside));
      if (nearest)
        index[static_cast<size_t>(i)] = std::move(table.index);
      else if (single_)
        state->passes.push_back(make_pass<float>(shape, i, axis.out, table));
      else
        state->passes.push_back(make_pass<double>(shape, i, axis.out, table));
      shape[i] = axis.out;
      largest = std::max(largest, shape.count());
    }
    if (nearest) {
      state->maps = make_index_maps(ctx.dtype(0), in, index);
    } else if (state->passes.size() > 1 || (dtype_ != DType::kFloat32 && dtype_ != DType::kFloat64)) {
      state->buffer = largest;
      const auto bytes = checked_mul(largest, single_ ? 8 : 16);
      require(bytes.has_value(), ErrorCode::kLimit, "resizing ", in, " to ", shape);
      ctx.scratch(*bytes);
    }
    ctx.state(std::move(state));
  }

  // Every axis with its sizes and scale, from the inputs `roi`, `scales` and `sizes`.
  std::vector<ResizeAxis> resized_axes(PlanContext& ctx, const Shape& in) const {
    std::vector<int> which;
    for (int i = 0; a_.all_axes && i < in.rank(); ++i) which.push_back(i);
    for (int64_t axis : a_.axes) {
      which.push_back(normalize_axis(axis, in.rank()));
      require(std::count(which.begin(), which.end(), which.back()) == 1, ErrorCode::kInvalidModel, "axis ",
              axis, " is given twice");
    }
    std::vector<ResizeAxis> axes;
    for (int64_t n : in) axes.push_back({n, n, 1});
    const auto given = [&](int i) { return ctx.has(i) && ctx.shape(i).count() > 0; };
    require(given(2) != given(3) || which.empty(), kBad, "exactly one of scales and sizes must be given");
    if (given(2))
      apply_scales(ctx.require_value(2), which, axes);
    else if (given(3))
      apply_sizes(ctx.require_int64s(3), which, axes);
    if (a_.rule.coordinates == Coordinates::kCropAndResize) {
      require(given(1), kBad, "tf_crop_and_resize needs roi");
      apply_roi(ctx.require_value(1), which, axes);
    }
    return axes;
  }

  static void expect_count(const char* name, int64_t got, size_t expected) {
    require(got == static_cast<int64_t>(expected), kBad, name, " has ", got, " elements, expected ",
            expected);
  }

  static void apply_scales(const Tensor& scales, const std::vector<int>& which,
                           std::vector<ResizeAxis>& axes) {
    expect_count("scales", scales.count(), which.size());
    for (size_t i = 0; i < which.size(); ++i) {
      ResizeAxis& axis = axes[static_cast<size_t>(which[i])];
      const float scale = scales.as<float>()[i];
      require(scale > 0 && std::isfinite(scale), kBad, "a scale is ", scale);
      // In float32: 0.7 of ten is seven, though the float32 nearest to 0.7 is less.
      const float size = scale * static_cast<float>(axis.in);
      require(size < 0x1p62f, ErrorCode::kLimit, "a dimension of ", axis.in, " scaled by ", scale);
      axis.scale = static_cast<double>(scale);
      axis.out = static_cast<int64_t>(size);
    }
  }

  void apply_sizes(const std::vector<int64_t>& sizes, const std::vector<int>& which,
                   std::vector<ResizeAxis>& axes) const {
    expect_count("sizes", static_cast<int64_t>(sizes.size()), which.size());
    double common = a_.policy == Attributes::Policy::kNotLarger ? std::numeric_limits<double>::infinity() : 0;
    for (size_t i = 0; i < which.size(); ++i) {
      ResizeAxis& axis = axes[static_cast<size_t>(which[i])];
      require(sizes[i] >= 0, kBad, "sizes has ", sizes[i]);
      require(axis.in > 0 || sizes[i] == 0, kBad, "an empty axis cannot become ", sizes[i]);
      axis.out = sizes[i];
      axis.scale = axis.in > 0 ? static_cast<double>(sizes[i]) / static_cast<double>(axis.in) : 1;
      common = a_.policy == Attributes::Policy::kNotLarger ? std::min(common, axis.scale)
                                                           : std::max(common, axis.scale);
    }
    if (a_.policy == Attributes::Policy::kStretch) return;
    for (int i : which) {
      ResizeAxis& axis = axes[static_cast<size_t>(i)];
      const double size = common * static_cast<double>(axis.in) + 0.5;
      require(size < 0x1p62, ErrorCode::kLimit, "a dimension of ", axis.in, " scaled by ", common);
      axis.scale = common;
      axis.out = static_cast<int64_t>(size);
    }
  }

  static void apply_roi(const Tensor& roi, const std::vector<int>& which, std::vector<ResizeAxis>& axes) {
    expect_count("roi", roi.count(), 2 * which.size());
    std::vector<double> value(2 * which.size());
    convert(roi.dtype(), roi.view().data, DType::kFloat64, value.data(), roi.count());
    for (double v : value) require(std::fabs(v) < 1e30, kBad, "roi has ", v);
    for (size_t i = 0; i < which.size(); ++i) {
      ResizeAxis& axis = axes[static_cast<size_t>(which[i])];
      axis.roi_start = value[i];
      axis.roi_end = value[which.size() + i];
    }
  }

  // The passes, from the input or its copy as C to the output or the copy that is rounded into it.
  template <class C>
  void run_passes(const RunContext& ctx, const ResizeState& state) const {
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    const bool native = dtype_ == DTypeOf<C>::value;
    C* buffers[] = {ctx.scratch_as<C>(), ctx.scratch_as<C>() + state.buffer};
    const C* from = x.as<C>();
    if (!native) {
      convert_all(ctx, dtype_, x.data, DTypeOf<C>::value, buffers[1], x.count());
      from = buffers[1];
    }
    for (size_t i = 0; i < state.passes.size(); ++i) {
      const bool last = i + 1 == state.passes.size();
      C* to = native && last ? y.as<C>() : buffers[i % 2];
      run_pass(ctx, state.passes[i], from, to);
      from = to;
    }
    if (native) return;
    C* result = const_cast<C*>(from);
    if (dtype_is_integer(dtype_)) round_into_range(ctx, result, y.count());
    convert_all(ctx, DTypeOf<C>::value, result, dtype_, y.data, y.count());
  }

  static void convert_all(const RunContext& ctx, DType from, const void* x, DType to, void* y, int64_t n) {
    const size_t in = dtype_size(from), out = dtype_size(to);
    ctx.parallel(n, 16 << 10, [&](int64_t begin, int64_t end, int) {
      const auto b = static_cast<size_t>(begin);
      convert(from, static_cast<const std::byte*>(x) + b * in, to, static_cast<std::byte*>(y) + b * out,
              end - begin);
    });
  }

  // To the nearest integer that the element type holds, ties to even.
  template <class C>
  void round_into_range(const RunContext& ctx, C* v, int64_t n) const {
    const bool is_signed = dtype_ == DType::kInt8 || dtype_ == DType::kInt16 || dtype_ == DType::kInt32 ||
                           dtype_ == DType::kInt64;
    const int bits = dtype_file_bits(dtype_) - (is_signed ? 1 : 0);
    // Conversion itself saturates at 64 bits, where the largest integer is no floating number.
    const double high = bits >= 63 ? std::ldexp(1.0, bits) : std::ldexp(1.0, bits) - 1;
    const double low = is_signed ? -std::ldexp(1.0, bits) : 0;
    ctx.parallel(n, 16 << 10, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        v[i] = static_cast<C>(std::clamp<double>(std::nearbyint(v[i]), low, high));
    });
  }

  void extrapolate(const RunContext& ctx, int axis, const std::vector<bool>& outside) const {
    const TensorView& y = ctx.out(0);
    alignas(16) std::byte value[16];
    convert(DType::kFloat32, &a_.extrapolation, dtype_, value, 1);
    const Lines lines(y.shape, axis);
    const auto size = static_cast<int64_t>(dtype_size(dtype_));
    for (int64_t o = 0; o < lines.outer; ++o)
      for (int64_t i = 0; i < lines.length; ++i)
        if (outside[static_cast<size_t>(i)])
          kernels().movement.fill(y.as<std::byte>() + (o * lines.length + i) * lines.inner * size,
                                  lines.inner, value, size);
  }

  Attributes a_;
  DType dtype_;
  bool single_;
};

template <class E, size_t N>
E choose(const NodeContext& ctx, std::string_view name, const char* otherwise,
         const std::pair<std::string_view, E> (&known)[N]) {
  const std::string value = ctx.attr_string(name, otherwise);
  for (const auto& [text, e] : known)
    if (value == text) return e;
  fail(ErrorCode::kInvalidModel, name, "=", value, " is unknown");
}

Attributes read_attributes(NodeContext& ctx) {
  Attributes a;
  a.rule.mode = choose<ResizeMode>(
      ctx, "mode", "nearest",
      {{"nearest", ResizeMode::kNearest}, {"linear", ResizeMode::kLinear}, {"cubic", ResizeMode::kCubic}});
  a.rule.coordinates = choose<Coordinates>(ctx, "coordinate_transformation_mode", "half_pixel",
                                           {{"half_pixel", Coordinates::kHalfPixel},
                                            {"half_pixel_symmetric", Coordinates::kHalfPixelSymmetric},
                                            {"pytorch_half_pixel", Coordinates::kPytorchHalfPixel},
                                            {"align_corners", Coordinates::kAlignCorners},
                                            {"asymmetric", Coordinates::kAsymmetric},
                                            {"tf_crop_and_resize", Coordinates::kCropAndResize}});
  a.rule.nearest = choose<NearestMode>(ctx, "nearest_mode", "round_prefer_floor",
                                       {{"round_prefer_floor", NearestMode::kRoundPreferFloor},
                                        {"round_prefer_ceil", NearestMode::kRoundPreferCeil},
                                        {"floor", NearestMode::kFloor},
                                        {"ceil", NearestMode::kCeil}});
  a.rule.antialias = ctx.attr_int("antialias", 0) != 0;
  a.rule.exclude_outside = ctx.attr_int("exclude_outside", 0) != 0;
  a.rule.cubic_a = static_cast<double>(ctx.attr_float("cubic_coeff_a", -0.75f));
  a.policy = choose<Attributes::Policy>(ctx, "keep_aspect_ratio_policy", "stretch",
                                        {{"stretch", Attributes::Policy::kStretch},
                                         {"not_larger", Attributes::Policy::kNotLarger},
                                         {"not_smaller", Attributes::Policy::kNotSmaller}});
  a.extrapolation = ctx.attr_float("extrapolation_value", 0);
  a.all_axes = !ctx.has_attr("axes");
  a.axes = ctx.attr_ints("axes");
  require(std::isfinite(a.rule.cubic_a), ErrorCode::kInvalidModel, "cubic_coeff_a=", a.rule.cubic_a);
  require(a.rule.mode != ResizeMode::kNearest || !a.rule.antialias, ErrorCode::kInvalidModel,
          "antialias is not for mode=nearest");
  return a;
}

std::unique_ptr<Op> make_resize(NodeContext& ctx) {
  ctx.expect_inputs(1, 4);
  Attributes a = read_attributes(ctx);
  const DType dtype = ctx.dtype(0);
  const bool copies =
      a.rule.mode == ResizeMode::kNearest && a.rule.coordinates != Coordinates::kCropAndResize;
  if (!copies && !dtype_is_integer(dtype) && dtype != DType::kBool)
    ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  if (ctx.has_input(1)) ctx.expect_dtype(1, {DType::kFloat32, DType::kFloat64, DType::kFloat16});
  if (ctx.has_input(2)) ctx.expect_dtype(2, {DType::kFloat32});
  if (ctx.has_input(3)) ctx.expect_dtype(3, {DType::kInt64});
  ctx.output(0, dtype);
  return std::make_unique<Resize>(std::move(a), dtype);
}

}  // namespace

std::span<const OpDef> resize_ops() {
  static constexpr OpDef kOps[] = {{"", "Resize", 1, make_resize}};
  return kOps;
}

}  // namespace pyinfer
