// QuantizeLinear:        y = saturate(round(x / scale) + zero_point)
// DequantizeLinear:      y = (x - zero_point) * scale
// DynamicQuantizeLinear: scale and zero_point from the range of x, then QuantizeLinear to uint8
#include <algorithm>
#include <initializer_list>

#include "kernels/kernel_table.h"
#include "ops/convert.h"
#include "ops/dynamic_quantize.h"
#include "ops/elementwise.h"
#include "ops/quantize_grid.h"

namespace pyinfer {
namespace {

using enum DType;

constexpr int64_t kBlock = 256;
constexpr std::initializer_list<DType> kQuantized = {
    kInt8,       kUInt8,          kInt16,      kUInt16,       kInt4,
    kUInt4,      kInt2,           kUInt2,      kFloat8E4M3FN, kFloat8E4M3FNUZ,
    kFloat8E5M2, kFloat8E5M2FNUZ, kFloat4E2M1, kFloat6E2M3,   kFloat6E3M2};

bool is_one_of(DType dtype, std::initializer_list<DType> types) {
  return std::find(types.begin(), types.end(), dtype) != types.end();
}

void* element(const TensorView& t, int64_t i) {
  return t.as<std::byte>() + i * static_cast<int64_t>(dtype_size(t.dtype));
}

// Plans output 0 like input 0 and the grid of input 1, which input 2 must share.
void plan_grid(PlanContext& ctx, int64_t axis, int64_t block_size) {
  const Shape &x = ctx.shape(0), &scale = ctx.shape(1);
  if (ctx.has(2)) {
    const Shape& zero = ctx.shape(2);
    require(zero == scale || (zero.count() == 1 && scale.count() == 1), ErrorCode::kInvalidInput,
            "zero point of shape ", zero, ", expected the scale's, ", scale);
  }
  ctx.output(0, x);
  ctx.state(std::make_unique<QuantizeGrid>(x, scale, axis, block_size));
  // Scales and zero points as the kernels read them; without zero points, one 0.
  ctx.scratch((scale.count() + std::max<int64_t>(scale.count(), 1)) * 4);
  ctx.flops(2 * x.count());
}

// Scale and zero point in the types of the kernels. Z is int32_t or float.
template <class Z>
struct Parameters {
  const float* scale;
  const Z* zero;
  int zero_moves;  // whether zero points step with the scales
};

template <class Z>
Parameters<Z> load_parameters(const RunContext& ctx) {
  const TensorView& scale = ctx.in(1);
  const int64_t n = scale.count();
  auto* s = ctx.scratch_as<float>();
  auto* z = reinterpret_cast<Z*>(s + n);
  convert(scale.dtype, scale.data, kFloat32, s, n);
  if (ctx.has(2))
    convert(ctx.in(2).dtype, ctx.in(2).data, DTypeOf<Z>::value, z, n);
  else
    *z = Z{0};
  return {s, z, ctx.has(2) ? 1 : 0};
}

class QuantizeLinear final : public Op {
 public:
  QuantizeLinear(DType from, DType to, DType precision, int64_t axis, int64_t block_size, bool saturate)
      : from_(from),
        to_(to),
        precision_(precision),
        axis_(axis),
        block_size_(block_size),
        saturate_(saturate) {}

  void plan(PlanContext& ctx) const override { plan_grid(ctx, axis_, block_size_); }

  void run(RunContext& ctx) const override {
    if (dtype_is_integer(to_))
      run_as<int32_t>(ctx);
    else
      run_as<float>(ctx);
  }

 private:
  template <class Z>
  void run_as(const RunContext& ctx) const {
    const auto& grid = ctx.state<QuantizeGrid>();
    if (grid.units() == 0) return;
    const Parameters<Z> p = load_parameters<Z>(ctx);
    ctx.parallel(grid.units(), grid.grain(kHeavyGrain), [&](int64_t begin, int64_t end, int) {
      grid.runs(begin, end, [&](int64_t at, int64_t scale, int step, int64_t n) {
        run_range(ctx, at, p.scale + scale, step, p.zero + p.zero_moves * scale, step * p.zero_moves, n);
      });
    });
  }

  template <class Z>
  void run_range(const RunContext& ctx, int64_t at, const float* s, int s_step, const Z* z, int z_step,
                 int64_t n) const {
    const QuantizeKernels& k = kernels().quantize;
    if constexpr (std::is_same_v<Z, int32_t>) {
      if (from_ == kFloat32 && precision_ == kFloat32)
        return k.quantize(ctx.in<float>(0) + at, s, s_step, z, z_step, to_, element(ctx.out(0), at), n);
    }
    float q[kBlock];
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t m = std::min(kBlock, n - i);
      void* y = element(ctx.out(0), at + i);
      divide(element(ctx.in(0), at + i), s + i * s_step, s_step, q, m);
      const Z* zero = z + i * z_step;
      if constexpr (std::is_same_v<Z, int32_t>) {
        const float one = 1.0f;
        k.quantize(q, &one, 0, zero, z_step, to_, y, m);
      } else {
        for (int64_t j = 0; j < m; ++j) q[j] += zero[j * z_step];
        convert(kFloat32, q, to_, y, m, {.saturate = saturate_});
      }
    }
  }

  // q = x / s, operands and quotient rounded to the precision asked for.
  void divide(const void* x, const float* s, int s_step, float* q, int64_t n) const {
    convert(from_, x, kFloat32, q, n);
    round_to_precision(q, n);
    const BinaryFns f = kernels().elementwise.binary(BinaryKind::kDiv, kFloat32);
    if (precision_ == kFloat32) return (s_step ? f.vector_vector : f.vector_scalar)(q, s, q, n);
    float rounded[kBlock];
    std::copy_n(s, s_step ? n : 1, rounded);
    round_to_precision(rounded, s_step ? n : 1);
    (s_step ? f.vector_vector : f.vector_scalar)(q, rounded, q, n);
    round_to_precision(q, n);
  }
  void round_to_precision(float* q, int64_t n) const {
    if (precision_ == kFloat32) return;
    uint16_t half[kBlock];
    convert(kFloat32, q, precision_, half, n);
    convert(precision_, half, kFloat32, q, n);
  }

  DType from_, to_, precision_;
  int64_t axis_, block_size_;
  bool saturate_;
};

int64_t block_size_of(const NodeContext& ctx) {
  const int64_t size = ctx.attr_int("block_size", 0);
  require(size >= 0, ErrorCode::kInvalidModel, "attribute 'block_size' must not be negative, got ", size);
  return size;
}

// An element type attribute of which 0 means that it is not given.
DType optional_dtype(const NodeContext& ctx, std::string_view name) {
  return ctx.attr_int(name, 0) == 0 ? kUndefined : ctx.attr_dtype(name, kUndefined);
}

std::unique_ptr<Op> make_quantize(NodeContext& ctx) {
  ctx.expect_inputs(2, 3);
  ctx.expect_dtype(0, {kFloat32, kFloat16, kBFloat16, kInt32});
  ctx.expect_dtype(1, {kFloat32, kFloat16, kBFloat16, kInt32, kFloat8E8M0});
  const DType asked = optional_dtype(ctx, "output_dtype"), zero = ctx.dtype(2);
  if (ctx.has_input(2)) ctx.expect_dtype(2, kQuantized);
  require(asked == kUndefined || zero == kUndefined || asked == zero, ErrorCode::kInvalidModel,
          "attribute 'output_dtype' is ", dtype_name(asked), ", but the zero point is ", dtype_name(zero));
  const DType to = zero != kUndefined ? zero : asked != kUndefined ? asked : kUInt8;
  if (!is_one_of(to, kQuantized)) ctx.unsupported("quantization to ", dtype_name(to));
  DType precision = optional_dtype(ctx, "precision");
  if (precision == kUndefined) {
    const DType scale = ctx.dtype(1);
    precision = scale == kFloat16 || scale == kBFloat16 ? scale : kFloat32;
  }
  if (!is_one_of(precision, {kFloat32, kFloat16, kBFloat16}))
    ctx.unsupported("division in ", dtype_name(precision), "; supported: float, float16, bfloat16");
  ctx.output(0, to);
  return std::make_unique<QuantizeLinear>(ctx.dtype(0), to, precision, ctx.attr_int("axis", 1),
                                          block_size_of(ctx), ctx.attr_int("saturate", 1) != 0);
}

class DequantizeLinear final : public Op {
 public:
  DequantizeLinear(DType from, DType to, int64_t axis, int64_t block_size)
      : from_(from), to_(to), axis_(axis), block_size_(block_size) {}

  void plan(PlanContext& ctx) const override { plan_grid(ctx, axis_, block_size_); }

  void run(RunContext& ctx) const override {
    const auto& grid = ctx.state<QuantizeGrid>();
    if (grid.units() == 0) return;
    const Parameters<float> p = load_parameters<float>(ctx);
    ctx.parallel(grid.units(), grid.grain(kHeavyGrain), [&](int64_t begin, int64_t end, int) {
      grid.runs(begin, end, [&](int64_t at, int64_t scale, int step, int64_t n) {
        run_range(ctx, at, p.scale + scale, step, p.zero + p.zero_moves * scale, step * p.zero_moves, n);
      });
    });
  }

 private:
  void run_range(const RunContext& ctx, int64_t at, const float* s, int s_step, const float* z, int z_step,
                 int64_t n) const {
    const QuantizeKernels& k = kernels().quantize;
    const bool integer = dtype_is_integer(from_);
    if (integer && to_ == kFloat32)
      return k.dequantize(from_, element(ctx.in(0), at), s, s_step, z, z_step, ctx.out<float>(0) + at, n);
    float block[kBlock];
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t m = std::min(kBlock, n - i);
      convert(from_, element(ctx.in(0), at + i), kFloat32, block, m);
      k.dequantize(kFloat32, block, s + i * s_step, s_step, z + i * z_step, z_step, block, m);
      convert(kFloat32, block, to_, element(ctx.out(0), at + i), m);
    }
  }

  DType from_, to_;
  int64_t axis_, block_size_;
};

std::unique_ptr<Op> make_dequantize(NodeContext& ctx) {
  ctx.expect_inputs(2, 3);
  if (!ctx.input_type(0).is_tensor() || (!is_one_of(ctx.dtype(0), kQuantized) && ctx.dtype(0) != kInt32))
    ctx.unsupported("input 0 is ", ctx.input_type(0), ", which is no quantized type");
  ctx.expect_dtype(1, {kFloat32, kFloat16, kBFloat16, kFloat8E8M0});
  if (ctx.has_input(2)) ctx.expect_same_dtype(0, 2);
  DType to = optional_dtype(ctx, "output_dtype");
  if (to == kUndefined) to = ctx.dtype(1) == kFloat8E8M0 ? kFloat32 : ctx.dtype(1);
  if (!is_one_of(to, {kFloat32, kFloat16, kBFloat16})) ctx.unsupported("dequantization to ", dtype_name(to));
  ctx.output(0, to);
  return std::make_unique<DequantizeLinear>(ctx.dtype(0), to, ctx.attr_int("axis", 1), block_size_of(ctx));
}

class DynamicQuantizeLinear final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    ctx.output(0, x);
    ctx.output(1, {});
    ctx.output(2, {});
    ctx.scratch(dynamic_scratch(x.count()) * static_cast<int64_t>(sizeof(float)));
    ctx.flops(4 * x.count());
  }

  void run(RunContext& ctx) const override {
    const float* x = ctx.in<float>(0);
    const int64_t n = ctx.in(0).count();
    const DynamicGrid grid = dynamic_grid(ctx, x, n, ctx.scratch_as<float>());
    if (ctx.wants(1)) *ctx.out<float>(1) = grid.scale;
    if (ctx.wants(2)) *ctx.out<uint8_t>(2) = static_cast<uint8_t>(grid.zero);
    if (ctx.wants(0)) dynamic_quantize(ctx, grid, x, n, ctx.out<uint8_t>(0));
  }
};

std::unique_ptr<Op> make_dynamic_quantize(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {kFloat32});
  ctx.output(0, kUInt8);
  ctx.output(1, kFloat32);
  ctx.output(2, kUInt8);
  return std::make_unique<DynamicQuantizeLinear>();
}

}  // namespace

std::span<const OpDef> quantize_ops() {
  static constexpr OpDef kOps[] = {{"", "DequantizeLinear", 1, make_dequantize},
                                   {"", "DynamicQuantizeLinear", 1, make_dynamic_quantize},
                                   {"", "QuantizeLinear", 1, make_quantize}};
  return kOps;
}

}  // namespace pyinfer
