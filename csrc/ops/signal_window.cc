// Windows of N points, with t = 2 pi n / N (periodic) or 2 pi n / (N - 1):
//   Hann  (1 - cos t) / 2;   Hamming  25/46 - 21/46 cos t;   Blackman  0.42 - 0.5 cos t + 0.08 cos 2t
// MelWeightMatrix: triangles of height 1 over the bins of a spectrum, evenly spaced on the mel scale,
//   mel(f) = 2595 log10(1 + f / 700).
#include <cmath>

#include "kernels/math_f64.h"
#include "ops/elements.h"
#include "ops/fft.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

// Numbers as elements of any numeric type; toward zero where that is an integer.
void store_numbers(const TensorView& y, int64_t at, int64_t n, const double* from) {
  if (dtype_is_float(y.dtype)) return store_as(y.dtype, y.data, at, n, from);
  for (int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<int64_t>(from[i]);
    store_as(y.dtype, y.data, at + i, 1, &value);
  }
}

void check_output_type(NodeContext& ctx, DType dtype) {
  using enum DType;
  for (DType allowed : {kFloat32, kFloat64, kFloat16, kBFloat16, kInt8, kInt16, kInt32, kInt64, kUInt8,
                        kUInt16, kUInt32, kUInt64})
    if (dtype == allowed) return ctx.output(0, dtype);
  ctx.unsupported("output_datatype ", dtype_name(dtype));
}

int64_t size_input(PlanContext& ctx, int i, const char* name) {
  const std::vector<int64_t> values = ctx.require_int64s(i);
  require(values.size() == 1 && values[0] >= 0, ErrorCode::kInvalidInput, name,
          " must be one number of at least 0");
  return values[0];
}

// a - b cos t + c cos 2t.
class Window final : public Op {
 public:
  Window(double a, double b, double c, bool periodic) : a_(a), b_(b), c_(c), periodic_(periodic) {}

  void plan(PlanContext& ctx) const override { ctx.output(0, Shape({size_input(ctx, 0, "size")})); }

  void run(RunContext& ctx) const override {
    const int64_t size = ctx.out(0).count(), n = periodic_ ? size : size - 1;
    for (int64_t i = 0; i < size; ++i) {
      // The one point of a symmetric window is its peak.
      const double cos1 = n == 0 ? -1.0 : root_of_unity(i, n).re,
                   cos2 = n == 0 ? 1.0 : root_of_unity(2 * i, n).re;
      const double value = a_ - b_ * cos1 + c_ * cos2;
      store_numbers(ctx.out(0), i, 1, &value);
    }
  }

 private:
  double a_, b_, c_;
  bool periodic_;
};

class MelWeightMatrix final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    const int64_t mels = size_input(ctx, 0, "num_mel_bins"), length = size_input(ctx, 1, "dft_length");
    ctx.output(0, Shape({length / 2 + 1, mels}));
  }

  void run(RunContext& ctx) const override {
    const TensorView& y = ctx.out(0);
    const int64_t rows = y.shape[0], mels = y.shape[1];
    std::memset(y.data, 0, y.bytes());
    const int64_t length = integer(ctx, 1);
    int64_t left = bin(ctx, 0, mels, length, rows), center = bin(ctx, 1, mels, length, rows);
    for (int64_t m = 0; m < mels; ++m) {
      const int64_t right = bin(ctx, m + 2, mels, length, rows);
      const auto put = [&](int64_t row, double value) { store_numbers(y, row * mels + m, 1, &value); };
      if (left == center) put(center, 1.0);
      for (int64_t j = left; j < center + (left < center ? 1 : 0); ++j)
        put(j, static_cast<double>(j - left) / static_cast<double>(center - left));
      for (int64_t j = center; j < right; ++j)
        put(j, static_cast<double>(right - j) / static_cast<double>(right - center));
      left = center;
      center = right;
    }
  }

 private:
  static int64_t integer(const RunContext& ctx, int i) {
    int64_t one;
    return *load_as(ctx.in(i).dtype, ctx.in(i).data, 0, 1, &one);
  }
  static double number(const RunContext& ctx, int i) {
    double one;
    return *load_as(ctx.in(i).dtype, ctx.in(i).data, 0, 1, &one);
  }
  static double mel(double hertz) { return 2595.0 * f64::log1p(hertz / 700.0) / f64::log(10.0); }

  // The bin of the spectrum at edge i of mels + 2.
  static int64_t bin(const RunContext& ctx, int64_t i, int64_t mels, int64_t length, int64_t rows) {
    for (int input : {1, 2, 3, 4})
      require(ctx.in(input).count() == 1, ErrorCode::kInvalidInput, "input ", input, " must be a scalar");
    const double low = mel(number(ctx, 3)), high = mel(number(ctx, 4));
    const auto rate = static_cast<double>(integer(ctx, 2));
    const double at = low + static_cast<double>(i) * ((high - low) / static_cast<double>(mels + 2));
    const double hertz = 700.0 * f64::expm1(at / 2595.0 * f64::log(10.0));
    const double place = std::floor(static_cast<double>(length + 1) * hertz / rate);
    require(place >= 0.0 && place < static_cast<double>(rows), ErrorCode::kInvalidInput,
            "the frequencies asked for leave the spectrum: bin ", place, " of ", rows);
    return static_cast<int64_t>(place);
  }
};

template <int kKind>
std::unique_ptr<Op> make_window(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kInt32, DType::kInt64});
  check_output_type(ctx, ctx.attr_dtype("output_datatype", DType::kFloat32));
  const bool periodic = ctx.attr_int("periodic", 1) != 0;
  if (kKind == 0) return std::make_unique<Window>(0.5, 0.5, 0.0, periodic);
  if (kKind == 1) return std::make_unique<Window>(25.0 / 46.0, 21.0 / 46.0, 0.0, periodic);
  return std::make_unique<Window>(0.42, 0.5, 0.08, periodic);
}

std::unique_ptr<Op> make_mel(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(5, 5);
  for (int i : {0, 1, 2}) ctx.expect_dtype(i, {kInt32, kInt64});
  for (int i : {3, 4}) ctx.expect_dtype(i, {kFloat32, kFloat64, kFloat16, kBFloat16});
  check_output_type(ctx, ctx.attr_dtype("output_datatype", kFloat32));
  return std::make_unique<MelWeightMatrix>();
}

}  // namespace

std::span<const OpDef> signal_window_ops() {
  static constexpr OpDef kOps[] = {{"", "HannWindow", 1, make_window<0>},
                                   {"", "HammingWindow", 1, make_window<1>},
                                   {"", "BlackmanWindow", 1, make_window<2>},
                                   {"", "MelWeightMatrix", 1, make_mel}};
  return kOps;
}

}  // namespace pyinfer
