#include "ops/product.h"

#include <bit>
#include <cmath>

#include "kernels/kernel_table.h"
#include "ops/dispatch.h"
#include "ops/half.h"

namespace pyinfer {
namespace {

constexpr int64_t kPackGoal = int64_t{1} << 16;  // floats to pack at once

// Which matrix of a stack of shape `dims` every product of the broadcast stack `out` takes.
std::vector<int64_t> stack_index(const Shape& dims, const Shape& out) {
  std::vector<int64_t> index{0};
  const int offset = out.rank() - dims.rank();
  for (int d = 0; d < out.rank(); ++d) {
    const int64_t own = d >= offset ? dims[d - offset] : 1;
    std::vector<int64_t> next;
    next.reserve(index.size() * static_cast<size_t>(out[d]));
    for (int64_t base : index)
      for (int64_t i = 0; i < out[d]; ++i) next.push_back(base * own + (own == 1 ? 0 : i));
    index = std::move(next);
  }
  return index;
}

Shape leading(const Shape& s, int trailing) {
  return Shape(s.dims().first(static_cast<size_t>(std::max(0, s.rank() - trailing))));
}

double multiply_add(double a, double b, double c) {
  return std::fma(a, b, c);
}
uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
  return a * b + c;
}
uint64_t multiply_add(uint64_t a, uint64_t b, uint64_t c) {
  return a * b + c;
}

// Rows [begin, end) of C = A B, any strides of A and B.
template <class T>
void plain_rows(const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k, int64_t b_column, T* c,
                int64_t n, int64_t k, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    T* row = c + i * n;
    std::fill(row, row + n, T{0});
    const T* x = a + i * a_row;
    if (b_column == 1) {
      for (int64_t t = 0; t < k; ++t)
        for (int64_t j = 0; j < n; ++j) row[j] = multiply_add(x[t * a_k], b[t * b_k + j], row[j]);
    } else {
      for (int64_t j = 0; j < n; ++j)
        for (int64_t t = 0; t < k; ++t) row[j] = multiply_add(x[t * a_k], b[t * b_k + j * b_column], row[j]);
    }
  }
}

// float64 alone: integers have no finish but their own operator's.
void finish_rows(double* c, const ProductFinish& f, float alpha, const double* residual, int64_t count) {
  if (alpha == 1.0f && residual == nullptr && f.activation.kind == Activation::kNone) return;
  for (int64_t i = 0; i < count; ++i) {
    double v = c[i] * alpha;
    if (residual != nullptr) v += residual[i];
    c[i] = activate(f.activation, v);
  }
}

}  // namespace

MatMulShape matmul_shape(const Shape& a, const Shape& b, bool transpose_a, bool transpose_b) {
  const auto bad = [&](bool ok, const char* why) {
    require(ok, ErrorCode::kInvalidInput, "shapes ", a, " and ", b, " do not multiply", why);
  };
  bad(a.rank() >= 1 && b.rank() >= 1, ": both need at least one dimension");
  MatMulShape out;
  ProductShape& p = out.product;
  // A vector is a matrix of one row on the left, of one column on the right, whatever the flags.
  const int ra = a.rank(), rb = b.rank();
  p.m = ra == 1 ? 1 : transpose_a ? a[ra - 1] : a[ra - 2];
  p.k = ra == 1 ? a[0] : transpose_a ? a[ra - 2] : a[ra - 1];
  p.n = rb == 1 ? 1 : transpose_b ? b[rb - 2] : b[rb - 1];
  const int64_t k = rb == 1 ? b[0] : transpose_b ? b[rb - 1] : b[rb - 2];
  bad(p.k == k, ": their inner dimensions differ");
  const Shape stack_a = leading(a, 2), stack_b = leading(b, 2);
  out.output = broadcast_shapes(stack_a, stack_b);
  const Shape stack = out.output;
  if (ra > 1) out.output.push_back(p.m);
  if (rb > 1) out.output.push_back(p.n);
  p.a_count = stack_a.count();
  p.b_count = stack_b.count();
  p.a_transposed = transpose_a && p.m > 1;
  if (p.b_count == 1 && !p.a_transposed && stack.count() == p.a_count) {
    // One matrix of all rows.
    p.m = Shape({p.a_count, p.m}).count();
    p.a_count = 1;
  } else if (out.output.count() == 0) {
    p.m = 0;  // nothing to do, however many products there would be
  } else {
    p.a = stack_index(stack_a, stack);
    p.b = stack_index(stack_b, stack);
  }
  return out;
}

MatrixProduct::MatrixProduct(DType dtype, bool transpose_b, float alpha)
    : dtype_(dtype), is_half_(is_half(dtype)), transpose_b_(transpose_b), alpha_(alpha) {}

MatrixProduct::MatrixProduct(NodeContext& ctx, bool transpose_b, float alpha)
    : MatrixProduct(ctx.dtype(0), transpose_b, alpha) {
  const Tensor* constant_b = ctx.constant(1);
  if (constant_b == nullptr || !wide() || constant_b->shape().rank() == 0) return;
  constant_ = true;
  const Shape& s = constant_b->shape();
  const int r = s.rank();
  int64_t k = r == 1 ? s[0] : s[r - 2], n = r == 1 ? 1 : s[r - 1];
  if (r > 1 && transpose_b) std::swap(k, n);
  const int64_t count = leading(s, 2).count();
  if (s.count() == 0) return;
  const int64_t size = packed_b_size(k, n), bytes = Shape({count, size, int64_t{sizeof(float)}}).count();
  const std::string layout = join("gemm ", transpose_b, " ", std::bit_cast<uint32_t>(alpha));
  packed_ = ctx.pack(1, layout, bytes, [&](std::byte* to) {
    AlignedBytes wide_b;
    const float* b = constant_b->as<float>();
    if (is_half_) {
      wide_b = AlignedBytes(static_cast<size_t>(constant_b->count()) * sizeof(float));
      widen(dtype_, constant_b->as<void>(), wide_b.as<float>(), constant_b->count());
      b = wide_b.as<float>();
    }
    for (int64_t i = 0; i < count; ++i)
      pack(b + i * k * n, k, n, 0, panel_count(n), reinterpret_cast<float*>(to) + i * size);
  });
}

void MatrixProduct::pack(const float* b, int64_t k, int64_t n, int64_t panel_begin, int64_t panel_end,
                         float* packed) const {
  const PackBArgs args{
      .k = k, .n = n, .b = b, .ldb = transpose_b_ ? k : n, .transposed = transpose_b_, .packed = packed};
  kernels().gemm.pack_b(args, 0, k, panel_begin, panel_end);
  if (alpha_ == 1.0f) return;
  for (int64_t i = panel_begin * kPanelWidth * k; i < panel_end * kPanelWidth * k; ++i) packed[i] *= alpha_;
}

void MatrixProduct::plan(ProductState& state, ScratchLayout& layout) const {
  if (!wide()) return;
  const ProductShape& s = state.shape;
  constexpr int64_t kFloat = sizeof(float);
  const auto elements = [](int64_t count, int64_t rows, int64_t columns) {
    return Shape({count, rows, columns}).count();
  };
  if (s.m == 0 || s.n == 0) return;
  if (is_half_) {
    state.a_wide = layout.take(elements(s.a_count, s.m, s.k), kFloat);
    state.c_wide = layout.take(elements(s.count(), s.m, s.n), kFloat);
    if (!constant_) state.b_wide = layout.take(elements(s.b_count, s.k, s.n), kFloat);
  }
  if (s.a_transposed) state.a_rows = layout.take(elements(s.a_count, s.m, s.k), kFloat);
  if (!constant_)
    state.packed = layout.take(elements(s.b_count, panel_count(s.n) * kPanelWidth, s.k), kFloat);
}

const float* MatrixProduct::prepare_a(const RunContext& ctx, const ProductState& state, const void* a) const {
  const ProductShape& s = state.shape;
  const float* x = static_cast<const float*>(a);
  if (is_half_) {
    float* wide_a = reinterpret_cast<float*>(ctx.scratch() + state.a_wide);
    widen(ctx, dtype_, a, wide_a, s.a_count * s.m * s.k);
    x = wide_a;
  }
  if (!s.a_transposed) return x;
  float* rows = reinterpret_cast<float*>(ctx.scratch() + state.a_rows);
  const int64_t blocks = ceil_div(s.m, 16);
  ctx.parallel(s.a_count * blocks, grain_for(16 * s.k, kPackGoal), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i / blocks * s.m * s.k, column = i % blocks * 16;
      const TransposeArgs args{
          .rows = s.k, .columns = s.m, .src = x + at, .src_stride = s.m, .dst = rows + at, .dst_stride = s.k};
      kernels().layout.transpose(args, column, std::min(column + 16, s.m));
    }
  });
  return rows;
}

const float* MatrixProduct::prepare_b(const RunContext& ctx, const ProductState& state, const void* b) const {
  if (constant_) return packed_ ? packed_->as<float>() : nullptr;
  const ProductShape& s = state.shape;
  const float* x = static_cast<const float*>(b);
  if (is_half_) {
    float* wide_b = reinterpret_cast<float*>(ctx.scratch() + state.b_wide);
    widen(ctx, dtype_, b, wide_b, s.b_count * s.k * s.n);
    x = wide_b;
  }
  float* packed = reinterpret_cast<float*>(ctx.scratch() + state.packed);
  const int64_t panels = panel_count(s.n);
  ctx.parallel(s.b_count * panels, grain_for(kPanelWidth * s.k, kPackGoal),
               [&](int64_t begin, int64_t end, int) {
                 while (begin < end) {
                   const int64_t i = begin / panels, first = begin % panels;
                   const int64_t last = std::min(panels, first + end - begin);
                   pack(x + i * s.k * s.n, s.k, s.n, first, last, packed + i * packed_b_size(s.k, s.n));
                   begin += last - first;
                 }
               });
  return packed;
}

float* MatrixProduct::wide_c(const RunContext& ctx, const ProductState& state, void* c) const {
  return is_half_ ? reinterpret_cast<float*>(ctx.scratch() + state.c_wide) : static_cast<float*>(c);
}

template <class T>
void MatrixProduct::run_plain(const RunContext& ctx, const ProductShape& s, const T* a, const T* b, T* c,
                              const ProductFinish& finish) const {
  ctx.parallel(s.count() * s.m, grain_for(s.n * s.k), [&](int64_t begin, int64_t end, int) {
    while (begin < end) {
      const int64_t i = begin / s.m, row = begin % s.m, last = std::min(s.m, row + end - begin);
      T* y = c + i * s.m * s.n;
      plain_rows(a + s.a[static_cast<size_t>(i)] * s.m * s.k, s.a_transposed ? 1 : s.k,
                 s.a_transposed ? s.m : 1, b + s.b[static_cast<size_t>(i)] * s.k * s.n,
                 transpose_b_ ? 1 : s.n, transpose_b_ ? s.k : 1, y, s.n, s.k, row, last);
      if constexpr (std::is_same_v<T, double>) {
        const auto* residual = static_cast<const double*>(finish.residual);
        finish_rows(y + row * s.n, finish, alpha_, residual ? residual + begin * s.n : nullptr,
                    (last - row) * s.n);
      }
      begin += last - row;
    }
  });
}

void MatrixProduct::run(const RunContext& ctx, const ProductState& state, const void* a, const void* b,
                        void* c, const ProductFinish& finish) const {
  const ProductShape& s = state.shape;
  if (s.m == 0 || s.n == 0 || s.count() == 0) return;
  if (dtype_ == DType::kFloat64)
    return run_plain(ctx, s, static_cast<const double*>(a), static_cast<const double*>(b),
                     static_cast<double*>(c), finish);
  // Sums of signed integers wrap as unsigned ones do.
  if (!wide() && dtype_size(dtype_) == 4)
    return run_plain(ctx, s, static_cast<const uint32_t*>(a), static_cast<const uint32_t*>(b),
                     static_cast<uint32_t*>(c), finish);
  if (!wide())
    return run_plain(ctx, s, static_cast<const uint64_t*>(a), static_cast<const uint64_t*>(b),
                     static_cast<uint64_t*>(c), finish);
  const float* x = prepare_a(ctx, state, a);
  const float* packed = prepare_b(ctx, state, b);
  float* y = wide_c(ctx, state, c);
  const float* residual = static_cast<const float*>(finish.residual);
  if (is_half_ && finish.residual != nullptr && finish.residual != y) {
    widen(ctx, dtype_, finish.residual, y, s.count() * s.m * s.n);
    residual = y;
  }
  const Tiling tiling(s.m, panel_count(s.n), kPanelWidth * s.k);
  const int64_t tiles = tiling.count();
  const int64_t grain = grain_for(tiling.row_step * tiling.panel_step * kPanelWidth * s.k, int64_t{1} << 19);
  ctx.parallel(s.count() * tiles, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t i = item / tiles, t = item % tiles;
      GemmArgs args{.m = s.m, .n = s.n, .k = s.k};
      args.a = x + s.a[static_cast<size_t>(i)] * s.m * s.k;
      args.lda = s.k;
      args.b = packed + s.b[static_cast<size_t>(i)] * packed_b_size(s.k, s.n);
      args.c = y + i * s.m * s.n;
      args.ldc = s.n;
      args.epilogue.bias = finish.bias;
      args.epilogue.bias_per_row = finish.bias_per_row;
      args.epilogue.residual = residual ? residual + i * s.m * s.n : nullptr;
      args.epilogue.residual_stride = s.n;
      set_activation(args.epilogue, finish.activation);
      kernels().gemm.run(args, tiling.row_begin(t), tiling.row_end(t), tiling.panel_begin(t),
                         tiling.panel_end(t));
    }
  });
  if (is_half_) narrow(ctx, dtype_, y, c, s.count() * s.m * s.n);
}

}  // namespace pyinfer
