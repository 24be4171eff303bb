#include "ops/attention_core.h"

namespace pyinfer {

AttentionScratch::AttentionScratch(ScratchLayout& layout, const AttentionShape& s, int workers_count,
                                   int64_t element) {
  const int64_t heads = s.batch * s.kv_heads, total = s.total(), size = std::max(s.size, s.v_size);
  packed_k = layout.take(heads * packed_b_size(s.size, total), element);
  packed_v = layout.take(heads * packed_b_size(total, s.v_size), element);
  // Scores and rows while computing; before that, one head's keys or values gathered.
  const int64_t computing = s.block() * (total + size) + 2 * total;
  worker_size = round_up(std::max(computing, total * size) * element, static_cast<int64_t>(kCacheLine));
  workers = layout.take(workers_count, worker_size);
}

template <class C>
void AttentionCore<C>::pack(const RunContext& ctx) const {
  const int64_t heads = shape_.batch * shape_.kv_heads;
  const int64_t cost = shape_.total() * std::max(shape_.size, shape_.v_size);
  ctx.parallel(2 * heads, grain_for(cost, 32768), [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) pack_head(worker, i / 2, i % 2 == 0);
  });
}

template <class C>
void AttentionCore<C>::pack_head(int worker, int64_t head, bool keys) const {
  const int64_t b = head / shape_.kv_heads, h = head % shape_.kv_heads, total = shape_.total();
  const int64_t size = keys ? shape_.size : shape_.v_size;
  const HeadRows &rows = keys ? k : v, &past = keys ? past_k : past_v;
  const C* from = nullptr;
  int64_t stride = rows.row;
  if (rows.dtype == DTypeOf<C>::value && shape_.past == 0) {
    from = static_cast<const C*>(rows.data) + rows.at(b, h, 0);
  } else {
    C* to = worker_base(worker);
    for (int64_t r = 0; r < total; ++r) {
      const bool old = r < shape_.past;
      const HeadRows& source = old ? past : rows;
      const C* row =
          load_as(source.dtype, source.data, source.at(b, h, old ? r : r - shape_.past), size, to + r * size);
      if (row != to + r * size) std::copy_n(row, size, to + r * size);
    }
    from = to;
    stride = size;
  }
  if (keys)
    pack_panels(from, stride, true, size, total, packed_k(head));
  else
    pack_panels(from, stride, false, total, size, packed_v(head));
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
                                .b = packed_k(kv_head(b, h)),
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
  // Keys outside the range weigh 0 and are left out of the chains. Panels of B hold `total` rows, so each is
  // a product of its own, placed where the shorter K looks for it.
  for (int64_t panel = 0; panel < panel_count(shape_.v_size); ++panel) {
    const C* values = packed_v(kv_head(b, h)) + (panel * total + begin) * kPanelWidth;
    const PanelProduct<C> product{.a = p + begin,
                                  .lda = total,
                                  .b = values - panel * kPanelWidth * (end - begin),
                                  .k = end - begin,
                                  .n = shape_.v_size,
                                  .c = to,
                                  .ldc = stride};
    product.run(0, rows, panel, panel + 1);
  }
  for (int64_t i = 0; i < rows && !direct; ++i)
    store_as(y.dtype, y.data, y.at(b, h, row + i), shape_.v_size, to + i * shape_.v_size);
}

template class AttentionCore<float>;
template class AttentionCore<double>;

}  // namespace pyinfer
