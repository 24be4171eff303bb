// DFT: the Fourier transform along one axis of a tensor whose last dimension is 1 (real) or 2 (complex).
// STFT: y(b, f, k) = DFT over n of window(n) * x(b, f * step + n).
#include <algorithm>

#include "ops/elements.h"
#include "ops/fft.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

struct FftState final : StepState {
  Fft fft;
  int64_t outer = 0, inner = 0;  // DFT: lines. STFT: signals, frames
  int64_t given = 0;             // input elements along the axis
  int64_t made = 0;              // output elements along the axis
  int64_t step = 0;              // STFT
  int in_parts = 1, out_parts = 2;
};

int parts_of(const Shape& x) {
  const int64_t parts = x.rank() > 0 ? x[x.rank() - 1] : 0;
  require(parts == 1 || parts == 2, ErrorCode::kInvalidInput, "a signal of shape ", x,
          " must have a last dimension of 1 (real) or 2 (complex)");
  return static_cast<int>(parts);
}

int64_t one_value(PlanContext& ctx, int i, const char* name) {
  const std::vector<int64_t> values = ctx.require_int64s(i);
  require(values.size() == 1, ErrorCode::kInvalidInput, name, " has ", values.size(),
          " elements, expected 1");
  return values[0];
}

// Sets up the transform of length n and the scratch of all workers: a line and what it needs.
void plan_fft(PlanContext& ctx, FftState& s, int64_t n, bool empty) {
  require(Fft::memory(n) <= ctx.limits().max_tensor_bytes, ErrorCode::kLimit,
          "a Fourier transform of length ", n, " would exceed max_tensor_bytes");
  if (empty) return;
  s.fft = Fft(n);
  ScratchLayout layout;
  layout.take(ctx.workers() * (n + s.fft.scratch_size()), sizeof(Complex));
  ctx.scratch(layout.bytes());
}

double element(const TensorView& x, int64_t at) {
  double one;
  return *load_as(x.dtype, x.data, at, 1, &one);
}

class Dft final : public Op {
 public:
  Dft(bool inverse, bool one_sided, int64_t axis) : inverse_(inverse), one_sided_(one_sided), axis_(axis) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    auto s = std::make_unique<FftState>();
    s->in_parts = parts_of(x);
    require(x.rank() >= 2, ErrorCode::kInvalidInput, "a signal of shape ", x,
            " has no dimension to transform");
    const int axis = normalize_axis(ctx.has(2) ? one_value(ctx, 2, "axis") : axis_, x.rank());
    require(axis != x.rank() - 1, ErrorCode::kInvalidModel, "axis ", axis,
            " is the last dimension, which holds complex numbers");
    const bool to_real = inverse_ && one_sided_;
    s->given = x[axis];
    const int64_t n = ctx.has(1) ? one_value(ctx, 1, "dft_length") : to_real ? 2 * (s->given - 1) : s->given;
    require(n >= 1 || (n == 0 && !ctx.has(1) && !to_real), ErrorCode::kInvalidInput, "dft_length is ", n,
            ", expected at least 1");
    s->made = one_sided_ && !inverse_ ? n / 2 + 1 : n;
    s->out_parts = to_real ? 1 : 2;
    s->outer = x.count(0, axis);
    s->inner = x.count(axis + 1, x.rank() - 1);
    Shape y = x;
    y[axis] = s->made;
    y[x.rank() - 1] = s->out_parts;
    ctx.output(0, y);
    require(n >= 1 || y.count() == 0, ErrorCode::kInvalidInput, "a signal of shape ", x,
            " has nothing to transform along axis ", axis);
    plan_fft(ctx, *s, n, y.count() == 0);
    ctx.state(std::move(s));
  }

  void run(RunContext& ctx) const override {
    const auto& s = ctx.state<FftState>();
    if (ctx.out(0).count() == 0) return;
    const int64_t n = s.fft.size(), buffer = n + s.fft.scratch_size();
    ctx.parallel(s.outer * s.inner, grain_for(buffer * 16), [&](int64_t begin, int64_t end, int worker) {
      Complex* line = ctx.scratch_as<Complex>() + worker * buffer;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t outer = i / s.inner, inner = i % s.inner;
        read(s, ctx.in(0), outer, inner, line);
        s.fft.transform(line, line + n, inverse_);
        write(s, line, ctx.out(0), outer, inner);
      }
    });
  }

 private:
  void read(const FftState& s, const TensorView& x, int64_t outer, int64_t inner, Complex* line) const {
    const int64_t n = s.fft.size();
    const bool half = inverse_ && one_sided_;
    const int64_t taken = std::min(s.given, half ? n / 2 + 1 : n);
    std::fill_n(line, n, Complex{});
    for (int64_t k = 0; k < taken; ++k) {
      const int64_t at = ((outer * s.given + k) * s.inner + inner) * s.in_parts;
      line[k] = {element(x, at), s.in_parts == 2 ? element(x, at + 1) : 0.0};
    }
    if (!half) return;
    // The other half of a real signal's spectrum mirrors this one; where they meet it is real.
    line[0].im = 0.0;
    for (int64_t k = 1; 2 * k <= n; ++k)
      if (2 * k == n)
        line[k].im = 0.0;
      else
        line[n - k] = conjugate(line[k]);
  }

  void write(const FftState& s, const Complex* line, const TensorView& y, int64_t outer,
             int64_t inner) const {
    const double scale = inverse_ ? static_cast<double>(s.fft.size()) : 1.0;
    for (int64_t k = 0; k < s.made; ++k) {
      const int64_t at = ((outer * s.made + k) * s.inner + inner) * s.out_parts;
      const double value[2] = {line[k].re / scale, line[k].im / scale};
      store_as(y.dtype, y.data, at, s.out_parts, value);
    }
  }

  bool inverse_, one_sided_;
  int64_t axis_;
};

class Stft final : public Op {
 public:
  explicit Stft(bool one_sided) : one_sided_(one_sided) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    auto s = std::make_unique<FftState>();
    require(x.rank() == 3, ErrorCode::kInvalidInput, "a signal of shape ", x, " must have 3 dimensions");
    s->in_parts = parts_of(x);
    s->step = one_value(ctx, 1, "frame_step");
    require(s->step >= 1, ErrorCode::kInvalidInput, "frame_step is ", s->step, ", expected at least 1");
    int64_t n = x[1];
    if (ctx.has(2)) {
      require(ctx.shape(2).rank() == 1, ErrorCode::kInvalidInput, "window has shape ", ctx.shape(2),
              ", expected 1 dimension");
      n = ctx.shape(2)[0];
    }
    if (ctx.has(3)) {
      const int64_t length = one_value(ctx, 3, "frame_length");
      require(!ctx.has(2) || length == n, ErrorCode::kInvalidInput, "frame_length is ", length,
              ", but window has ", n, " elements");
      n = length;
    }
    require(n >= 1 && n <= x[1], ErrorCode::kInvalidInput, "frames of ", n,
            " elements do not fit a signal of ", x[1]);
    s->given = x[1];
    s->made = one_sided_ ? n / 2 + 1 : n;
    s->outer = x[0];
    s->inner = (x[1] - n) / s->step + 1;
    const Shape y({s->outer, s->inner, s->made, 2});
    ctx.output(0, y);
    plan_fft(ctx, *s, n, y.count() == 0);
    ctx.state(std::move(s));
  }

  void run(RunContext& ctx) const override {
    const auto& s = ctx.state<FftState>();
    if (ctx.out(0).count() == 0) return;
    const int64_t n = s.fft.size(), buffer = n + s.fft.scratch_size();
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    ctx.parallel(s.outer * s.inner, grain_for(buffer * 16), [&](int64_t begin, int64_t end, int worker) {
      Complex* line = ctx.scratch_as<Complex>() + worker * buffer;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i / s.inner * s.given + i % s.inner * s.step;
        for (int64_t k = 0; k < n; ++k) {
          const double w = ctx.has(2) ? element(ctx.in(2), k) : 1.0;
          const int64_t at = (first + k) * s.in_parts;
          line[k] = {w * element(x, at), s.in_parts == 2 ? w * element(x, at + 1) : 0.0};
        }
        s.fft.transform(line, line + n, false);
        for (int64_t k = 0; k < s.made; ++k) store_as(y.dtype, y.data, (i * s.made + k) * 2, 2, &line[k].re);
      }
    });
  }

 private:
  bool one_sided_;
};

std::unique_ptr<Op> make_dft(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(1, 3);
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16});
  for (int i : {1, 2})
    if (ctx.has_input(i)) ctx.expect_dtype(i, {kInt32, kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Dft>(ctx.attr_int("inverse", 0) != 0, ctx.attr_int("onesided", 0) != 0,
                               ctx.attr_int("axis", ctx.version() < 20 ? 1 : -2));
}

std::unique_ptr<Op> make_stft(NodeContext& ctx) {
  using enum DType;
  ctx.expect_inputs(2, 4);
  ctx.expect_dtype(0, {kFloat32, kFloat64, kFloat16, kBFloat16});
  ctx.expect_dtype(1, {kInt32, kInt64});
  if (ctx.has_input(2)) ctx.expect_same_dtype(0, 2);
  if (ctx.has_input(3)) ctx.expect_dtype(3, {kInt32, kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Stft>(ctx.attr_int("onesided", 1) != 0);
}

}  // namespace

std::span<const OpDef> dft_ops() {
  static constexpr OpDef kOps[] = {{"", "DFT", 1, make_dft}, {"", "STFT", 1, make_stft}};
  return kOps;
}

}  // namespace pyinfer
