// Unique: y = the distinct elements of x, or its distinct slices along an axis, with where each came first,
// which one each element of x is, and how many there are. NaN equals NaN and comes last; -0 equals 0.
#include <algorithm>
#include <complex>
#include <numeric>

#include "ops/copy_box.h"
#include "ops/dispatch.h"

namespace pyinfer {
namespace {

template <class T>
int compare_values(const T& a, const T& b) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return compare_values(static_cast<float>(a), static_cast<float>(b));
  } else if constexpr (std::is_same_v<T, std::string>) {
    return a.compare(b);
  } else {
    if (a < b) return -1;
    if (a > b) return 1;
    if (a == b) return 0;
    return (a != a) - (b != b);
  }
}

// Lexicographic order of two rows of n values.
using Compare = int (*)(const void* a, const void* b, int64_t n);

template <class T>
int compare_rows(const void* a, const void* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (const int c = compare_values(static_cast<const T*>(a)[i], static_cast<const T*>(b)[i]); c != 0)
      return c;
  return 0;
}

// A complex number is two: the real part decides first.
template <class T>
int compare_pairs(const void* a, const void* b, int64_t n) {
  return compare_rows<T>(a, b, 2 * n);
}

Compare compare_of(DType dtype) {
  if (dtype == DType::kComplex64) return compare_pairs<float>;
  if (dtype == DType::kComplex128) return compare_pairs<double>;
  Compare found = nullptr;
  dispatch<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t,
           uint64_t, bool, std::string>(dtype, [&]<class T>() { found = compare_rows<T>; });
  return found;
}

// The groups of equal rows.
struct Groups {
  std::vector<int64_t> first;  // by group: the first row in it
  std::vector<int64_t> count;  // by group
  std::vector<int64_t> group;  // by row
};

Groups group_rows(const std::byte* rows, int64_t n, int64_t length, size_t row_bytes, Compare compare,
                  bool sorted) {
  const auto row = [&](int64_t i) { return rows + static_cast<size_t>(i) * row_bytes; };
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const int c = compare(row(a), row(b), length);
    return c != 0 ? c < 0 : a < b;
  });
  Groups g;
  g.group.resize(static_cast<size_t>(n));
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || compare(row(order[i - 1]), row(order[i]), length) != 0) {
      g.first.push_back(order[i]);
      g.count.push_back(0);
    }
    ++g.count.back();
    g.group[static_cast<size_t>(order[i])] = static_cast<int64_t>(g.first.size()) - 1;
  }
  if (sorted) return g;

  std::vector<int64_t> by_first(g.first.size()), place(g.first.size());
  std::iota(by_first.begin(), by_first.end(), 0);
  const auto at = [](const std::vector<int64_t>& v, int64_t i) { return v[static_cast<size_t>(i)]; };
  std::sort(by_first.begin(), by_first.end(),
            [&](int64_t a, int64_t b) { return at(g.first, a) < at(g.first, b); });
  Groups out;
  for (int64_t old : by_first) {
    place[static_cast<size_t>(old)] = static_cast<int64_t>(out.first.size());
    out.first.push_back(at(g.first, old));
    out.count.push_back(at(g.count, old));
  }
  for (int64_t old : g.group) out.group.push_back(at(place, old));
  return out;
}

class Unique final : public Op {
 public:
  Unique(int64_t axis, bool flat, bool sorted) : axis_(axis), flat_(flat), sorted_(sorted) {}

  void plan(PlanContext& ctx) const override {
    if (!flat_) normalize_axis(axis_, ctx.shape(0).rank());
    for (int i = 0; i < ctx.num_outputs(); ++i) ctx.output_dynamic(i);
  }

  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    const Shape in = flat_ ? Shape{x.count()} : x.shape;
    const int axis = flat_ ? 0 : normalize_axis(axis_, in.rank());
    const int64_t outer = in.count(0, axis), n = in[axis], inner = in.count(axis + 1, in.rank());
    // The slices as rows of a matrix: [n, outer * inner].
    Tensor moved;
    const void* rows = x.data;
    if (outer > 1) {
      moved = Tensor(x.dtype, {n, outer, inner});
      rows = moved.view().data;
      copy_box(ctx,
               plan_box(x.dtype, std::array{n, outer, inner}, std::array<int64_t, 3>{inner, n * inner, 1},
                        std::array<int64_t, 3>{outer * inner, inner, 1}),
               x.dtype, x.data, moved.view().data);
    }
    const int64_t length = outer * inner;
    const Groups g =
        group_rows(static_cast<const std::byte*>(rows), n, length,
                   static_cast<size_t>(length) * dtype_size(x.dtype), compare_of(x.dtype), sorted_);
    Shape out = in;
    out[axis] = static_cast<int64_t>(g.first.size());
    write_slices(ctx, x, ctx.allocate(0, x.dtype, out, x.string_bytes()), g.first, outer, n, inner);
    const std::vector<int64_t>* others[] = {&g.first, &g.group, &g.count};
    for (int i = 1; i < ctx.num_outputs(); ++i)
      if (ctx.wants(i)) ctx.set(i, Tensor::vector_i64(*others[i - 1]));
  }

 private:
  static void write_slices(const RunContext& ctx, const TensorView& x, const TensorView& y,
                           const std::vector<int64_t>& from, int64_t outer, int64_t n, int64_t inner) {
    const auto size = static_cast<int64_t>(dtype_size(x.dtype)), groups = static_cast<int64_t>(from.size());
    const CopyPlan slice = plan_box(x.dtype, std::array{outer, inner}, std::array<int64_t, 2>{n * inner, 1},
                                    std::array<int64_t, 2>{groups * inner, 1});
    for (int64_t g = 0; g < groups; ++g)
      copy_box(ctx, slice, x.dtype, x.as<std::byte>() + from[static_cast<size_t>(g)] * inner * size,
               y.as<std::byte>() + g * inner * size);
  }

  int64_t axis_;
  bool flat_, sorted_;
};

std::unique_ptr<Op> make_unique_op(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(
      0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt8, DType::kUInt8,
          DType::kInt16, DType::kUInt16, DType::kInt32, DType::kUInt32, DType::kInt64, DType::kUInt64,
          DType::kBool, DType::kString, DType::kComplex64, DType::kComplex128});
  require(ctx.num_outputs() <= 4, ErrorCode::kInvalidModel, "expected at most 4 outputs, got ",
          ctx.num_outputs());
  ctx.output(0, ctx.dtype(0));
  for (int i = 1; i < ctx.num_outputs(); ++i) ctx.output(i, DType::kInt64);
  return std::make_unique<Unique>(ctx.attr_int("axis", 0), !ctx.has_attr("axis"),
                                  ctx.attr_int("sorted", 1) != 0);
}

}  // namespace

std::span<const OpDef> unique_ops() {
  static constexpr OpDef kOps[] = {{"", "Unique", 1, make_unique_op}};
  return kOps;
}

}  // namespace pyinfer
