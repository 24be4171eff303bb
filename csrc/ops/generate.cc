// ConstantOfShape: y[i] = value.  Range: y[i] = start + i * delta, for i < ceil((limit - start) / delta).
#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "ops/copy_box.h"
#include "ops/dispatch.h"

namespace pyinfer {
namespace {

class ConstantOfShape final : public Op {
 public:
  explicit ConstantOfShape(Tensor value) : value_(std::move(value)) {}
  void plan(PlanContext& ctx) const override {
    const std::vector<int64_t> dims = ctx.require_int64s(0);
    for (int64_t d : dims) require(d >= 0, ErrorCode::kInvalidInput, "the shape has a dimension of ", d);
    ctx.output(0, Shape(dims));
  }
  void run(RunContext& ctx) const override { fill_output(ctx, ctx.out(0), value_.view().data); }

 private:
  Tensor value_;
};

template <class T>
constexpr bool kWideEnough = std::is_integral_v<T> || std::is_same_v<T, double>;

class Range final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    for (int i = 0; i < 3; ++i)
      require(ctx.require_value(i).count() == 1, ErrorCode::kInvalidInput, "input ", i,
              " must be a scalar, got ", ctx.shape(i));
    int64_t n = 0;
    dispatch_range(ctx.dtype(0), [&]<class T>() { n = count<T>(ctx); });
    ctx.output(0, {n});
  }

  void run(RunContext& ctx) const override {
    dispatch_range(ctx.in(0).dtype, [&]<class T>() {
      T* y = ctx.out<T>(0);
      const T start = *ctx.in<T>(0), delta = *ctx.in<T>(2);
      for (int64_t i = 0, n = ctx.out(0).count(); i < n; ++i) {
        if constexpr (std::is_integral_v<T>)
          y[i] = static_cast<T>(static_cast<uint64_t>(start) +
                                static_cast<uint64_t>(i) * static_cast<uint64_t>(delta));
        else
          y[i] = narrow<T>(wide(start) + static_cast<double>(i) * wide(delta));
      }
    });
  }

 private:
  template <class F>
  static void dispatch_range(DType dtype, F&& f) {
    dispatch<float, double, Float16, BFloat16, int16_t, int32_t, int64_t>(dtype, std::forward<F>(f));
  }
  template <class T>
  static double wide(T v) {
    if constexpr (kWideEnough<T>)
      return static_cast<double>(v);
    else
      return static_cast<double>(static_cast<float>(v));
  }
  template <class T>
  static T narrow(double v) {
    if constexpr (kWideEnough<T>)
      return static_cast<T>(v);
    else
      return static_cast<T>(static_cast<float>(v));
  }

  template <class T>
  static int64_t count(PlanContext& ctx) {
    const T start = *ctx.value(0)->as<T>(), limit = *ctx.value(1)->as<T>(), delta = *ctx.value(2)->as<T>();
    if constexpr (std::is_integral_v<T>) {
      require(delta != 0, ErrorCode::kInvalidInput, "delta is 0");
      const bool up = delta > 0;
      if (up ? start >= limit : start <= limit) return 0;
      // The distance and |delta| fit in 64 unsigned bits.
      const auto u = [](T v) { return static_cast<uint64_t>(static_cast<int64_t>(v)); };
      const uint64_t distance = up ? u(limit) - u(start) : u(start) - u(limit);
      const uint64_t n = (distance - 1) / (up ? u(delta) : uint64_t{0} - u(delta)) + 1;
      require(n <= uint64_t{INT64_MAX}, ErrorCode::kLimit, "the range has ", n, " elements");
      return static_cast<int64_t>(n);
    } else {
      const double n = std::ceil((wide(limit) - wide(start)) / wide(delta));
      require(!std::isnan(n), ErrorCode::kInvalidInput, "the range from ", wide(start), " to ", wide(limit),
              " by ", wide(delta), " has no length");
      require(n < 0x1p62, ErrorCode::kLimit, "the range has ", n, " elements");
      return n > 0 ? static_cast<int64_t>(n) : 0;
    }
  }
};

std::unique_ptr<Op> make_constant_of_shape(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kInt64});
  const Tensor* given = ctx.attr_tensor("value");
  constexpr float kZero = 0;
  Tensor value = given ? *given : Tensor::from<float>({}, std::span(&kZero, 1));
  require(value.count() == 1, ErrorCode::kInvalidModel, "value must have one element, got ", value.shape());
  ctx.output(0, value.dtype());
  return std::make_unique<ConstantOfShape>(std::move(value));
}

std::unique_ptr<Op> make_range(NodeContext& ctx) {
  ctx.expect_inputs(3, 3);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt16,
                       DType::kInt32, DType::kInt64});
  ctx.expect_same_dtype(0, 1);
  ctx.expect_same_dtype(0, 2);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Range>();
}

}  // namespace

std::span<const OpDef> generate_ops() {
  static constexpr OpDef kOps[] = {
      {"", "ConstantOfShape", 1, make_constant_of_shape},
      {"", "Range", 1, make_range},
  };
  return kOps;
}

}  // namespace pyinfer
