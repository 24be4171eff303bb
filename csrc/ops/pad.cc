// Pad: y[i] = x[i - before], where that is outside by mode: a constant, the mirror image, the nearest, or
// the other end.  CenterCropPad: y is the centre of x, padded with zeros where y is larger.
#include <algorithm>

#include "base/math.h"
#include "ops/copy_box.h"
#include "ops/index_maps.h"

namespace pyinfer {
namespace {

constexpr int64_t kMaxPad = int64_t{1} << 60;

enum class Mode { kConstant, kReflect, kEdge, kWrap };

struct PadState final : StepState {
  bool fill = false;  // some output elements come from outside
  CopyPlan inside;    // kConstant: what both have
  int64_t src_offset = 0, dst_offset = 0;
  IndexMaps maps;  // other modes
};

struct Pads {
  std::array<int64_t, Shape::kMaxRank> before{}, after{};
};

Shape padded_shape(const Shape& in, const Pads& pads) {
  Shape out;
  for (int i = 0; i < in.rank(); ++i) {
    const auto a = static_cast<size_t>(i);
    const auto sum = checked_add(pads.before[a], pads.after[a]);
    const auto d = sum ? checked_add(*sum, in[i]) : std::nullopt;
    require(d && *d >= 0, ErrorCode::kInvalidInput, "a dimension of ", in[i], " cannot be padded by ",
            pads.before[a], " and ", pads.after[a]);
    out.push_back(*d);
  }
  return out;
}

// The box that input and output share, the rest is filled.
std::unique_ptr<PadState> plan_constant(DType dtype, const Shape& in, const Shape& out, const Pads& pads) {
  auto state = std::make_unique<PadState>();
  const auto src = in.strides(), dst = out.strides();
  Shape box;
  for (int i = 0; i < in.rank(); ++i) {
    const auto a = static_cast<size_t>(i);
    const int64_t first = std::max<int64_t>(0, pads.before[a]),
                  last = std::min(out[i], pads.before[a] + in[i]);
    box.push_back(std::max<int64_t>(0, last - first));
  }
  const bool some = box.count() > 0;
  for (int i = 0; i < in.rank() && some; ++i) {
    const auto a = static_cast<size_t>(i);
    state->src_offset += std::max<int64_t>(0, -pads.before[a]) * src[a];
    state->dst_offset += std::max<int64_t>(0, pads.before[a]) * dst[a];
  }
  const auto rank = static_cast<size_t>(in.rank());
  state->inside = plan_box(dtype, box.dims(), std::span(src).first(rank), std::span(dst).first(rank));
  state->fill = box != out;
  return state;
}

// Where index i of the padded axis reads among the n > 0 elements that cropping left.
int64_t source(Mode mode, int64_t i, int64_t before, int64_t n) {
  const int64_t at = i - before;
  if (mode == Mode::kEdge || n == 1) return std::clamp<int64_t>(at, 0, n - 1);
  const int64_t period = mode == Mode::kWrap ? n : 2 * (n - 1);
  const int64_t in_period = at - floor_div(at, period) * period;
  return mode == Mode::kWrap ? in_period : std::min(in_period, period - in_period);
}

// Negative pads crop first; the positive ones repeat what is left.
std::unique_ptr<PadState> plan_other(Mode mode, DType dtype, const Shape& in, const Shape& out,
                                     const Pads& pads) {
  auto state = std::make_unique<PadState>();
  if (out.count() == 0) return state;
  std::vector<std::vector<int64_t>> index(static_cast<size_t>(in.rank()));
  for (int i = 0; i < in.rank(); ++i) {
    const auto a = static_cast<size_t>(i);
    if (pads.before[a] == 0 && pads.after[a] == 0) continue;
    const int64_t crop = std::max<int64_t>(0, -pads.before[a]), before = std::max<int64_t>(0, pads.before[a]);
    const int64_t left = in[i] - crop - std::max<int64_t>(0, -pads.after[a]);
    require(left > 0, ErrorCode::kInvalidInput, "nothing is left to pad with along axis ", i, " of ", in);
    for (int64_t k = 0; k < out[i]; ++k) index[a].push_back(crop + source(mode, k, before, left));
  }
  state->maps = make_index_maps(dtype, in, index);
  return state;
}

void fill_and_copy(const RunContext& ctx, const PadState& state, const void* value) {
  const TensorView &x = ctx.in(0), &y = ctx.out(0);
  const auto size = static_cast<int64_t>(dtype_size(x.dtype));
  const std::string no_string;
  alignas(16) constexpr std::byte kZero[16] = {};
  const void* zero = x.dtype == DType::kString ? static_cast<const void*>(&no_string) : kZero;
  if (state.fill) fill_output(ctx, y, value != nullptr ? value : zero);
  copy_box(ctx, state.inside, x.dtype, x.as<std::byte>() + state.src_offset * size,
           y.as<std::byte>() + state.dst_offset * size);
}

class Pad final : public Op {
 public:
  explicit Pad(Mode mode) : mode_(mode) {}

  void plan(PlanContext& ctx) const override {
    const Shape& in = ctx.shape(0);
    const std::vector<int64_t> given = ctx.require_int64s(1);
    const std::vector<int64_t> axes = ctx.has(3) ? ctx.require_int64s(3) : std::vector<int64_t>();
    const size_t count = ctx.has(3) ? axes.size() : static_cast<size_t>(in.rank());
    require(given.size() == 2 * count, ErrorCode::kInvalidInput, "pads has ", given.size(), " elements for ",
            count, " axes");
    Pads pads;
    std::array<bool, Shape::kMaxRank> seen{};
    for (size_t i = 0; i < count; ++i) {
      const auto a =
          static_cast<size_t>(ctx.has(3) ? normalize_axis(axes[i], in.rank()) : static_cast<int>(i));
      require(!seen[a], ErrorCode::kInvalidModel, "axis ", a, " is given twice");
      seen[a] = true;
      require(std::max(std::abs(given[i] / 2), std::abs(given[count + i] / 2)) < kMaxPad, ErrorCode::kLimit,
              "pads of ", given[i], " and ", given[count + i]);
      pads.before[a] = given[i];
      pads.after[a] = given[count + i];
    }
    const Shape out = padded_shape(in, pads);
    if (ctx.has(2))
      require(ctx.shape(2).count() == 1, ErrorCode::kInvalidInput, "constant_value has shape ", ctx.shape(2));
    if (out == in && std::all_of(given.begin(), given.end(), [](int64_t p) { return p == 0; }))
      return ctx.output_view(0, 0, out);
    ctx.output(0, out);
    ctx.state(mode_ == Mode::kConstant ? plan_constant(ctx.dtype(0), in, out, pads)
                                       : plan_other(mode_, ctx.dtype(0), in, out, pads));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    const auto& state = ctx.state<PadState>();
    if (mode_ == Mode::kConstant)
      fill_and_copy(ctx, state, ctx.has(2) ? ctx.in(2).data : nullptr);
    else
      gather_maps(ctx, state.maps);
  }

 private:
  Mode mode_;
};

class CenterCropPad final : public Op {
 public:
  explicit CenterCropPad(std::vector<int64_t> axes, bool all) : axes_(std::move(axes)), all_(all) {}

  void plan(PlanContext& ctx) const override {
    const Shape& in = ctx.shape(0);
    const std::vector<int64_t> want = ctx.require_int64s(1);
    const size_t count = all_ ? static_cast<size_t>(in.rank()) : axes_.size();
    require(want.size() == count, ErrorCode::kInvalidInput, "shape has ", want.size(), " elements for ",
            count, " axes");
    Pads pads;
    Shape out = in;
    for (size_t i = 0; i < count; ++i) {
      const int axis = all_ ? static_cast<int>(i) : normalize_axis(axes_[i], in.rank());
      require(want[i] >= 0, ErrorCode::kInvalidInput, "shape has a dimension of ", want[i]);
      out[axis] = want[i];
      pads.before[static_cast<size_t>(axis)] = (want[i] - in[axis]) / 2;
    }
    ctx.output(0, out);
    ctx.state(plan_constant(ctx.dtype(0), in, out, pads));
  }
  void run(RunContext& ctx) const override { fill_and_copy(ctx, ctx.state<PadState>(), nullptr); }

 private:
  std::vector<int64_t> axes_;
  bool all_;
};

std::unique_ptr<Op> make_pad(NodeContext& ctx) {
  ctx.expect_inputs(2, 4);
  ctx.expect_dtype(1, {DType::kInt64});
  if (ctx.has_input(2)) ctx.expect_same_dtype(0, 2);
  ctx.output(0, ctx.dtype(0));
  const std::string mode = ctx.attr_string("mode", "constant");
  if (mode == "constant") return std::make_unique<Pad>(Mode::kConstant);
  if (mode == "reflect") return std::make_unique<Pad>(Mode::kReflect);
  if (mode == "edge") return std::make_unique<Pad>(Mode::kEdge);
  require(mode == "wrap", ErrorCode::kInvalidModel, "mode=", mode,
          " is none of constant, reflect, edge and wrap");
  return std::make_unique<Pad>(Mode::kWrap);
}

std::unique_ptr<Op> make_center_crop_pad(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<CenterCropPad>(ctx.attr_ints("axes"), !ctx.has_attr("axes"));
}

}  // namespace

std::span<const OpDef> pad_ops() {
  static constexpr OpDef kOps[] = {
      {"", "CenterCropPad", 1, make_center_crop_pad},
      {"", "Pad", 1, make_pad},
  };
  return kOps;
}

}  // namespace pyinfer
