// LinearAttention: a state S of d_k x d_v per head goes through the tokens, all in float32:
//   S = exp(g) S (gated);   v = beta (v - S^T k) (delta);   S = S + k v^T;   o = scale S^T q
#include <cmath>

#include "kernels/elementwise.h"
#include "ops/elements.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

enum Input { kQuery, kKey, kValue, kPastState, kDecay, kBeta };

struct LinearState final : StepState {
  int64_t batch = 0, tokens = 0, d_k = 0, d_v = 0;
  int64_t decays = 0, betas = 0;  // values of decay and beta a token has
};

class LinearAttention final : public Op {
 public:
  LinearAttention(int64_t q_heads, int64_t kv_heads, float scale, bool gated, bool delta)
      : q_heads_(q_heads), kv_heads_(kv_heads), scale_(scale), gated_(gated), delta_(delta) {}

  void plan(PlanContext& ctx) const override {
    const Shape &q = ctx.shape(kQuery), &k = ctx.shape(kKey), &v = ctx.shape(kValue);
    auto s = std::make_unique<LinearState>();
    require(q.rank() == 3 && k.rank() == 3 && v.rank() == 3 && q[2] % q_heads_ == 0 && v[2] % kv_heads_ == 0,
            ErrorCode::kInvalidInput, "query, key, value of shapes ", q, ", ", k, ", ", v,
            " do not split into ", q_heads_, " and ", kv_heads_, " heads");
    s->batch = q[0];
    s->tokens = q[1];
    s->d_k = q[2] / q_heads_;
    s->d_v = v[2] / kv_heads_;
    const auto expect = [&](const char* name, const Shape& actual, const Shape& expected) {
      require(actual == expected, ErrorCode::kInvalidInput, name, " has shape ", actual, ", expected ",
              expected);
    };
    expect("key", k, Shape({s->batch, s->tokens, kv_heads_ * s->d_k}));
    expect("value", v, Shape({s->batch, s->tokens, kv_heads_ * s->d_v}));
    const Shape state({s->batch, kv_heads_, s->d_k, s->d_v});
    if (ctx.has(kPastState)) expect("past_state", ctx.shape(kPastState), state);
    if (gated_) {
      const Shape& decay = ctx.shape(kDecay);
      s->decays = decay.rank() == 3 && decay[2] == kv_heads_ ? 1 : s->d_k;
      expect("decay", decay, Shape({s->batch, s->tokens, kv_heads_ * s->decays}));
    }
    if (delta_) {
      const Shape& beta = ctx.shape(kBeta);
      s->betas = beta.rank() == 3 && beta[2] == 1 ? 1 : kv_heads_;
      expect("beta", beta, Shape({s->batch, s->tokens, s->betas}));
    }
    ctx.output(0, Shape({s->batch, s->tokens, q_heads_ * s->d_v}));
    if (ctx.wants(1)) ctx.output(1, state);
    ScratchLayout layout;
    layout.take(ctx.workers(), worker_size(*s) * 4);
    ctx.scratch(layout.bytes());
    ctx.flops(product_flops(s->batch * s->tokens * (q_heads_ + 2 * kv_heads_), s->d_k, s->d_v));
    ctx.state(std::move(s));
  }

  void run(RunContext& ctx) const override {
    const auto& s = ctx.state<LinearState>();
    if (s.batch == 0 || (s.d_k == 0 && s.d_v == 0)) return;
    ctx.parallel(s.batch * kv_heads_, 1, [&](int64_t begin, int64_t end, int worker) {
      float* scratch = ctx.scratch_as<float>() + worker * worker_size(s);
      for (int64_t i = begin; i < end; ++i) head(ctx, s, i / kv_heads_, i % kv_heads_, scratch);
    });
  }

 private:
  // The state, then q, k, exp(g), v, o.
  static int64_t worker_size(const LinearState& s) {
    const auto state = checked_mul(s.d_k, s.d_v);
    require(state && *state < INT64_MAX / 64 && s.d_k < INT64_MAX / 64 && s.d_v < INT64_MAX / 64,
            ErrorCode::kLimit, "heads of sizes ", s.d_k, " and ", s.d_v, " are too large");
    return round_up(*state + 3 * s.d_k + 3 * s.d_v, 16);
  }

  void head(RunContext& ctx, const LinearState& s, int64_t b, int64_t h, float* state) const {
    const int64_t size = s.d_k * s.d_v, at_state = (b * kv_heads_ + h) * size, group = q_heads_ / kv_heads_;
    float *q_buffer = state + size, *k_buffer = q_buffer + s.d_k, *gate = k_buffer + s.d_k;
    float *v = gate + s.d_k, *o = v + s.d_v, *seen = o + s.d_v;
    const auto load = [&](int input, int64_t at, int64_t n, float* to) {
      return load_as(ctx.in(input).dtype, ctx.in(input).data, at, n, to);
    };
    std::fill_n(state, size, 0.0f);
    if (ctx.has(kPastState)) {
      const float* past = load(kPastState, at_state, size, state);
      if (past != state) std::copy_n(past, size, state);
    }
    for (int64_t t = 0; t < s.tokens; ++t) {
      const int64_t token = b * s.tokens + t, row = token * kv_heads_ + h;
      const float* k = load(kKey, row * s.d_k, s.d_k, k_buffer);
      const float* given = load(kValue, row * s.d_v, s.d_v, v);
      if (given != v) std::copy_n(given, s.d_v, v);
      if (gated_) {
        unary(UnaryKind::kExp, DType::kFloat32, load(kDecay, row * s.decays, s.decays, gate), gate, s.decays);
        for (int64_t i = 0; i < s.d_k; ++i) {
          const float g = gate[s.decays == 1 ? 0 : i];
          for (int64_t j = 0; j < s.d_v; ++j) state[i * s.d_v + j] *= g;
        }
      }
      if (delta_) {
        float one;
        const float beta = *load(kBeta, s.betas == 1 ? token : row, 1, &one);
        read(s, state, k, seen);
        for (int64_t j = 0; j < s.d_v; ++j) v[j] = beta * (v[j] - seen[j]);
      }
      for (int64_t i = 0; i < s.d_k; ++i)
        for (int64_t j = 0; j < s.d_v; ++j) state[i * s.d_v + j] += k[i] * v[j];
      const float scale = scale_ == 0.0f ? 1.0f / std::sqrt(static_cast<float>(s.d_k)) : scale_;
      for (int64_t g = 0; g < group; ++g) {
        const int64_t q_row = token * q_heads_ + h * group + g;
        read(s, state, load(kQuery, q_row * s.d_k, s.d_k, q_buffer), o);
        for (int64_t j = 0; j < s.d_v; ++j) o[j] *= scale;
        store_as(ctx.out(0).dtype, ctx.out(0).data, q_row * s.d_v, s.d_v, o);
      }
    }
    if (ctx.wants(1)) store_as(ctx.out(1).dtype, ctx.out(1).data, at_state, size, state);
  }

  // y = S^T x, each element one chain over the rows of S.
  static void read(const LinearState& s, const float* state, const float* x, float* y) {
    std::fill_n(y, s.d_v, 0.0f);
    for (int64_t i = 0; i < s.d_k; ++i)
      for (int64_t j = 0; j < s.d_v; ++j) y[j] += x[i] * state[i * s.d_v + j];
  }

  int64_t q_heads_, kv_heads_;
  float scale_;
  bool gated_, delta_;
};

std::unique_ptr<Op> make(NodeContext& ctx) {
  ctx.expect_inputs(3, 6);
  for (int i = 0; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_dtype(i, {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  for (int i : {kKey, kValue}) ctx.expect_same_dtype(kQuery, i);
  const int64_t q_heads = ctx.attr_int("q_num_heads"), kv_heads = ctx.attr_int("kv_num_heads");
  require(q_heads > 0 && kv_heads > 0 && q_heads % kv_heads == 0, ErrorCode::kInvalidModel, "q_num_heads ",
          q_heads, " is no positive multiple of kv_num_heads ", kv_heads);
  const std::string rule = ctx.attr_string("update_rule", "gated_delta");
  require(rule == "linear" || rule == "gated" || rule == "delta" || rule == "gated_delta",
          ErrorCode::kInvalidModel, "update_rule is '", rule,
          "', expected linear, gated, delta or gated_delta");
  const bool gated = rule.starts_with("gated"), delta = rule.ends_with("delta");
  require(ctx.has_input(kDecay) == gated && ctx.has_input(kBeta) == delta, ErrorCode::kInvalidModel,
          "update_rule '", rule, "' needs decay: ", gated, ", beta: ", delta);
  ctx.output(0, ctx.dtype(kQuery));
  if (ctx.has_output(1)) ctx.output(1, ctx.dtype(ctx.has_input(kPastState) ? kPastState : kQuery));
  return std::make_unique<LinearAttention>(q_heads, kv_heads, ctx.attr_float("scale", 0.0f), gated, delta);
}

}  // namespace

std::span<const OpDef> linear_attention_ops() {
  static constexpr OpDef kOps[] = {{"", "LinearAttention", 1, make}};
  return kOps;
}

}  // namespace pyinfer
