// One-layer recurrent networks, X of T x B x I (layout 0) or B x T x I (layout 1). W x + R h + biases are
// split: W x of all time steps is one matrix product, R h one a step.
//   RNN   h' = f(W x + R h)
//   GRU   z, r = f(W x + R h),  n = g(W x + R (r h)) or g(W x + r (R h)) with linear_before_reset,
//         h' = (1 - z) n + z h
//   LSTM  i, f = f(W x + R h + P c),  c' = f c + i g(W x + R h),  o = f(W x + R h + P c'),  h' = o h(c')
#include "ops/recurrent.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "ops/elements.h"

namespace pyinfer {
namespace {

struct RecurrentState final : StepState {
  int64_t steps = 0, batch = 0;
  int64_t x = 0, products = 0, h = 0, c = 0, gates = 0, extra = 0, weights = 0,
          buffer = 0;  // scratch offsets
};

// Rows of a batch that one task carries through time.
constexpr int64_t kTaskRows = 16;

template <class C>
class Recurrent final : public Op {
 public:
  Recurrent(NodeContext& ctx, const RecurrentAttributes& attributes) : a_(attributes), dtype_(ctx.dtype(0)) {
    const int peepholes = 7;
    const Tensor *w = ctx.constant(1), *r = ctx.constant(2), *b = ctx.constant(3),
                 *p = ctx.constant(peepholes);
    if (!w || !r || (ctx.has_input(3) && !b) || (ctx.has_input(peepholes) && !p)) return;
    const auto shape = [](const Tensor* t) { return t ? &t->shape() : nullptr; };
    const auto view = [](const Tensor* t) { return t ? &t->view() : nullptr; };
    weights_.emplace(a_, w->shape(), r->shape(), shape(b), shape(p));
    std::vector<const Tensor*> sources;
    std::string layout = join("recurrent ", sizeof(C), " ", weights_->gates, weights_->split);
    for (int i : {1, 2, 3, peepholes}) {
      if (!ctx.has_input(i)) continue;
      ctx.packed(i);
      sources.push_back(ctx.constant(i));
      layout += join(" ", i);
    }
    const int64_t bytes = Shape({weights_->size(), int64_t{sizeof(C)}}).count();
    packed_ = ctx.packed_weights()->get(sources, layout, bytes, [&](std::byte* to) {
      const AlignedBytes buffer(static_cast<size_t>(weights_->buffer_size()) * sizeof(C));
      weights_->build(w->view(), r->view(), view(b), view(p), reinterpret_cast<C*>(to), buffer.as<C>());
    });
  }

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(x.rank() == 3, ErrorCode::kInvalidInput, "X has shape ", x, ", expected 3 dimensions");
    const RecurrentWeights<C> weights = weights_of(ctx);
    auto s = std::make_unique<RecurrentState>();
    s->steps = x[a_.batch_first ? 1 : 0];
    s->batch = x[a_.batch_first ? 0 : 1];
    require(x[2] == weights.input, ErrorCode::kInvalidInput, "X has shape ", x, ", expected ", weights.input,
            " as its last dimension, as W has");
    const int64_t t = s->steps, b = s->batch, h = weights.hidden, d = weights.directions;
    const Shape state = a_.batch_first ? Shape({b, d, h}) : Shape({d, b, h});
    const auto expect = [&](int i, const Shape& expected) {
      require(!ctx.has(i) || ctx.shape(i) == expected, ErrorCode::kInvalidInput, "input ", i, " has shape ",
              ctx.has(i) ? ctx.shape(i).str() : "", ", expected ", expected);
    };
    expect(4, Shape({b}));
    expect(5, state);
    expect(6, state);
    if (ctx.wants(0)) ctx.output(0, a_.batch_first ? Shape({b, t, d, h}) : Shape({t, d, b, h}));
    for (int i : {1, 2})
      if (ctx.wants(i)) ctx.output(i, state);
    ScratchLayout layout;
    const int64_t rows = product(t, b);
    if (dtype_ != DTypeOf<C>::value) s->x = layout.take(product(rows, weights.input), sizeof(C));
    s->products = layout.take(product(product(rows, d), weights.width()), sizeof(C));
    s->h = layout.take(product(d * b, h), sizeof(C));
    s->c = layout.take(product(d * b, h), sizeof(C));
    s->gates = layout.take(product(d * b, weights.width()), sizeof(C));
    s->extra = layout.take(product(2 * d * b, h), sizeof(C));
    if (!weights_) {
      s->weights = layout.take(weights.size(), sizeof(C));
      s->buffer = layout.take(weights.buffer_size(), sizeof(C));
    }
    ctx.scratch(layout.bytes());
    ctx.flops(product_flops(rows * d, weights.width(), weights.input + h));
    ctx.state(std::move(s));
  }

  void run(RunContext& ctx) const override {
    const auto& s = ctx.state<RecurrentState>();
    Run run{ctx, s, a_, weights_ ? *weights_ : weights_of(ctx), dtype_};
    run.lengths = lengths(ctx, s);
    run.base = weights_ ? packed_->as<C>() : run_weights(ctx, run.weights, s);
    if (s.batch == 0 || run.weights.hidden == 0) return;
    run.project();
    run.load_states();
    const int64_t d = a_.directions, tasks = d * ceil_div(s.batch, kTaskRows);
    if (tasks >= ctx.workers() || ctx.workers() == 1) {
      ctx.parallel(tasks, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t row = i / d * kTaskRows;
          run.carry(static_cast<int>(i % d), row, std::min(s.batch, row + kTaskRows), false);
        }
      });
    } else {
      for (int i = 0; i < d; ++i) run.carry(i, 0, s.batch, true);
    }
    run.store_states();
  }

 private:
  static int64_t product(int64_t a, int64_t b) {
    const auto n = checked_mul(a, b);
    require(n.has_value(), ErrorCode::kLimit, "sizes of ", a, " and ", b, " are too large together");
    return *n;
  }

  template <class Context>
  RecurrentWeights<C> weights_of(Context& ctx) const {
    if (weights_) return *weights_;
    const auto shape = [&](int i) {
      if constexpr (std::is_same_v<Context, RunContext>)
        return ctx.has(i) ? &ctx.in(i).shape : nullptr;
      else
        return ctx.has(i) ? &ctx.shape(i) : nullptr;
    };
    return RecurrentWeights<C>(a_, *shape(1), *shape(2), shape(3), shape(7));
  }

  const C* run_weights(RunContext& ctx, const RecurrentWeights<C>& weights, const RecurrentState& s) const {
    C* to = reinterpret_cast<C*>(ctx.scratch() + s.weights);
    const auto view = [&](int i) { return ctx.has(i) ? &ctx.in(i) : nullptr; };
    weights.build(ctx.in(1), ctx.in(2), view(3), view(7), to, reinterpret_cast<C*>(ctx.scratch() + s.buffer));
    return to;
  }

  const int32_t* lengths(RunContext& ctx, const RecurrentState& s) const {
    if (!ctx.has(4)) return nullptr;
    for (int32_t length : ctx.in(4).span<int32_t>())
      require(length >= 0 && length <= s.steps, ErrorCode::kInvalidInput, "sequence_lens holds ", length,
              ", expected 0 to ", s.steps);
    return ctx.in<int32_t>(4);
  }

  // One run: pointers into scratch, and the loops over them.
  struct Run {
    RunContext& ctx;
    const RecurrentState& s;
    const RecurrentAttributes& a;
    RecurrentWeights<C> weights;
    DType dtype;
    const int32_t* lengths = nullptr;
    const C* base = nullptr;

    C* at(int64_t offset) const { return reinterpret_cast<C*>(ctx.scratch() + offset); }
    int64_t state_at(int d, int64_t b) const { return (d * s.batch + b) * weights.hidden; }
    int64_t given_state_at(int d, int64_t b) const {
      return (a.batch_first ? b * weights.directions + d : d * s.batch + b) * weights.hidden;
    }
    const C* product_row(int d, int64_t t, int64_t b) const {
      const int64_t rows = s.steps * s.batch, row = a.batch_first ? b * s.steps + t : t * s.batch + b;
      return at(s.products) + (d * rows + row) * weights.width();
    }

    // W x + bias for all steps, rows and directions.
    void project() {
      const int64_t rows = s.steps * s.batch, k = weights.input, n = weights.width();
      const C* x = load_as(dtype, ctx.in(0).data, 0, rows * k, at(s.x));
      const Tiling tiling(rows, panel_count(n), k * kPanelWidth);
      for (int d = 0; d < weights.directions; ++d) {
        const PanelProduct<C> product{.a = x,
                                      .lda = k,
                                      .b = weights.w(base, d),
                                      .k = k,
                                      .n = n,
                                      .bias = weights.bias(base, d),
                                      .c = at(s.products) + d * rows * n,
                                      .ldc = n};
        ctx.parallel(tiling.count(), 1, [&](int64_t begin, int64_t end, int) {
          for (int64_t t = begin; t < end; ++t)
            product.run(tiling.row_begin(t), tiling.row_end(t), tiling.panel_begin(t), tiling.panel_end(t));
        });
      }
    }

    void load_states() {
      for (int d = 0; d < weights.directions; ++d)
        for (int64_t b = 0; b < s.batch; ++b)
          for (int input : {5, 6}) {
            C* to = at(input == 5 ? s.h : s.c) + state_at(d, b);
            if (!ctx.has(input)) {
              std::fill_n(to, weights.hidden, C{0});
              continue;
            }
            const C* from = load_as(dtype, ctx.in(input).data, given_state_at(d, b), weights.hidden, to);
            if (from != to) std::copy_n(from, weights.hidden, to);
          }
    }
    void store_states() {
      for (int output : {1, 2}) {
        if (!ctx.wants(output)) continue;
        for (int d = 0; d < weights.directions; ++d)
          for (int64_t b = 0; b < s.batch; ++b)
            store_as(dtype, ctx.out(output).data, given_state_at(d, b), weights.hidden,
                     at(output == 1 ? s.h : s.c) + state_at(d, b));
      }
    }

    // The rows [begin, end) of direction d through all steps; `spread` says that the caller is alone.
    void carry(int d, int64_t begin, int64_t end, bool spread) {
      const int64_t n = weights.first_width(), hidden = weights.hidden;
      for (int64_t step = 0; step < s.steps; ++step) {
        C* gates = at(s.gates) + d * s.batch * weights.width();
        multiply(at(s.h) + state_at(d, 0), weights.r(base, d), n, gates, begin, end, spread);
        if (weights.split) {
          C* reset = at(s.extra) + state_at(d, 0);
          C* late = at(s.extra) + state_at(weights.directions + d, 0);
          each_row(begin, end, spread,
                   [&](int64_t b) { gru_reset(d, step, b, gates + b * n, reset + b * hidden); });
          multiply(reset, weights.r_hidden(base, d), hidden, late, begin, end, spread);
        }
        each_row(begin, end, spread, [&](int64_t b) { finish_row(d, step, b, gates + b * n); });
      }
    }

    void multiply(const C* h, const C* packed, int64_t n, C* to, int64_t begin, int64_t end,
                  bool spread) const {
      const int64_t k = weights.hidden, panels = panel_count(n), rows = end - begin;
      const PanelProduct<C> product{.a = h, .lda = k, .b = packed, .k = k, .n = n, .c = to, .ldc = n};
      if (!spread) return product.run(begin, end, 0, panels);
      ctx.parallel(panels, grain_for(rows * k * kPanelWidth, int64_t{1} << 17),
                   [&](int64_t first, int64_t last, int) { product.run(begin, end, first, last); });
    }

    template <class F>
    void each_row(int64_t begin, int64_t end, bool spread, F f) const {
      if (!spread) {
        for (int64_t b = begin; b < end; ++b) f(b);
        return;
      }
      ctx.parallel(end - begin, grain_for(weights.width(), 4096), [&](int64_t first, int64_t last, int) {
        for (int64_t i = first; i < last; ++i) f(begin + i);
      });
    }

    // The time that row b of direction d computes in `step`; nothing when its sequence has ended.
    std::optional<int64_t> time(int d, int64_t step, int64_t b) const {
      const int64_t length = lengths ? lengths[b] : s.steps;
      if (step >= length) return std::nullopt;
      return d == 1 || a.reverse ? length - 1 - step : step;
    }

    void clip(C* x, int64_t n) const {
      if (a.clip == 0.0f) return;
      const C limit = static_cast<C>(a.clip);
      for (int64_t i = 0; i < n; ++i) x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    }
    void activate(int d, int which, C* x, int64_t n) const {
      clip(x, n);
      a.activations[static_cast<size_t>(d)][static_cast<size_t>(which)].apply(x, x, n);
    }
    static void add(C* to, const C* from, int64_t n) {
      for (int64_t i = 0; i < n; ++i) to[i] += from[i];
    }
    static void add_product(C* to, const C* x, const C* y, int64_t n) {
      for (int64_t i = 0; i < n; ++i) to[i] += x[i] * y[i];
    }

    // z and r into `gates`, r h into `reset`.
    void gru_reset(int d, int64_t step, int64_t b, C* gates, C* reset) const {
      const int64_t n = weights.hidden;
      const auto t = time(d, step, b);
      if (!t) {
        std::fill_n(reset, n, C{0});
        return;
      }
      add(gates, product_row(d, *t, b), 2 * n);
      activate(d, 0, gates, 2 * n);
      const C* h = at(s.h) + state_at(d, b);
      for (int64_t i = 0; i < n; ++i) reset[i] = gates[n + i] * h[i];
    }

    void finish_row(int d, int64_t step, int64_t b, C* gates) const {
      const int64_t n = weights.hidden;
      const auto t = time(d, step, b);
      C* h = at(s.h) + state_at(d, b);
      if (t) {
        const C* x = product_row(d, *t, b);
        switch (a.cell) {
          case Cell::kRnn: rnn(d, x, gates, h); break;
          case Cell::kGru: gru(d, b, x, gates, h); break;
          case Cell::kLstm:
            lstm(d, x, gates, h, at(s.c) + state_at(d, b), at(s.extra) + state_at(d, b));
            break;
        }
      }
      if (!ctx.wants(0)) return;
      const int64_t at_time = t ? *t : step, directions = weights.directions;
      const int64_t row =
          a.batch_first ? (b * s.steps + at_time) * directions + d : (at_time * directions + d) * s.batch + b;
      if (t) return store_as(dtype, ctx.out(0).data, row * n, n, h);
      std::memset(ctx.out(0).as<std::byte>() + row * n * static_cast<int64_t>(dtype_size(dtype)), 0,
                  static_cast<size_t>(n) * dtype_size(dtype));
    }

    void rnn(int d, const C* x, C* gates, C* h) const {
      add(gates, x, weights.hidden);
      activate(d, 0, gates, weights.hidden);
      std::copy_n(gates, weights.hidden, h);
    }

    void gru(int d, int64_t b, const C* x, C* gates, C* h) const {
      const int64_t n = weights.hidden;
      C* candidate = at(s.extra) + state_at(weights.directions + d, b);
      if (weights.split) {
        add(candidate, x + 2 * n, n);
      } else {
        add(gates, x, 2 * n);
        activate(d, 0, gates, 2 * n);
        const C *r = gates + n, *recurrent = gates + 2 * n, *bias = weights.hidden_bias(base, d);
        for (int64_t i = 0; i < n; ++i) candidate[i] = x[2 * n + i] + r[i] * (recurrent[i] + bias[i]);
      }
      activate(d, 1, candidate, n);
      for (int64_t i = 0; i < n; ++i) h[i] = (C{1} - gates[i]) * candidate[i] + gates[i] * h[i];
    }

    void lstm(int d, const C* x, C* gates, C* h, C* c, C* hidden) const {
      const int64_t n = weights.hidden;
      const bool peepholes = ctx.has(7);
      const C* p = weights.peephole(base, d);
      C *i = gates, *o = gates + n, *f = gates + 2 * n, *g = gates + 3 * n;
      add(gates, x, 4 * n);
      if (peepholes) {
        add_product(i, p, c, n);
        add_product(f, p + 2 * n, c, n);
        activate(d, 0, i, n);
        activate(d, 0, f, n);
      } else {
        activate(d, 0, i, 3 * n);
      }
      activate(d, 1, g, n);
      if (a.coupled)
        for (int64_t j = 0; j < n; ++j) f[j] = C{1} - i[j];
      for (int64_t j = 0; j < n; ++j) c[j] = f[j] * c[j] + i[j] * g[j];
      if (peepholes) {
        add_product(o, p + n, c, n);
        activate(d, 0, o, n);
      }
      std::copy_n(c, n, hidden);
      // The clip bounds gates only: the new cell is no gate (as ONNX Runtime reads the specification).
      a.activations[static_cast<size_t>(d)][2].apply(hidden, hidden, n);
      for (int64_t j = 0; j < n; ++j) h[j] = o[j] * hidden[j];
    }
  };

  RecurrentAttributes a_;
  DType dtype_;
  std::optional<RecurrentWeights<C>> weights_;  // when they are constants
  PackedWeights::Packed packed_;
};

template <Cell kCell>
std::unique_ptr<Op> make(NodeContext& ctx) {
  ctx.expect_inputs(3, kCell == Cell::kLstm ? 8 : 6);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16});
  for (int i = 1; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i) && i != 4) ctx.expect_same_dtype(0, i);
  if (ctx.has_input(4)) ctx.expect_dtype(4, {DType::kInt32});
  for (int i = 0; i < (kCell == Cell::kLstm ? 3 : 2); ++i)
    if (ctx.has_output(i)) ctx.output(i, ctx.dtype(0));
  const RecurrentAttributes attributes = read_recurrent_attributes(ctx, kCell);
  if (ctx.dtype(0) == DType::kFloat64) return std::make_unique<Recurrent<double>>(ctx, attributes);
  return std::make_unique<Recurrent<float>>(ctx, attributes);
}

}  // namespace

std::span<const OpDef> recurrent_ops() {
  static constexpr OpDef kOps[] = {
      {"", "RNN", 1, make<Cell::kRnn>}, {"", "GRU", 1, make<Cell::kGru>}, {"", "LSTM", 1, make<Cell::kLstm>}};
  return kOps;
}

}  // namespace pyinfer
