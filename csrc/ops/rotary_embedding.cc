// RotaryEmbedding: pairs (a, b) of the first R elements of each head are turned by the angle of their
// position,
//   a' = cos a - sin b,   b' = sin a + cos b;   b lies R / 2 after a, or next to it when interleaved.
#include <algorithm>

#include "ops/elements.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

struct RotaryState final : StepState {
  int64_t batch = 0, heads = 0, rows = 0, size = 0, half = 0, positions = 0;
  bool heads_last = false;
};

class RotaryEmbedding final : public Op {
 public:
  RotaryEmbedding(DType dtype, bool interleaved, int64_t dim, int64_t heads)
      : dtype_(dtype), interleaved_(interleaved), dim_(dim), heads_(heads) {}

  void plan(PlanContext& ctx) const override {
    const Shape &x = ctx.shape(0), &cos = ctx.shape(1);
    auto s = std::make_unique<RotaryState>();
    require(x.rank() == 3 || x.rank() == 4, ErrorCode::kInvalidInput, "X has shape ", x,
            ", expected 3 or 4 dimensions");
    s->heads_last = x.rank() == 3;
    s->batch = x[0];
    s->rows = x[s->heads_last ? 1 : 2];
    s->heads = s->heads_last ? heads_ : x[1];
    // com.microsoft's form may leave the heads to the width of the caches.
    if (s->heads_last && heads_ == 0 && cos.rank() >= 1 && cos[cos.rank() - 1] > 0)
      s->heads = x[2] / cos[cos.rank() - 1] / 2;
    if (s->heads_last)
      require(s->heads > 0 && x[2] % s->heads == 0, ErrorCode::kInvalidInput, "X has shape ", x,
              ", which num_heads ", s->heads, " does not divide");
    s->size = s->heads_last ? x[2] / s->heads : x[3];
    const int64_t dim = dim_ == 0 ? s->size : dim_;
    require(dim >= 0 && dim <= s->size && dim % 2 == 0, ErrorCode::kInvalidInput, "a rotary dimension of ",
            dim, " is odd or more than the head size ", s->size);
    s->half = dim / 2;
    const bool by_position = ctx.has(3);
    s->positions = by_position && cos.rank() == 2 ? cos[0] : 0;
    const Shape expected = by_position ? Shape({s->positions, s->half}) : Shape({s->batch, s->rows, s->half});
    for (int i : {1, 2})
      require(ctx.shape(i) == expected, ErrorCode::kInvalidInput, "a cache has shape ", ctx.shape(i),
              ", expected ", expected);
    if (by_position)
      require(ctx.shape(3) == Shape({s->batch, s->rows}), ErrorCode::kInvalidInput, "position_ids has shape ",
              ctx.shape(3), ", expected [", s->batch, ", ", s->rows, "]");
    ctx.output(0, x);
    ctx.flops(x.count() * 3);
    if (dtype_ != DType::kFloat32 && x.count() > 0) ctx.scratch(ctx.workers() * 4 * s->size * 4);
    ctx.state(std::move(s));
  }

  void run(RunContext& ctx) const override {
    const auto& s = ctx.state<RotaryState>();
    if (ctx.out(0).count() == 0) return;
    const int64_t* ids = ctx.has(3) ? ctx.in<int64_t>(3) : nullptr;
    for (int64_t i = 0; ids && i < s.batch * s.rows; ++i)
      require(ids[i] >= 0 && ids[i] < s.positions, ErrorCode::kInvalidInput, "position_ids holds ", ids[i],
              ", expected 0 to ", s.positions - 1);
    ctx.parallel(
        s.batch * s.rows, grain_for(s.heads * s.size, 16384), [&](int64_t begin, int64_t end, int worker) {
          float* buffer = ctx.scratch_as<float>() + (dtype_ == DType::kFloat32 ? 0 : worker * 4 * s.size);
          for (int64_t i = begin; i < end; ++i) {
            const int64_t position = (ids ? ids[i] : i) * s.half;
            const float* cos = load_as(dtype_, ctx.in(1).data, position, s.half, buffer + 2 * s.size);
            const float* sin = load_as(dtype_, ctx.in(2).data, position, s.half, buffer + 3 * s.size);
            for (int64_t h = 0; h < s.heads; ++h) {
              const int64_t b = i / s.rows, row = i % s.rows;
              const int64_t at = (s.heads_last ? i * s.heads + h : (b * s.heads + h) * s.rows + row) * s.size;
              const float* x = load_as(dtype_, ctx.in(0).data, at, s.size, buffer);
              float* y = place_as(dtype_, ctx.out(0).data, at, buffer + s.size);
              rotate(s, x, cos, sin, y);
              store_as(dtype_, ctx.out(0).data, at, s.size, y);
            }
          }
        });
  }

 private:
  void rotate(const RotaryState& s, const float* x, const float* cos, const float* sin, float* y) const {
    const int64_t step = interleaved_ ? 2 : 1, other = interleaved_ ? 1 : s.half;
    for (int64_t j = 0; j < s.half; ++j) {
      const float a = x[j * step], b = x[j * step + other];
      y[j * step] = cos[j] * a - sin[j] * b;
      y[j * step + other] = sin[j] * a + cos[j] * b;
    }
    std::copy(x + 2 * s.half, x + s.size, y + 2 * s.half);
  }

  DType dtype_;
  bool interleaved_;
  int64_t dim_, heads_;
};

std::unique_ptr<Op> make(NodeContext& ctx) {
  ctx.expect_inputs(3, 4);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  ctx.expect_same_dtype(0, 1);
  ctx.expect_same_dtype(0, 2);
  if (ctx.has_input(3)) ctx.expect_dtype(3, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<RotaryEmbedding>(ctx.dtype(0), ctx.attr_int("interleaved", 0) != 0,
                                           ctx.attr_int("rotary_embedding_dim", 0),
                                           ctx.attr_int("num_heads", 0));
}

}  // namespace

std::span<const OpDef> rotary_embedding_ops() {
  static constexpr OpDef kOps[] = {{"", "RotaryEmbedding", 1, make}};
  return kOps;
}

}  // namespace pyinfer
