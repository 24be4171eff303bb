// Det: y = the determinant of each square matrix of x, by elimination with row exchanges in float64.
#include <cmath>
#include <utility>

#include "ops/dispatch.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

// Destroys `a`, n x n.
double determinant(double* a, int64_t n) {
  double det = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::fabs(a[i * n + k]) > std::fabs(a[pivot * n + k])) pivot = i;
    if (pivot != k) {
      std::swap_ranges(a + k * n, a + (k + 1) * n, a + pivot * n);
      det = -det;
    }
    const double diagonal = a[k * n + k];
    det *= diagonal;
    if (diagonal == 0) return det;
    for (int64_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / diagonal;
      for (int64_t j = k + 1; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
    }
  }
  return det;
}

class Det final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    const int r = x.rank();
    require(r >= 2 && x[r - 1] == x[r - 2], ErrorCode::kInvalidInput, "x of shape ", x,
            ", expected square matrices");
    ctx.output(0, Shape(x.dims().first(static_cast<size_t>(r - 2))));
    ScratchLayout layout;
    layout.take(ctx.workers(),
                round_up(Shape({x[r - 1], x[r - 1]}).count() * int64_t{sizeof(double)}, kCacheLine));
    ctx.scratch(layout.bytes());
    ctx.flops(product_flops(x.count(), x[r - 1], 1) / 3);
  }

  void run(RunContext& ctx) const override {
    const Shape& shape = ctx.in(0).shape;
    const int64_t n = shape[shape.rank() - 1], size = n * n;
    const int64_t stride = round_up(size * int64_t{sizeof(double)}, kCacheLine);
    dispatch<float, double, Float16, BFloat16>(ctx.in(0).dtype, [&]<class T>() {
      ctx.parallel(ctx.out(0).count(), grain_for(size * n / 3), [&](int64_t begin, int64_t end, int worker) {
        auto* a = reinterpret_cast<double*>(ctx.scratch() + worker * stride);
        for (int64_t i = begin; i < end; ++i) {
          const T* x = ctx.in<T>(0) + i * size;
          for (int64_t j = 0; j < size; ++j) a[j] = to_double(x[j]);
          ctx.out<T>(0)[i] = from_double<T>(determinant(a, n));
        }
      });
    });
  }

 private:
  template <class T>
  static double to_double(T v) {
    if constexpr (sizeof(T) == 2)
      return static_cast<double>(static_cast<float>(v));
    else
      return static_cast<double>(v);
  }
  template <class T>
  static T from_double(double v) {
    if constexpr (sizeof(T) == 2)
      return T(static_cast<float>(v));
    else
      return static_cast<T>(v);
  }
};

std::unique_ptr<Op> make_det(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Det>();
}

}  // namespace

std::span<const OpDef> det_ops() {
  static constexpr OpDef kOps[] = {{"", "Det", 1, make_det}};
  return kOps;
}

}  // namespace pyinfer
