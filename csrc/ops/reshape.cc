// Reshape, Flatten, Squeeze, Unsqueeze: y = x under another shape. No element moves.
#include <algorithm>

#include "base/math.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

constexpr auto kBad = ErrorCode::kInvalidInput;

class View : public Op {
 public:
  void run(RunContext&) const override {}
};

class Reshape final : public View {
 public:
  explicit Reshape(bool allow_zero) : allow_zero_(allow_zero) {}
  void plan(PlanContext& ctx) const override {
    const std::vector<int64_t> want = ctx.require_int64s(1);
    ctx.output_view(0, 0, target(ctx.shape(0), want));
  }

 private:
  Shape target(const Shape& in, std::span<const int64_t> want) const {
    Shape out;
    int free = -1;
    for (size_t i = 0; i < want.size(); ++i) {
      int64_t d = want[i];
      require(d >= -1, kBad, "shape has a dimension of ", d);
      if (d == 0 && !allow_zero_) {
        require(static_cast<int>(i) < in.rank(), kBad, "shape copies dimension ", i, " of an input of shape ",
                in);
        d = in[static_cast<int>(i)];
      }
      if (d == -1) {
        require(free < 0, kBad, "shape has more than one -1");
        free = static_cast<int>(i);
        d = 1;
      }
      out.push_back(d);
    }
    const int64_t rest = out.count(), total = in.count();
    if (free >= 0) {
      require(rest > 0 && total % rest == 0, kBad, "an input of shape ", in,
              " cannot be reshaped: the other dimensions have ", rest, " elements");
      out[free] = total / rest;
    }
    require(out.count() == total, kBad, "an input of shape ", in, " cannot be reshaped to ", out);
    return out;
  }

  bool allow_zero_;
};

class Flatten final : public View {
 public:
  explicit Flatten(int64_t axis) : axis_(axis) {}
  void plan(PlanContext& ctx) const override {
    const Shape& s = ctx.shape(0);
    require(axis_ >= -s.rank() && axis_ <= s.rank(), ErrorCode::kInvalidModel, "axis ", axis_,
            " is out of range for rank ", s.rank());
    const int axis = static_cast<int>(axis_ < 0 ? axis_ + s.rank() : axis_);
    ctx.output_view(0, 0, {s.count(0, axis), s.count(axis, s.rank())});
  }

 private:
  int64_t axis_;
};

// Marks `axes` among `rank` dimensions; throws for one out of range or given twice.
std::vector<bool> mark_axes(std::span<const int64_t> axes, int rank) {
  std::vector<bool> marked(static_cast<size_t>(rank), false);
  for (int64_t a : axes) {
    const auto axis = static_cast<size_t>(normalize_axis(a, rank));
    require(!marked[axis], ErrorCode::kInvalidModel, "axis ", a, " is given twice");
    marked[axis] = true;
  }
  return marked;
}

class Squeeze final : public View {
 public:
  void plan(PlanContext& ctx) const override {
    const Shape& s = ctx.shape(0);
    Shape out;
    if (!ctx.has(1)) {
      for (int64_t d : s)
        if (d != 1) out.push_back(d);
    } else {
      const std::vector<bool> drop = mark_axes(ctx.require_int64s(1), s.rank());
      for (int i = 0; i < s.rank(); ++i) {
        if (!drop[static_cast<size_t>(i)]) {
          out.push_back(s[i]);
        } else {
          require(s[i] == 1, kBad, "cannot squeeze dimension ", i, " of shape ", s);
        }
      }
    }
    ctx.output_view(0, 0, out);
  }
};

class Unsqueeze final : public View {
 public:
  void plan(PlanContext& ctx) const override {
    const Shape& s = ctx.shape(0);
    const std::vector<int64_t> axes = ctx.require_int64s(1);
    require(axes.size() <= static_cast<size_t>(Shape::kMaxRank), ErrorCode::kInvalidModel, "axes has ",
            axes.size(), " elements");
    const int rank = s.rank() + static_cast<int>(axes.size());
    const std::vector<bool> added = mark_axes(axes, rank);
    Shape out;
    for (int i = 0, from = 0; i < rank; ++i) out.push_back(added[static_cast<size_t>(i)] ? 1 : s[from++]);
    ctx.output_view(0, 0, out);
  }
};

void same_type(NodeContext& ctx, int least, int most) {
  ctx.expect_inputs(least, most);
  require(ctx.input_type(0).is_tensor(), ErrorCode::kInvalidModel, "expected a tensor, got ",
          ctx.input_type(0));
  ctx.output(0, ctx.dtype(0));
}

std::unique_ptr<Op> make_reshape(NodeContext& ctx) {
  same_type(ctx, 2, 2);
  ctx.expect_dtype(1, {DType::kInt64});
  return std::make_unique<Reshape>(ctx.attr_int("allowzero", 0) != 0);
}

std::unique_ptr<Op> make_flatten(NodeContext& ctx) {
  same_type(ctx, 1, 1);
  return std::make_unique<Flatten>(ctx.attr_int("axis", 1));
}

std::unique_ptr<Op> make_squeeze(NodeContext& ctx) {
  same_type(ctx, 1, 2);
  return std::make_unique<Squeeze>();
}

std::unique_ptr<Op> make_unsqueeze(NodeContext& ctx) {
  same_type(ctx, 2, 2);
  return std::make_unique<Unsqueeze>();
}

}  // namespace

std::span<const OpDef> reshape_ops() {
  static constexpr OpDef kOps[] = {
      {"", "Flatten", 1, make_flatten},
      {"", "Reshape", 1, make_reshape},
      {"", "Squeeze", 1, make_squeeze},
      {"", "Unsqueeze", 1, make_unsqueeze},
  };
  return kOps;
}

}  // namespace pyinfer
