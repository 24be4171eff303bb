// OneHot: y[.., k, ..] = values[indices[..] == k].
// Trilu: y[.., i, j] = j - i >= k (upper) or j - i <= k (lower) ? x[.., i, j] : 0.
// ReverseSequence: y[t, b] = x[t < lens[b] ? lens[b] - 1 - t : t, b].
#include <algorithm>

#include "base/math.h"
#include "ops/copy_box.h"
#include "ops/dispatch.h"

namespace pyinfer {
namespace {

constexpr std::initializer_list<DType> kNumbers = {
    DType::kUInt8, DType::kUInt16, DType::kUInt32,  DType::kUInt64,  DType::kInt8,   DType::kInt16,
    DType::kInt32, DType::kInt64,  DType::kFloat16, DType::kFloat32, DType::kFloat64};

// The numbers of a tensor, truncated; those that int64 cannot hold become `outside`.
void read_integers(const TensorView& view, int64_t outside, int64_t* out) {
  dispatch<uint8_t, uint16_t, uint32_t, uint64_t, int8_t, int16_t, int32_t, int64_t, Float16, float, double>(
      view.dtype, [&]<class T>() {
        const int64_t n = view.count();
        for (int64_t i = 0; i < n; ++i) {
          const T v = view.as<T>()[i];
          if constexpr (std::is_same_v<T, uint64_t>) {
            out[i] = v > uint64_t{INT64_MAX} ? outside : static_cast<int64_t>(v);
          } else if constexpr (std::is_integral_v<T>) {
            out[i] = v;
          } else {
            const auto d = static_cast<double>(
                static_cast<std::conditional_t<std::is_same_v<T, double>, double, float>>(v));
            out[i] = d > -0x1p62 && d < 0x1p62 ? static_cast<int64_t>(d) : outside;
          }
        }
      });
}

class OneHot final : public Op {
 public:
  explicit OneHot(int64_t axis) : axis_(axis) {}

  void plan(PlanContext& ctx) const override {
    const Shape& indices = ctx.shape(0);
    const Tensor& depth = ctx.require_value(1);
    require(depth.count() == 1, ErrorCode::kInvalidInput, "depth has shape ", depth.shape());
    int64_t n;
    read_integers(depth.view(), -1, &n);
    require(n >= 0, ErrorCode::kInvalidInput, "depth is negative or too large");
    require(ctx.shape(2) == Shape{2}, ErrorCode::kInvalidInput, "values has shape ", ctx.shape(2),
            ", expected [2]");
    Shape out = indices;
    const int axis = normalize_axis(axis_, indices.rank() + 1);
    out.insert(axis, n);
    ctx.output(0, out);
    ctx.scratch(indices.count() * 8);
  }

  void run(RunContext& ctx) const override {
    const TensorView &indices = ctx.in(0), &y = ctx.out(0);
    if (y.count() == 0) return;
    const int axis = normalize_axis(axis_, y.shape.rank());
    const int64_t depth = y.shape[axis], inner = y.shape.count(axis + 1, y.shape.rank());
    auto* at = ctx.scratch_as<int64_t>();
    read_integers(indices, depth, at);
    const size_t size = dtype_size(y.dtype);
    const std::byte* values = ctx.in<std::byte>(2);
    fill_output(ctx, y, values);
    for (int64_t i = 0, n = indices.count(); i < n; ++i) {
      const int64_t k = at[i] < 0 ? at[i] + depth : at[i];
      if (k < 0 || k >= depth) continue;
      const auto to = static_cast<size_t>((i / inner * depth + k) * inner + i % inner);
      if (y.dtype == DType::kString)
        y.as<std::string>()[to] = ctx.in<std::string>(2)[1];
      else
        std::memcpy(y.as<std::byte>() + to * size, values + size, size);
    }
  }

 private:
  int64_t axis_;
};

class Trilu final : public Op {
 public:
  explicit Trilu(bool upper) : upper_(upper) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(x.rank() >= 2, ErrorCode::kInvalidInput, "expected rank 2 or more, got ", x);
    if (ctx.has(1))
      require(ctx.shape(1).count() == 1, ErrorCode::kInvalidInput, "k has shape ", ctx.shape(1));
    ctx.output(0, x);
    ctx.reuse(0, 0);
  }

  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    if (y.count() == 0) return;
    const int rank = x.shape.rank();
    const int64_t rows = x.shape[rank - 2], columns = x.shape[rank - 1], lines = x.shape.count(0, rank - 1);
    // Beyond the matrix, every k means the same.
    const int64_t k = std::clamp<int64_t>(ctx.has(1) ? *ctx.in<int64_t>(1) : 0, -rows - 1, columns + 1);
    const int64_t grain = std::max<int64_t>(1, (64 << 10) / columns);
    ctx.parallel(lines, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t line = begin; line < end; ++line) {
        const int64_t diagonal = line % rows + k;
        const int64_t first = upper_ ? std::clamp<int64_t>(diagonal, 0, columns) : 0;
        const int64_t last = upper_ ? columns : std::clamp<int64_t>(diagonal + 1, 0, columns);
        copy_line(x, y, line * columns, first, last, columns);
      }
    });
  }

 private:
  // Keeps elements [first, last) of the line that starts at `at`.
  static void copy_line(const TensorView& x, const TensorView& y, int64_t at, int64_t first, int64_t last,
                        int64_t columns) {
    if (x.dtype == DType::kString) {
      const auto* from = x.as<std::string>() + at;
      auto* to = y.as<std::string>() + at;
      for (int64_t j = 0; j < columns; ++j) {
        if (j < first || j >= last)
          to[j].clear();
        else if (to != from)
          to[j] = from[j];
      }
      return;
    }
    const size_t size = dtype_size(x.dtype);
    const auto bytes = [&](int64_t n) { return static_cast<size_t>(n) * size; };
    const std::byte* from = x.as<std::byte>() + bytes(at);
    std::byte* to = y.as<std::byte>() + bytes(at);
    std::memset(to, 0, bytes(first));
    if (to != from) std::memcpy(to + bytes(first), from + bytes(first), bytes(last - first));
    std::memset(to + bytes(last), 0, bytes(columns - last));
  }

  bool upper_;
};

class ReverseSequence final : public Op {
 public:
  explicit ReverseSequence(int batch_axis) : batch_axis_(batch_axis) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(x.rank() >= 2, ErrorCode::kInvalidInput, "expected rank 2 or more, got ", x);
    require(ctx.shape(1) == Shape{x[batch_axis_]}, ErrorCode::kInvalidInput, "sequence_lens has shape ",
            ctx.shape(1), ", expected [", x[batch_axis_], "]");
    ctx.output(0, x);
    ctx.scratch(x[0] * x[1] * 8);
  }

  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    const int time_axis = 1 - batch_axis_;
    const int64_t batch = x.shape[batch_axis_], time = x.shape[time_axis];
    const auto* lens = ctx.in<int64_t>(1);
    for (int64_t b = 0; b < batch; ++b)
      require(lens[b] >= 0 && lens[b] <= time, ErrorCode::kInvalidInput, "sequence_lens has ", lens[b],
              " for a time axis of ", time);
    if (y.count() == 0) return;
    auto* rows = ctx.scratch_as<int64_t>();
    const int64_t batch_step = batch_axis_ == 0 ? time : 1, time_step = batch_axis_ == 0 ? 1 : batch;
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t t = 0; t < time; ++t)
        rows[b * batch_step + t * time_step] =
            b * batch_step + (t < lens[b] ? lens[b] - 1 - t : t) * time_step;
    const int64_t inner = x.shape.count(2, x.shape.rank());
    if (x.dtype == DType::kString) {
      for (int64_t i = 0; i < batch * time; ++i)
        std::copy_n(x.as<std::string>() + rows[i] * inner, inner, y.as<std::string>() + i * inner);
      return;
    }
    const int64_t bytes = inner * static_cast<int64_t>(dtype_size(x.dtype));
    ctx.parallel(batch * time, std::max<int64_t>(1, (128 << 10) / bytes),
                 [&](int64_t begin, int64_t end, int) {
                   kernels().movement.gather_rows(x.as<std::byte>(), bytes, rows + begin, end - begin,
                                                  y.as<std::byte>() + begin * bytes);
                 });
  }

 private:
  int batch_axis_;
};

std::unique_ptr<Op> make_one_hot(NodeContext& ctx) {
  ctx.expect_inputs(3, 3);
  ctx.expect_dtype(0, kNumbers);
  ctx.expect_dtype(1, kNumbers);
  ctx.output(0, ctx.dtype(2));
  return std::make_unique<OneHot>(ctx.attr_int("axis", -1));
}

std::unique_ptr<Op> make_trilu(NodeContext& ctx) {
  ctx.expect_inputs(1, 2);
  if (ctx.has_input(1)) ctx.expect_dtype(1, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Trilu>(ctx.attr_int("upper", 1) != 0);
}

std::unique_ptr<Op> make_reverse_sequence(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(1, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  const int64_t batch = ctx.attr_int("batch_axis", 1), time = ctx.attr_int("time_axis", 0);
  require((batch == 0 && time == 1) || (batch == 1 && time == 0), ErrorCode::kInvalidModel,
          "batch_axis=", batch, " and time_axis=", time, " are not 0 and 1");
  return std::make_unique<ReverseSequence>(static_cast<int>(batch));
}

}  // namespace

std::span<const OpDef> one_hot_ops() {
  static constexpr OpDef kOps[] = {
      {"", "OneHot", 1, make_one_hot},
      {"", "ReverseSequence", 1, make_reverse_sequence},
      {"", "Trilu", 1, make_trilu},
  };
  return kOps;
}

}  // namespace pyinfer
