// Sums that are normalised row by row, over the last dimension (ops/row_norm.h):
//   SkipLayerNormalization:            s = input + skip + bias,                      y = layer_norm(s, gamma,
//   beta) SkipSimplifiedLayerNormalization:  s = input + skip + bias,                      y = rms_norm(s,
//   gamma) EmbedLayerNormalization:           s = word(id) + position(p) + segment(id'),    y = layer_norm(s,
//   gamma, beta)
#include <algorithm>

#include "ops/elements.h"
#include "ops/op.h"
#include "ops/row_norm.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

constexpr int64_t kGrain = 16384;
constexpr int kAbsent = 1 << 20;

// Where an operator finds what it has in common with the others.
struct Places {
  int gamma, beta, bias;             // inputs
  int mean, inverse_deviation, sum;  // outputs
};

struct SumState final : StepState {
  int64_t rows = 0, n = 0;
  int64_t shared[3] = {};           // gamma, beta, bias: offsets in scratch
  int64_t buffers = 0, buffer = 0;  // three rows for each worker
};

// What plan() and run() of all three share. `kSource` is a tensor of the compute type.
class SummedNorm : public Op {
 public:
  SummedNorm(DType dtype, float epsilon, bool centered, const Places& places)
      : dtype_(dtype), epsilon_(epsilon), centered_(centered), at_(places) {}

 protected:
  // Output 0 and the sum have `shape`.
  void plan_rows(PlanContext& ctx, const Shape& shape) const {
    auto s = std::make_unique<SumState>();
    s->n = shape[shape.rank() - 1];
    s->rows = shape.count(0, shape.rank() - 1);
    for (int i : {at_.gamma, at_.beta, at_.bias})
      if (ctx.has(i))
        require(ctx.shape(i) == Shape({s->n}), ErrorCode::kInvalidInput, "input ", i, " has shape ",
                ctx.shape(i), ", expected [", s->n, "]");
    ctx.output(0, shape);
    if (ctx.wants(at_.sum)) ctx.output(at_.sum, shape);
    Shape reduced = shape;
    reduced[shape.rank() - 1] = 1;
    for (int i : {at_.mean, at_.inverse_deviation})
      if (ctx.wants(i)) ctx.output(i, reduced);
    const int64_t element = compute_size(dtype_);
    ScratchLayout layout;
    for (int64_t& offset : s->shared) offset = layout.take(s->n, element);
    s->buffer = round_up(s->n * element, static_cast<int64_t>(kCacheLine));
    s->buffers = layout.take(3 * ctx.workers(), s->buffer);
    ctx.scratch(layout.bytes());
    ctx.flops(10 * shape.count());
    ctx.state(std::move(s));
  }

  // For every row: sum_row(row, s, buffer) gives the n elements of the sum without the bias in s.
  template <class C, class F>
  void run_rows(RunContext& ctx, F sum_row) const {
    const auto& s = ctx.state<SumState>();
    if (s.rows == 0 || s.n == 0) return;
    const C* shared[3] = {};
    const int inputs[] = {at_.gamma, at_.beta, at_.bias};
    for (size_t i = 0; i < 3; ++i)
      if (ctx.has(inputs[i]))
        shared[i] = load_as(dtype_, ctx.in(inputs[i]).data, 0, s.n,
                            reinterpret_cast<C*>(ctx.scratch() + s.shared[i]));
    const BinaryFns add = kernels().elementwise.binary(BinaryKind::kAdd, DTypeOf<C>::value);
    ctx.parallel(s.rows, std::max<int64_t>(1, kGrain / s.n), [&](int64_t begin, int64_t end, int worker) {
      const auto buffer = [&](int64_t i) {
        return reinterpret_cast<C*>(ctx.scratch() + s.buffers + (3 * worker + i) * s.buffer);
      };
      for (int64_t row = begin; row < end; ++row) {
        C* sum =
            ctx.wants(at_.sum) ? place_as(dtype_, ctx.out(at_.sum).data, row * s.n, buffer(0)) : buffer(0);
        sum_row(row, sum, buffer(1));
        if (shared[2] != nullptr) add.vector_vector(sum, shared[2], sum, s.n);
        if (ctx.wants(at_.sum)) store_as(dtype_, ctx.out(at_.sum).data, row * s.n, s.n, sum);
        C* y = place_as(dtype_, ctx.out(0).data, row * s.n, buffer(2));
        const auto statistics = normalize_row(centered_, epsilon_, sum, shared[0], shared[1], y, s.n);
        store_as(dtype_, ctx.out(0).data, row * s.n, s.n, y);
        store_statistic(ctx, at_.mean, row, &statistics.mean);
        store_statistic(ctx, at_.inverse_deviation, row, &statistics.inverse);
      }
    });
  }

  template <class C>
  static void store_statistic(const RunContext& ctx, int i, int64_t row, const C* value) {
    if (ctx.wants(i)) store_as(ctx.out(i).dtype, ctx.out(i).data, row, 1, value);
  }

  DType dtype_;
  float epsilon_;
  bool centered_;
  Places at_;
};

class SkipNorm final : public SummedNorm {
 public:
  using SummedNorm::SummedNorm;

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &skip = ctx.shape(1);
    const int lead = x.rank() - skip.rank();
    bool fits = (x.rank() == 2 || x.rank() == 3) && (lead == 0 || lead == 1) && skip.rank() >= 2;
    for (int d = 0; fits && d < skip.rank(); ++d)
      fits = skip[d] == x[d + lead] || (d == 0 && x.rank() == 3 && lead == 0 && skip[0] == 1);
    require(fits, ErrorCode::kInvalidInput, "input and skip have shapes ", x, " and ", skip,
            ", expected one shape of 2 or 3 dimensions, or a skip without batch");
    plan_rows(ctx, x);
  }

  void run(RunContext& ctx) const override {
    with_compute_type(dtype_, [&]<class C>() {
      const auto& s = ctx.state<SumState>();
      const BinaryFns add = kernels().elementwise.binary(BinaryKind::kAdd, DTypeOf<C>::value);
      const int64_t skip_rows = s.n == 0 ? 0 : ctx.in(1).count() / s.n;
      run_rows<C>(ctx, [&](int64_t row, C* sum, C* buffer) {
        const C* x = load_as(dtype_, ctx.in(0).data, row * s.n, s.n, sum);
        const C* skip = load_as(dtype_, ctx.in(1).data, row % skip_rows * s.n, s.n, buffer);
        add.vector_vector(x, skip, sum, s.n);
      });
    });
  }
};

enum EmbedInput { kIds, kSegmentIds, kWords, kPositions, kSegments, kGamma, kBeta, kMask, kPositionIds };

class EmbedNorm final : public SummedNorm {
 public:
  using SummedNorm::SummedNorm;

  void plan(PlanContext& ctx) const override {
    const Shape& ids = ctx.shape(kIds);
    require(ids.rank() == 2, ErrorCode::kInvalidInput, "input_ids has shape ", ids,
            ", expected [batch, length]");
    const auto expect = [&](int i, const Shape& shape) {
      require(!ctx.has(i) || ctx.shape(i) == shape, ErrorCode::kInvalidInput, "input ", i, " has shape ",
              ctx.has(i) ? ctx.shape(i).str() : "", ", expected ", shape);
    };
    const int64_t n = ctx.shape(kWords).rank() == 2 ? ctx.shape(kWords)[1] : 0;
    for (int i : {kWords, kPositions, kSegments})
      if (ctx.has(i))
        require(ctx.shape(i).rank() == 2 && ctx.shape(i)[1] == n, ErrorCode::kInvalidInput, "input ", i,
                " has shape ", ctx.shape(i), ", expected [rows, ", n, "]");
    expect(kSegmentIds, ids);
    expect(kMask, ids);
    if (ctx.has(kPositionIds) && ctx.shape(kPositionIds) != Shape({1, ids[1]})) expect(kPositionIds, ids);
    require(ctx.has(kPositionIds) || ids.count() == 0 || ids[1] <= ctx.shape(kPositions)[0],
            ErrorCode::kInvalidInput, "a sequence of ", ids[1], " with position embeddings of shape ",
            ctx.shape(kPositions));
    plan_rows(ctx, Shape({ids[0], ids[1], n}));
    if (ctx.wants(1)) ctx.output(1, Shape({ids[0]}));
  }

  void run(RunContext& ctx) const override {
    const int64_t length = ctx.in(kIds).shape[1];
    for (auto [ids, table] :
         {std::pair{kIds, kWords}, {kSegmentIds, kSegments}, {kPositionIds, kPositions}}) {
      if (!ctx.has(ids)) continue;
      const int64_t rows = ctx.in(table).shape[0];
      for (int32_t id : ctx.in(ids).span<int32_t>())
        require(id >= 0 && id < rows, ErrorCode::kInvalidInput, "input ", static_cast<int>(ids), " holds ",
                id, ", expected 0 to ", rows - 1);
    }
    if (ctx.wants(1)) count_mask(ctx, length);
    const int64_t positions = ctx.has(kPositionIds) ? ctx.in(kPositionIds).count() : 0;
    run_rows<float>(ctx, [&](int64_t row, float* sum, float* buffer) {
      const int64_t n = ctx.state<SumState>().n;
      const BinaryFns add = kernels().elementwise.binary(BinaryKind::kAdd, DType::kFloat32);
      const auto embedding = [&](int table, int64_t id, float* to) {
        return load_as(dtype_, ctx.in(table).data, id * n, n, to);
      };
      const int64_t position = positions > 0 ? ctx.in<int32_t>(kPositionIds)[row % positions] : row % length;
      const float* word = embedding(kWords, ctx.in<int32_t>(kIds)[row], sum);
      add.vector_vector(word, embedding(kPositions, position, buffer), sum, n);
      if (ctx.has(kSegments))
        add.vector_vector(sum, embedding(kSegments, ctx.in<int32_t>(kSegmentIds)[row], buffer), sum, n);
    });
  }

 private:
  // The number of ones in each row of the mask; 0 without a mask.
  static void count_mask(const RunContext& ctx, int64_t length) {
    auto* counts = ctx.out<int32_t>(1);
    for (int64_t b = 0; b < ctx.out(1).count(); ++b) {
      counts[b] = 0;
      if (!ctx.has(kMask)) continue;
      const int32_t* mask = ctx.in<int32_t>(kMask) + b * length;
      counts[b] = static_cast<int32_t>(std::count(mask, mask + length, 1));
    }
  }
};

template <bool kCentered>
std::unique_ptr<Op> make_skip(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(3, kCentered ? 5 : 4);
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16});
  for (int i = 1; i < ctx.num_inputs(); ++i)
    if (ctx.has_input(i)) ctx.expect_same_dtype(0, i);
  const Places places = kCentered ? Places{2, 3, 4, 1, 2, 3} : Places{2, kAbsent, 3, 1, 2, 3};
  ctx.output(0, ctx.dtype(0));
  for (int i : {1, 2})
    if (ctx.has_output(i)) ctx.output(i, kFloat32);
  if (ctx.has_output(3)) ctx.output(3, ctx.dtype(0));
  return std::make_unique<SkipNorm>(ctx.dtype(0), ctx.attr_float("epsilon", 1e-12f), kCentered, places);
}

std::unique_ptr<Op> make_embed(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(1, 9);
  ctx.expect_dtype(kWords, {kFloat32, kFloat16});
  for (int i : {kPositions, kGamma, kBeta}) ctx.expect_same_dtype(kWords, i);
  if (ctx.has_input(kSegments)) ctx.expect_same_dtype(kWords, kSegments);
  require(ctx.has_input(kSegmentIds) == ctx.has_input(kSegments), ErrorCode::kInvalidModel,
          "segment_ids and segment_embedding must be given together");
  for (int i : {kIds, kSegmentIds, kMask, kPositionIds})
    if (ctx.has_input(i)) ctx.expect_dtype(i, {kInt32});
  ctx.output(0, ctx.dtype(kWords));
  if (ctx.has_output(1)) ctx.output(1, kInt32);
  if (ctx.has_output(2)) ctx.output(2, ctx.dtype(kWords));
  return std::make_unique<EmbedNorm>(ctx.dtype(kWords), ctx.attr_float("epsilon", 1e-12f), true,
                                     Places{kGamma, kBeta, kAbsent, kAbsent, kAbsent, 2});
}

}  // namespace

std::span<const OpDef> ms_layer_norm_ops() {
  static constexpr OpDef kOps[] = {
      {"com.microsoft", "EmbedLayerNormalization", 1, make_embed},
      {"com.microsoft", "SkipLayerNormalization", 1, make_skip<true>},
      {"com.microsoft", "SkipSimplifiedLayerNormalization", 1, make_skip<false>},
  };
  return kOps;
}

}  // namespace pyinfer
