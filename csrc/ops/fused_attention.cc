// The form of attention that passes/fuse_attention.cc writes, without the transposes around it:
//   Y = softmax(choose(keep, scale Q K^T, fill) + mask) V
// Q, K and V are stacks of rows by head, [batch, heads, rows, size], or [batch, rows, heads, size] where the
// attribute says so; Y is [batch, rows, heads, size]. past_key and past_value, heads first, come before the
// rows of K and V. All but the keys broadcasts as in the MatMul and Add that this stands for, and nothing is
// special: a query whose scores are all -inf gives NaN, or 0 where `nan_to_zero`.
#include <array>

#include "kernels/elementwise.h"
#include "ops/attention_core.h"
#include "ops/op.h"
#include "ops/softmax_row.h"

namespace pyinfer {
namespace {

enum Input { kQ, kK, kV, kMask, kPastKey, kPastValue, kKeep };
enum Output { kY, kPresentKey, kPresentValue };

struct Attributes {
  double scale = 1.0;
  bool rows_first[3] = {};  // of Q, K, V
  double fill = 0.0;
  bool fill_where = false;  // the value of `keep` at which a score becomes `fill`
  bool nan_to_zero = false;
  bool mask_is_zero = false;
};

using Dims = std::array<int64_t, 4>;  // batch, heads, rows, and size or keys

// How to walk an operand of these dimensions as if it had those of the whole; steps of 0 repeat.
struct Walk {
  int64_t step[4] = {};
};

struct FusedState final : StepState {
  AttentionShape shape;
  AttentionScratch scratch;
  Dims own[3] = {};  // of Q, K, V
  Walk mask, keep;
};

class FusedAttention final : public Op {
 public:
  FusedAttention(DType dtype, const Attributes& attributes) : dtype_(dtype), a_(attributes) {}

  void plan(PlanContext& ctx) const override {
    auto state = std::make_unique<FusedState>();
    AttentionShape& s = state->shape;
    for (int i : {kQ, kK, kV}) state->own[i] = dims_of(ctx, i);
    const Dims &q = state->own[kQ], &k = state->own[kK], &v = state->own[kV];
    const Dims mask = broadcast_dims(ctx, kMask), keep = broadcast_dims(ctx, kKeep);
    s.past = ctx.has(kPastKey) ? ctx.shape(kPastKey)[2] : 0;
    s.size = q[3];
    s.v_size = v[3];
    s.kv_rows = v[2];
    s.kv_heads = joined(k[1], v[1], "heads of K and V");
    s.batch = joined(joined(q[0], joined(k[0], v[0], "batch"), "batch"), joined(mask[0], keep[0], "batch"),
                     "batch");
    s.q_heads = joined(joined(q[1], s.kv_heads, "heads"), joined(mask[1], keep[1], "heads"), "heads");
    s.q_rows = joined(q[2], joined(mask[2], keep[2], "rows"), "rows");
    require(k[3] == s.size, ErrorCode::kInvalidInput, "queries of ", s.size, " elements and keys of ", k[3]);
    require(checked_add(s.past, s.kv_rows).has_value(), ErrorCode::kLimit, "too many keys");
    const int64_t keys = s.past + k[2];
    require(joined(keys, joined(mask[3], keep[3], "keys"), "keys") == s.total(), ErrorCode::kInvalidInput,
            keys, " keys, ", s.total(), " values and a mask of ", mask[3], " keys do not fit each other");
    plan_past(ctx, *state);
    state->mask = walk(mask, s);
    state->keep = walk(keep, s);
    ctx.output(kY, Shape({s.batch, s.q_rows, s.q_heads, s.v_size}));
    state->scratch = AttentionScratch::plan(ctx, s, dtype_);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    with_compute_type(dtype_, [&]<class C>() { run_as<C>(ctx); });
  }

 private:
  Dims dims_of(const PlanContext& ctx, int i) const {
    const Shape& x = ctx.shape(i);
    require(x.rank() == 4, ErrorCode::kInvalidInput, "input ", i, " of shape ", x, " must have 4 dimensions");
    return a_.rows_first[i] ? Dims{x[0], x[2], x[1], x[3]} : Dims{x[0], x[1], x[2], x[3]};
  }

  // Ones in front of the dimensions of a mask, and all ones without one.
  static Dims broadcast_dims(const PlanContext& ctx, int i) {
    Dims dims = {1, 1, 1, 1};
    if (!ctx.has(i)) return dims;
    const Shape& x = ctx.shape(i);
    require(x.rank() <= 4, ErrorCode::kInvalidInput, "a mask of shape ", x, " for scores of 4 dimensions");
    for (int d = 0; d < x.rank(); ++d) dims[static_cast<size_t>(d + 4 - x.rank())] = x[d];
    return dims;
  }

  static int64_t joined(int64_t a, int64_t b, const char* what) {
    require(a == b || a == 1 || b == 1, ErrorCode::kInvalidInput, what, ": ", a, " and ", b,
            " do not broadcast");
    return a == 1 ? b : a;
  }

  static Walk walk(const Dims& own, const AttentionShape& s) {
    const int64_t whole[] = {s.batch, s.q_heads, s.q_rows, s.total()};
    Walk w;
    int64_t step = 1;
    for (int d = 4; d-- > 0; step *= own[static_cast<size_t>(d)])
      w.step[d] = own[static_cast<size_t>(d)] == 1 && whole[d] != 1 ? 0 : step;
    return w;
  }

  static void plan_past(PlanContext& ctx, const FusedState& state) {
    const AttentionShape& s = state.shape;
    if (!ctx.has(kPastKey)) return;
    const Shape key({s.batch, s.kv_heads, s.past, s.size}), value({s.batch, s.kv_heads, s.past, s.v_size});
    const bool whole = state.own[kK] == Dims{s.batch, s.kv_heads, s.kv_rows, s.size} &&
                       state.own[kV] == Dims{s.batch, s.kv_heads, s.kv_rows, s.v_size};
    require(whole && ctx.shape(kPastKey) == key && ctx.shape(kPastValue) == value, ErrorCode::kInvalidInput,
            "past keys and values of shapes ", ctx.shape(kPastKey), " and ", ctx.shape(kPastValue),
            ", expected ", key, " and ", value);
    if (ctx.wants(kPresentKey)) ctx.output(kPresentKey, Shape({s.batch, s.kv_heads, s.total(), s.size}));
    if (ctx.wants(kPresentValue))
      ctx.output(kPresentValue, Shape({s.batch, s.kv_heads, s.total(), s.v_size}));
  }

  // The rows of Q, K or V, repeated where the whole has more.
  HeadRows rows(const RunContext& ctx, int i, const FusedState& state) const {
    const AttentionShape& s = state.shape;
    const auto [batch, heads, count, size] = state.own[i];
    HeadRows r = HeadRows::of(ctx.in(i), a_.rows_first[i], heads, count, size);
    if (batch == 1 && s.batch != 1) r.batch = 0;
    if (heads == 1) r.head = 0;
    if (count == 1) r.row = 0;
    return r;
  }

  template <class C>
  void run_as(RunContext& ctx) const {
    const auto& state = ctx.state<FusedState>();
    const AttentionShape& s = state.shape;
    AttentionCore<C> core(ctx, s, state.scratch, static_cast<C>(a_.scale));
    core.q = rows(ctx, kQ, state);
    core.k = rows(ctx, kK, state);
    core.v = rows(ctx, kV, state);
    core.y = HeadRows::of(ctx.out(kY), true, s.q_heads, s.q_rows, s.v_size);
    core.use_cache(ctx, {kPastKey, kPastValue, kPresentKey, kPresentValue});
    if (s.empty() || s.v_size == 0) return core.write_present(ctx);
    core.each_block(ctx, core.kKeys | core.kValues, [&](int worker, int64_t b, int64_t h, int64_t row) {
      const int64_t count = std::min(s.block(), s.q_rows - row), total = s.total();
      C* p = core.score_block(worker);
      core.scores(worker, b, h, row, count, 0, total, p);
      for (int64_t i = 0; i < count && total > 0; ++i)
        probabilities(ctx, state, b, h, row + i, p + i * total, core.row_buffer(worker));
      core.output(worker, b, h, row, count, 0, total, p);
    });
  }

  template <class C>
  void probabilities(const RunContext& ctx, const FusedState& state, int64_t b, int64_t h, int64_t row, C* p,
                     C* buffer) const {
    const int64_t n = state.shape.total();
    const auto offset = [&](const Walk& w) { return b * w.step[0] + h * w.step[1] + row * w.step[2]; };
    if (ctx.has(kKeep)) {
      const C fill = static_cast<C>(a_.fill);
      const bool* keep = ctx.in<bool>(kKeep) + offset(state.keep);
      const int step = static_cast<int>(state.keep.step[3]);
      if (a_.fill_where)
        kernels().elementwise.where(sizeof(C), keep, step, &fill, 0, p, 1, p, n);
      else
        kernels().elementwise.where(sizeof(C), keep, step, p, 1, &fill, 0, p, n);
    }
    if (ctx.has(kMask) && !a_.mask_is_zero) {
      const BinaryFns add = kernels().elementwise.binary(BinaryKind::kAdd, DTypeOf<C>::value);
      const bool one = state.mask.step[3] == 0;
      const TensorView& mask = ctx.in(kMask);
      const C* values = load_as(mask.dtype, mask.data, offset(state.mask), one ? 1 : n, buffer);
      (one ? add.vector_scalar : add.vector_vector)(p, values, p, n);
    }
    softmax_row(p, p, n);
    // A row with a NaN is NaN throughout.
    if (a_.nan_to_zero && p[0] != p[0]) std::fill_n(p, n, C{0});
  }

  DType dtype_;
  Attributes a_;
};

bool all_zero(const Tensor* mask) {
  if (mask == nullptr) return false;
  double block[kBlock];
  for (int64_t i = 0; i < mask->count(); i += kBlock) {
    const int64_t n = std::min(kBlock, mask->count() - i);
    const double* values = load_as(mask->dtype(), mask->view().data, i, n, block);
    if (!std::all_of(values, values + n, [](double v) { return v == 0.0; })) return false;
  }
  return true;
}

// Attributes of type float would round what a float64 model says.
double number(const NodeContext& ctx, const char* name, double otherwise) {
  const Tensor* t = ctx.attr_tensor(name);
  if (t == nullptr) return otherwise;
  require(t->dtype() == DType::kFloat64 && t->count() == 1, ErrorCode::kInvalidModel, "attribute '", name,
          "' must be one float64");
  return *t->as<double>();
}

std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(3, 7);
  ctx.expect_dtype(kQ, {kFloat32, kFloat64, kFloat16, kBFloat16});
  for (int i : {kK, kV, kMask, kPastKey, kPastValue})
    if (ctx.has_input(i)) ctx.expect_same_dtype(kQ, i);
  if (ctx.has_input(kKeep)) ctx.expect_dtype(kKeep, {kBool});
  require(ctx.has_input(kPastKey) == ctx.has_input(kPastValue), ErrorCode::kInvalidModel,
          "past_key and past_value must be given together");
  for (int i : {kY, kPresentKey, kPresentValue})
    if (ctx.has_output(i)) ctx.output(i, ctx.dtype(kQ));
  require(ctx.has_input(kPastKey) || (!ctx.has_output(kPresentKey) && !ctx.has_output(kPresentValue)),
          ErrorCode::kInvalidModel, "present keys and values without past ones");
  Attributes a;
  a.scale = number(ctx, "scale", 1.0);
  a.rows_first[kQ] = ctx.attr_int("q_rows_first", 0) != 0;
  a.rows_first[kK] = ctx.attr_int("k_rows_first", 0) != 0;
  a.rows_first[kV] = ctx.attr_int("v_rows_first", 0) != 0;
  a.fill = number(ctx, "fill", 0.0);
  a.fill_where = ctx.attr_int("fill_where", 0) != 0;
  a.nan_to_zero = ctx.attr_int("nan_to_zero", 0) != 0;
  a.mask_is_zero = ctx.has_input(kMask) && all_zero(ctx.constant(kMask));
  return std::make_unique<FusedAttention>(ctx.dtype(kQ), a);
}

}  // namespace

std::span<const OpDef> fused_attention_ops() {
  static constexpr OpDef kOps[] = {{"pyinfer", "Attention", 1, make}};
  return kOps;
}

}  // namespace pyinfer
