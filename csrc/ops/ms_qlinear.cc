// Elementwise operators on 8-bit tensors with one scale and zero point each:
//   y = quantize(f(dequantize(a), dequantize(b))),   dequantize(q) = (q - zero) * scale,
//   quantize(v) = saturate(round(v / scale) + zero)
// QLinearAdd, QLinearMul with broadcasting; QLinearSigmoid, QLinearLeakyRelu, and QLinearUnary of the domain
// pyinfer, which says its operator; QLinearWhere; QLinearConcat. A sum is computed in units of its own grid.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/math.h"
#include "kernels/kernel_table.h"
#include "ops/byte_grid.h"
#include "ops/elementwise.h"
#include "ops/elementwise_kinds.h"

namespace pyinfer {
namespace {

float value_of(const ByteGrid& g, DType dtype, uint8_t bits) {
  const int32_t q = dtype == DType::kInt8 ? static_cast<int8_t>(bits) : bits;
  return static_cast<float>(q - g.zero) * g.scale;
}

// The real values of all 256 bytes.
struct Values {
  float of[256];
  Values(const ByteGrid& g, DType dtype) {
    for (int i = 0; i < 256; ++i) of[i] = value_of(g, dtype, static_cast<uint8_t>(i));
  }
};

void quantize(const ByteGrid& g, DType dtype, const float* x, uint8_t* y, int64_t n) {
  kernels().quantize.quantize(x, &g.scale, 0, &g.zero, 0, dtype, y, n);
}

// y = table[x]: every function of one byte. Eight at a time: one load and one store for them.
void map_run(const std::array<uint8_t, 256>& table, const uint8_t* x, uint8_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t in, out = 0;
    std::memcpy(&in, x + i, 8);
    for (int b = 0; b < 64; b += 8) out |= uint64_t{table[in >> b & 0xff]} << b;
    std::memcpy(y + i, &out, 8);
  }
  for (; i < n; ++i) y[i] = table[x[i]];
}
void map_bytes(const RunContext& ctx, const std::array<uint8_t, 256>& table, const uint8_t* x, uint8_t* y,
               int64_t n) {
  ctx.parallel(n, kElementwiseGrain,
               [&](int64_t begin, int64_t end, int) { map_run(table, x + begin, y + begin, end - begin); });
}

std::array<uint8_t, 256> table_of(const ByteGrid& from, const ByteGrid& to, DType dtype, UnaryKind kind,
                                  const UnaryParams& params = {}) {
  std::array<uint8_t, 256> table;
  Values values(from, dtype);
  if (kind != UnaryKind::kIdentity) unary(kind, DType::kFloat32, values.of, values.of, 256, params);
  quantize(to, dtype, values.of, table.data(), 256);
  return table;
}

class QLinearBinary final : public Op {
 public:
  QLinearBinary(DType dtype, ByteCombination kind) : dtype_(dtype), kind_(kind) {}

  void plan(PlanContext& ctx) const override {
    const Shape &a = ctx.shape(0), &b = ctx.shape(3);
    for (int i : {1, 4, 6}) check_grid(ctx, i);
    const Shape y = broadcast_shapes(a, b);
    ctx.output(0, y);
    ctx.state(std::make_unique<WalkState<2>>(y, std::array{&a, &b}));
    ctx.flops(4 * y.count());
  }

  // In units of the result.
  void run(RunContext& ctx) const override {
    const auto& walk = ctx.state<WalkState<2>>().walk;
    if (walk.count() == 0) return;
    const ByteGrid a = read_grid(ctx, 1), b = read_grid(ctx, 4), to = read_grid(ctx, 6);
    const bool sum = kind_ == ByteCombination::kSum;
    const float a_factor = (sum ? a.scale : a.scale * b.scale) / to.scale;
    const float b_factor = sum ? b.scale / to.scale : 1.0f;
    ctx.parallel(walk.count(), kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
      walk.walk(begin, end, [&](const std::array<int64_t, 2>& at, int64_t out, int64_t n) {
        kernels().quantize.combine_bytes(kind_, {ctx.in<uint8_t>(0) + at[0], walk.step(0), a.zero, a_factor},
                                         {ctx.in<uint8_t>(3) + at[1], walk.step(1), b.zero, b_factor},
                                         to.zero, dtype_ == DType::kInt8, ctx.out<uint8_t>(0) + out, n);
      });
    });
  }

 private:
  DType dtype_;
  ByteCombination kind_;
};

class QLinearUnary final : public Op {
 public:
  QLinearUnary(DType dtype, UnaryKind kind, const UnaryParams& params)
      : dtype_(dtype), kind_(kind), params_(params) {}
  void plan(PlanContext& ctx) const override {
    for (int i : {1, 3}) check_grid(ctx, i);
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
    ctx.flops(ctx.shape(0).count());
  }
  void run(RunContext& ctx) const override {
    const auto table = table_of(read_grid(ctx, 1), read_grid(ctx, 3), dtype_, kind_, params_);
    map_bytes(ctx, table, ctx.in<uint8_t>(0), ctx.out<uint8_t>(0), ctx.in(0).count());
  }

 private:
  DType dtype_;
  UnaryKind kind_;
  UnaryParams params_;
};

class QLinearWhere final : public Op {
 public:
  explicit QLinearWhere(DType dtype) : dtype_(dtype) {}
  void plan(PlanContext& ctx) const override {
    for (int i : {2, 5, 7}) check_grid(ctx, i);
    const Shape &c = ctx.shape(0), &x = ctx.shape(1), &y = ctx.shape(4);
    const Shape z = broadcast_shapes(broadcast_shapes(c, x), y);
    ctx.output(0, z);
    ctx.state(std::make_unique<WalkState<3>>(z, std::array{&c, &x, &y}));
    ctx.flops(z.count());
  }
  void run(RunContext& ctx) const override {
    const auto& walk = ctx.state<WalkState<3>>().walk;
    const ByteGrid to = read_grid(ctx, 7);
    const auto x_table = table_of(read_grid(ctx, 2), to, dtype_, UnaryKind::kIdentity);
    const auto y_table = table_of(read_grid(ctx, 5), to, dtype_, UnaryKind::kIdentity);
    ctx.parallel(walk.count(), kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
      walk.walk(begin, end, [&](const std::array<int64_t, 3>& at, int64_t out, int64_t n) {
        const bool* c = ctx.in<bool>(0) + at[0];
        const uint8_t *x = ctx.in<uint8_t>(1) + at[1], *y = ctx.in<uint8_t>(4) + at[2];
        uint8_t* z = ctx.out<uint8_t>(0) + out;
        for (int64_t i = 0; i < n; ++i)
          z[i] = c[i * walk.step(0)] ? x_table[x[i * walk.step(1)]] : y_table[y[i * walk.step(2)]];
      });
    });
  }

 private:
  DType dtype_;
};

// Inputs: y's scale and zero point, then each part with its own.
class QLinearConcat final : public Op {
 public:
  QLinearConcat(DType dtype, int64_t axis) : dtype_(dtype), axis_(axis) {}
  void plan(PlanContext& ctx) const override {
    check_grid(ctx, 0);
    Shape y = ctx.shape(2);
    const int axis = normalize_axis(axis_, y.rank());
    for (int i = 2; i < ctx.num_inputs(); i += 3) {
      check_grid(ctx, i + 1);
      Shape s = ctx.shape(i);
      if (i > 2) {
        require(s.rank() == y.rank(), ErrorCode::kInvalidInput, "shapes ", y, " and ", s,
                " have different ranks");
        const auto sum = checked_add(y[axis], s[axis]);
        require(sum.has_value(), ErrorCode::kLimit, "the concatenation is too long");
        y[axis] = *sum;
        s[axis] = y[axis];
        require(s == y, ErrorCode::kInvalidInput, "input ", i, " has shape ", ctx.shape(i),
                ", which does not continue the others along axis ", axis);
      }
    }
    ctx.output(0, y);
  }
  void run(RunContext& ctx) const override {
    const Shape& y = ctx.out(0).shape;
    if (y.count() == 0) return;
    const int axis = normalize_axis(axis_, y.rank());
    const int64_t outer = y.count(0, axis), row = y.count(axis, y.rank());
    const ByteGrid to = read_grid(ctx, 0);
    int64_t at = 0;
    for (int i = 2; i < ctx.num_inputs(); i += 3) {
      const auto table = table_of(read_grid(ctx, i + 1), to, dtype_, UnaryKind::kIdentity);
      const int64_t part = ctx.in(i).shape.count(axis, y.rank());
      const int64_t grain = std::max<int64_t>(1, kElementwiseGrain / std::max<int64_t>(part, 1));
      ctx.parallel(outer, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t o = begin; o < end; ++o)
          map_run(table, ctx.in<uint8_t>(i) + o * part, ctx.out<uint8_t>(0) + o * row + at, part);
      });
      at += part;
    }
  }

 private:
  DType dtype_;
  int64_t axis_;
};

template <ByteCombination kind>
std::unique_ptr<Op> make_binary(NodeContext& ctx) {
  ctx.expect_inputs(1, 8);
  expect_grid(ctx, 0, 1);
  expect_grid(ctx, 3, 4);
  ctx.expect_same_dtype(0, 3);
  expect_grid(ctx, 0, 6);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<QLinearBinary>(ctx.dtype(0), kind);
}

template <UnaryKind kind>
std::unique_ptr<Op> make_unary(NodeContext& ctx) {
  ctx.expect_inputs(2, 5);
  expect_grid(ctx, 0, 1);
  expect_grid(ctx, 0, 3);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<QLinearUnary>(ctx.dtype(0), kind, UnaryParams{ctx.attr_float("alpha", 0.01f)});
}

// Any operator of elementwise_kinds.h, as the pass fuse_quantized names it.
std::unique_ptr<Op> make_any_unary(NodeContext& ctx) {
  ctx.expect_inputs(5, 5);
  expect_grid(ctx, 0, 1);
  expect_grid(ctx, 0, 3);
  const std::vector<float> given = ctx.attr_floats("params");
  require(given.size() == 2, ErrorCode::kInvalidModel, "attribute 'params' of ", given.size(),
          " numbers, expected 2");
  const UnaryParams params{given[0], given[1]};
  const std::string op = ctx.attr_string("op");
  const auto kind = unary_kind(op, params);
  if (!kind || !unary_supported(*kind, DType::kFloat32)) ctx.unsupported("operator '", op, "'");
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<QLinearUnary>(ctx.dtype(0), *kind, params);
}

std::unique_ptr<Op> make_where(NodeContext& ctx) {
  ctx.expect_inputs(9, 9);
  ctx.expect_dtype(0, {DType::kBool});
  expect_grid(ctx, 1, 2);
  expect_grid(ctx, 4, 5);
  ctx.expect_same_dtype(1, 4);
  expect_grid(ctx, 1, 7);
  ctx.output(0, ctx.dtype(1));
  return std::make_unique<QLinearWhere>(ctx.dtype(1));
}

std::unique_ptr<Op> make_concat(NodeContext& ctx) {
  const int n = ctx.num_inputs();
  require(n >= 5 && n % 3 == 2, ErrorCode::kInvalidModel, n, " inputs, expected 2 and then 3 for each part");
  for (int i = 2; i < n; i += 3) {
    expect_grid(ctx, i, i + 1);
    ctx.expect_same_dtype(2, i);
  }
  expect_grid(ctx, 2, 0);
  ctx.output(0, ctx.dtype(2));
  return std::make_unique<QLinearConcat>(ctx.dtype(2), ctx.attr_int("axis"));
}

}  // namespace

std::span<const OpDef> ms_qlinear_ops() {
  static constexpr OpDef kOps[] = {
      {"com.microsoft", "QLinearAdd", 1, make_binary<ByteCombination::kSum>},
      {"com.microsoft", "QLinearConcat", 1, make_concat},
      {"com.microsoft", "QLinearLeakyRelu", 1, make_unary<UnaryKind::kLeakyRelu>},
      {"com.microsoft", "QLinearMul", 1, make_binary<ByteCombination::kProduct>},
      {"com.microsoft", "QLinearSigmoid", 1, make_unary<UnaryKind::kSigmoid>},
      {"com.microsoft", "QLinearWhere", 1, make_where},
      {"pyinfer", "QLinearUnary", 1, make_any_unary},
  };
  return kOps;
}

}  // namespace pyinfer
