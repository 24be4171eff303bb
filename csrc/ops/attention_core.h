// The two products of attention, S = scale Q K^T and Y = P V, head by head, for the attention operators.
#pragma once

#include <algorithm>

#include "ops/elements.h"
#include "ops/panels.h"
#include "ops/plan_context.h"
#include "ops/run_context.h"
#include "ops/work.h"

namespace pyinfer {

// Rows of one head of a tensor: element e of row r of head h of batch b lies at
// b * batch + h * head + r * row + e.
struct HeadRows {
  DType dtype = DType::kUndefined;
  void* data = nullptr;
  int64_t batch = 0, head = 0, row = 0;

  int64_t at(int64_t b, int64_t h, int64_t r) const { return b * batch + h * head + r * row; }
  // x of batch x heads x rows x size, or of batch x rows x (heads x size).
  static HeadRows of(const TensorView& x, bool heads_last, int64_t heads, int64_t rows, int64_t size) {
    return heads_last ? HeadRows{x.dtype, x.data, rows * heads * size, size, heads * size}
                      : HeadRows{x.dtype, x.data, heads * rows * size, rows * size, size};
  }
};

struct AttentionShape {
  int64_t batch = 0, q_heads = 0, kv_heads = 0, q_rows = 0, past = 0, kv_rows = 0, size = 0, v_size = 0;

  int64_t total() const { return past + kv_rows; }
  Shape scores() const { return Shape({batch, q_heads, q_rows, total()}); }
  bool empty() const { return batch == 0 || q_heads == 0 || q_rows == 0; }
  // Rows of Q that one task takes: rows of scores that fit the cache, whatever the batch.
  int64_t block() const {
    constexpr int64_t kScores = 65536;
    return std::clamp<int64_t>(kScores / std::max<int64_t>(total(), 1), 1,
                               std::clamp<int64_t>(q_rows, 1, 48));
  }
  int64_t blocks() const { return ceil_div(q_rows, block()); }
};

// Where scratch memory lies, in bytes. When a head's queries are one block, or there are heads enough for all
// workers, the worker that takes a head packs its keys and values just before it reads them, into memory of
// its own; else all heads are packed first, so that the blocks of a head can be shared out.
struct AttentionScratch {
  int64_t packed_k = 0, packed_v = 0, workers = 0, worker_size = 0;
  bool whole_heads = false;

  // Asks for the memory and reports the work of a step that computes in `compute`. Throws Error(kLimit) when
  // the scores have too many elements: what is planned multiplies no more than them and the inputs' sizes.
  static AttentionScratch plan(PlanContext& ctx, const AttentionShape& s, DType compute);
};

// The inputs and outputs of a step that hold past and present keys and values: batch x heads x rows x size.
struct CacheIndices {
  int past_k, past_v, present_k, present_v;
};

template <class C>
class AttentionCore {
 public:
  AttentionCore(const RunContext& ctx, const AttentionShape& shape, const AttentionScratch& scratch, C scale)
      : shape_(shape), scratch_(scratch), base_(ctx.scratch()), scale_(scale) {}

  HeadRows q, k, v, past_k, past_v, y;
  HeadRows present_k, present_v;  // where given, they become the past rows followed by the new ones

  // Sets the four from what the step has of `at`.
  void use_cache(const RunContext& ctx, const CacheIndices& at);

  enum Parts { kNothing = 0, kKeys = 1, kValues = 2 };
  // body(worker, b, h, row) for every block of rows of every head of Q, with these parts ready.
  template <class F>
  void each_block(const RunContext& ctx, int parts, F body) const;
  // Writes present_k and present_v of all heads, for when there is nothing else to do.
  void write_present(const RunContext& ctx) const;

  // The scores of rows [row, row + rows) of one head against the keys [begin, end), `begin` a multiple of
  // 16: s(i, j) for j in that range, rows `total` apart. `worker` picks scratch memory.
  void scores(int worker, int64_t b, int64_t h, int64_t row, int64_t rows, int64_t begin, int64_t end,
              C* s) const;
  // Y of these rows from probabilities p that are 0 outside [begin, end).
  void output(int worker, int64_t b, int64_t h, int64_t row, int64_t rows, int64_t begin, int64_t end,
              const C* p) const;

  // Scratch of one worker: block() x total scores, and two rows of total elements.
  C* score_block(int worker) const { return worker_base(worker); }
  C* row_buffer(int worker) const { return worker_base(worker) + shape_.block() * shape_.total(); }

 private:
  C* worker_base(int worker) const {
    return reinterpret_cast<C*>(base_ + scratch_.workers + worker * scratch_.worker_size);
  }
  C* small_block(int worker) const { return row_buffer(worker) + 2 * shape_.total(); }
  C* packed_k(int worker, int64_t head) const {
    return reinterpret_cast<C*>(base_ + scratch_.packed_k) +
           (scratch_.whole_heads ? worker : head) * packed_b_size(shape_.size, shape_.total());
  }
  C* packed_v(int worker, int64_t head) const {
    return reinterpret_cast<C*>(base_ + scratch_.packed_v) +
           (scratch_.whole_heads ? worker : head) * packed_b_size(shape_.total(), shape_.v_size);
  }
  int64_t kv_head(int64_t b, int64_t h) const {
    return b * shape_.kv_heads + h / (shape_.q_heads / shape_.kv_heads);
  }
  int64_t heads() const { return shape_.batch * shape_.kv_heads; }
  void pack_head(int worker, int64_t head, bool keys) const;
  void write_present(int64_t head, bool keys) const;

  const AttentionShape& shape_;
  const AttentionScratch& scratch_;
  std::byte* base_;
  C scale_;
};

template <class C>
template <class F>
void AttentionCore<C>::each_block(const RunContext& ctx, int parts, F body) const {
  const int64_t blocks = shape_.blocks(), group = shape_.q_heads / std::max<int64_t>(shape_.kv_heads, 1);
  const int64_t cost = shape_.block() * shape_.total() * (shape_.size + shape_.v_size);
  if (scratch_.whole_heads) {
    ctx.parallel(heads(), grain_for(group * blocks * cost), [&](int64_t begin, int64_t end, int worker) {
      for (int64_t head = begin; head < end; ++head) {
        if (parts & kKeys) pack_head(worker, head, true);
        if (parts & kValues) pack_head(worker, head, false);
        const int64_t first = head % shape_.kv_heads * group;
        for (int64_t h = first; h < first + group; ++h)
          for (int64_t row = 0; row < shape_.q_rows; row += shape_.block())
            body(worker, head / shape_.kv_heads, h, row);
      }
    });
    return;
  }
  const int64_t pack_cost = shape_.total() * std::max(shape_.size, shape_.v_size);
  ctx.parallel(parts == kNothing ? 0 : 2 * heads(), grain_for(pack_cost, 32768),
               [&](int64_t begin, int64_t end, int worker) {
                 for (int64_t i = begin; i < end; ++i)
                   if (parts & (i % 2 == 0 ? kKeys : kValues)) pack_head(worker, i / 2, i % 2 == 0);
               });
  ctx.parallel(shape_.batch * shape_.q_heads * blocks, grain_for(cost),
               [&](int64_t begin, int64_t end, int worker) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t head = i / blocks;
                   body(worker, head / shape_.q_heads, head % shape_.q_heads, i % blocks * shape_.block());
                 }
               });
}

}  // namespace pyinfer
