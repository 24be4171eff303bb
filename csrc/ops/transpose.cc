// Transpose: y[i[perm[0]], i[perm[1]], ...] = x[i[0], i[1], ...].
// DepthToSpace and SpaceToDepth: such a transpose of x seen with blocks as dimensions of their own.
#include <algorithm>
#include <numeric>

#include "base/math.h"
#include "ops/copy_box.h"

namespace pyinfer {
namespace {

class Move : public Op {
 public:
  void run(RunContext& ctx) const override { copy_boxes(ctx); }
};

class Transpose final : public Move {
 public:
  explicit Transpose(std::vector<int64_t> perm) : perm_(std::move(perm)) {}
  void plan(PlanContext& ctx) const override {
    const Shape& in = ctx.shape(0);
    std::vector<int64_t> perm = perm_;
    if (perm.empty()) {
      perm.resize(static_cast<size_t>(in.rank()));
      std::iota(perm.rbegin(), perm.rend(), 0);
    }
    require(static_cast<int>(perm.size()) == in.rank(), ErrorCode::kInvalidModel, "perm has ", perm.size(),
            " elements, the input has shape ", in);
    const auto strides = in.strides();
    Shape out;
    std::vector<int64_t> from;
    for (int64_t axis : perm) {
      out.push_back(in[static_cast<int>(axis)]);
      from.push_back(strides[static_cast<size_t>(axis)]);
    }
    plan_strided_output(ctx, out, from);
  }

 private:
  std::vector<int64_t> perm_;  // a permutation; empty: reverses
};

// Where the factors of [N, C, H, W] are: the input seen as six dimensions, the output as a permutation.
class Blocks final : public Move {
 public:
  Blocks(bool to_space, bool column_row, int64_t block)
      : to_space_(to_space), column_row_(column_row), block_(block) {}

  void plan(PlanContext& ctx) const override {
    const Shape& s = ctx.shape(0);
    require(s.rank() == 4, ErrorCode::kInvalidInput, "expected an input of rank 4, got ", s);
    const int64_t b = block_;
    Shape view, out;
    std::array<int, 6> perm;
    if (to_space_) {
      require(s[1] / b % b == 0 && s[1] % b == 0, ErrorCode::kInvalidInput, "channels of ", s,
              " are no multiple of blocksize squared, blocksize=", b);
      const int64_t c = s[1] / b / b;
      view = column_row_ ? Shape{s[0], c, b, b, s[2], s[3]} : Shape{s[0], b, b, c, s[2], s[3]};
      perm = column_row_ ? std::array{0, 1, 4, 2, 5, 3} : std::array{0, 3, 4, 1, 5, 2};
      out = {s[0], c, product(s[2], b), product(s[3], b)};
    } else {
      require(s[2] % b == 0 && s[3] % b == 0, ErrorCode::kInvalidInput, "height and width of ", s,
              " are no multiples of blocksize=", b);
      view = {s[0], s[1], s[2] / b, b, s[3] / b, b};
      perm = column_row_ ? std::array{0, 1, 3, 5, 2, 4} : std::array{0, 3, 5, 1, 2, 4};
      out = {s[0], product(product(s[1], b), b), s[2] / b, s[3] / b};
    }
    const auto strides = view.strides();
    Shape moved;
    std::array<int64_t, 6> from;
    for (size_t i = 0; i < 6; ++i) {
      moved.push_back(view[perm[i]]);
      from[i] = strides[static_cast<size_t>(perm[i])];
    }
    ctx.output(0, out);
    const auto to = moved.strides();
    auto state = std::make_unique<BoxCopies>();
    state->boxes.push_back({.plan = plan_box(ctx.dtype(0), moved.dims(), from, std::span(to).first(6))});
    ctx.state(std::move(state));
  }

 private:
  static int64_t product(int64_t a, int64_t b) {
    const auto p = checked_mul(a, b);
    require(p.has_value(), ErrorCode::kLimit, "blocksize=", b, " is too large");
    return *p;
  }

  bool to_space_, column_row_;
  int64_t block_;
};

std::unique_ptr<Op> make_transpose(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.output(0, ctx.dtype(0));
  std::vector<int64_t> perm = ctx.attr_ints("perm");
  std::vector<int64_t> sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i)
    require(sorted[i] == static_cast<int64_t>(i), ErrorCode::kInvalidModel, "perm is no permutation of 0 to ",
            sorted.size() - 1);
  return std::make_unique<Transpose>(std::move(perm));
}

std::unique_ptr<Op> make_blocks(NodeContext& ctx, bool to_space) {
  ctx.expect_inputs(1, 1);
  ctx.output(0, ctx.dtype(0));
  const int64_t block = ctx.attr_int("blocksize");
  require(block > 0, ErrorCode::kInvalidModel, "blocksize=", block, " is not positive");
  const std::string mode = ctx.attr_string("mode", "DCR");
  require(mode == "DCR" || mode == "CRD", ErrorCode::kInvalidModel, "mode=", mode, " is neither DCR nor CRD");
  return std::make_unique<Blocks>(to_space, mode == "CRD", block);
}

}  // namespace

std::span<const OpDef> transpose_ops() {
  static constexpr OpDef kOps[] = {
      {"", "DepthToSpace", 1, [](NodeContext& ctx) { return make_blocks(ctx, true); }},
      {"", "SpaceToDepth", 1, [](NodeContext& ctx) { return make_blocks(ctx, false); }},
      {"", "Transpose", 1, make_transpose},
  };
  return kOps;
}

}  // namespace pyinfer
