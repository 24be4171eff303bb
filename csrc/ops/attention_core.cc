#include "ops/attention_core.h"

#include <cstring>

namespace pyinfer {

AttentionScratch AttentionScratch::plan(PlanContext& ctx, const AttentionShape& s, DType compute) {
  AttentionScratch scratch;
  (void)s.scores().count();
  ctx.flops(product_flops(s.batch * s.q_heads * s.q_rows, s.total(), s.size + s.v_size));
  if (s.empty()) return scratch;
  const int64_t total = s.total(), size = std::max(s.size, s.v_size), element = compute_size(compute);
  ScratchLayout layout;
  const int64_t all = s.batch * s.kv_heads, workers = ctx.workers();
  scratch.whole_heads = s.blocks() == 1 || all >= 4 * workers || all % workers == 0;
  const int64_t heads = scratch.whole_heads ? workers : all;
  scratch.packed_k = layout.take(heads * packed_b_size(s.size, total), element);
  scratch.packed_v = layout.take(heads * packed_b_size(total, s.v_size), element);
  // Scores and rows while computing; before that, one head's keys or values gathered.
  const int64_t computing = s.block() * (total + size) + 2 * total;
  scratch.worker_size =
      round_up(std::max(computing, total * size) * element, static_cast<int64_t>(kCacheLine));
  scratch.workers = layout.take(ctx.workers(), scratch.worker_size);
  ctx.scratch(layout.bytes());
  return scratch;
}

template <class C>
void AttentionCore<C>::use_cache(const RunContext& ctx, const CacheIndices& at) {
  const AttentionShape& s = shape_;
  const auto rows = [&](const TensorView& x, int64_t count, int64_t size) {
    return HeadRows::of(x, false, s.kv_heads, count, size);
  };
  if (ctx.has(at.past_k)) {
    past_k = rows(ctx.in(at.past_k), s.past, s.size);
    past_v = rows(ctx.in(at.past_v), s.past, s.v_size);
  }
  if (ctx.wants(at.present_k)) present_k = rows(ctx.out(at.present_k), s.total(), s.size);
  if (ctx.wants(at.present_v)) present_v = rows(ctx.out(at.present_v), s.total(), s.v_size);
}

template <class C>
void AttentionCore<C>::write_present(const RunContext& ctx) const {
  ctx.parallel(heads(), grain_for(shape_.total() * (shape_.size + shape_.v_size), 16384),
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t head = begin; head < end; ++head)
                   for (bool keys : {true, false}) write_present(head, keys);
               });
}

template <class C>
void AttentionCore<C>::write_present(int64_t head, bool keys) const {
  const HeadRows& to = keys ? present_k : present_v;
  if (to.data == nullptr) return;
  const HeadRows &rows = keys ? k : v, &past = keys ? past_k : past_v;
  const int64_t b = head / shape_.kv_heads, h = head % shape_.kv_heads;
  const auto element = static_cast<int64_t>(dtype_size(to.dtype));
  const int64_t bytes = (keys ? shape_.size : shape_.v_size) * element;
  const auto copy = [&](const HeadRows& from, int64_t first, int64_t count, int64_t at) {
    for (int64_t r = first; r < first + count; ++r)
      std::memcpy(static_cast<std::byte*>(to.data) + to.at(b, h, at + r) * element,
                  static_cast<const std::byte*>(from.data) + from.at(b, h, r) * element,
                  static_cast<size_t>(bytes));
  };
  copy(past, 0, shape_.past, 0);
  copy(rows, 0, shape_.kv_rows, shape_.past);
}

template <class C>
void AttentionCore<C>::pack_head(int worker, int64_t head, bool keys) const {
  write_present(head, keys);
  const int64_t b = head / shape_.kv_heads, h = head % shape_.kv_heads, total = shape_.total();
  const int64_t size = keys ? shape_.size : shape_.v_size;
  const HeadRows &past = keys ? past_k : past_v, &present = keys ? present_k : present_v;
  const bool whole = present.data != nullptr || shape_.past == 0;  // all rows are in one place
  const HeadRows& rows = present.data != nullptr ? present : keys ? k : v;
  const C* from = nullptr;
  int64_t stride = rows.row;
  if (whole && rows.dtype == DTypeOf<C>::value) {
    from = static_cast<const C*>(rows.data) + rows.at(b, h, 0);
  } else {
    C* to = worker_base(worker);
    for (int64_t r = 0; r < total; ++r) {
      const bool old = !whole && r < shape_.past;
      const HeadRows& source = old ? past : rows;
      const C* row = load_as(source.dtype, source.data, source.at(b, h, old || whole ? r : r - shape_.past),
                             size, to + r * size);
      if (row != to + r * size) std::copy_n(row, size, to + r * size);
    }
    from = to;
    stride = size;
  }
  if (keys)
    pack_panels(from, stride, true, size, total, packed_k(worker, head));
  else
    pack_panels(from, stride, false, total, size, packed_v(worker, head));
}

template <class C>
void AttentionCore<C>::scores(int worker, int64_t b, int64_t h, int64_t row, int64_t rows, int64_t begin,
                              int64_t end, C* s) const {
  C* scaled = small_block(worker);
  for (int64_t i = 0; i < rows; ++i) {
    C* to = scaled + i * shape_.size;
    const C* from = load_as(q.dtype, q.data, q.at(b, h, row + i), shape_.size, to);
    for (int64_t j = 0; j < shape_.size; ++j) to[j] = from[j] * scale_;
  }
  const PanelProduct<C> product{.a = scaled,
                                .lda = shape_.size,
                                .b = packed_k(worker, kv_head(b, h)),
                                .k = shape_.size,
                                .n = shape_.total(),
                                .c = s,
                                .ldc = shape_.total()};
  product.run(0, rows, begin / kPanelWidth, panel_count(end));
}

template <class C>
void AttentionCore<C>::output(int worker, int64_t b, int64_t h, int64_t row, int64_t rows, int64_t begin,
                              int64_t end, const C* p) const {
  const bool direct = y.dtype == DTypeOf<C>::value;
  C* to = direct ? static_cast<C*>(y.data) + y.at(b, h, row) : small_block(worker);
  const int64_t stride = direct ? y.row : shape_.v_size, total = shape_.total();
  // Keys outside the range weigh 0 and are left out of the chains. Panels of B hold `total` rows, so where
  // there are some, each panel is a product of its own, placed where the shorter K looks for it.
  const int64_t panels = panel_count(shape_.v_size), step = end - begin == total ? panels : 1;
  for (int64_t panel = 0; panel < panels; panel += step) {
    const C* values = packed_v(worker, kv_head(b, h)) + (panel * total + begin) * kPanelWidth;
    const PanelProduct<C> product{.a = p + begin,
                                  .lda = total,
                                  .b = values - panel * kPanelWidth * (end - begin),
                                  .k = end - begin,
                                  .n = shape_.v_size,
                                  .c = to,
                                  .ldc = stride};
    product.run(0, rows, panel, panel + step);
  }
  for (int64_t i = 0; i < rows && !direct; ++i)
    store_as(y.dtype, y.data, y.at(b, h, row + i), shape_.v_size, to + i * shape_.v_size);
}

template class AttentionCore<float>;
template class AttentionCore<double>;

}  // namespace pyinfer
