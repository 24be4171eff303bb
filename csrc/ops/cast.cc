// Cast, CastLike: y = x as another element type.  BitCast: y = the bits of x as another type of equal width.
#include <cstring>

#include "ops/convert.h"
#include "ops/elementwise.h"

namespace pyinfer {
namespace {

class Cast final : public Op {
 public:
  Cast(DType from, DType to, const ConvertOptions& options) : from_(from), to_(to), options_(options) {}

  void plan(PlanContext& ctx) const override {
    if (from_ == to_) {
      ctx.output_view(0, 0, ctx.shape(0));
      return;
    }
    ctx.output(0, ctx.shape(0));
    const bool strings = from_ == DType::kString || to_ == DType::kString;
    if (!strings && dtype_size(from_) == dtype_size(to_)) ctx.reuse(0, 0);
  }

  void run(RunContext& ctx) const override {
    if (from_ == to_) return;
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    const int64_t n = x.count();
    if (to_ == DType::kString) return convert_to_strings(from_, x.data, y.as<std::string>(), n);
    if (from_ == DType::kString) return convert_from_strings(x.as<std::string>(), to_, y.data, n, options_);
    const auto x_size = static_cast<int64_t>(dtype_size(from_)),
               y_size = static_cast<int64_t>(dtype_size(to_));
    ctx.parallel(n, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
      convert(from_, x.as<std::byte>() + begin * x_size, to_, y.as<std::byte>() + begin * y_size, end - begin,
              options_);
    });
  }

 private:
  DType from_, to_;
  ConvertOptions options_;
};

std::unique_ptr<Op> make_cast_to(NodeContext& ctx, DType to) {
  const DType from = ctx.dtype(0);
  const auto known = [](DType d) {
    return d == DType::kString || d == DType::kBool || dtype_is_integer(d) || dtype_is_float(d);
  };
  if (!ctx.input_type(0).is_tensor() || !known(from)) ctx.unsupported("a cast from ", ctx.input_type(0));
  if (!known(to)) ctx.unsupported("a cast to ", dtype_name(to));
  ConvertOptions options;
  options.saturate = ctx.attr_int("saturate", 1) != 0;
  const std::string mode = ctx.attr_string("round_mode", "up");
  require(mode == "up" || mode == "down" || mode == "nearest", ErrorCode::kInvalidModel,
          "attribute 'round_mode' must be up, down or nearest, got '", mode, "'");
  options.e8m0_round = mode == "up"     ? RoundMode::kUp
                       : mode == "down" ? RoundMode::kDown
                                        : RoundMode::kNearest;
  ctx.output(0, to);
  return std::make_unique<Cast>(from, to, options);
}

std::unique_ptr<Op> make_cast(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  require(ctx.has_attr("to"), ErrorCode::kInvalidModel, "attribute 'to' is required");
  return make_cast_to(ctx, ctx.attr_dtype("to", DType::kUndefined));
}

std::unique_ptr<Op> make_cast_like(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  if (!ctx.input_type(1).is_tensor()) ctx.unsupported("a cast to ", ctx.input_type(1));
  return make_cast_to(ctx, ctx.dtype(1));
}

class BitCast final : public Op {
 public:
  BitCast(DType from, DType to) : from_(from), to_(to) {}
  void plan(PlanContext& ctx) const override {
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
  }
  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    const int64_t n = x.count();
    if (dtype_file_bits(from_) < 6) {
      // A byte each in memory, sign- or zero-extended: integers of one width convert by their low bits.
      const auto code = [](DType d) { return d == DType::kFloat4E2M1 ? DType::kUInt4 : d; };
      convert(code(from_), x.data, code(to_), y.data, n);
    } else if (to_ == DType::kBool) {
      // A bool in memory is 0 or 1.
      convert(DType::kUInt8, x.data, DType::kBool, y.data, n);
    } else if (n > 0 && x.data != y.data) {
      std::memcpy(y.data, x.data, x.bytes());
    }
  }

 private:
  DType from_, to_;
};

std::unique_ptr<Op> make_bit_cast(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  require(ctx.has_attr("to"), ErrorCode::kInvalidModel, "attribute 'to' is required");
  const DType from = ctx.dtype(0), to = ctx.attr_dtype("to", DType::kUndefined);
  if (!ctx.input_type(0).is_tensor() || from == DType::kString || to == DType::kString)
    ctx.unsupported("a bit cast from ", ctx.input_type(0), " to ", dtype_name(to));
  require(dtype_file_bits(from) == dtype_file_bits(to), ErrorCode::kInvalidModel, "a bit cast from ",
          dtype_name(from), " to ", dtype_name(to), ", which differ in width");
  ctx.output(0, to);
  return std::make_unique<BitCast>(from, to);
}

}  // namespace

std::span<const OpDef> cast_ops() {
  static constexpr OpDef kOps[] = {
      {"", "BitCast", 1, make_bit_cast}, {"", "Cast", 1, make_cast}, {"", "CastLike", 1, make_cast_like}};
  return kOps;
}

}  // namespace pyinfer
