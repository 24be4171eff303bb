// NonZero: y = the indices of the elements of x that are not zero, one column each, in row-major order.
// Compress: y = the slices of x along an axis where the condition holds.
#include <algorithm>

#include "ops/copy_box.h"

namespace pyinfer {
namespace {

// Whether an element is zero can be told from its bits, but for the sign of a floating zero.
struct ZeroTest {
  size_t size;
  uint64_t mask;  // the bits that matter, in every eight bytes
};

ZeroTest zero_test(DType dtype) {
  constexpr uint64_t kAll = ~uint64_t{0};
  switch (dtype) {
    case DType::kFloat64:
    case DType::kComplex128: return {dtype_size(dtype), kAll >> 1};
    case DType::kFloat32:
    case DType::kComplex64: return {dtype_size(dtype), 0x7fffffff7fffffff};
    case DType::kFloat16:
    case DType::kBFloat16: return {2, 0x7fff};
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E5M2: return {1, 0x7f};
    case DType::kFloat4E2M1: return {1, 0x07};
    case DType::kFloat6E2M3:
    case DType::kFloat6E3M2: return {1, 0x1f};
    default: return {dtype_size(dtype), kAll};
  }
}

bool is_zero(const std::byte* p, const ZeroTest& test) {
  uint64_t bits = 0;
  if (test.size <= 8) {
    std::memcpy(&bits, p, test.size);
    return (bits & test.mask) == 0;
  }
  uint64_t high;
  std::memcpy(&bits, p, 8);
  std::memcpy(&high, p + 8, 8);
  return ((bits | high) & test.mask) == 0;
}

class NonZero final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    ctx.scratch(ctx.shape(0).count() * 8);
    ctx.output_dynamic(0);
  }

  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    auto* found = ctx.scratch_as<int64_t>();
    int64_t n = 0;
    const int64_t count = x.count();
    if (x.dtype == DType::kString) {
      for (int64_t i = 0; i < count; ++i)
        if (!x.as<std::string>()[i].empty()) found[n++] = i;
    } else {
      const ZeroTest test = zero_test(x.dtype);
      for (int64_t i = 0; i < count; ++i)
        if (!is_zero(x.as<std::byte>() + static_cast<size_t>(i) * test.size, test)) found[n++] = i;
    }
    const int rank = x.shape.rank();
    auto* y = ctx.allocate(0, DType::kInt64, {rank, n}).as<int64_t>();
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t size = x.shape[d];
      for (int64_t i = 0; i < n; ++i) {
        y[d * n + i] = found[i] % size;
        found[i] /= size;
      }
    }
  }
};

class Compress final : public Op {
 public:
  Compress(int64_t axis, bool flat) : axis_(axis), flat_(flat) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    const int64_t size = flat_ ? x.count() : x[normalize_axis(axis_, x.rank())];
    require(ctx.shape(1).rank() == 1, ErrorCode::kInvalidInput, "condition has shape ", ctx.shape(1).str());
    ctx.scratch(std::min(size, ctx.shape(1)[0]) * 8);
    ctx.output_dynamic(0);
  }

  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    const Shape in = flat_ ? Shape{x.count()} : x.shape;
    const int axis = flat_ ? 0 : normalize_axis(axis_, in.rank());
    const auto condition = ctx.in(1).span<const uint8_t>();
    auto* rows = ctx.scratch_as<int64_t>();
    int64_t n = 0;
    for (int64_t i = 0, last = std::min<int64_t>(in[axis], ctx.in(1).count()); i < last; ++i)
      if (condition[static_cast<size_t>(i)] != 0) rows[n++] = i;
    Shape out = in;
    out[axis] = n;
    const TensorView y = ctx.allocate(0, x.dtype, out);
    if (out.count() == 0) return;
    const int64_t outer = in.count(0, axis), inner = in.count(axis + 1, in.rank());
    const auto size = static_cast<int64_t>(dtype_size(x.dtype));
    for (int64_t o = 0; o < outer; ++o) {
      if (x.dtype == DType::kString) {
        for (int64_t i = 0; i < n; ++i)
          std::copy_n(x.as<std::string>() + (o * in[axis] + rows[i]) * inner, inner,
                      y.as<std::string>() + (o * n + i) * inner);
      } else {
        kernels().movement.gather_rows(x.as<std::byte>() + o * in[axis] * inner * size, inner * size, rows, n,
                                       y.as<std::byte>() + o * n * inner * size);
      }
    }
  }

 private:
  int64_t axis_;
  bool flat_;
};

std::unique_ptr<Op> make_non_zero(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.output(0, DType::kInt64);
  return std::make_unique<NonZero>();
}

std::unique_ptr<Op> make_compress(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(1, {DType::kBool});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Compress>(ctx.attr_int("axis", 0), !ctx.has_attr("axis"));
}

}  // namespace

std::span<const OpDef> select_ops() {
  static constexpr OpDef kOps[] = {
      {"", "Compress", 1, make_compress},
      {"", "NonZero", 1, make_non_zero},
  };
  return kOps;
}

}  // namespace pyinfer
