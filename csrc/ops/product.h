// Stacks of matrix products, for MatMul, Gemm, Einsum and their fused forms:
//   C_i = act(alpha * A_i B_i + bias + residual_i)
// float32 goes to the kernels of kernels/gemm.h, float16 and bfloat16 through float32, the others to plain
// loops. Each output is one chain of (fused) multiply-adds over ascending k.
#pragma once

#include <memory>
#include <vector>

#include "base/packed_bytes.h"
#include "kernels/gemm.h"
#include "ops/fused_activation.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {

struct ProductShape {
  int64_t m = 0, n = 0, k = 0;       // of every product
  int64_t a_count = 1, b_count = 1;  // matrices that A and B hold, one after another
  std::vector<int64_t> a{0}, b{0};   // which of them product i takes
  bool a_transposed = false;         // each A stored K x M
  int64_t count() const { return static_cast<int64_t>(a.size()); }
};

// Shapes of A and B under the rules of numpy.matmul, each matrix stored transposed where a flag says so.
struct MatMulShape {
  ProductShape product;
  Shape output;
};
MatMulShape matmul_shape(const Shape& a, const Shape& b, bool transpose_a, bool transpose_b);

struct ProductState : StepState {
  ProductShape shape;
  int64_t a_wide = 0, a_rows = 0, b_wide = 0, packed = 0, c_wide = 0, extra = 0;  // offsets in scratch
};

// What is added to a product. Not used by integers.
struct ProductFinish {
  const float* bias = nullptr;  // one per column or row; float types of at most 32 bits
  bool bias_per_row = false;
  const void* residual = nullptr;  // count x m x n of the product's type
  FusedActivation activation;
};

class MatrixProduct {
 public:
  // Of a node with inputs A and B; a constant B is packed here, once.
  MatrixProduct(NodeContext& ctx, bool transpose_b, float alpha);
  // Of any A and B.
  MatrixProduct(DType dtype, bool transpose_b, float alpha);

  DType dtype() const { return dtype_; }
  // True for types that kernels/gemm.h computes.
  bool wide() const { return dtype_ == DType::kFloat32 || is_half_; }

  // Adds what run() needs to `layout`.
  void plan(ProductState& state, ScratchLayout& layout) const;
  // Where float32 results land before they are narrowed: `c` itself for float32.
  float* wide_c(const RunContext& ctx, const ProductState& state, void* c) const;
  // c is count x m x n; overlaps no input, but finish.residual may be wide_c() as float32.
  void run(const RunContext& ctx, const ProductState& state, const void* a, const void* b, void* c,
           const ProductFinish& finish) const;

 private:
  template <class T>
  void run_plain(const RunContext& ctx, const ProductShape& shape, const T* a, const T* b, T* c,
                 const ProductFinish& finish) const;
  const float* prepare_a(const RunContext& ctx, const ProductState& state, const void* a) const;
  const float* prepare_b(const RunContext& ctx, const ProductState& state, const void* b) const;
  void pack(const float* b, int64_t k, int64_t n, int64_t panel_begin, int64_t panel_end,
            float* packed) const;

  DType dtype_;
  bool is_half_;
  bool transpose_b_;  // each B stored N x K
  float alpha_;
  PackedWeights::Packed packed_;  // of a constant B
  bool constant_ = false;
};

}  // namespace pyinfer
