// Gather: y[i.., j.., k..] = x[i.., indices[j..], k..].
// GatherElements: y[i] = x[i with i[axis] = indices[i]].
// GatherND: y[b.., i.., k..] = x[b.., indices[b.., i..], k..].
#include <algorithm>

#include "ops/copy_box.h"
#include "ops/index_input.h"

namespace pyinfer {
namespace {

constexpr int64_t kGrainBytes = 128 << 10;

// dst(i) = src(rows(i)) for n rows of `row` elements each.
void gather_rows(const RunContext& ctx, DType dtype, const void* src, int64_t row, const int64_t* rows,
                 int64_t n, void* dst) {
  if (row == 0) return;
  if (dtype == DType::kString) {
    for (int64_t i = 0; i < n; ++i)
      std::copy_n(static_cast<const std::string*>(src) + rows[i] * row, row,
                  static_cast<std::string*>(dst) + i * row);
    return;
  }
  const int64_t bytes = row * static_cast<int64_t>(dtype_size(dtype));
  if (n * bytes <= kGrainBytes) {  // also reached from within a parallel body
    kernels().movement.gather_rows(static_cast<const std::byte*>(src), bytes, rows, n,
                                   static_cast<std::byte*>(dst));
    return;
  }
  ctx.parallel(n, std::max<int64_t>(1, kGrainBytes / bytes), [&](int64_t begin, int64_t end, int) {
    kernels().movement.gather_rows(static_cast<const std::byte*>(src), bytes, rows + begin, end - begin,
                                   static_cast<std::byte*>(dst) + begin * bytes);
  });
}

class Gather final : public Op {
 public:
  explicit Gather(int64_t axis) : axis_(axis) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    const Shape& indices = ctx.shape(1);
    const int axis = normalize_axis(axis_, x.rank());
    Shape out;
    for (int i = 0; i < axis; ++i) out.push_back(x[i]);
    for (int64_t d : indices) out.push_back(d);
    for (int i = axis + 1; i < x.rank(); ++i) out.push_back(x[i]);
    ctx.output(0, out);
    ctx.scratch(indices.count() * 8);
  }

  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    const int axis = normalize_axis(axis_, x.shape.rank());
    const int64_t n = ctx.in(1).count(), size = x.shape[axis];
    auto* rows = ctx.scratch_as<int64_t>();
    read_indices(ctx.in(1), size, rows);
    const int64_t outer = x.shape.count(0, axis), inner = x.shape.count(axis + 1, x.shape.rank());
    const auto bytes = static_cast<int64_t>(dtype_size(x.dtype));
    const int64_t row = n * inner * bytes;  // of the output
    if (row == 0) return;
    const auto one = [&](int64_t o) {
      gather_rows(ctx, x.dtype, x.as<std::byte>() + o * size * inner * bytes, inner, rows, n,
                  ctx.out<std::byte>(0) + o * row);
    };
    if (row >= kGrainBytes || x.dtype == DType::kString) {
      for (int64_t o = 0; o < outer; ++o) one(o);
    } else {
      ctx.parallel(outer, kGrainBytes / row, [&](int64_t begin, int64_t end, int) {
        for (int64_t o = begin; o < end; ++o) one(o);
      });
    }
  }

 private:
  int64_t axis_;
};

class GatherElements final : public Op {
 public:
  explicit GatherElements(int64_t axis) : axis_(axis) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &indices = ctx.shape(1);
    const int axis = normalize_axis(axis_, x.rank());
    require(indices.rank() == x.rank(), ErrorCode::kInvalidInput, "indices have shape ", indices,
            ", the data have shape ", x);
    for (int i = 0; i < x.rank(); ++i)
      require(i == axis || indices[i] <= x[i], ErrorCode::kInvalidInput, "indices have shape ", indices,
              ", beyond the data's ", x);
    ctx.output(0, indices);
    ctx.scratch(indices.count() * 8);
  }

  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &indices = ctx.in(1);
    const int axis = normalize_axis(axis_, x.shape.rank());
    auto* at = ctx.scratch_as<int64_t>();
    read_indices(indices, x.shape[axis], at);
    element_offsets(indices.shape, x.shape, axis, at);
    gather_rows(ctx, x.dtype, x.data, 1, at, indices.count(), ctx.out(0).data);
  }

 private:
  int64_t axis_;
};

class GatherND final : public Op {
 public:
  explicit GatherND(int64_t batch_dims) : batch_dims_(batch_dims) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &indices = ctx.shape(1);
    const int64_t b = batch_dims_;
    require(indices.rank() >= 1 && b < std::min(x.rank(), indices.rank()), ErrorCode::kInvalidInput,
            "data of shape ", x, " and indices of shape ", indices, " with batch_dims=", b);
    for (int i = 0; i < b; ++i)
      require(x[i] == indices[i], ErrorCode::kInvalidInput, "data of shape ", x, " and indices of shape ",
              indices, " differ in the first ", b, " dimensions");
    const int64_t depth = indices[indices.rank() - 1];
    require(depth >= 1 && depth <= x.rank() - b, ErrorCode::kInvalidInput, "indices of shape ", indices,
            " into data of shape ", x);
    Shape out;
    for (int i = 0; i + 1 < indices.rank(); ++i) out.push_back(indices[i]);
    for (int i = static_cast<int>(b + depth); i < x.rank(); ++i) out.push_back(x[i]);
    ctx.output(0, out);
    ctx.scratch(indices.count(0, indices.rank() - 1) * 8);
  }

  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &indices = ctx.in(1);
    auto* rows = ctx.scratch_as<int64_t>();
    const int b = static_cast<int>(batch_dims_);
    const int64_t n = row_offsets(indices, x.shape, b, rows);
    const int depth = static_cast<int>(indices.shape[indices.shape.rank() - 1]);
    gather_rows(ctx, x.dtype, x.data, x.shape.count(b + depth, x.shape.rank()), rows, n, ctx.out(0).data);
  }

 private:
  int64_t batch_dims_;
};

template <class T>
std::unique_ptr<Op> make(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(1, {DType::kInt64, DType::kInt32});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<T>(ctx.attr_int("axis", 0));
}

std::unique_ptr<Op> make_gather_nd(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(1, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  const int64_t batch_dims = ctx.attr_int("batch_dims", 0);
  require(batch_dims >= 0, ErrorCode::kInvalidModel, "batch_dims=", batch_dims, " is negative");
  return std::make_unique<GatherND>(batch_dims);
}

}  // namespace

std::span<const OpDef> gather_ops() {
  static constexpr OpDef kOps[] = {
      {"", "Gather", 1, make<Gather>},
      {"", "GatherElements", 1, make<GatherElements>},
      {"", "GatherND", 1, make_gather_nd},
  };
  return kOps;
}

}  // namespace pyinfer
