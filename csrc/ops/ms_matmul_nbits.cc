// MatMulNBits: Y = A W + bias,  W(k, n) = (Q(n, k) - zero(n, g)) * scale(n, g),  g = k / block_size or
// g_idx(k). Q has 2, 4 or 8 bits; the weights stay in that form and are widened as the product reads them.
#include <bit>

#include "kernels/kernel_table.h"
#include "ops/half.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

enum Input { kA, kB, kScales, kZeroPoints, kGroupIndex, kBias };

struct BitsFormat {
  int64_t k = 0, n = 0, block = 0;
  int bits = 4;

  int64_t groups() const { return ceil_div(k, block); }
  int64_t group_words() const { return block * bits / 32; }
  int64_t words() const { return bit_words(k, bits); }  // of one column; the file fills up the last group
  int64_t zero_bytes() const { return ceil_div(groups() * bits, 8); }
};

// What the kernel reads besides A, in one block of memory.
struct BitsLayout {
  int64_t words, scale, zero, plain, bias;
  explicit BitsLayout(ScratchLayout& layout, const BitsFormat& f)
      : words(layout.take(packed_b_size(f.words(), f.n), 4)),
        scale(layout.take(packed_b_size(f.groups(), f.n), 4)),
        zero(layout.take(packed_b_size(f.groups(), f.n), 4)),
        plain(layout.take(Shape({f.groups(), f.n}).count(), 4)),  // only while packing
        bias(layout.take(f.n, 4)) {}
};

struct BitsState final : StepState {
  int64_t rows = 0;
  bool omitted = false;  // B has no elements and counts as zeros
  int64_t weights = 0, a_wide = 0, y_wide = 0;
};

// Packs an N x k matrix of 4-byte elements, rows `stride` apart, in panels of columns.
void pack_columns(const void* from, int64_t stride, int64_t n, int64_t k, void* to) {
  kernels().gemm.pack_b({.k = k,
                         .n = n,
                         .b = static_cast<const float*>(from),
                         .ldb = stride,
                         .transposed = true,
                         .packed = static_cast<float*>(to)},
                        0, k, 0, panel_count(n));
}

class MatMulNBits final : public Op {
 public:
  MatMulNBits(NodeContext& ctx, const BitsFormat& format) : dtype_(ctx.dtype(kA)), f_(format) {
    const Tensor* given[6] = {};
    std::vector<const Tensor*> sources;
    std::string name = join("nbits ", f_.bits, " ", f_.block, " ", f_.k, " ", f_.n);
    for (int i = kB; i <= kBias; ++i) {
      if (!ctx.has_input(i)) continue;
      given[i] = ctx.constant(i);
      if (given[i] == nullptr) return;
      check_shape(i, given[i]->shape());
      if (given[kB]->count() == 0) return;
      sources.push_back(given[i]);
      name += join(" ", i);
    }
    ScratchLayout layout;
    const BitsLayout at(layout, f_);
    packed_ = ctx.packed_weights()->get(sources, name, layout.bytes(), [&](std::byte* to) {
      pack(at, to, [&](int i) { return given[i] ? &given[i]->view() : nullptr; });
    });
    ctx.packed(kB);
  }

  void plan(PlanContext& ctx) const override {
    const Shape& a = ctx.shape(kA);
    const int r = a.rank();
    require(r >= 1 && a[r - 1] == f_.k, ErrorCode::kInvalidInput, "A has shape ", a, ", expected [..., ",
            f_.k, "]");
    Shape y = a;
    y[r - 1] = f_.n;
    ctx.output(0, y);
    auto state = std::make_unique<BitsState>();
    state->omitted = ctx.shape(kB).count() == 0;
    for (int i = kB; i <= kBias; ++i)
      if (ctx.has(i) && (!state->omitted || i == kB || i == kBias)) check_shape(i, ctx.shape(i));
    state->rows = a.count(0, r - 1);
    ScratchLayout layout;
    state->weights = layout.bytes();
    if (packed_ == nullptr) BitsLayout{layout, f_};
    if (is_half(dtype_)) {
      state->a_wide = layout.take(a.count(), 4);
      state->y_wide = layout.take(y.count(), 4);
    }
    ctx.scratch(layout.bytes());
    ctx.flops(product_flops(state->rows, f_.k, f_.n));
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const auto& s = ctx.state<BitsState>();
    if (ctx.out(0).count() == 0) return;
    std::byte* memory = packed_ != nullptr ? packed_->data() : ctx.scratch() + s.weights;
    ScratchLayout layout;
    const BitsLayout at(layout, f_);
    const auto input = [&](int i) { return ctx.has(i) ? &ctx.in(i) : nullptr; };
    if (s.omitted)
      pack_bias(at, memory, input(kBias));
    else if (packed_ == nullptr)
      pack(at, memory, input);
    const auto floats = [&](int64_t offset) { return reinterpret_cast<float*>(memory + offset); };
    const bool half = is_half(dtype_);
    GemmBitsArgs args{.m = s.rows, .n = f_.n, .k = s.omitted ? 0 : f_.k, .bits = f_.bits, .lda = f_.k};
    args.a = half ? reinterpret_cast<float*>(ctx.scratch() + s.a_wide) : ctx.in<float>(kA);
    if (half && !s.omitted)
      widen(ctx, dtype_, ctx.in(kA).data, const_cast<float*>(args.a), ctx.in(kA).count());
    args.b = floats(at.words);
    args.scale = floats(at.scale);
    args.zero = floats(at.zero);
    args.groups = f_.groups();
    args.group_size = f_.block;
    if (ctx.has(kGroupIndex)) args.group_index = ctx.in<int32_t>(kGroupIndex);
    args.c = half ? reinterpret_cast<float*>(ctx.scratch() + s.y_wide) : ctx.out<float>(0);
    args.ldc = f_.n;
    if (ctx.has(kBias)) args.epilogue.bias = floats(at.bias);
    const Tiling tiling(s.rows, panel_count(f_.n), kPanelWidth * f_.k);
    const int64_t grain =
        grain_for(tiling.row_step * tiling.panel_step * kPanelWidth * f_.k, int64_t{1} << 19);
    ctx.parallel(tiling.count(), grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t)
        kernels().gemm_bits.run(args, tiling.row_begin(t), tiling.row_end(t), tiling.panel_begin(t),
                                tiling.panel_end(t));
    });
    if (half) narrow(ctx, dtype_, args.c, ctx.out(0).data, ctx.out(0).count());
  }

 private:
  void check_shape(int i, const Shape& s) const {
    const auto expect = [&](bool ok, const char* name, const auto&... expected) {
      require(ok, ErrorCode::kInvalidInput, name, " has shape ", s, ", expected ", expected...);
    };
    // Scales and zero points are also written flat.
    const int64_t groups = f_.groups(), count = s.count();
    if (i == kB)
      expect(count == 0 || s == Shape({f_.n, groups, f_.group_words() * 4}), "B", "[", f_.n, ", ", groups,
             ", ", f_.group_words() * 4, "]");
    else if (i == kScales)
      expect(count == f_.n * groups, "scales", "[", f_.n, ", ", groups, "]");
    else if (i == kZeroPoints)
      expect(count == f_.n * groups || count == f_.n * f_.zero_bytes(), "zero_points", "[", f_.n, ", ",
             f_.zero_bytes(), "] of packed or [", f_.n, ", ", groups, "] of plain values");
    else if (i == kGroupIndex)
      expect(s.rank() == 1 && (count == f_.k || count == groups * f_.block), "g_idx", "[", f_.k, "]");
    else
      expect(s == Shape({f_.n}), "bias", "[", f_.n, "]");
  }

  void pack_bias(const BitsLayout& at, std::byte* memory, const TensorView* bias) const {
    if (bias != nullptr) widen(dtype_, bias->data, reinterpret_cast<float*>(memory + at.bias), f_.n);
  }

  // `input(i)` is the view of input i, or nullptr.
  template <class F>
  void pack(const BitsLayout& at, std::byte* memory, F input) const {
    const int64_t groups = f_.groups();
    auto* plain = reinterpret_cast<float*>(memory + at.plain);
    // Bytes may lie anywhere; packing reads words of them.
    const TensorView& b = *input(kB);
    const bool aligned = reinterpret_cast<uintptr_t>(b.data) % alignof(float) == 0;
    const Tensor copy = aligned ? Tensor() : Tensor::copy_of(b);
    pack_columns(aligned ? b.data : copy.view().data, groups * f_.group_words(), f_.n, f_.words(),
                 memory + at.words);
    widen(dtype_, input(kScales)->data, plain, f_.n * groups);
    pack_columns(plain, groups, f_.n, groups, memory + at.scale);
    plain_zero_points(input(kZeroPoints), plain);
    pack_columns(plain, groups, f_.n, groups, memory + at.zero);
    pack_bias(at, memory, input(kBias));
    if (const TensorView* index = input(kGroupIndex))
      for (int32_t g : index->template span<int32_t>())
        require(g >= 0 && g < groups, ErrorCode::kInvalidInput, "g_idx holds ", g, ", expected 0 to ",
                groups - 1);
  }

  void plain_zero_points(const TensorView* zero, float* plain) const {
    const int64_t groups = f_.groups(), count = f_.n * groups;
    if (zero == nullptr) return void(std::fill_n(plain, count, static_cast<float>(1 << (f_.bits - 1))));
    if (zero->dtype != DType::kUInt8) return widen(zero->dtype, zero->data, plain, count);
    for (int64_t j = 0; j < f_.n; ++j)
      for (int64_t g = 0; g < groups; ++g) {
        const uint8_t byte = zero->as<uint8_t>()[j * f_.zero_bytes() + g * f_.bits / 8];
        plain[j * groups + g] = static_cast<float>(byte >> g * f_.bits % 8 & ((1 << f_.bits) - 1));
      }
  }

  DType dtype_;
  BitsFormat f_;
  PackedWeights::Packed packed_;  // of constant inputs
};

std::unique_ptr<Op> make(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(3, 6);
  ctx.expect_dtype(kA, {kFloat32, kFloat16, kBFloat16});
  ctx.expect_dtype(kB, {kUInt8});
  ctx.expect_same_dtype(kA, kScales);
  if (ctx.has_input(kZeroPoints) && ctx.dtype(kZeroPoints) != kUInt8) ctx.expect_same_dtype(kA, kZeroPoints);
  if (ctx.has_input(kGroupIndex)) ctx.expect_dtype(kGroupIndex, {kInt32});
  if (ctx.has_input(kBias)) ctx.expect_same_dtype(kA, kBias);
  if (ctx.attr_int("weight_prepacked", 0) != 0)
    ctx.unsupported("weight_prepacked ", ctx.attr_int("weight_prepacked"), ", which is a layout for one GPU");
  const int64_t bits = ctx.attr_int("bits", 4);
  if (bits != 2 && bits != 4 && bits != 8) ctx.unsupported(bits, " bits, expected 2, 4 or 8");
  const BitsFormat f{.k = ctx.attr_int("K"),
                     .n = ctx.attr_int("N"),
                     .block = ctx.attr_int("block_size"),
                     .bits = static_cast<int>(bits)};
  require(f.k > 0 && f.n > 0 && f.k <= INT32_MAX && f.n <= INT32_MAX, ErrorCode::kInvalidModel,
          "K and N are ", f.k, " and ", f.n, ", expected positive 32-bit numbers");
  require(f.block >= 16 && f.block <= int64_t{1} << 30 && std::has_single_bit(static_cast<uint64_t>(f.block)),
          ErrorCode::kInvalidModel, "block_size is ", f.block, ", expected a power of two from 16 on");
  ctx.output(0, ctx.dtype(kA));
  return std::make_unique<MatMulNBits>(ctx, f);
}

}  // namespace

std::span<const OpDef> ms_matmul_nbits_ops() {
  static constexpr OpDef kOps[] = {{"com.microsoft", "MatMulNBits", 1, make}};
  return kOps;
}

}  // namespace pyinfer
