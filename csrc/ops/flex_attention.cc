// FlexAttention: Y = prob_mod(softmax(score_mod(scale Q K^T))) V, where both modifiers are subgraphs, or
// absent.
#include <cmath>
#include <optional>

#include "base/math.h"
#include "ops/attention_core.h"
#include "ops/op.h"
#include "ops/softmax_row.h"

namespace pyinfer {
namespace {

struct FlexState final : StepState {
  AttentionShape shape;
  AttentionScratch scratch;
};

class FlexAttention final : public Op {
 public:
  FlexAttention(DType compute, DType softmax, std::optional<float> scale, std::unique_ptr<Body> score_mod,
                std::unique_ptr<Body> prob_mod)
      : compute_(compute),
        softmax_(softmax),
        scale_(scale),
        score_mod_(std::move(score_mod)),
        prob_mod_(std::move(prob_mod)) {}

  void plan(PlanContext& ctx) const override {
    const Shape &q = ctx.shape(0), &k = ctx.shape(1), &v = ctx.shape(2);
    require(q.rank() == 4 && k.rank() == 4 && v.rank() == 4, ErrorCode::kInvalidInput, "Q, K, V of shapes ",
            q, ", ", k, ", ", v, " must have 4 dimensions");
    auto state = std::make_unique<FlexState>();
    AttentionShape& s = state->shape;
    s = {.batch = q[0],
         .q_heads = q[1],
         .kv_heads = k[1],
         .q_rows = q[2],
         .kv_rows = k[2],
         .size = q[3],
         .v_size = v[3]};
    require(k == Shape({s.batch, s.kv_heads, s.kv_rows, s.size}) &&
                v == Shape({s.batch, s.kv_heads, s.kv_rows, s.v_size}) &&
                (s.kv_heads > 0 ? s.q_heads % s.kv_heads == 0 : s.q_heads == 0),
            ErrorCode::kInvalidInput, "Q, K, V of shapes ", q, ", ", k, ", ", v, " do not fit each other");
    if (const auto bytes = scores_bytes(s); score_mod_ || prob_mod_)
      require(bytes <= ctx.limits().max_tensor_bytes, ErrorCode::kLimit, "scores of shape ", s.scores(),
              " would exceed max_tensor_bytes=", ctx.limits().max_tensor_bytes);
    ctx.output(0, Shape({s.batch, s.q_heads, s.q_rows, s.v_size}));
    state->scratch = AttentionScratch::plan(ctx, s, compute_);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    with_compute_type(compute_, [&]<class C>() { run_as<C>(ctx); });
  }

 private:
  int64_t scores_bytes(const AttentionShape& s) const {
    const auto bytes = checked_mul(s.scores().count(), static_cast<int64_t>(dtype_size(softmax_)));
    require(bytes.has_value(), ErrorCode::kLimit, "scores of shape ", s.scores(), " are too many");
    return *bytes;
  }

  // use(b, h, row, rows, p, worker) for every block of rows.
  template <class C, class Use>
  static void each_block(RunContext& ctx, const AttentionShape& s, const AttentionCore<C>& core, int parts,
                         Use use) {
    core.each_block(ctx, parts, [&](int worker, int64_t b, int64_t h, int64_t row) {
      use(b, h, row, std::min(s.block(), s.q_rows - row), core.score_block(worker), worker);
    });
  }

  template <class C>
  void run_as(RunContext& ctx) const {
    const auto& state = ctx.state<FlexState>();
    const AttentionShape& s = state.shape;
    if (s.empty() || s.v_size == 0) return;
    const C scale = scale_ ? static_cast<C>(*scale_) : C{1} / std::sqrt(static_cast<C>(s.size));
    AttentionCore<C> core(ctx, s, state.scratch, scale);
    core.q = HeadRows::of(ctx.in(0), false, s.q_heads, s.q_rows, s.size);
    core.k = HeadRows::of(ctx.in(1), false, s.kv_heads, s.kv_rows, s.size);
    core.v = HeadRows::of(ctx.in(2), false, s.kv_heads, s.kv_rows, s.v_size);
    core.y = HeadRows::of(ctx.out(0), false, s.q_heads, s.q_rows, s.v_size);
    if (!score_mod_ && !prob_mod_) {
      each_block(ctx, s, core, core.kKeys | core.kValues,
                 [&](int64_t b, int64_t h, int64_t row, int64_t rows, C* p, int worker) {
                   core.scores(worker, b, h, row, rows, 0, s.total(), p);
                   softmax_rows(s, rows, p);
                   core.output(worker, b, h, row, rows, 0, s.total(), p);
                 });
      return;
    }
    run_modified(ctx, s, core);
  }

  // Scores and probabilities of all heads at once, for the subgraphs to see.
  template <class C>
  void run_modified(RunContext& ctx, const AttentionShape& s, const AttentionCore<C>& core) const {
    HeldBytes held(ctx.limits().max_total_bytes);
    held.add(scores_bytes(s));
    Tensor scores(softmax_, s.scores());
    const auto at = [&](int64_t b, int64_t h, int64_t row) {
      return ((b * s.q_heads + h) * s.q_rows + row) * s.total();
    };
    each_block(ctx, s, core, core.kKeys,
               [&](int64_t b, int64_t h, int64_t row, int64_t rows, C* p, int worker) {
                 core.scores(worker, b, h, row, rows, 0, s.total(), p);
                 store_as(softmax_, scores.view().data, at(b, h, row), rows * s.total(), p);
               });
    scores = modified(ctx, score_mod_.get(), std::move(scores), "score_mod");
    held.add(scores_bytes(s));
    Tensor probabilities(softmax_, s.scores());
    each_block(ctx, s, core, core.kNothing, [&](int64_t b, int64_t h, int64_t row, int64_t rows, C* p, int) {
      const int64_t n = rows * s.total();
      const C* from = load_as(softmax_, scores.view().data, at(b, h, row), n, p);
      if (from != p) std::copy_n(from, n, p);
      softmax_rows(s, rows, p);
      store_as(softmax_, probabilities.view().data, at(b, h, row), n, p);
    });
    probabilities = modified(ctx, prob_mod_.get(), std::move(probabilities), "prob_mod");
    each_block(
        ctx, s, core, core.kValues, [&](int64_t b, int64_t h, int64_t row, int64_t rows, C* p, int worker) {
          const C* from = load_as(softmax_, probabilities.view().data, at(b, h, row), rows * s.total(), p);
          core.output(worker, b, h, row, rows, 0, s.total(), from);
        });
  }

  Tensor modified(RunContext& ctx, const Body* body, Tensor tensor, const char* name) const {
    if (!body) return tensor;
    const Shape shape = tensor.shape();
    std::vector<Object> outputs;
    body->run(ctx, {Object::of(std::move(tensor))}, outputs);
    const Tensor& out = outputs.at(0).tensor;
    require(out.dtype() == softmax_ && out.shape() == shape, ErrorCode::kInvalidModel, name,
            " gives a tensor of shape ", out.shape(), ", expected ", shape);
    return out;
  }

  template <class C>
  static void softmax_rows(const AttentionShape& s, int64_t rows, C* p) {
    for (int64_t i = 0; i < rows; ++i) softmax_row(p + i * s.total(), p + i * s.total(), s.total());
  }

  DType compute_, softmax_;
  std::optional<float> scale_;
  std::unique_ptr<Body> score_mod_, prob_mod_;
};

std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(3, 3);
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16});
  ctx.expect_same_dtype(0, 1);
  ctx.expect_same_dtype(0, 2);
  ctx.output(0, ctx.dtype(0));
  const DType softmax = ctx.attr_dtype("softmax_precision", ctx.dtype(0) == kFloat64 ? kFloat64 : kFloat32);
  if (softmax != kFloat32 && softmax != kFloat64 && softmax != kFloat16 && softmax != kBFloat16)
    ctx.unsupported("softmax_precision ", dtype_name(softmax), ", expected a floating type");
  const auto modifier = [&](const char* name) -> std::unique_ptr<Body> {
    if (!ctx.attr_graph(name)) return nullptr;
    auto body = ctx.body(name, {ValueType{.dtype = softmax}});
    require(body->output_types().size() == 1 && body->output_types()[0] == ValueType{.dtype = softmax},
            ErrorCode::kInvalidModel, name, " must give one tensor of type ", dtype_name(softmax));
    return body;
  };
  std::optional<float> scale;
  if (ctx.has_attr("scale")) scale = ctx.attr_float("scale");
  const bool wide = ctx.dtype(0) == kFloat64 || softmax == kFloat64;
  auto score_mod = modifier("score_mod"), prob_mod = modifier("prob_mod");
  return std::make_unique<FlexAttention>(wide ? kFloat64 : kFloat32, softmax, scale, std::move(score_mod),
                                         std::move(prob_mod));
}

}  // namespace

std::span<const OpDef> flex_attention_ops() {
  static constexpr OpDef kOps[] = {{"ai.onnx.preview", "FlexAttention", 1, make}};
  return kOps;
}

}  // namespace pyinfer
