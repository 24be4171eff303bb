// ArgMax: y[o, j] = the first (or last) i for which x[o, i, j] is largest. ArgMin: smallest. NaN wins both,
// as in NumPy.
#include <type_traits>

#include "kernels/kernel_table.h"
#include "ops/dispatch.h"
#include "ops/lines.h"

namespace pyinfer {
namespace {

constexpr int64_t kStretch = 512;  // positions that one call looks at

template <class T>
auto comparable(T v) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>)
    return static_cast<float>(v);
  else
    return v;
}

// Whether `a` takes the place of `best`, which comes before it.
template <bool kMax, class V>
bool beats(V a, V best, bool ties) {
  if (a != a) return best == best || ties;
  if (kMax ? a > best : a < best) return true;
  return ties && a == best;
}

// Positions [first, last) of the lines at `x`; y is the place of the first line's answer.
template <bool kMax, class T>
void extreme_of_lines(const T* x, const Lines& lines, bool last_index, int64_t first, int64_t last,
                      int64_t* y) {
  decltype(comparable(T{})) best[kStretch];
  for (int64_t j = first; j < last; ++j) {
    best[j - first] = comparable(x[j]);
    y[j] = 0;
  }
  for (int64_t i = 1; i < lines.length; ++i) {
    const T* row = x + i * lines.inner;
    for (int64_t j = first; j < last; ++j) {
      const auto v = comparable(row[j]);
      if (!beats<kMax>(v, best[j - first], last_index)) continue;
      best[j - first] = v;
      y[j] = i;
    }
  }
}

// The same for float32 and lines of less than 2^31 elements, on the vector units. A lone line is dealt out
// over kLanes lanes, element i to lane i % kLanes.
template <bool kMax>
void float_extreme(const float* x, const Lines& lines, bool last_index, int64_t first, int64_t last,
                   int64_t* y) {
  const auto run = kMax ? kernels().extreme.max_rows : kernels().extreme.min_rows;
  float best[kStretch];
  int32_t index[kStretch];
  if (lines.inner > 1) {
    std::copy(x + first, x + last, best);
    std::fill_n(index, last - first, 0);
    run(x + lines.inner + first, lines.inner, lines.length - 1, 1, last - first, last_index, best, index);
    std::copy_n(index, last - first, y + first);
    return;
  }
  constexpr int64_t kLanes = 64;
  const int64_t lanes = std::min(kLanes, lines.length), rows = lines.length / lanes,
                rest = lines.length % lanes;
  std::copy_n(x, lanes, best);
  std::fill_n(index, lanes, 0);
  run(x + lanes, lanes, rows - 1, 1, lanes, last_index, best, index);
  run(x + rows * lanes, lanes, rest > 0 ? 1 : 0, static_cast<int32_t>(rows), rest, last_index, best, index);
  int64_t winner = 0;
  const auto number = [&](int64_t lane) { return index[lane] * lanes + lane; };
  for (int64_t lane = 1; lane < lanes; ++lane) {
    const float a = best[lane], b = best[winner];
    const bool same = a == b || (a != a && b != b);
    const bool wins = same ? (number(lane) < number(winner)) != last_index : beats<kMax>(a, b, false);
    if (wins) winner = lane;
  }
  *y = number(winner);
}

class ArgExtreme final : public Op {
 public:
  ArgExtreme(int64_t axis, bool max, bool keep, bool last_index)
      : axis_(axis), max_(max), keep_(keep), last_index_(last_index) {}

  void plan(PlanContext& ctx) const override {
    Shape out = ctx.shape(0);
    const int axis = normalize_axis(axis_, out.rank());
    const int64_t length = out[axis];
    if (keep_)
      out[axis] = 1;
    else
      out.erase(axis);
    require(length > 0 || out.count() == 0, ErrorCode::kInvalidInput, "axis ", axis, " of ", ctx.shape(0),
            " is empty");
    ctx.output(0, out);
  }

  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    const Lines lines(x.shape, normalize_axis(axis_, x.shape.rank()));
    dispatch<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t,
             uint64_t>(x.dtype, [&]<class T>() {
      auto extreme = max_ ? extreme_of_lines<true, T> : extreme_of_lines<false, T>;
      if constexpr (std::is_same_v<T, float>)
        if (lines.length < INT32_MAX) extreme = max_ ? float_extreme<true> : float_extreme<false>;
      for_each_line(ctx, lines, kStretch, 1, [&](int64_t o, int64_t first, int64_t last) {
        const T* from = x.as<T>() + o * lines.length * lines.inner;
        int64_t* to = ctx.out<int64_t>(0) + o * lines.inner;
        extreme(from, lines, last_index_, first, last, to);
      });
    });
  }

 private:
  int64_t axis_;
  bool max_, keep_, last_index_;
};

std::unique_ptr<Op> make(NodeContext& ctx, bool max) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(
      0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt8, DType::kUInt8,
          DType::kInt16, DType::kUInt16, DType::kInt32, DType::kUInt32, DType::kInt64, DType::kUInt64});
  ctx.output(0, DType::kInt64);
  return std::make_unique<ArgExtreme>(ctx.attr_int("axis", 0), max, ctx.attr_int("keepdims", 1) != 0,
                                      ctx.attr_int("select_last_index", 0) != 0);
}

}  // namespace

std::span<const OpDef> arg_extreme_ops() {
  static constexpr OpDef kOps[] = {
      {"", "ArgMax", 1, [](NodeContext& ctx) { return make(ctx, true); }},
      {"", "ArgMin", 1, [](NodeContext& ctx) { return make(ctx, false); }},
  };
  return kOps;
}

}  // namespace pyinfer
