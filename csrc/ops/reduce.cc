// Reductions over a set of axes:  y(kept) = finish(join over reduced of map(x)), with
//   ReduceSum add,  Mean add then / count,  Max max,  Min min,  Prod mul,  SumSquare add of x^2,  L1 add of
//   |x|, L2 sqrt of add of x^2,  LogSum log of add,  LogSumExp m + log of add of exp(x - m) with m = max x.
// float16 and bfloat16 accumulate in float32, integers in 64 bits.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/kernel_table.h"
#include "ops/dispatch.h"
#include "ops/elements.h"
#include "ops/lanes.h"
#include "ops/reduce_axes.h"

namespace pyinfer {
namespace {

using Kind = ReduceKind;

constexpr int64_t kGrain = 16384;

// What Max and Min of nothing are, in the compute type C, for elements of type `dtype`.
template <class C>
C extreme_of_nothing(DType dtype, bool max) {
  if constexpr (std::is_floating_point_v<C>) {
    return max ? -std::numeric_limits<C>::infinity() : std::numeric_limits<C>::infinity();
  } else {
    C value = max ? 0 : 1;  // of bool
    if (dtype == DType::kBool) return value;
    dispatch<int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t>(dtype, [&]<class T>() {
      value = static_cast<C>(max ? std::numeric_limits<T>::min() : std::numeric_limits<T>::max());
    });
    return value;
  }
}

// Integers wrap instead of overflowing.
template <class C>
auto wrapping(C v) {
  if constexpr (std::is_integral_v<C>)
    return static_cast<uint64_t>(v);
  else
    return v;
}

// Calls use(init, map, join) for the accumulation of `kind`.
template <class C, class Use>
void with_accumulation(Kind kind, DType dtype, Use use) {
  const auto add = [](C a, C b) { return static_cast<C>(wrapping(a) + wrapping(b)); };
  const auto mul = [](C a, C b) { return static_cast<C>(wrapping(a) * wrapping(b)); };
  const auto same = [](C v) { return v; };
  switch (kind) {
    case Kind::kSum:
    case Kind::kMean:
    case Kind::kLogSum:
    case Kind::kLogSumExp: return use(C{0}, same, add);
    case Kind::kMax: return use(extreme_of_nothing<C>(dtype, true), same, kJoinMax);
    case Kind::kMin: return use(extreme_of_nothing<C>(dtype, false), same, kJoinMin);
    case Kind::kProd: return use(C{1}, same, mul);
    case Kind::kSumSquare:
    case Kind::kL2:
      return use(
          C{0}, [](C v) { return static_cast<C>(wrapping(v) * wrapping(v)); }, add);
    case Kind::kL1:
      return use(
          C{0},
          [](C v) { return v < C{0}    ? static_cast<C>(wrapping(C{0}) - wrapping(v))
                           : v == C{0} ? C{0}
                                       : v; },
          add);
    default: return;
  }
}

// y[i] = f(y[i]) in the compute type; integers go through double.
template <class C>
void finish_unary(UnaryKind kind, C* y, int64_t n) {
  if constexpr (std::is_floating_point_v<C>) {
    unary(kind, DTypeOf<C>::value, y, y, n);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      double v = static_cast<double>(y[i]);
      unary(kind, DType::kFloat64, &v, &v, 1);
      constexpr double kLimit = 9223372036854774784.0;
      y[i] =
          std::isnan(v) ? C{0} : static_cast<C>(std::clamp(v, std::is_signed_v<C> ? -kLimit : 0.0, kLimit));
    }
  }
}

template <class C>
void finish(Kind kind, C* y, int64_t n, int64_t count) {
  switch (kind) {
    case Kind::kMean:
      for (int64_t i = 0; i < n; ++i) {
        if constexpr (std::is_floating_point_v<C>)
          y[i] /= static_cast<C>(count);
        else
          y[i] = count == 0 ? C{0} : y[i] / static_cast<C>(count);
      }
      return;
    case Kind::kL2: return finish_unary(UnaryKind::kSqrt, y, n);
    case Kind::kLogSum: return finish_unary(UnaryKind::kLog, y, n);
    default: return;
  }
}

// The shift of LogSumExp: an infinite or missing maximum is taken as it is, without inf - inf.
template <class C>
C shift_of(C max) {
  return std::isfinite(max) ? max : C{0};
}

class Reduce final : public Op {
 public:
  Reduce(Kind kind, DType dtype, const ReduceAttributes& attributes)
      : kind_(kind), dtype_(dtype), attributes_(attributes) {}

  void plan(PlanContext& ctx) const override {
    auto axes = std::make_unique<ReduceAxes>(ctx.shape(0), reduced_axes(ctx, attributes_, 1));
    ctx.output(0, axes->output(ctx.shape(0), attributes_.keep_dims));
    ctx.flops(ctx.shape(0).count());
    ctx.state(std::move(axes));
  }

  void run(RunContext& ctx) const override {
    if (dtype_ == DType::kFloat64) return run_as<double>(ctx);
    if (dtype_is_float(dtype_)) return run_as<float>(ctx);
    const bool is_signed = dtype_ == DType::kInt8 || dtype_ == DType::kInt32 || dtype_ == DType::kInt64;
    return is_signed ? run_as<int64_t>(ctx) : run_as<uint64_t>(ctx);
  }

 private:
  template <class C>
  void run_as(RunContext& ctx) const {
    const auto& axes = ctx.state<ReduceAxes>();
    const void* x = ctx.in(0).data;
    void* y = ctx.out(0).data;
    const int64_t cost = std::max<int64_t>(1, axes.reduced_count());
    if (std::is_same_v<C, float> && dtype_ == DType::kFloat32 && axes.is_plain()) {
      const int64_t grain = std::max<int64_t>(axes.inner == 1 ? 1 : 16, kGrain / cost);
      ctx.parallel(axes.kept_count() * axes.inner, grain, [&](int64_t begin, int64_t end, int) {
        kernels().reduce.reduce(kind_, {.x = ctx.in<float>(0), .reduce = axes.run, .inner = axes.inner},
                                ctx.out<float>(0), begin, end);
      });
      return;
    }
    if (axes.inner == 1) {
      ctx.parallel(axes.kept_count(), std::max<int64_t>(1, kGrain / cost),
                   [&](int64_t begin, int64_t end, int) {
                     C block[kBlock];
                     for (int64_t i = begin; i < end; i += kBlock) {
                       const int64_t n = std::min(kBlock, end - i);
                       for (int64_t j = 0; j < n; ++j)
                         block[j] = reduce_rows<C>(axes, x, axes.kept_at(i + j));
                       if (!std::is_same_v<C, float>) finish(kind_, block, n, axes.reduced_count());
                       store_as(dtype_, y, i, n, block);
                     }
                   });
      return;
    }
    const int64_t tiles = (axes.inner + kBlock - 1) / kBlock;
    const int64_t grain = std::max<int64_t>(1, kGrain / std::min(axes.inner, kBlock) / cost);
    ctx.parallel(axes.kept_count() * tiles, grain, [&](int64_t begin, int64_t end, int) {
      C block[kBlock];
      for (int64_t t = begin; t < end; ++t) {
        const int64_t column = t % tiles * kBlock, n = std::min(kBlock, axes.inner - column);
        reduce_columns<C>(axes, x, axes.kept_at(t / tiles) + column, n, block);
        finish(kind_, block, n, axes.reduced_count());
        store_as(dtype_, y, t / tiles * axes.inner + column, n, block);
      }
    });
  }

  // One result: runs of consecutive elements, all fed to the same lanes; finished where C is float.
  template <class C>
  C reduce_rows(const ReduceAxes& axes, const void* x, int64_t at) const {
    C buffer[kBlock];
    const auto each_block = [&](auto use) {
      axes.each_run(at, [&](int64_t start) {
        for (int64_t i = 0; i < axes.run; i += kBlock) {
          const int64_t n = std::min(kBlock, axes.run - i);
          use(load_as(dtype_, x, start + i, n, buffer), n);
        }
      });
    };
    if constexpr (std::is_floating_point_v<C>) {
      if (kind_ == Kind::kLogSumExp) {
        const auto same = [](C v) { return v; };
        Lanes<C> max(-std::numeric_limits<C>::infinity()), sum(C{0});
        each_block([&](const C* p, int64_t n) { max.feed(p, n, same, kJoinMax); });
        const C shift = shift_of(max.total(kJoinMax));
        C e[kBlock];
        each_block([&](const C* p, int64_t n) {
          for (int64_t i = 0; i < n; ++i) e[i] = p[i] - shift;
          unary(UnaryKind::kExp, DTypeOf<C>::value, e, e, n);
          sum.feed(e, n, same, kJoinAdd);
        });
        C log = sum.total(kJoinAdd);
        finish_unary(UnaryKind::kLog, &log, 1);
        return shift + log;
      }
    }
    C result{};
    if constexpr (std::is_same_v<C, float>) {
      ReduceLanes lanes;
      kernels().reduce.start(kind_, lanes);
      each_block([&](const C* p, int64_t n) { kernels().reduce.feed(kind_, lanes, p, n); });
      return kernels().reduce.finish(kind_, lanes, axes.reduced_count());
    }
    with_accumulation<C>(kind_, dtype_, [&](C init, auto map, auto join) {
      Lanes<C> lanes(init);
      each_block([&](const C* p, int64_t n) { lanes.feed(p, n, map, join); });
      result = lanes.total(join);
    });
    return result;
  }

  // n results side by side, each the join of chains over kReduceRows of the reduced elements.
  template <class C>
  void reduce_columns(const ReduceAxes& axes, const void* x, int64_t at, int64_t n, C* y) const {
    C buffer[kBlock];
    const auto each_row = [&](auto use) {
      axes.each_row(at, [&](int64_t start) { use(load_as(dtype_, x, start, n, buffer)); });
    };
    if constexpr (std::is_floating_point_v<C>) {
      if (kind_ == Kind::kLogSumExp) {
        C max[kBlock], e[kBlock];
        std::fill_n(max, n, -std::numeric_limits<C>::infinity());
        each_row([&](const C* p) {
          for (int64_t i = 0; i < n; ++i) max[i] = kJoinMax(max[i], p[i]);
        });
        for (int64_t i = 0; i < n; ++i) max[i] = shift_of(max[i]);
        std::fill_n(y, n, C{0});
        each_row([&](const C* p) {
          for (int64_t i = 0; i < n; ++i) e[i] = p[i] - max[i];
          unary(UnaryKind::kExp, DTypeOf<C>::value, e, e, n);
          for (int64_t i = 0; i < n; ++i) y[i] += e[i];
        });
        finish_unary(UnaryKind::kLog, y, n);
        for (int64_t i = 0; i < n; ++i) y[i] += max[i];
        return;
      }
    }
    with_accumulation<C>(kind_, dtype_, [&](C init, auto map, auto join) {
      C chain[kBlock];
      std::fill_n(y, n, init);
      std::fill_n(chain, n, init);
      int64_t rows = 0;
      const auto end_chain = [&] {
        for (int64_t i = 0; i < n; ++i) y[i] = join(y[i], std::exchange(chain[i], init));
        rows = 0;
      };
      each_row([&](const C* p) {
        for (int64_t i = 0; i < n; ++i) chain[i] = join(chain[i], map(p[i]));
        if (++rows == kReduceRows) end_chain();
      });
      end_chain();
    });
  }

  Kind kind_;
  DType dtype_;
  ReduceAttributes attributes_;
};

template <Kind kKind>
std::unique_ptr<Op> make(NodeContext& ctx) {
  ctx.expect_inputs(1, 2);
  using enum DType;
  if constexpr (kKind == Kind::kMax || kKind == Kind::kMin)
    ctx.expect_dtype(
        0, {kFloat32, kFloat64, kFloat16, kBFloat16, kInt32, kInt64, kUInt32, kUInt64, kInt8, kUInt8, kBool});
  else
    ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16, kInt32, kInt64, kUInt32, kUInt64});
  if (kKind == Kind::kLogSumExp && !dtype_is_float(ctx.dtype(0)))
    ctx.unsupported("ReduceLogSumExp of integers (operator set 28 defines it for floating types only)");
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Reduce>(kKind, ctx.dtype(0), read_reduce_attributes(ctx, 1));
}

}  // namespace

std::span<const OpDef> reduce_ops() {
  static constexpr OpDef kOps[] = {
      {"", "ReduceSum", 1, make<Kind::kSum>},       {"", "ReduceMean", 1, make<Kind::kMean>},
      {"", "ReduceMax", 1, make<Kind::kMax>},       {"", "ReduceMin", 1, make<Kind::kMin>},
      {"", "ReduceProd", 1, make<Kind::kProd>},     {"", "ReduceSumSquare", 1, make<Kind::kSumSquare>},
      {"", "ReduceL1", 1, make<Kind::kL1>},         {"", "ReduceL2", 1, make<Kind::kL2>},
      {"", "ReduceLogSum", 1, make<Kind::kLogSum>}, {"", "ReduceLogSumExp", 1, make<Kind::kLogSumExp>},
  };
  return kOps;
}

}  // namespace pyinfer
