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

// What a Concat or Split is: its parts lie side by side in the rows of the whole. Copies nothing that is
// where it belongs.
struct Sides final : StepState {
  struct Part {
    int value;  // which input of Concat, which output of Split
    int64_t length, offset;
  };
  int64_t rows = 0, length = 0;  // of the whole
  std::vector<Part> parts;

  // Rows that lie apart are those of the last axis: with others between, or one alone, there is no need.
  void offer(PlanContext& ctx, bool last_axis, bool joins) const {
    if (rows > 1 && !last_axis) return;
    for (const Part& p : parts)
      ctx.part({.input = joins ? p.value : 0,
                .output = joins ? 0 : p.value,
                .joins = joins,
                .offset = p.offset,
                .row_stride = rows > 1 ? length : 0});
  }
  void copy(const RunContext& ctx, const Part& p, const TensorView& from, const TensorView& to,
            bool joins) const {
    const auto size = static_cast<int64_t>(dtype_size(from.dtype));
    const std::byte* src = from.as<std::byte>() + (joins ? 0 : p.offset * size);
    std::byte* dst = to.as<std::byte>() + (joins ? p.offset * size : 0);
    if (src == dst) return;
    const int64_t src_row = from.row_or(joins ? p.length : length),
                  dst_row = to.row_or(joins ? length : p.length);
    copy_box(ctx, plan_rows(from.dtype, rows, p.length, src_row, dst_row), from.dtype, src, dst);
  }
};

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
    auto state = std::make_unique<Sides>();
    const int64_t inner = out.count(axis + 1, out.rank());
    state->rows = out.count(0, axis);
    int64_t at = 0;
    for (int i = 0; i < ctx.num_inputs(); ++i) {
      const int64_t length = ctx.shape(i)[axis] * inner;
      if (length == 0) continue;
      state->parts.push_back({i, length, at});
      at += length;
      if (axis + 1 == out.rank()) ctx.rows_apart_in(i);
    }
    state->length = at;
    state->offer(ctx, axis + 1 == out.rank(), true);
    ctx.state(std::move(state));
  }
  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<Sides>();
    for (const Sides::Part& p : state.parts) state.copy(ctx, p, ctx.in(p.value), ctx.out(0), true);
  }

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
    auto state = std::make_unique<Sides>();
    const bool last_axis = axis + 1 == in.rank();
    const int64_t inner = in.count(axis + 1, in.rank());
    state->rows = in.count(0, axis);
    state->length = in[axis] * inner;
    int64_t at = 0;
    for (int i = 0; i < ctx.num_outputs(); ++i) {
      Shape out = in;
      out[axis] = sizes[static_cast<size_t>(i)];
      const int64_t length = out[axis] * inner;
      if (out == in)
        ctx.output_view(i, 0, out);
      else
        ctx.output(i, out);
      if (ctx.wants(i) && out != in && out.count() > 0) state->parts.push_back({i, length, at});
      if (last_axis) ctx.rows_apart_out(i);
      at += length;
    }
    state->offer(ctx, last_axis, false);
    ctx.state(std::move(state));
  }
  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<Sides>();
    for (const Sides::Part& p : state.parts) state.copy(ctx, p, ctx.in(0), ctx.out(p.value), false);
  }

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
