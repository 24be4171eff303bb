// Stacks of exact products of 8-bit integers, for MatMulInteger and the operators that go on from its sums:
//   S_i = (A_i - a_zero)(B_i - b_zero)   modulo 2^32, as int32
#pragma once

#include "base/function_ref.h"
#include "base/packed_bytes.h"
#include "kernels/gemm_s8.h"
#include "ops/line_values.h"
#include "ops/product.h"
#include "ops/requantize.h"

namespace pyinfer {

// A float16, bfloat16 or float32 scale.
float scale_at(const TensorView& t, int64_t i);

struct IntegerProductState : StepState {
  ProductShape shape;
  LineValues a_zero, b_zero;
  int64_t a_zeros = 0, b_zeros = 0, packed = 0, workers = 0, worker_bytes = 0;  // offsets in scratch
};

struct IntegerOperands {
  const void* a = nullptr;
  bool a_signed = false;
  const TensorView* a_zero = nullptr;   // or none
  const void* b = nullptr;              // not read when B is constant
  const TensorView* b_zero = nullptr;   // or none
  const S8Requantize* bytes = nullptr;  // where given, its Y is written in place of the sums
};

// Rows and columns of product `i` whose sums are ready.
struct IntegerTile {
  int64_t i, row_begin, row_end, column_begin, column_end;
  int worker;
};

class IntegerProduct {
 public:
  // B is input `b`; a constant one is packed here, once. Each B may be stored N x K.
  IntegerProduct(NodeContext& ctx, int b, bool transpose_b);

  // `state.shape` is set. Shapes of A, B and, where given, their zero points; adds what run() needs to
  // `layout`.
  void plan(IntegerProductState& state, ScratchLayout& layout, const Shape& a, const Shape& b,
            const Shape* a_zero, const Shape* b_zero, int workers) const;
  // `sums` is count x m x n. Calls finish(tile) as tiles get ready, from several threads.
  void run(const RunContext& ctx, const IntegerProductState& state, const IntegerOperands& operands,
           int32_t* sums, FunctionRef<void(const IntegerTile&)> finish) const;

 private:
  void pack(const void* b, int64_t k, int64_t n, int64_t panel_begin, int64_t panel_end,
            int8_t* packed) const;
  const int8_t* prepare_b(const RunContext& ctx, const IntegerProductState& state, const void* b) const;

  bool signed_, transposed_;
  PackedWeights::Packed packed_;  // of a constant B
};

}  // namespace pyinfer
