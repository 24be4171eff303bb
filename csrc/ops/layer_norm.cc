// LayerNormalization: over the last dimensions, from `axis` on,
//   d = x - mean x,   y = d / sqrt(mean d^2 + epsilon) * scale + bias;   mean and 1 / sqrt(...) on request.
// RMSNormalization, SimplifiedLayerNormalization:  y = x / sqrt(mean x^2 + epsilon) * scale;  1 / sqrt(...)
// on request.
#include <algorithm>

#include "base/math.h"
#include "kernels/kernel_table.h"
#include "ops/elements.h"
#include "ops/op.h"
#include "ops/row_norm.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

constexpr int64_t kGrain = 16384;

// A scale or bias that broadcasts to x, as it is read row by row.
struct RowOperand {
  bool per_row = false;  // differs between rows: gathered for each
  std::array<int64_t, Shape::kMaxRank> strides{};
};

struct RowState final : StepState {
  int64_t rows = 0, n = 0;
  int axis = 0;
  Shape shape;
  RowOperand operands[2];
  int64_t row_buffer = 0;  // elements of scratch of each worker
};

RowOperand row_operand(const Shape& x, const Shape& s, int axis) {
  require(s.rank() <= x.rank() && broadcast_shapes(x, s) == x, ErrorCode::kInvalidInput,
          "a scale or bias of shape ", s, " does not broadcast to ", x);
  RowOperand operand;
  const auto strides = s.strides();
  const int lead = x.rank() - s.rank();
  for (int d = 0; d < s.rank(); ++d) {
    if (s[d] == 1) continue;
    operand.strides[static_cast<size_t>(d + lead)] = strides[static_cast<size_t>(d)];
    operand.per_row |= d + lead < axis;
  }
  return operand;
}

// The elements of an operand for one row of x, in C.
template <class C>
void gather_row(const RowState& s, const RowOperand& operand, const TensorView& from, int64_t row, C* to) {
  if (from.count() == 1) {
    C value;
    std::fill_n(to, s.n, *load_as(from.dtype, from.data, 0, 1, &value));
    return;
  }
  const auto element = [&](int64_t i) {
    int64_t at = 0;
    for (int d = s.shape.rank() - 1; d >= 0; --d) {
      at += i % s.shape[d] * operand.strides[static_cast<size_t>(d)];
      i /= s.shape[d];
    }
    return at;
  };
  for (int64_t i = 0; i < s.n; ++i) {
    C value;
    to[i] = *load_as(from.dtype, from.data, element(row * s.n + i), 1, &value);
  }
}

class LayerNorm final : public Op {
 public:
  LayerNorm(DType dtype, int64_t axis, float epsilon, bool centered)
      : dtype_(dtype), axis_(axis), epsilon_(epsilon), centered_(centered) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    auto state = std::make_unique<RowState>();
    state->shape = x;
    state->axis = x.rank() == 0 ? 0 : normalize_axis(axis_, x.rank());
    state->rows = x.count(0, state->axis);
    state->n = x.count(state->axis, x.rank());
    for (int i : {1, 2})
      if (ctx.has(i)) state->operands[i - 1] = row_operand(x, ctx.shape(i), state->axis);
    ctx.output(0, x);
    Shape reduced = x;
    for (int d = state->axis; d < x.rank(); ++d) reduced[d] = 1;
    for (int i : {1, 2})
      if (ctx.wants(i)) ctx.output(i, reduced);
    if (x.count() > 0) {
      // Scale and bias once for all rows, then a row of each, and of x, for every worker.
      state->row_buffer = round_up(state->n, 16);
      ctx.scratch((2 + 3 * ctx.workers()) * state->row_buffer * compute_size(dtype_));
    }
    ctx.flops(x.count() * 8);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    with_compute_type(dtype_, [&]<class C>() { run_as<C>(ctx); });
  }

 private:
  template <class C>
  void run_as(RunContext& ctx) const {
    const auto& s = ctx.state<RowState>();
    if (s.rows * s.n == 0) return fill_statistics<C>(ctx, s);
    C* scratch = ctx.scratch_as<C>();
    const C* shared[2] = {};
    for (int i : {0, 1}) {
      if (!ctx.has(i + 1) || s.operands[i].per_row) continue;
      const TensorView& v = ctx.in(i + 1);
      C* buffer = scratch + i * s.row_buffer;
      if (v.count() == s.n) {
        shared[i] = load_as(v.dtype, v.data, 0, s.n, buffer);
      } else {
        gather_row(s, s.operands[i], v, 0, buffer);
        shared[i] = buffer;
      }
    }
    const int64_t grain = grain_for(s.n, kGrain);
    if constexpr (std::is_same_v<C, float>) {
      if (plain(ctx, s)) {
        const RowNormArgs args{.x = ctx.in<float>(0),
                               .y = ctx.out<float>(0),
                               .n = s.n,
                               .scale = shared[0],
                               .bias = shared[1],
                               .epsilon = epsilon_,
                               .mean = statistics_out(ctx, mean_output()),
                               .inv_deviation = statistics_out(ctx, inverse_output())};
        ctx.parallel(s.rows, grain,
                     [&](int64_t begin, int64_t end, int) { row_norm_kernel(centered_)(args, begin, end); });
        return;
      }
    }
    ctx.parallel(s.rows, grain, [&](int64_t begin, int64_t end, int worker) {
      C* buffer = scratch + (2 + 3 * worker) * s.row_buffer;
      for (int64_t row = begin; row < end; ++row) {
        const C* operand[2];
        for (int i : {0, 1}) {
          operand[i] = shared[i];
          if (operand[i] || !ctx.has(i + 1)) continue;
          C* to = buffer + (1 + i) * s.row_buffer;
          gather_row(s, s.operands[i], ctx.in(i + 1), row, to);
          operand[i] = to;
        }
        const C* x = load_as(dtype_, ctx.in(0).data, row * s.n, s.n, buffer);
        C* y = place_as(ctx.out(0).dtype, ctx.out(0).data, row * s.n, buffer);
        const auto statistics = normalize_row(centered_, epsilon_, x, operand[0], operand[1], y, s.n);
        store_as(ctx.out(0).dtype, ctx.out(0).data, row * s.n, s.n, y);
        store_statistic(ctx, mean_output(), row, &statistics.mean);
        store_statistic(ctx, inverse_output(), row, &statistics.inverse);
      }
    });
  }

  static float* statistics_out(const RunContext& ctx, int i) {
    return i >= 0 && ctx.wants(i) ? ctx.out<float>(i) : nullptr;
  }
  template <class C>
  static void store_statistic(const RunContext& ctx, int i, int64_t row, const C* value) {
    if (i >= 0 && ctx.wants(i)) store_as(ctx.out(i).dtype, ctx.out(i).data, row, 1, value);
  }

  // The mean and inverse deviation of rows without elements.
  template <class C>
  void fill_statistics(RunContext& ctx, const RowState& s) const {
    const C nan = std::numeric_limits<C>::quiet_NaN();
    for (int i : {1, 2})
      for (int64_t row = 0; ctx.wants(i) && row < s.rows; ++row)
        store_as(ctx.out(i).dtype, ctx.out(i).data, row, 1, &nan);
  }

  // The outputs that hold the mean and the inverse deviation; RMS norms have no mean.
  int mean_output() const { return centered_ ? 1 : -1; }
  int inverse_output() const { return centered_ ? 2 : 1; }

  // Everything float32 and the same for all rows: whole ranges of rows go to the kernel.
  bool plain(const RunContext& ctx, const RowState& s) const {
    for (int i : {0, 1, 2})
      if ((ctx.has(i) && ctx.in(i).dtype != DType::kFloat32) ||
          (ctx.wants(i) && ctx.out(i).dtype != DType::kFloat32))
        return false;
    return !s.operands[0].per_row && !s.operands[1].per_row;
  }

  DType dtype_;
  int64_t axis_;
  float epsilon_;
  bool centered_;
};

template <bool kCentered>
std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(2, kCentered ? 3 : 2);
  for (int i = 0; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_dtype(i, {kFloat32, kFloat64, kFloat16, kBFloat16});
  const DType stash = ctx.attr_dtype("stash_type", kFloat32);
  if (stash != kFloat32 && stash != kBFloat16 && stash != kFloat16 && stash != kFloat64)
    ctx.unsupported("stash_type ", dtype_name(stash), ", expected a floating type");
  ctx.output(0, kCentered ? ctx.dtype(0) : ctx.dtype(1));
  for (int i = 1; i < ctx.num_outputs(); ++i)
    if (ctx.has_output(i)) ctx.output(i, stash);
  return std::make_unique<LayerNorm>(ctx.dtype(0), ctx.attr_int("axis", -1), ctx.attr_float("epsilon", 1e-5f),
                                     kCentered);
}

}  // namespace

std::span<const OpDef> layer_norm_ops() {
  static constexpr OpDef kOps[] = {{"", "LayerNormalization", 1, make<true>},
                                   {"", "RMSNormalization", 1, make<false>},
                                   // As ONNX Runtime's optimiser writes it, in either domain.
                                   {"", "SimplifiedLayerNormalization", 1, make<false>},
                                   {"com.microsoft", "SimplifiedLayerNormalization", 1, make<false>}};
  return kOps;
}

}  // namespace pyinfer
