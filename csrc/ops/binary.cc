// y = f(a, b) elementwise under NumPy's broadcasting: arithmetic, comparisons, logic, bits.
#include "kernels/kernel_table.h"
#include "ops/convert.h"
#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/elementwise_kinds.h"

namespace pyinfer {
namespace {

class Binary final : public Op {
 public:
  Binary(BinaryFns fns, DType out, int64_t grain) : fns_(fns), out_(out), grain_(grain) {}
  void plan(PlanContext& ctx) const override { plan_binary(ctx, out_); }
  void run(RunContext& ctx) const override {
    run_binary(ctx, ctx.state<WalkState<2>>().walk, fns_, ctx.in(0), ctx.in(1), ctx.out(0), grain_);
  }

 private:
  BinaryFns fns_;
  DType out_;
  int64_t grain_;
};

void expect_pair(const NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  for (int i : {0, 1})
    if (!ctx.input_type(i).is_tensor()) ctx.unsupported("input ", i, " is ", ctx.input_type(i));
  ctx.expect_same_dtype(0, 1);
}

std::unique_ptr<Op> make_from(NodeContext& ctx, BinaryKind kind) {
  const DType dtype = ctx.dtype(0);
  const BinaryFns fns = kernels().elementwise.binary(kind, dtype);
  if (!fns) ctx.unsupported("inputs are tensor(", dtype_name(dtype), "), on which it is not defined");
  const DType out = writes_bool(kind) ? DType::kBool : dtype;
  ctx.output(0, out);
  return std::make_unique<Binary>(fns, out, is_cheap(kind) ? kElementwiseGrain : kHeavyGrain);
}

template <BinaryKind kKind>
std::unique_ptr<Op> make_binary(NodeContext& ctx) {
  expect_pair(ctx);
  return make_from(ctx, kKind);
}

std::unique_ptr<Op> make_mod(NodeContext& ctx) {
  expect_pair(ctx);
  return make_from(ctx, ctx.attr_int("fmod", 0) != 0 ? BinaryKind::kFMod : BinaryKind::kMod);
}

// The three loops of a plain function of two elements.
template <class T, class R, R (*kFn)(T, T)>
struct PlainLoops {
  template <int kA, int kB>
  static void loop(const void* a, const void* b, void* y, int64_t n) {
    const T* p = static_cast<const T*>(a);
    const T* q = static_cast<const T*>(b);
    // Read before the loop: y may be the vector operand.
    const T p0 = *p, q0 = *q;
    for (int64_t i = 0; i < n; ++i) static_cast<R*>(y)[i] = kFn(kA ? p[i] : p0, kB ? q[i] : q0);
  }
  static constexpr BinaryFns fns() { return {loop<1, 1>, loop<1, 0>, loop<0, 1>}; }
};

// An arithmetic shift; a count outside [0, bits) leaves the sign alone.
template <class T>
T shift_right_signed(T x, T count) {
  const int bits = static_cast<int>(8 * sizeof(T));
  return static_cast<T>(x >> (count < 0 || count >= bits ? bits - 1 : static_cast<int>(count)));
}

std::unique_ptr<Op> make_bit_shift(NodeContext& ctx) {
  expect_pair(ctx);
  const std::string direction = ctx.attr_string("direction");
  require(direction == "LEFT" || direction == "RIGHT", ErrorCode::kInvalidModel,
          "attribute 'direction' must be LEFT or RIGHT, got '", direction, "'");
  if (direction == "LEFT") return make_from(ctx, BinaryKind::kShiftLeft);
  BinaryFns fns;
  switch (ctx.dtype(0)) {
    case DType::kInt8: fns = PlainLoops<int8_t, int8_t, shift_right_signed<int8_t>>::fns(); break;
    case DType::kInt16: fns = PlainLoops<int16_t, int16_t, shift_right_signed<int16_t>>::fns(); break;
    case DType::kInt32: fns = PlainLoops<int32_t, int32_t, shift_right_signed<int32_t>>::fns(); break;
    case DType::kInt64: fns = PlainLoops<int64_t, int64_t, shift_right_signed<int64_t>>::fns(); break;
    default: return make_from(ctx, BinaryKind::kShiftRight);
  }
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Binary>(fns, ctx.dtype(0), kElementwiseGrain);
}

// PRelu: y = x < 0 ? slope * x : x. The slope broadcasts to x, never the other way.
class PRelu final : public Op {
 public:
  explicit PRelu(BinaryFns fns) : fns_(fns) {}
  void plan(PlanContext& ctx) const override {
    plan_binary(ctx, ctx.dtype(0));
    require(broadcast_shapes(ctx.shape(0), ctx.shape(1)) == ctx.shape(0), ErrorCode::kInvalidInput,
            "slope of shape ", ctx.shape(1), " does not broadcast to ", ctx.shape(0));
  }
  void run(RunContext& ctx) const override {
    run_binary(ctx, ctx.state<WalkState<2>>().walk, fns_, ctx.in(0), ctx.in(1), ctx.out(0));
  }

 private:
  BinaryFns fns_;
};

// Integer products wrap.
template <class T>
T prelu_integer(T x, T slope) {
  return x < 0 ? static_cast<T>(static_cast<uint64_t>(x) * static_cast<uint64_t>(slope)) : x;
}
template <class T>
T first(T x, T) {
  return x;
}

std::unique_ptr<Op> make_prelu(NodeContext& ctx) {
  expect_pair(ctx);
  BinaryFns fns;
  switch (ctx.dtype(0)) {
    case DType::kInt32: fns = PlainLoops<int32_t, int32_t, prelu_integer<int32_t>>::fns(); break;
    case DType::kInt64: fns = PlainLoops<int64_t, int64_t, prelu_integer<int64_t>>::fns(); break;
    case DType::kUInt32: fns = PlainLoops<uint32_t, uint32_t, first<uint32_t>>::fns(); break;
    case DType::kUInt64: fns = PlainLoops<uint64_t, uint64_t, first<uint64_t>>::fns(); break;
    default: fns = kernels().elementwise.binary(BinaryKind::kPRelu, ctx.dtype(0));
  }
  if (!fns) ctx.unsupported("inputs are tensor(", dtype_name(ctx.dtype(0)), "), on which it is not defined");
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<PRelu>(fns);
}

class EqualStrings final : public Op {
 public:
  void plan(PlanContext& ctx) const override { plan_binary(ctx, DType::kBool); }
  void run(RunContext& ctx) const override {
    const auto& walk = ctx.state<WalkState<2>>().walk;
    const auto *a = ctx.in<std::string>(0), *b = ctx.in<std::string>(1);
    bool* y = ctx.out<bool>(0);
    walk.walk(0, walk.count(), [&](const std::array<int64_t, 2>& at, int64_t out, int64_t n) {
      for (int64_t i = 0; i < n; ++i) y[out + i] = a[at[0] + i * walk.step(0)] == b[at[1] + i * walk.step(1)];
    });
  }
};

std::unique_ptr<Op> make_equal(NodeContext& ctx) {
  expect_pair(ctx);
  if (ctx.dtype(0) != DType::kString) return make_from(ctx, BinaryKind::kEqual);
  ctx.output(0, DType::kBool);
  return std::make_unique<EqualStrings>();
}

// Pow: z = x^y with z of x's type. Operands of two types meet in `common`, block by block: float32 for
// float16 to float32 bases, float64 when either is wider or an integer meets a fraction, int64 for integers.
class MixedPow final : public Op {
 public:
  MixedPow(DType base, DType exponent, DType common)
      : fns_(kernels().elementwise.binary(BinaryKind::kPow, common)), in_{base, exponent}, common_(common) {}

  void plan(PlanContext& ctx) const override { plan_binary(ctx, in_[0]); }

  void run(RunContext& ctx) const override {
    const auto& walk = ctx.state<WalkState<2>>().walk;
    ctx.parallel(walk.count(), kHeavyGrain, [&](int64_t begin, int64_t end, int) {
      walk.walk(begin, end, [&](const std::array<int64_t, 2>& at, int64_t out, int64_t n) {
        run_blocks(walk, ctx.in(0), ctx.in(1), ctx.out(0), at, out, n);
      });
    });
  }

 private:
  static constexpr int64_t kBlock = 256;

  static void* element(const TensorView& t, int64_t i) {
    return t.as<std::byte>() + i * static_cast<int64_t>(dtype_size(t.dtype));
  }
  void run_blocks(const BroadcastWalk<2>& walk, const TensorView& a, const TensorView& b, const TensorView& y,
                  const std::array<int64_t, 2>& at, int64_t out, int64_t n) const {
    alignas(8) std::byte ba[kBlock * 8], bb[kBlock * 8], by[kBlock * 8];
    const BinaryFn f = walk.step(0) == 0   ? fns_.scalar_vector
                       : walk.step(1) == 0 ? fns_.vector_scalar
                                           : fns_.vector_vector;
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t m = std::min(kBlock, n - i);
      if (walk.step(0) == 1 || i == 0)
        convert(in_[0], element(a, at[0] + i * walk.step(0)), common_, ba, walk.step(0) ? m : 1);
      if (walk.step(1) == 1 || i == 0)
        convert(in_[1], element(b, at[1] + i * walk.step(1)), common_, bb, walk.step(1) ? m : 1);
      f(ba, bb, by, m);
      convert(common_, by, in_[0], element(y, out + i), m);
    }
  }

  BinaryFns fns_;
  DType in_[2];
  DType common_;
};

std::unique_ptr<Op> make_pow(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  using enum DType;
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16, kInt32, kInt64});
  ctx.expect_dtype(1, {kFloat32, kFloat64, kFloat16, kBFloat16, kInt8, kInt16, kInt32, kInt64, kUInt8,
                       kUInt16, kUInt32, kUInt64});
  const DType base = ctx.dtype(0), exponent = ctx.dtype(1);
  if (base == exponent) return make_from(ctx, BinaryKind::kPow);
  ctx.output(0, base);
  const bool both_integer = dtype_is_integer(base) && dtype_is_integer(exponent);
  const bool wide = base == DType::kFloat64 || exponent == DType::kFloat64 || dtype_is_integer(base);
  return std::make_unique<MixedPow>(base, exponent,
                                    both_integer ? DType::kInt64
                                    : wide       ? DType::kFloat64
                                                 : DType::kFloat32);
}

}  // namespace

std::span<const OpDef> binary_ops() {
  static constexpr OpDef kOps[] = {
      {"", "Add", 1, make_binary<BinaryKind::kAdd>},
      {"", "Sub", 1, make_binary<BinaryKind::kSub>},
      {"", "Mul", 1, make_binary<BinaryKind::kMul>},
      {"", "Div", 1, make_binary<BinaryKind::kDiv>},
      {"", "Pow", 1, make_pow},
      {"", "Mod", 1, make_mod},
      {"", "PRelu", 1, make_prelu},
      {"", "Equal", 1, make_equal},
      {"", "Less", 1, make_binary<BinaryKind::kLess>},
      {"", "LessOrEqual", 1, make_binary<BinaryKind::kLessOrEqual>},
      {"", "Greater", 1, make_binary<BinaryKind::kGreater>},
      {"", "GreaterOrEqual", 1, make_binary<BinaryKind::kGreaterOrEqual>},
      {"", "And", 1, make_binary<BinaryKind::kAnd>},
      {"", "Or", 1, make_binary<BinaryKind::kOr>},
      {"", "Xor", 1, make_binary<BinaryKind::kXor>},
      {"", "BitwiseAnd", 1, make_binary<BinaryKind::kBitwiseAnd>},
      {"", "BitwiseOr", 1, make_binary<BinaryKind::kBitwiseOr>},
      {"", "BitwiseXor", 1, make_binary<BinaryKind::kBitwiseXor>},
      {"", "BitShift", 1, make_bit_shift},
  };
  return kOps;
}

}  // namespace pyinfer
