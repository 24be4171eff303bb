// ScatterElements: y = x, then y[i with i[axis] = indices[i]] (op)= updates[i].
// ScatterND: y = x, then y[indices[i..], j..] (op)= updates[i.., j..], in the order of i.
// TensorScatter: y = x, then y[b, .., write[b] + t, ..] = update[b, .., t, ..].
#include <algorithm>

#include "base/math.h"
#include "ops/copy_box.h"
#include "ops/dispatch.h"
#include "ops/index_input.h"

namespace pyinfer {
namespace {

enum class Reduction { kNone, kAdd, kMul, kMax, kMin };

// max and min follow NumPy: NaN wins.
template <class C>
C combine(Reduction op, C a, C b) {
  switch (op) {
    case Reduction::kAdd:
      if constexpr (std::is_integral_v<C>)
        return static_cast<C>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
      else
        return a + b;
    case Reduction::kMul:
      if constexpr (std::is_integral_v<C>)
        return static_cast<C>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
      else
        return a * b;
    case Reduction::kMax: return a > b || a != a ? a : b;
    case Reduction::kMin: return a < b || a != a ? a : b;
    case Reduction::kNone: break;
  }
  return b;
}

template <class T>
void combine_into(Reduction op, T* y, const T* update, int64_t n) {
  constexpr bool kHalf = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (kHalf)
      y[i] = T(combine(op, static_cast<float>(y[i]), static_cast<float>(update[i])));
    else if constexpr (std::is_same_v<T, bool>)
      y[i] = op == Reduction::kAdd || op == Reduction::kMax ? y[i] || update[i] : y[i] && update[i];
    else
      y[i] = combine(op, y[i], update[i]);
  }
}

void copy_input(const RunContext& ctx) {
  const TensorView &x = ctx.in(0), &y = ctx.out(0);
  if (y.data == x.data) return;
  const std::array<int64_t, 1> n{x.count()}, one{1};
  copy_box(ctx, plan_box(x.dtype, n, one, one), x.dtype, x.data, y.data);
}

// y(rows(i)) (op)= updates(i), rows of `row` elements, i ascending.
void scatter_rows(const TensorView& y, const TensorView& updates, const int64_t* rows, int64_t n, int64_t row,
                  Reduction op) {
  if (y.dtype == DType::kString) {
    for (int64_t i = 0; i < n; ++i)
      std::copy_n(updates.as<std::string>() + i * row, row, y.as<std::string>() + rows[i] * row);
  } else if (op == Reduction::kNone) {
    const int64_t bytes = row * static_cast<int64_t>(dtype_size(y.dtype));
    for (int64_t i = 0; i < n && bytes > 0; ++i)
      std::memcpy(y.as<std::byte>() + rows[i] * bytes, updates.as<std::byte>() + i * bytes,
                  static_cast<size_t>(bytes));
  } else {
    dispatch<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t,
             uint64_t, bool>(y.dtype, [&]<class T>() {
      for (int64_t i = 0; i < n; ++i)
        combine_into(op, y.as<T>() + rows[i] * row, updates.as<T>() + i * row, row);
    });
  }
}

class ScatterElements final : public Op {
 public:
  ScatterElements(int64_t axis, Reduction reduction) : axis_(axis), reduction_(reduction) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &indices = ctx.shape(1);
    const int axis = normalize_axis(axis_, x.rank());
    require(indices == ctx.shape(2) && indices.rank() == x.rank(), ErrorCode::kInvalidInput,
            "data, indices and updates have shapes ", x, ", ", indices, " and ", ctx.shape(2));
    for (int i = 0; i < x.rank(); ++i)
      require(i == axis || indices[i] <= x[i], ErrorCode::kInvalidInput, "indices have shape ", indices,
              ", beyond the data's ", x);
    ctx.output(0, x);
    ctx.reuse(0, 0);
    ctx.scratch(indices.count() * 8);
  }

  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &indices = ctx.in(1);
    const int axis = normalize_axis(axis_, x.shape.rank());
    auto* at = ctx.scratch_as<int64_t>();
    read_indices(indices, x.shape[axis], at);
    element_offsets(indices.shape, x.shape, axis, at);
    copy_input(ctx);
    scatter_rows(ctx.out(0), ctx.in(2), at, indices.count(), 1, reduction_);
  }

 private:
  int64_t axis_;
  Reduction reduction_;
};

class ScatterND final : public Op {
 public:
  explicit ScatterND(Reduction reduction) : reduction_(reduction) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &indices = ctx.shape(1);
    require(indices.rank() >= 1, ErrorCode::kInvalidInput, "indices are a scalar");
    const int64_t depth = indices[indices.rank() - 1];
    require(depth <= x.rank(), ErrorCode::kInvalidInput, "indices of shape ", indices, " into data of shape ",
            x);
    Shape expected;
    for (int i = 0; i + 1 < indices.rank(); ++i) expected.push_back(indices[i]);
    for (int i = static_cast<int>(depth); i < x.rank(); ++i) expected.push_back(x[i]);
    require(ctx.shape(2) == expected, ErrorCode::kInvalidInput, "updates have shape ", ctx.shape(2),
            ", expected ", expected);
    ctx.output(0, x);
    ctx.reuse(0, 0);
    ctx.scratch(indices.count(0, indices.rank() - 1) * 8);
  }

  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &indices = ctx.in(1);
    auto* rows = ctx.scratch_as<int64_t>();
    const int64_t n = row_offsets(indices, x.shape, 0, rows);
    const int depth = static_cast<int>(indices.shape[indices.shape.rank() - 1]);
    copy_input(ctx);
    scatter_rows(ctx.out(0), ctx.in(2), rows, n, x.shape.count(depth, x.shape.rank()), reduction_);
  }

 private:
  Reduction reduction_;
};

class TensorScatter final : public Op {
 public:
  TensorScatter(int64_t axis, bool circular) : axis_(axis), circular_(circular) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &update = ctx.shape(1);
    const int axis = normalize_axis(axis_, x.rank());
    require(axis > 0, ErrorCode::kInvalidModel, "axis ", axis_, " is the batch");
    Shape expected = x;
    if (update.rank() == x.rank()) expected[axis] = std::min(x[axis], update[axis]);
    require(update == expected, ErrorCode::kInvalidInput, "update of shape ", update,
            " into a cache of shape ", x, " along axis ", axis);
    if (ctx.has(2))
      require(ctx.shape(2) == Shape{x[0]}, ErrorCode::kInvalidInput, "write_indices has shape ", ctx.shape(2),
              ", expected [", x[0], "]");
    ctx.output(0, x);
    ctx.reuse(0, 0);
  }

  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &update = ctx.in(1);
    const int axis = normalize_axis(axis_, x.shape.rank());
    const int64_t batch = x.shape[0], size = x.shape[axis], n = update.shape[axis];
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t at = start(ctx, b);
      require(circular_ || (at >= 0 && at <= size - n), ErrorCode::kInvalidInput, "write index ", at, " for ",
              n, " elements in a cache of ", size);
    }
    copy_input(ctx);
    if (update.count() == 0) return;
    const int64_t rows = x.shape.count(1, axis), inner = x.shape.count(axis + 1, x.shape.rank());
    const auto bytes = static_cast<size_t>(inner) * dtype_size(x.dtype);
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t first = start(ctx, b) - floor_div(start(ctx, b), size) * size;
      for (int64_t r = b * rows; r < (b + 1) * rows; ++r) {
        for (int64_t t = 0; t < n; ++t) {
          const int64_t to = r * size + (first + t) % size;
          copy(ctx, update.as<std::byte>() + static_cast<size_t>(r * n + t) * bytes,
               ctx.out<std::byte>(0) + static_cast<size_t>(to) * bytes, inner, bytes);
        }
      }
    }
  }

 private:
  static int64_t start(const RunContext& ctx, int64_t b) { return ctx.has(2) ? ctx.in<int64_t>(2)[b] : 0; }
  static void copy(const RunContext& ctx, const std::byte* src, std::byte* dst, int64_t count, size_t bytes) {
    if (ctx.in(0).dtype == DType::kString)
      std::copy_n(reinterpret_cast<const std::string*>(src), count, reinterpret_cast<std::string*>(dst));
    else
      std::memcpy(dst, src, bytes);
  }

  int64_t axis_;
  bool circular_;
};

Reduction reduction_of(NodeContext& ctx) {
  const std::string name = ctx.attr_string("reduction", "none");
  constexpr std::pair<std::string_view, Reduction> kNames[] = {{"none", Reduction::kNone},
                                                               {"add", Reduction::kAdd},
                                                               {"mul", Reduction::kMul},
                                                               {"max", Reduction::kMax},
                                                               {"min", Reduction::kMin}};
  for (const auto& [known, reduction] : kNames) {
    if (name != known) continue;
    if (reduction != Reduction::kNone)
      ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt8,
                           DType::kUInt8, DType::kInt16, DType::kUInt16, DType::kInt32, DType::kUInt32,
                           DType::kInt64, DType::kUInt64, DType::kBool});
    return reduction;
  }
  fail(ErrorCode::kInvalidModel, "reduction=", name, " is none of none, add, mul, max and min");
}

std::unique_ptr<Op> make_scatter_elements(NodeContext& ctx) {
  ctx.expect_inputs(3, 3);
  ctx.expect_dtype(1, {DType::kInt64, DType::kInt32});
  ctx.expect_same_dtype(0, 2);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<ScatterElements>(ctx.attr_int("axis", 0), reduction_of(ctx));
}

std::unique_ptr<Op> make_scatter_nd(NodeContext& ctx) {
  ctx.expect_inputs(3, 3);
  ctx.expect_dtype(1, {DType::kInt64});
  ctx.expect_same_dtype(0, 2);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<ScatterND>(reduction_of(ctx));
}

std::unique_ptr<Op> make_tensor_scatter(NodeContext& ctx) {
  ctx.expect_inputs(2, 3);
  ctx.expect_same_dtype(0, 1);
  if (ctx.has_input(2)) ctx.expect_dtype(2, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  const std::string mode = ctx.attr_string("mode", "linear");
  require(mode == "linear" || mode == "circular", ErrorCode::kInvalidModel, "mode=", mode,
          " is neither linear nor circular");
  return std::make_unique<TensorScatter>(ctx.attr_int("axis", -2), mode == "circular");
}

}  // namespace

std::span<const OpDef> scatter_ops() {
  static constexpr OpDef kOps[] = {
      {"", "Scatter", 1, make_scatter_elements},  // ScatterElements' first name
      {"", "ScatterElements", 1, make_scatter_elements},
      {"", "ScatterND", 1, make_scatter_nd},
      {"", "TensorScatter", 1, make_tensor_scatter},
  };
  return kOps;
}

}  // namespace pyinfer
