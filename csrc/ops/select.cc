// NonZero: y = the indices of the elements of x that are not zero, one column each, in row-major order.
// Compress: y = the slices of x along an axis where the condition holds.
#include <algorithm>

#include "ops/copy_box.h"

namespace pyinfer {
namespace {

// Whether an element is zero can be told from its bits, but for the sign of a floating zero.
constexpr uint64_t kAll = ~uint64_t{0};

uint64_t bits_that_matter(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
    case DType::kComplex128: return kAll >> 1;
    case DType::kFloat32:
    case DType::kComplex64: return 0x7fffffff7fffffff;
    case DType::kFloat16:
    case DType::kBFloat16: return 0x7fff;
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E5M2: return 0x7f;
    case DType::kFloat4E2M1: return 0x07;
    default: return kAll;
  }
}

// Calls found(i) for each element that is not zero; an element is `kWords` words.
template <class Word, int kWords, class Found>
void scan_words(const TensorView& x, const Found& found) {
  const auto mask = static_cast<Word>(bits_that_matter(x.dtype));
  const Word* p = x.as<const Word>();
  for (int64_t i = 0, n = x.count(); i < n; ++i) {
    Word bits = 0;
    for (int w = 0; w < kWords; ++w) bits |= p[i * kWords + w] & mask;
    if (bits != 0) found(i);
  }
}

template <class Found>
void scan_elements(const TensorView& x, const Found& found) {
  if (x.dtype == DType::kString) {
    for (int64_t i = 0, n = x.count(); i < n; ++i)
      if (!x.as<std::string>()[i].empty()) found(i);
    return;
  }
  switch (dtype_size(x.dtype)) {
    case 1: return scan_words<uint8_t, 1>(x, found);
    case 2: return scan_words<uint16_t, 1>(x, found);
    case 4: return scan_words<uint32_t, 1>(x, found);
    case 8: return scan_words<uint64_t, 1>(x, found);
    default: return scan_words<uint64_t, 2>(x, found);
  }
}

class NonZero final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    ctx.shape(0).count();
    ctx.output_dynamic(0);
  }

  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    int64_t n = 0;
    scan_elements(x, [&](int64_t) { ++n; });
    const int rank = x.shape.rank();
    auto* y = ctx.allocate(0, DType::kInt64, {rank, n}).as<int64_t>();
    if (rank == 0 || n == 0) return;
    // A line along the last axis shares all other indices.
    const int64_t width = x.shape[rank - 1];
    std::array<int64_t, Shape::kMaxRank> index{};
    int64_t begin = 0, k = 0;
    scan_elements(x, [&](int64_t i) {
      if (i - begin >= width) {
        const int64_t line = i / width;
        begin = line * width;
        int64_t rest = line;
        for (int d = rank - 2; d >= 0; --d) {
          index[static_cast<size_t>(d)] = rest % x.shape[d];
          rest /= x.shape[d];
        }
      }
      for (int d = 0; d + 1 < rank; ++d) y[d * n + k] = index[static_cast<size_t>(d)];
      y[(rank - 1) * n + k] = i - begin;
      ++k;
    });
  }
};

class Compress final : public Op {
 public:
  Compress(int64_t axis, bool flat) : axis_(axis), flat_(flat) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    const int64_t size = flat_ ? x.count() : x[normalize_axis(axis_, x.rank())];
    require(ctx.shape(1).rank() == 1, ErrorCode::kInvalidInput, "condition has shape ", ctx.shape(1));
    ctx.scratch(std::min(size, ctx.shape(1)[0]) * 8);
    ctx.output_dynamic(0);
  }

  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    const Shape in = flat_ ? Shape{x.count()} : x.shape;
    const int axis = flat_ ? 0 : normalize_axis(axis_, in.rank());
    const auto condition = ctx.in(1).span<const uint8_t>();
    auto* rows = ctx.scratch_as<int64_t>();
    int64_t n = 0;
    for (int64_t i = 0, last = std::min<int64_t>(in[axis], ctx.in(1).count()); i < last; ++i)
      if (condition[static_cast<size_t>(i)] != 0) rows[n++] = i;
    Shape out = in;
    out[axis] = n;
    const TensorView y = ctx.allocate(0, x.dtype, out, x.string_bytes());
    if (out.count() == 0) return;
    const int64_t outer = in.count(0, axis), inner = in.count(axis + 1, in.rank());
    const auto size = static_cast<int64_t>(dtype_size(x.dtype));
    for (int64_t o = 0; o < outer; ++o) {
      if (x.dtype == DType::kString) {
        for (int64_t i = 0; i < n; ++i)
          std::copy_n(x.as<std::string>() + (o * in[axis] + rows[i]) * inner, inner,
                      y.as<std::string>() + (o * n + i) * inner);
      } else {
        kernels().movement.gather_rows(x.as<std::byte>() + o * in[axis] * inner * size, inner * size, rows, n,
                                       y.as<std::byte>() + o * n * inner * size);
      }
    }
  }

 private:
  int64_t axis_;
  bool flat_;
};

std::unique_ptr<Op> make_non_zero(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.output(0, DType::kInt64);
  return std::make_unique<NonZero>();
}

std::unique_ptr<Op> make_compress(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(1, {DType::kBool});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Compress>(ctx.attr_int("axis", 0), !ctx.has_attr("axis"));
}

}  // namespace

std::span<const OpDef> select_ops() {
  static constexpr OpDef kOps[] = {
      {"", "Compress", 1, make_compress},
      {"", "NonZero", 1, make_non_zero},
  };
  return kOps;
}

}  // namespace pyinfer
