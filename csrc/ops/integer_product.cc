#include "ops/integer_product.h"

#include <algorithm>

#include "kernels/kernel_table.h"

namespace pyinfer {
namespace {

int64_t packed_size(int64_t k, int64_t n) {
  return kernels().gemm_s8.packed_size(k, n);
}

void expand_zeros(const LineValues& values, const TensorView* zero, int32_t* out) {
  if (zero != nullptr)
    values.expand(out, [&](int64_t i) { return byte_at(*zero, i); });
  else
    *out = 0;
}

}  // namespace

float scale_at(const TensorView& t, int64_t i) {
  if (t.dtype == DType::kFloat16) return static_cast<float>(t.as<Float16>()[i]);
  if (t.dtype == DType::kBFloat16) return static_cast<float>(t.as<BFloat16>()[i]);
  return t.as<float>()[i];
}

IntegerProduct::IntegerProduct(NodeContext& ctx, int b, bool transpose_b)
    : signed_(ctx.dtype(b) == DType::kInt8), transposed_(transpose_b) {
  const Tensor* constant_b = ctx.constant(b);
  if (constant_b == nullptr || constant_b->shape().rank() == 0 || constant_b->count() == 0) return;
  const Shape& s = constant_b->shape();
  int64_t k = s.rank() == 1 ? s[0] : s[s.rank() - 2], n = s.rank() == 1 ? 1 : s[s.rank() - 1];
  if (transpose_b) std::swap(k, n);
  const int64_t count = constant_b->count() / (k * n), size = packed_size(k, n);
  packed_ = ctx.pack(b, join("gemm_s8 ", transpose_b), Shape({count, size}).count(), [&](std::byte* to) {
    for (int64_t i = 0; i < count; ++i)
      pack(constant_b->as<int8_t>() + i * k * n, k, n, 0, panel_count(n),
           reinterpret_cast<int8_t*>(to) + i * size);
  });
}

void IntegerProduct::pack(const void* b, int64_t k, int64_t n, int64_t panel_begin, int64_t panel_end,
                          int8_t* packed) const {
  kernels().gemm_s8.pack_b({.k = k,
                            .n = n,
                            .b = b,
                            .b_signed = signed_,
                            .ldb = transposed_ ? k : n,
                            .transposed = transposed_,
                            .packed = packed},
                           panel_begin, panel_end);
}

void IntegerProduct::plan(IntegerProductState& state, ScratchLayout& layout, const Shape& a, const Shape& b,
                          const Shape* a_zero, const Shape* b_zero, int workers) const {
  const ProductShape& s = state.shape;
  if (a_zero != nullptr) state.a_zero = LineValues(*a_zero, a, true);
  if (b_zero != nullptr) state.b_zero = LineValues(*b_zero, b, false);
  state.a_zeros = layout.take(state.a_zero.count(), sizeof(int32_t));
  state.b_zeros = layout.take(state.b_zero.count(), sizeof(int32_t));
  if (s.m == 0 || s.n == 0 || s.count() == 0) return;
  if (packed_ == nullptr) state.packed = layout.take(s.b_count, packed_size(s.k, s.n));
  state.worker_bytes = round_up(static_cast<int64_t>(kernels().gemm_s8.scratch_bytes(s.k)), kCacheLine);
  state.workers = layout.take(workers, state.worker_bytes);
}

const int8_t* IntegerProduct::prepare_b(const RunContext& ctx, const IntegerProductState& state,
                                        const void* b) const {
  if (packed_ != nullptr) return packed_->as<int8_t>();
  const ProductShape& s = state.shape;
  auto* packed = reinterpret_cast<int8_t*>(ctx.scratch() + state.packed);
  const int64_t panels = panel_count(s.n), size = packed_size(s.k, s.n);
  ctx.parallel(s.b_count * panels, grain_for(kPanelWidth * s.k, 1 << 16),
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t i = begin; i < end; ++i)
                   pack(static_cast<const int8_t*>(b) + i / panels * s.k * s.n, s.k, s.n, i % panels,
                        i % panels + 1, packed + i / panels * size);
               });
  return packed;
}

void IntegerProduct::run(const RunContext& ctx, const IntegerProductState& state,
                         const IntegerOperands& operands, int32_t* sums,
                         FunctionRef<void(const IntegerTile&)> finish) const {
  const ProductShape& s = state.shape;
  if (s.m == 0 || s.n == 0 || s.count() == 0) return;
  auto* a_zeros = reinterpret_cast<int32_t*>(ctx.scratch() + state.a_zeros);
  auto* b_zeros = reinterpret_cast<int32_t*>(ctx.scratch() + state.b_zeros);
  expand_zeros(state.a_zero, operands.a_zero, a_zeros);
  expand_zeros(state.b_zero, operands.b_zero, b_zeros);
  const bool any_b_zero =
      std::any_of(b_zeros, b_zeros + state.b_zero.count(), [](int32_t z) { return z != 0; });
  const int8_t* packed = prepare_b(ctx, state, operands.b);
  const Tiling tiling(s.m, panel_count(s.n), kPanelWidth * s.k / 2);
  const int64_t tiles = tiling.count();
  const int64_t grain = grain_for(tiling.row_step * tiling.panel_step * kPanelWidth * s.k / 2);
  ctx.parallel(s.count() * tiles, grain, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t i = item / tiles, t = item % tiles;
      const int64_t a = s.a[static_cast<size_t>(i)], b = s.b[static_cast<size_t>(i)];
      S8Requantize bytes;
      if (operands.bytes != nullptr) {
        bytes = *operands.bytes;
        bytes.y += i * s.m * s.n;
      }
      const GemmS8Args args{.m = s.m,
                            .n = s.n,
                            .k = s.k,
                            .a = static_cast<const int8_t*>(operands.a) + a * s.m * s.k,
                            .a_signed = operands.a_signed,
                            .lda = s.k,
                            .a_zero = a_zeros + (state.a_zero.one() ? 0 : a * s.m),
                            .a_zero_per_row = !state.a_zero.one(),
                            .b = packed + b * packed_size(s.k, s.n),
                            .b_signed = signed_,
                            .b_zero = any_b_zero ? b_zeros + (state.b_zero.one() ? 0 : b * s.n) : nullptr,
                            .b_zero_per_column = !state.b_zero.one(),
                            .c = operands.bytes != nullptr ? nullptr : sums + i * s.m * s.n,
                            .ldc = s.n,
                            .bytes = operands.bytes != nullptr ? &bytes : nullptr};
      const int64_t rows[] = {tiling.row_begin(t), tiling.row_end(t)};
      const int64_t panels[] = {tiling.panel_begin(t), tiling.panel_end(t)};
      kernels().gemm_s8.run(args, rows[0], rows[1], panels[0], panels[1],
                            ctx.scratch() + state.workers + worker * state.worker_bytes);
      finish({i, rows[0], rows[1], panels[0] * kPanelWidth, std::min(s.n, panels[1] * kPanelWidth), worker});
    }
  });
}

}  // namespace pyinfer
