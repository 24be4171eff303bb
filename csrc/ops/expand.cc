// Expand: y = x broadcast to a shape.  Tile: y = x repeated along each axis.
#include <algorithm>

#include "base/math.h"
#include "ops/copy_box.h"

namespace pyinfer {
namespace {

class Expand final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    const Shape& in = ctx.shape(0);
    const std::vector<int64_t> want = ctx.require_int64s(1);
    const Shape out = broadcast_shapes(in, Shape(want));
    const auto from = in.strides();
    std::array<int64_t, Shape::kMaxRank> strides{};
    const int added = out.rank() - in.rank();
    for (int i = 0; i < in.rank(); ++i)
      strides[static_cast<size_t>(added + i)] = in[i] == 1 ? 0 : from[static_cast<size_t>(i)];
    plan_strided_output(ctx, out, strides);
  }
  void run(RunContext& ctx) const override { copy_boxes(ctx); }
};

class Tile final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    const Shape& in = ctx.shape(0);
    const std::vector<int64_t> repeats = ctx.require_int64s(1);
    require(static_cast<int>(repeats.size()) == in.rank(), ErrorCode::kInvalidInput, "repeats has ",
            repeats.size(), " elements for an input of shape ", in);
    Shape out;
    for (int i = 0; i < in.rank(); ++i) {
      const int64_t r = repeats[static_cast<size_t>(i)];
      require(r >= 0, ErrorCode::kInvalidInput, "repeats has ", r);
      const auto d = checked_mul(in[i], r);
      require(d.has_value(), ErrorCode::kLimit, "repeats has ", r, " for a dimension of ", in[i]);
      out.push_back(*d);
    }
    if (out == in) return ctx.output_view(0, 0, out);
    ctx.output(0, out);
    // Each axis is two: which repetition, which element.
    const auto from = in.strides(), to = out.strides();
    std::vector<int64_t> dims, src, dst;
    for (int i = 0; i < in.rank(); ++i) {
      const auto a = static_cast<size_t>(i);
      dims.insert(dims.end(), {repeats[a], in[i]});
      src.insert(src.end(), {0, from[a]});
      dst.insert(dst.end(), {out.count() == 0 ? 0 : in[i] * to[a], to[a]});
    }
    auto state = std::make_unique<BoxCopies>();
    state->boxes.push_back({.plan = plan_box(ctx.dtype(0), dims, src, dst)});
    ctx.state(std::move(state));
  }
  void run(RunContext& ctx) const override { copy_boxes(ctx); }
};

template <class T>
std::unique_ptr<Op> make(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(1, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<T>();
}

}  // namespace

std::span<const OpDef> expand_ops() {
  static constexpr OpDef kOps[] = {{"", "Expand", 1, make<Expand>}, {"", "Tile", 1, make<Tile>}};
  return kOps;
}

}  // namespace pyinfer
