// Pools: Y(n, c, o) = pool over the taps of window o that lie inside X(n, c).
//   MaxPool (with Indices), AveragePool, LpPool and their Global forms; the pyinfer ops of the same names
//   with the suffix Nhwc read and write channels-last images.
#include "kernels/pool.h"

#include <cmath>
#include <limits>

#include "kernels/kernel_table.h"
#include "kernels/math_f64.h"
#include "ops/dispatch.h"
#include "ops/half.h"
#include "ops/image_layout.h"
#include "ops/sliding_window.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

constexpr int64_t kFloat = sizeof(float);

struct PoolState : StepState {
  PoolArgs args;  // without pointers
  bool turn_x = false, turn_y = false;
  int64_t x_wide = 0, x_last = 0, y_last = 0, y_wide = 0, indices = 0, workers = 0,
          worker_bytes = 0;  // scratch
};

// Calls f(pixel) for the taps of output position `o` that lie inside the image, in row-major order.
template <class F>
void for_each_tap(const Window& w, const int64_t* o, F f) {
  int64_t begin[kMaxSpatialRank], end[kMaxSpatialRank], tap[kMaxSpatialRank];
  for (int d = 0; d < w.rank; ++d) {
    const TapRange range = valid_taps(w, d, o[d]);
    if (range.begin == range.end) return;
    begin[d] = tap[d] = range.begin;
    end[d] = range.end;
  }
  for (;;) {
    int64_t pixel = 0;
    for (int d = 0; d < w.rank; ++d)
      pixel = pixel * w.input[d] + o[d] * w.stride[d] - w.pad[d] + tap[d] * w.dilation[d];
    f(pixel);
    int d = w.rank - 1;
    while (d >= 0 && ++tap[d] == end[d]) {
      tap[d] = begin[d];
      --d;
    }
    if (d < 0) return;
  }
}

// Taps of output position `o` that an average divides by.
double average_count(const PoolArgs& args, const int64_t* o) {
  const Window& w = args.window;
  double count = 1;
  for (int d = 0; d < w.rank; ++d) {
    Window padded = w;
    if (args.count_padding) {
      padded.input[d] = w.input[d] + w.pad[d] + args.pad_end[d];
      padded.pad[d] = 0;
    }
    const TapRange range = valid_taps(padded, d, o[d]);
    count *= static_cast<double>(range.end - range.begin);
  }
  return count;
}

double lp_norm(const PoolArgs& args, const int64_t* o, const double* x, int64_t step) {
  double sum = 0;
  for_each_tap(args.window, o, [&](int64_t pixel) {
    const double v = std::fabs(x[pixel * step]);
    sum += args.kind == PoolKind::kL1 ? v : args.kind == PoolKind::kL2 ? v * v : f64::pow(v, double{args.p});
  });
  if (args.kind == PoolKind::kL1) return sum;
  return args.kind == PoolKind::kL2 ? std::sqrt(sum) : f64::pow(sum, 1.0 / double{args.p});
}

// One output of one plane, whose pixels lie `step` elements apart; `*best` receives the pixel of a maximum.
template <class T>
T plain_output(const PoolArgs& args, const int64_t* o, const T* x, int64_t step, int64_t* best) {
  if constexpr (std::is_same_v<T, double>) {
    if (args.kind == PoolKind::kAverage) {
      double sum = 0;
      for_each_tap(args.window, o, [&](int64_t pixel) { sum += x[pixel * step]; });
      return sum / average_count(args, o);
    }
    if (args.kind != PoolKind::kMax) return lp_norm(args, o, x, step);
  }
  using Limits = std::numeric_limits<T>;
  T most = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  *best = -1;
  for_each_tap(args.window, o, [&](int64_t pixel) {
    const T v = x[pixel * step];
    // The first NaN stays: nothing is greater, and a NaN differs from itself.
    const bool stays = most != most || (*best >= 0 && !(v > most) && v == v);
    if (stays) return;
    most = v;
    *best = pixel;
  });
  return most;
}

// The row-major number of a pixel as a column-major one.
int64_t column_major(const Window& w, int64_t pixel) {
  int64_t index = 0;
  for (int d = w.rank - 1; d >= 0; --d) {
    int64_t unit = 1;
    for (int e = 0; e < d; ++e) unit *= w.input[e];
    index += pixel % w.input[d] * unit;
    pixel /= w.input[d];
  }
  return index;
}

class Pool final : public Op {
 public:
  Pool(NodeContext& ctx, PoolKind kind, Layout layout, bool global, float p)
      : dtype_(ctx.dtype(0)),
        kind_(kind),
        layout_(layout),
        global_(global),
        window_(ctx),
        ceil_mode_(ctx.attr_int("ceil_mode", 0) != 0),
        count_padding_(ctx.attr_int("count_include_pad", 0) != 0),
        column_major_(ctx.attr_int("storage_order", 0) != 0),
        p_(p) {
    require(global || !window_.kernel_shape().empty(), ErrorCode::kInvalidModel,
            "attribute 'kernel_shape' is required");
  }

  void plan(PlanContext& ctx) const override {
    const ImageShape image(ctx.shape(0), layout_);
    auto state = std::make_unique<PoolState>();
    PoolArgs& a = state->args;
    a.kind = kind_;
    a.window = global_ ? whole(image) : window_.resolve(image, window_.kernel_shape(), ceil_mode_, a.pad_end);
    a.batch = image.batch;
    a.channels = image.channels;
    a.x_stride = a.y_stride = image.channels;
    a.count_padding = count_padding_;
    a.p = p_;
    ImageShape y = image;
    std::copy(a.window.output, a.window.output + y.rank, y.spatial);
    const Shape shape = y.shape(layout_);
    ctx.output(0, shape);
    if (ctx.wants(1)) ctx.output(1, shape);
    if (layout_ == Layout::kChannelsLast && dtype_ == DType::kFloat32) {
      ctx.rows_apart_in(0);
      ctx.rows_apart_out(0);
    }
    if (shape.count() > 0) {
      require(image.pixels() > 0, ErrorCode::kInvalidInput, "an image of shape ", ctx.shape(0),
              " has no pixels to pool");
      // Kernels keep a table of the taps; a window may be larger than the image, but not by any factor.
      const int64_t taps = Shape(std::span(a.window.kernel, static_cast<size_t>(image.rank))).count();
      const int64_t most = (int64_t{1} << 22) + 64 * std::min(image.pixels(), int64_t{1} << 40);
      require(taps <= most, ErrorCode::kLimit, "a window of ", taps, " taps over an image of ",
              image.pixels(), " pixels, expected at most ", most);
      if (wide()) ctx.scratch(plan_scratch(*state, ctx, image.pixels(), y.pixels()));
      if (last_bytes()) {
        ScratchLayout layout;
        state->worker_bytes = round_up(static_cast<int64_t>(kernels().pool.scratch_bytes(a)), kCacheLine);
        state->workers = layout.take(ctx.workers(), state->worker_bytes);
        ctx.scratch(layout.bytes());
      }
    }
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    if (wide()) return run_float32(ctx);
    if (last_bytes()) return run_last_bytes(ctx);
    dispatch<double, int8_t, uint8_t>(dtype_, [&]<class T>() { run_plain<T>(ctx); });
  }

 private:
  bool wide() const { return dtype_ == DType::kFloat32 || is_half(dtype_); }
  // The greatest of bytes, channels last.
  bool last_bytes() const {
    return layout_ == Layout::kChannelsLast && (dtype_ == DType::kInt8 || dtype_ == DType::kUInt8);
  }

  static Window whole(const ImageShape& image) {
    Window w;
    w.rank = image.rank;
    for (int d = 0; d < w.rank; ++d) {
      w.input[d] = w.kernel[d] = image.spatial[d];
      w.output[d] = w.stride[d] = w.dilation[d] = 1;
    }
    return w;
  }

  int64_t plan_scratch(PoolState& state, const PlanContext& ctx, int64_t x_pixels, int64_t y_pixels) const {
    const PoolArgs& a = state.args;
    const int64_t x_count = ctx.shape(0).count(), y_count = a.batch * a.channels * y_pixels;
    state.turn_x = layout_ == Layout::kChannelsFirst && a.channels > 1 && x_pixels > 1;
    state.turn_y = layout_ == Layout::kChannelsFirst && a.channels > 1 && y_pixels > 1;
    const bool half = is_half(dtype_);
    ScratchLayout layout;
    if (half) state.x_wide = layout.take(x_count, kFloat);
    if (state.turn_x) state.x_last = layout.take(x_count, kFloat);
    if (half || state.turn_y) state.y_last = layout.take(y_count, kFloat);
    if (half && state.turn_y) state.y_wide = layout.take(y_count, kFloat);
    if (ctx.wants(1)) state.indices = layout.take(y_count, sizeof(int64_t));
    state.worker_bytes = round_up(static_cast<int64_t>(kernels().pool.scratch_bytes(a)), kCacheLine);
    state.workers = layout.take(ctx.workers(), state.worker_bytes);
    return layout.bytes();
  }

  void run_float32(const RunContext& ctx) const {
    const auto& state = ctx.state<PoolState>();
    const bool half = is_half(dtype_);
    PoolArgs args = state.args;
    const Window& w = args.window;
    const int64_t x_pixels = spatial_size(w.input, w.rank), y_pixels = spatial_size(w.output, w.rank);
    const auto at = [&](int64_t offset) { return reinterpret_cast<float*>(ctx.scratch() + offset); };
    args.x = ctx.in<float>(0);
    args.x_stride = ctx.in(0).row_or(args.channels);
    args.y_stride = ctx.out(0).row_or(args.channels);
    if (half) {
      widen(ctx, dtype_, args.x, at(state.x_wide), ctx.in(0).count());
      args.x = at(state.x_wide);
    }
    if (state.turn_x) {
      transpose_stack(ctx, args.x, at(state.x_last), args.batch, args.channels, x_pixels);
      args.x = at(state.x_last);
    }
    args.y = half || state.turn_y ? at(state.y_last) : ctx.out<float>(0);
    compute(ctx, state, args);
    const float* y = args.y;
    if (state.turn_y) {
      float* turned = half ? at(state.y_wide) : ctx.out<float>(0);
      transpose_stack(ctx, y, turned, args.batch, y_pixels, args.channels);
      y = turned;
    }
    if (half) narrow(ctx, dtype_, y, ctx.out(0).data, ctx.out(0).count());
  }

  void run_last_bytes(const RunContext& ctx) const {
    const auto& state = ctx.state<PoolState>();
    const PoolArgs& a = state.args;
    const MaxBytesArgs args{.window = a.window,
                            .batch = a.batch,
                            .channels = a.channels,
                            .x = ctx.in<uint8_t>(0),
                            .is_signed = dtype_ == DType::kInt8,
                            .y = ctx.out<uint8_t>(0)};
    const int64_t taps = spatial_size(a.window.kernel, a.window.rank);
    ctx.parallel(a.batch * spatial_size(a.window.output, a.window.rank), grain_for(taps * a.channels / 4),
                 [&](int64_t begin, int64_t end, int worker) {
                   kernels().pool.max_bytes(args, begin, end,
                                            ctx.scratch() + state.workers + worker * state.worker_bytes);
                 });
  }

  void compute(const RunContext& ctx, const PoolState& state, const PoolArgs& args) const {
    const Window& w = args.window;
    const PoolKernels& pool = kernels().pool;
    const int64_t x_pixels = spatial_size(w.input, w.rank), y_pixels = spatial_size(w.output, w.rank);
    if (global_ && kind_ == PoolKind::kAverage) {
      constexpr int64_t kChannels = 64;
      const int64_t blocks = ceil_div(args.channels, kChannels);
      ctx.parallel(args.batch * blocks, grain_for(kChannels * x_pixels),
                   [&](int64_t begin, int64_t end, int) {
                     for (int64_t i = begin; i < end; ++i) {
                       const int64_t n = i / blocks, c = i % blocks * kChannels;
                       pool.global_average({.pixels = x_pixels,
                                            .channels = args.channels,
                                            .x = args.x + n * x_pixels * args.x_stride,
                                            .x_stride = args.x_stride,
                                            .y = args.y + n * args.y_stride},
                                           c, std::min(c + kChannels, args.channels));
                     }
                   });
      return;
    }
    auto* indices = ctx.wants(1) ? reinterpret_cast<int64_t*>(ctx.scratch() + state.indices) : nullptr;
    const int64_t taps = spatial_size(w.kernel, w.rank);
    ctx.parallel(args.batch * y_pixels, grain_for(taps * args.channels),
                 [&](int64_t begin, int64_t end, int worker) {
                   void* scratch = ctx.scratch() + state.workers + worker * state.worker_bytes;
                   pool.run(args, begin, end, scratch);
                   if (indices == nullptr) return;
                   pool.max_indices(args, begin, end, indices, scratch);
                   for (int64_t row = begin; row < end; ++row)
                     for (int64_t c = 0; c < args.channels; ++c)
                       put_index(ctx, args, row / y_pixels * args.channels + c, row % y_pixels,
                                 indices[row * args.channels + c]);
                 });
  }

  // Indices number the elements of X in channels-first order.
  void put_index(const RunContext& ctx, const PoolArgs& args, int64_t plane, int64_t output,
                 int64_t pixel) const {
    const Window& w = args.window;
    if (pixel >= 0 && column_major_) pixel = column_major(w, pixel);
    ctx.out<int64_t>(1)[plane * spatial_size(w.output, w.rank) + output] =
        pixel < 0 ? -1 : plane * spatial_size(w.input, w.rank) + pixel;
  }

  template <class T>
  void run_plain(const RunContext& ctx) const {
    const PoolArgs& args = ctx.state<PoolState>().args;
    const Window& w = args.window;
    const int64_t x_pixels = spatial_size(w.input, w.rank), y_pixels = spatial_size(w.output, w.rank);
    const bool first = layout_ == Layout::kChannelsFirst;
    const int64_t step = first ? 1 : args.channels;
    const int64_t cost = product_flops(y_pixels, spatial_size(w.kernel, w.rank), 1);
    ctx.parallel(args.batch * args.channels, grain_for(cost), [&](int64_t begin, int64_t end, int) {
      for (int64_t plane = begin; plane < end; ++plane) {
        const int64_t n = plane / args.channels, c = plane % args.channels;
        const T* x = ctx.in<T>(0) + (first ? plane * x_pixels : n * x_pixels * args.channels + c);
        T* y = ctx.out<T>(0) + (first ? plane * y_pixels : n * y_pixels * args.channels + c);
        int64_t o[kMaxSpatialRank] = {};
        for (int64_t i = 0; i < y_pixels; ++i) {
          int64_t best = -1;
          y[i * step] = plain_output(args, o, x, step, &best);
          if (ctx.wants(1)) put_index(ctx, args, plane, i, best);
          for (int d = w.rank - 1; d >= 0 && ++o[d] == w.output[d]; --d) o[d] = 0;
        }
      }
    });
  }

  DType dtype_;
  PoolKind kind_;
  Layout layout_;
  bool global_;
  SlidingWindow window_;
  bool ceil_mode_, count_padding_, column_major_;
  float p_;
};

std::unique_ptr<Op> make_pool(NodeContext& ctx, PoolKind kind, Layout layout, bool global, float p = 2.0f) {
  ctx.expect_inputs(1, 1);
  if (kind == PoolKind::kMax && !global)
    ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64, DType::kInt8,
                         DType::kUInt8});
  else
    ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64});
  ctx.output(0, ctx.dtype(0));
  if (ctx.has_output(1)) {
    if (kind != PoolKind::kMax || global || layout != Layout::kChannelsFirst)
      ctx.unsupported("output 1 is given, but only MaxPool has indices");
    ctx.output(1, DType::kInt64);
  }
  return std::make_unique<Pool>(ctx, kind, layout, global, p);
}

template <PoolKind kind, Layout layout, bool global>
std::unique_ptr<Op> make(NodeContext& ctx) {
  return make_pool(ctx, kind, layout, global);
}

template <bool global>
std::unique_ptr<Op> make_lp(NodeContext& ctx) {
  // The first version's p is a float.
  const auto p = ctx.version() == 1 ? static_cast<double>(ctx.attr_float("p", 2.0f))
                                    : static_cast<double>(ctx.attr_int("p", 2));
  require(p > 0 && p <= 1e6, ErrorCode::kInvalidModel, "attribute 'p' = ", p, ", expected a positive number");
  const PoolKind kind = p == 1 ? PoolKind::kL1 : p == 2 ? PoolKind::kL2 : PoolKind::kLp;
  return make_pool(ctx, kind, Layout::kChannelsFirst, global, static_cast<float>(p));
}

}  // namespace

std::span<const OpDef> pool_ops() {
  constexpr auto kFirst = Layout::kChannelsFirst, kLast = Layout::kChannelsLast;
  static constexpr OpDef kOps[] = {
      {"", "MaxPool", 1, make<PoolKind::kMax, kFirst, false>},
      {"", "AveragePool", 1, make<PoolKind::kAverage, kFirst, false>},
      {"", "LpPool", 1, make_lp<false>},
      {"", "GlobalMaxPool", 1, make<PoolKind::kMax, kFirst, true>},
      {"", "GlobalAveragePool", 1, make<PoolKind::kAverage, kFirst, true>},
      {"", "GlobalLpPool", 1, make_lp<true>},
      {"com.microsoft", "NhwcMaxPool", 1, make<PoolKind::kMax, kLast, false>},
      {"pyinfer", "MaxPoolNhwc", 1, make<PoolKind::kMax, kLast, false>},
      {"pyinfer", "AveragePoolNhwc", 1, make<PoolKind::kAverage, kLast, false>},
      {"pyinfer", "GlobalMaxPoolNhwc", 1, make<PoolKind::kMax, kLast, true>},
      {"pyinfer", "GlobalAveragePoolNhwc", 1, make<PoolKind::kAverage, kLast, true>},
  };
  return kOps;
}

}  // namespace pyinfer
