// Concat: y = [x0, x1, ...] along an axis.  Split: its inverse.
#include <algorithm>

#include "base/math.h"
#include "ops/copy_box.h"

namespace pyinfer {
namespace {

// A box of `rows` stretches of `length` elements, which lie src_row and dst_row elements apart.
CopyPlan plan_rows(DType dtype, int64_t rows, int64_t length, int64_t src_row, int64_t dst_row) {
  return plan_box(dtype, std::array{rows, length}, std::array<int64_t, 2>{src_row, 1},
                  std::array<int64_t, 2>{dst_row, 1});
}

class Concat final : public Op {
 public:
  explicit Concat(int64_t axis) : axis_(axis) {}

  void plan(PlanContext& ctx) const override {
    Shape out = ctx.shape(0);
    const int axis = normalize_axis(axis_, out.rank());
    int filled = 0, last_filled = 0;
    for (int i = 0; i < ctx.num_inputs(); ++i) {
      const Shape& s = ctx.shape(i);
      Shape expected = ctx.shape(0);
      if (s.rank() == expected.rank()) expected[axis] = s[axis];
      require(s == expected, ErrorCode::kInvalidInput, "cannot concatenate ", ctx.shape(0), " and ", s,
              " along axis ", axis);
      if (i > 0) {
        const auto sum = checked_add(out[axis], s[axis]);
        require(sum.has_value(), ErrorCode::kLimit, "the output is too long along axis ", axis);
        out[axis] = *sum;
      }
      if (s.count() == 0) continue;
      ++filled;
      last_filled = i;
    }
    if (filled <= 1) return ctx.output_view(0, last_filled, out);
    ctx.output(0, out);
    auto state = std::make_unique<BoxCopies>();
    const int64_t rows = out.count(0, axis), inner = out.count(axis + 1, out.rank());
    int64_t at = 0;
    for (int i = 0; i < ctx.num_inputs(); ++i) {
      const int64_t length = ctx.shape(i)[axis] * inner;
      state->boxes.push_back({.plan = plan_rows(ctx.dtype(0), rows, length, length, out[axis] * inner),
                              .input = i,
                              .dst_offset = at});
      at += length;
    }
    ctx.state(std::move(state));
  }
  void run(RunContext& ctx) const override { copy_boxes(ctx); }

 private:
  int64_t axis_;
};

class Split final : public Op {
 public:
  Split(int64_t axis, bool even) : axis_(axis), even_(even) {}

  void plan(PlanContext& ctx) const override {
    const Shape& in = ctx.shape(0);
    const int axis = normalize_axis(axis_, in.rank());
    const std::vector<int64_t> sizes =
        even_ ? even_sizes(in[axis], ctx.num_outputs()) : ctx.require_int64s(1);
    require(static_cast<int>(sizes.size()) == ctx.num_outputs(), ErrorCode::kInvalidModel, "split has ",
            sizes.size(), " elements for ", ctx.num_outputs(), " outputs");
    int64_t total = 0;
    for (int64_t size : sizes) {
      require(size >= 0 && size <= in[axis] - total, ErrorCode::kInvalidInput, "split asks for ", size,
              " elements after ", total, " of ", in[axis]);
      total += size;
    }
    require(total == in[axis], ErrorCode::kInvalidInput, "split covers ", total, " of ", in[axis],
            " elements of axis ", axis);
    auto state = std::make_unique<BoxCopies>();
    const int64_t rows = in.count(0, axis), inner = in.count(axis + 1, in.rank());
    int64_t at = 0;
    for (int i = 0; i < ctx.num_outputs(); ++i) {
      Shape out = in;
      out[axis] = sizes[static_cast<size_t>(i)];
      const int64_t length = out[axis] * inner;
      if (out == in)
        ctx.output_view(i, 0, out);
      else
        ctx.output(i, out);
      if (ctx.wants(i) && out != in)
        state->boxes.push_back({.plan = plan_rows(ctx.dtype(0), rows, length, in[axis] * inner, length),
                                .output = i,
                                .src_offset = at});
      at += length;
    }
    ctx.state(std::move(state));
  }
  void run(RunContext& ctx) const override { copy_boxes(ctx); }

 private:
  static std::vector<int64_t> even_sizes(int64_t total, int64_t parts) {
    const int64_t each = ceil_div(total, parts);
    std::vector<int64_t> sizes;
    for (int64_t i = 0; i < parts; ++i) sizes.push_back(std::clamp<int64_t>(total - i * each, 0, each));
    return sizes;
  }

  int64_t axis_;
  bool even_;
};

std::unique_ptr<Op> make_concat(NodeContext& ctx) {
  ctx.expect_inputs(ctx.num_inputs(), ctx.num_inputs());
  require(ctx.num_inputs() > 0, ErrorCode::kInvalidModel, "expected at least 1 input");
  for (int i = 1; i < ctx.num_inputs(); ++i) ctx.expect_same_dtype(0, i);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Concat>(ctx.attr_int("axis"));
}

std::unique_ptr<Op> make_split(NodeContext& ctx) {
  ctx.expect_inputs(1, 2);
  for (int i = 0; i < ctx.num_outputs(); ++i) ctx.output(i, ctx.dtype(0));
  const int64_t parts = ctx.attr_int("num_outputs", ctx.num_outputs());
  require(parts == ctx.num_outputs(), ErrorCode::kInvalidModel, "num_outputs=", parts, " but there are ",
          ctx.num_outputs(), " outputs");
  return std::make_unique<Split>(ctx.attr_int("axis", 0), !ctx.has_input(1));
}

}  // namespace

std::span<const OpDef> concat_ops() {
  static constexpr OpDef kOps[] = {{"", "Concat", 1, make_concat}, {"", "Split", 1, make_split}};
  return kOps;
}

}  // namespace pyinfer
