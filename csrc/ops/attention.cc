// Attention: Y = softmax(softcap(scale Q K^T) + mask) V, head by head; softcap(s) = cap tanh(s / cap).
// Query i of a block sees key j where every bound that is given allows it, with p = offset + i:
//   causal j <= p;  windows p - left <= j <= p + right;  padding j < nonpad_kv_seqlen;  a mask's own value.
// A query that sees no key gives a row of zeros.
#include <cmath>
#include <optional>

#include "kernels/elementwise.h"
#include "ops/attention_core.h"
#include "ops/op.h"
#include "ops/softmax_row.h"

namespace pyinfer {
namespace {

enum Input { kQ, kK, kV, kMask, kPastKey, kPastValue, kNonpad };
enum Output { kY, kPresentKey, kPresentValue, kScores };
enum class ScoresMode { kRaw, kCapped, kMasked, kProbabilities };

constexpr int64_t kUnbounded = int64_t{1} << 60;

struct Attributes {
  bool causal = false;
  std::optional<float> scale;
  float softcap = 0.0f;
  int64_t q_heads = 0, kv_heads = 0;
  int64_t left = kUnbounded, right = kUnbounded;
  ScoresMode mode = ScoresMode::kRaw;
  DType softmax_type = DType::kUndefined;
};

struct AttentionState final : StepState {
  AttentionShape shape;
  AttentionScratch scratch;
  bool heads_last = false;
  int64_t mask_strides[3] = {}, mask_size = 0;  // of batch, head, row; keys that the mask covers
};

class Attention final : public Op {
 public:
  Attention(DType dtype, const Attributes& attributes) : dtype_(dtype), a_(attributes) {}

  void plan(PlanContext& ctx) const override {
    auto state = std::make_unique<AttentionState>();
    AttentionShape& s = state->shape;
    const Shape &q = ctx.shape(kQ), &k = ctx.shape(kK), &v = ctx.shape(kV);
    require((q.rank() == 3 || q.rank() == 4) && k.rank() == q.rank() && v.rank() == q.rank(),
            ErrorCode::kInvalidInput, "Q, K, V of shapes ", q, ", ", k, ", ", v,
            " must all have 3 or all have 4 dimensions");
    state->heads_last = q.rank() == 3;
    if (state->heads_last)
      split_heads(s, q, k, v);
    else
      s = {.batch = q[0],
           .q_heads = q[1],
           .kv_heads = k[1],
           .q_rows = q[2],
           .kv_rows = k[2],
           .size = q[3],
           .v_size = v[3]};
    const bool same = state->heads_last
                          ? k[0] == s.batch && v[0] == s.batch && k[1] == v[1] && k[2] == s.kv_heads * s.size
                          : k == Shape({s.batch, s.kv_heads, s.kv_rows, s.size}) &&
                                v == Shape({s.batch, s.kv_heads, s.kv_rows, s.v_size});
    require(same, ErrorCode::kInvalidInput, "Q, K, V of shapes ", q, ", ", k, ", ", v,
            " do not fit each other");
    require(s.kv_heads > 0 ? s.q_heads % s.kv_heads == 0 : s.q_heads == 0, ErrorCode::kInvalidInput,
            s.q_heads, " query heads are no multiple of ", s.kv_heads, " key heads");
    plan_past(ctx, s);
    plan_mask(ctx, *state);
    ctx.output(kY, state->heads_last ? Shape({s.batch, s.q_rows, s.q_heads * s.v_size})
                                     : Shape({s.batch, s.q_heads, s.q_rows, s.v_size}));
    if (ctx.wants(kPresentKey)) ctx.output(kPresentKey, Shape({s.batch, s.kv_heads, s.total(), s.size}));
    if (ctx.wants(kPresentValue))
      ctx.output(kPresentValue, Shape({s.batch, s.kv_heads, s.total(), s.v_size}));
    if (ctx.wants(kScores)) ctx.output(kScores, s.scores());
    state->scratch = AttentionScratch::plan(ctx, s, dtype_);
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<AttentionState>();
    if (ctx.has(kNonpad))
      for (int64_t n : ctx.in(kNonpad).span<int64_t>())
        require(n >= 0 && n <= state.shape.total(), ErrorCode::kInvalidInput, "nonpad_kv_seqlen holds ", n,
                ", expected 0 to ", state.shape.total());
    with_compute_type(dtype_, [&]<class C>() { Run<C>(*this, ctx, state).run(); });
  }

 private:
  void split_heads(AttentionShape& s, const Shape& q, const Shape& k, const Shape& v) const {
    require(a_.q_heads > 0 && a_.kv_heads > 0, ErrorCode::kInvalidModel,
            "q_num_heads and kv_num_heads are required for inputs of 3 dimensions");
    require(q[2] % a_.q_heads == 0 && k[2] % a_.kv_heads == 0 && v[2] % a_.kv_heads == 0,
            ErrorCode::kInvalidInput, "Q, K, V of shapes ", q, ", ", k, ", ", v, " do not split into ",
            a_.q_heads, " and ", a_.kv_heads, " heads");
    s = {.batch = q[0],
         .q_heads = a_.q_heads,
         .kv_heads = a_.kv_heads,
         .q_rows = q[1],
         .kv_rows = k[1],
         .size = q[2] / a_.q_heads,
         .v_size = v[2] / a_.kv_heads};
  }

  static void plan_past(PlanContext& ctx, AttentionShape& s) {
    if (!ctx.has(kPastKey)) return;
    const Shape &key = ctx.shape(kPastKey), &value = ctx.shape(kPastValue);
    s.past = key.rank() == 4 ? key[2] : 0;
    require(key == Shape({s.batch, s.kv_heads, s.past, s.size}) &&
                value == Shape({s.batch, s.kv_heads, s.past, s.v_size}),
            ErrorCode::kInvalidInput, "past_key of shape ", key, " and past_value of shape ", value,
            " do not fit ", s.kv_heads, " heads of sizes ", s.size, " and ", s.v_size);
    require(checked_add(s.past, s.kv_rows).has_value(), ErrorCode::kLimit, "too many keys");
  }

  static void plan_mask(PlanContext& ctx, AttentionState& state) {
    const AttentionShape& s = state.shape;
    if (ctx.has(kNonpad))
      require(ctx.shape(kNonpad) == Shape({s.batch}), ErrorCode::kInvalidInput, "nonpad_kv_seqlen has shape ",
              ctx.shape(kNonpad), ", expected [", s.batch, "]");
    if (!ctx.has(kMask)) return;
    const Shape& m = ctx.shape(kMask);
    const int64_t full[] = {s.batch, s.q_heads, s.q_rows, s.total()};
    bool fits = m.rank() >= 1 && m.rank() <= 4 && m[m.rank() - 1] <= s.total();
    const auto strides = m.strides();
    for (int d = 0; d + 1 < m.rank() && fits; ++d) {
      const int at = d + 4 - m.rank();
      fits = m[d] == 1 || m[d] == full[at];
      state.mask_strides[at] = m[d] == 1 ? 0 : strides[static_cast<size_t>(d)];
    }
    require(fits, ErrorCode::kInvalidInput, "attn_mask of shape ", m, " does not broadcast to [", s.batch,
            ", ", s.q_heads, ", ", s.q_rows, ", ", s.total(), "]");
    state.mask_size = m[m.rank() - 1];
  }

  struct Range {
    int64_t begin, end;
  };

  // One run in the compute type C.
  template <class C>
  struct Run {
    const Attributes& a;
    RunContext& ctx;
    const AttentionState& state;
    const AttentionShape& s;
    AttentionCore<C> core;
    bool all_scores;

    Run(const Attention& op, RunContext& context, const AttentionState& st)
        : a(op.a_),
          ctx(context),
          state(st),
          s(st.shape),
          core(context, st.shape, st.scratch,
               op.a_.scale ? static_cast<C>(*op.a_.scale) : C{1} / std::sqrt(static_cast<C>(st.shape.size))),
          all_scores(context.wants(kScores)) {
      const bool last = state.heads_last;
      core.q = HeadRows::of(ctx.in(kQ), last, s.q_heads, s.q_rows, s.size);
      core.k = HeadRows::of(ctx.in(kK), last, s.kv_heads, s.kv_rows, s.size);
      core.v = HeadRows::of(ctx.in(kV), last, s.kv_heads, s.kv_rows, s.v_size);
      core.y = HeadRows::of(ctx.out(kY), last, s.q_heads, s.q_rows, s.v_size);
      core.use_cache(ctx, {kPastKey, kPastValue, kPresentKey, kPresentValue});
    }

    void run() {
      if (s.empty() || (s.v_size == 0 && (!all_scores || s.total() == 0))) return core.write_present(ctx);
      core.each_block(ctx, core.kKeys | core.kValues,
                      [&](int worker, int64_t b, int64_t h, int64_t row) { block(worker, b, h, row); });
    }

    // The keys that query `row` of batch b may see.
    Range allowed(int64_t b, int64_t row) const {
      int64_t offset = s.past, end = s.total();
      if (ctx.has(kNonpad)) {
        end = ctx.in<int64_t>(kNonpad)[b];
        if (!ctx.has(kPastKey)) offset = end - s.q_rows;
      }
      const int64_t p = offset + row;
      if (a.causal) end = std::min(end, p + 1);
      end = std::min(end, p + a.right + 1);
      const int64_t begin = std::clamp<int64_t>(p - a.left, 0, s.total());
      return {begin, std::max(begin, end)};
    }

    void block(int worker, int64_t b, int64_t h, int64_t row) {
      const int64_t rows = std::min(s.block(), s.q_rows - row), total = s.total();
      Range seen{total, 0};
      for (int64_t i = 0; i < rows; ++i) {
        const Range r = allowed(b, row + i);
        if (r.begin == r.end) continue;
        seen = {std::min(seen.begin, r.begin), std::max(seen.end, r.end)};
      }
      if (all_scores) seen = {0, total};
      if (seen.begin >= seen.end) seen = {0, 0};
      // Sums over keys begin at a whole number of lanes, so that leaving keys out changes no bit.
      seen.begin -= seen.begin % kPanelWidth;
      C* p = core.score_block(worker);
      core.scores(worker, b, h, row, rows, seen.begin, seen.end, p);
      for (int64_t i = 0; i < rows; ++i) probabilities(worker, b, h, row + i, seen, p + i * total);
      core.output(worker, b, h, row, rows, seen.begin, seen.end, p);
    }

    void keep(ScoresMode mode, int64_t b, int64_t h, int64_t row, const C* p) {
      if (!all_scores || a.mode != mode) return;
      const int64_t at = ((b * s.q_heads + h) * s.q_rows + row) * s.total();
      store_as(ctx.out(kScores).dtype, ctx.out(kScores).data, at, s.total(), p);
    }

    // Scores of one query in place of which come probabilities.
    void probabilities(int worker, int64_t b, int64_t h, int64_t row, Range seen, C* p) {
      const int64_t n = seen.end - seen.begin;
      keep(ScoresMode::kRaw, b, h, row, p);
      if (a.softcap != 0.0f) {
        const C cap = static_cast<C>(a.softcap);
        C* at = p + seen.begin;
        for (int64_t j = 0; j < n; ++j) at[j] /= cap;
        unary(UnaryKind::kTanh, DTypeOf<C>::value, at, at, n);
        for (int64_t j = 0; j < n; ++j) at[j] *= cap;
      }
      keep(ScoresMode::kCapped, b, h, row, p);
      const bool any = apply_mask(worker, b, h, row, seen, p);
      keep(ScoresMode::kMasked, b, h, row, p);
      if (any)
        softmax(worker, p + seen.begin, n);
      else
        std::fill(p + seen.begin, p + seen.end, C{0});
      keep(ScoresMode::kProbabilities, b, h, row, p);
    }

    // -inf where the query sees no key, plus the mask elsewhere. False when it sees none.
    bool apply_mask(int worker, int64_t b, int64_t h, int64_t row, Range seen, C* p) {
      constexpr C kNever = -std::numeric_limits<C>::infinity();
      Range r = allowed(b, row);
      bool any = r.begin < r.end;
      if (ctx.has(kMask)) {
        r.end = std::min(r.end, std::max(r.begin, state.mask_size));
        any = false;
        const int64_t at =
            b * state.mask_strides[0] + h * state.mask_strides[1] + row * state.mask_strides[2] + r.begin;
        const C* mask = mask_values(at, r.end - r.begin, core.row_buffer(worker));
        for (int64_t j = r.begin; j < r.end; ++j) {
          const C m = mask[j - r.begin];
          any |= m != kNever;
          p[j] = m == kNever ? kNever : p[j] + m;
        }
      }
      std::fill(p + seen.begin, p + std::clamp(r.begin, seen.begin, seen.end), kNever);
      std::fill(p + std::clamp(r.end, seen.begin, seen.end), p + seen.end, kNever);
      return any;
    }

    const C* mask_values(int64_t at, int64_t n, C* buffer) const {
      const TensorView& mask = ctx.in(kMask);
      if (dtype_is_float(mask.dtype)) return load_as(mask.dtype, mask.data, at, n, buffer);
      if (mask.dtype == DType::kBool) {
        const bool* sees = mask.as<bool>() + at;
        for (int64_t i = 0; i < n; ++i) buffer[i] = sees[i] ? C{0} : -std::numeric_limits<C>::infinity();
        return buffer;
      }
      int64_t block[kBlock];
      for (int64_t i = 0; i < n; i += kBlock) {
        const int64_t m = std::min(kBlock, n - i);
        const int64_t* values = load_as(mask.dtype, mask.data, at + i, m, block);
        for (int64_t j = 0; j < m; ++j) buffer[i + j] = static_cast<C>(values[j]);
      }
      return buffer;
    }

    // Softmax in the asked precision, then back.
    void softmax(int worker, C* p, int64_t n) {
      const DType type = a.softmax_type;
      if (type == DType::kFloat64 && std::is_same_v<C, float>) {
        // Two rows of floats hold one of doubles.
        double* wide = reinterpret_cast<double*>(core.row_buffer(worker));
        for (int64_t j = 0; j < n; ++j) wide[j] = static_cast<double>(p[j]);
        softmax_row(wide, wide, n);
        for (int64_t j = 0; j < n; ++j) p[j] = static_cast<C>(wide[j]);
        return;
      }
      const bool rounds = type == DType::kFloat16 || type == DType::kBFloat16;
      if (rounds) round_to(type, p, n);
      softmax_row(p, p, n);
      if (rounds) round_to(type, p, n);
    }

    static void round_to(DType type, C* p, int64_t n) {
      uint16_t block[kBlock];
      for (int64_t i = 0; i < n; i += kBlock) {
        const int64_t m = std::min(kBlock, n - i);
        store_as(type, block, 0, m, p + i);
        load_as(type, block, 0, m, p + i);
      }
    }
  };

  DType dtype_;
  Attributes a_;
};

int64_t window(const NodeContext& ctx, const char* name) {
  const int64_t size = ctx.attr_int(name, -1);
  require(size >= -1, ErrorCode::kInvalidModel, name, " is ", size, ", expected -1 or more");
  return size < 0 ? kUnbounded : std::min(size, kUnbounded);
}

std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(3, 7);
  for (int i : {kQ, kK, kV}) ctx.expect_dtype(i, {kFloat32, kFloat64, kFloat16, kBFloat16});
  ctx.expect_same_dtype(kQ, kK);
  if (ctx.has_input(kMask))
    ctx.expect_dtype(kMask, {kBool, kFloat32, kFloat64, kFloat16, kBFloat16, kInt8, kInt16, kInt32, kInt64,
                             kUInt8, kUInt16, kUInt32, kUInt64});
  require(ctx.has_input(kPastKey) == ctx.has_input(kPastValue), ErrorCode::kInvalidModel,
          "past_key and past_value must be given together");
  if (ctx.has_input(kPastKey)) {
    ctx.expect_same_dtype(kK, kPastKey);
    ctx.expect_same_dtype(kV, kPastValue);
    require(!ctx.has_input(kNonpad), ErrorCode::kInvalidModel,
            "nonpad_kv_seqlen cannot be combined with past_key");
  }
  if (ctx.has_input(kNonpad)) ctx.expect_dtype(kNonpad, {kInt64});
  for (int i : {kY, kPresentKey, kScores})
    if (ctx.has_output(i)) ctx.output(i, ctx.dtype(kQ));
  if (ctx.has_output(kPresentValue)) ctx.output(kPresentValue, ctx.dtype(kV));

  Attributes a;
  a.causal = ctx.attr_int("is_causal", 0) != 0;
  if (ctx.has_attr("scale")) a.scale = ctx.attr_float("scale");
  a.softcap = ctx.attr_float("softcap", 0.0f);
  a.q_heads = ctx.attr_int("q_num_heads", 0);
  a.kv_heads = ctx.attr_int("kv_num_heads", 0);
  a.left = window(ctx, "left_window_size");
  a.right = window(ctx, "right_window_size");
  const int64_t mode = ctx.attr_int("qk_matmul_output_mode", 0);
  require(mode >= 0 && mode <= 3, ErrorCode::kInvalidModel, "qk_matmul_output_mode is ", mode,
          ", expected 0 to 3");
  a.mode = static_cast<ScoresMode>(mode);
  a.softmax_type = ctx.attr_dtype("softmax_precision", kUndefined);
  if (a.softmax_type != kUndefined && a.softmax_type != kFloat32 && a.softmax_type != kFloat64 &&
      a.softmax_type != kFloat16 && a.softmax_type != kBFloat16)
    ctx.unsupported("softmax_precision ", dtype_name(a.softmax_type), ", expected a floating type");
  return std::make_unique<Attention>(ctx.dtype(kQ), a);
}

}  // namespace

std::span<const OpDef> attention_ops() {
  static constexpr OpDef kOps[] = {{"", "Attention", 1, make}};
  return kOps;
}

}  // namespace pyinfer
