// ConvTranspose: every pixel of X scatters its kernel over Y, plus B.
//   ai.onnx ConvTranspose (X, W, B); pyinfer ConvTransposeNhwc (X, W, B, Z): channels-last, with an
//   activation.
#include "kernels/conv_transpose.h"

#include <cmath>

#include "ops/conv_op.h"

namespace pyinfer {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 30;

// A transposed convolution whose windows are as long as their strides, with nothing cut or added: every
// element of Y belongs to one pixel of X. Those of a pixel in one line of Y lie side by side, so a line of X
// and the taps of one line of the windows give a line of Y by one product, of in_channels x (taps x
// out_channels).
struct Disjoint {
  int64_t inputs, columns;  // of the product
  int64_t rows;             // of a line: pixels of X
  int64_t lines, heights;   // of Y; of a window
  const ConvShape& shape;

  explicit Disjoint(const ConvShape& s) : shape(s) {
    const Window& w = s.window;
    const int last = w.rank - 1;
    inputs = s.in_channels;
    columns = w.kernel[last] * s.out_channels;
    rows = w.input[last];
    lines = s.batch * spatial_size(w.output, last);
    heights = spatial_size(w.kernel, last);
  }

  static bool allows(const ConvShape& s) {
    const Window& w = s.window;
    for (int d = 0; d < w.rank; ++d)
      if (w.kernel[d] != w.stride[d] || w.dilation[d] != 1) return false;
    return s.groups == 1;
  }

  int64_t packed_size() const { return heights * packed_b_size(inputs, columns); }
  // One matrix for each line of the windows.
  void pack(const float* weights, float* packed) const {
    const int64_t taps = columns / shape.out_channels;
    for (int64_t h = 0; h < heights; ++h)
      for (int64_t panel = 0; panel < panel_count(columns); ++panel)
        for (int64_t c = 0; c < inputs; ++c)
          for (int64_t j = panel * kPanelWidth; j < (panel + 1) * kPanelWidth; ++j) {
            const int64_t m = c * shape.out_channels + j % shape.out_channels;
            *packed++ = j < columns ? weights[(m * heights + h) * taps + j / shape.out_channels] : 0.0f;
          }
  }

  // Rows and panels of a tile of the product for one line of Y; the bias has been repeated for each tap.
  void run(const ConvArgs& args, const float* bias, int64_t line, const Tiling& tiling, int64_t tile) const {
    const Window& w = shape.window;
    const int last = w.rank - 1;
    int64_t rest = line, from = 0, from_step = 1, height = 0, height_step = 1;
    for (int d = last - 1; d >= 0; --d) {
      const int64_t at = rest % w.output[d];
      rest /= w.output[d];
      from += at / w.stride[d] * from_step;
      height += at % w.stride[d] * height_step;
      from_step *= w.input[d];
      height_step *= w.kernel[d];
    }
    from += rest * from_step;  // the image
    GemmArgs product{.m = rows,
                     .n = columns,
                     .k = inputs,
                     .a = args.x + from * rows * args.x_stride,
                     .lda = args.x_stride,
                     .b = args.weights + height * packed_b_size(inputs, columns),
                     .c = args.y + line * rows * columns,
                     .ldc = columns,
                     .epilogue = args.epilogue};
    product.epilogue.bias = bias;
    if (product.epilogue.residual != nullptr) {
      product.epilogue.residual += line * rows * columns;
      product.epilogue.residual_stride = columns;
    }
    kernels().gemm.run(product, tiling.row_begin(tile), tiling.row_end(tile), tiling.panel_begin(tile),
                       tiling.panel_end(tile));
  }
};

std::vector<int64_t> sizes(const NodeContext& ctx, std::string_view name) {
  std::vector<int64_t> values = ctx.attr_ints(name);
  for (int64_t v : values)
    require(v >= 0 && v <= kMaxSize, ErrorCode::kInvalidModel, "attribute '", name, "' holds ", v,
            ", expected values in [0, ", kMaxSize, "]");
  return values;
}

// y += weight * x under one tap: position i of X adds to position i * stride + shift of Y.
void add_tap(const Window& w, const int64_t* tap, int axis, double weight, const double* x, double* y) {
  const int64_t shift = tap[axis] * w.dilation[axis] - w.pad[axis], stride = w.stride[axis];
  const int64_t begin = shift >= 0 ? 0 : ceil_div(-shift, stride);
  const int64_t end =
      shift >= w.output[axis] ? 0 : std::min(w.input[axis], ceil_div(w.output[axis] - shift, stride));
  const int inner = w.rank - axis - 1;
  const int64_t x_step = spatial_size(w.input + axis + 1, inner),
                y_step = spatial_size(w.output + axis + 1, inner);
  for (int64_t i = begin; i < end; ++i) {
    double* out = y + (i * stride + shift) * y_step;
    if (inner == 0)
      *out = std::fma(weight, x[i], *out);
    else
      add_tap(w, tap, axis + 1, weight, x + i * x_step, out);
  }
}

struct Transposed {
  static constexpr std::string_view kName = "conv_transpose";
  static constexpr bool kRowsApart = false;

  explicit Transposed(NodeContext& ctx)
      : output_padding(sizes(ctx, "output_padding")), output_shape(sizes(ctx, "output_shape")) {}

  // The window whose pads are cut from Y: begin in Window::pad, the end follows from the size of Y.
  Window window(const SlidingWindow& attributes, const ImageShape& x, std::span<const int64_t> kernel) const {
    using AutoPad = SlidingWindow::AutoPad;
    Window w = attributes.base(x, kernel);
    const auto rank = static_cast<size_t>(w.rank);
    const auto expect = [&](const std::vector<int64_t>& values, const char* name) {
      require(values.empty() || values.size() == rank, ErrorCode::kInvalidInput, "attribute '", name,
              "' has ", values.size(), " values, expected ", rank);
    };
    expect(output_padding, "output_padding");
    expect(output_shape, "output_shape");
    const AutoPad mode = attributes.auto_pad();
    const bool same = mode == AutoPad::kSameUpper || mode == AutoPad::kSameLower;
    for (size_t i = 0; i < rank; ++i) {
      const auto d = static_cast<int>(i);
      require(w.input[d] <= INT64_MAX / 4 / w.stride[d], ErrorCode::kLimit, "spatial size ", w.input[d],
              " times stride ", w.stride[d], " is too large");
      const int64_t full = w.stride[d] * (w.input[d] - 1) + (w.kernel[d] - 1) * w.dilation[d] + 1 +
                           (output_padding.empty() ? 0 : output_padding[i]);
      if (same || !output_shape.empty()) {
        w.output[d] = output_shape.empty() ? w.input[d] * w.stride[d] : output_shape[i];
        const int64_t total = std::max<int64_t>(0, full - w.output[d]);
        w.pad[d] = mode == AutoPad::kSameUpper ? total / 2 : total - total / 2;
      } else {
        const bool padded = mode == AutoPad::kNotSet && !attributes.pads().empty();
        w.pad[d] = padded ? attributes.pads()[i] : 0;
        w.output[d] = full - w.pad[d] - (padded ? attributes.pads()[i + rank] : 0);
      }
      require(w.output[d] >= 0, ErrorCode::kInvalidInput, "spatial axis ", d, " would have size ",
              w.output[d], " after its pads are cut");
    }
    return w;
  }

  ConvShape shape(const SlidingWindow& attributes, const ImageShape& x, const Shape& weights,
                  int64_t groups) const {
    require(weights.rank() == x.rank + 2, ErrorCode::kInvalidInput, "weights of shape ", weights,
            ", expected ", x.rank + 2, " dimensions");
    require(weights[0] == x.channels && x.channels % groups == 0, ErrorCode::kInvalidInput, "X has ",
            x.channels, " channels, but weights of shape ", weights, " in ", groups, " groups take ",
            weights[0]);
    require(weights[1] <= INT64_MAX / groups, ErrorCode::kLimit, "too many output channels");
    ConvShape s = weights_shape(weights, groups);
    s.window = window(attributes, x, weights.dims().subspan(2));
    s.batch = x.batch;
    return s;
  }
  static ConvShape weights_shape(const Shape& weights, int64_t groups) {
    ConvShape s;
    s.in_channels = weights[0];
    s.out_channels = weights[1] * groups;
    s.groups = groups;
    return s;
  }
  static int64_t flops(const ConvShape& s) {
    const Window& w = s.window;
    const int64_t taps = Shape(std::span(w.kernel, static_cast<size_t>(w.rank))).count();
    return product_flops(product_flops(s.batch, spatial_size(w.input, w.rank), 1) / 2, s.out_channels,
                         taps * (s.in_channels / s.groups));
  }
  static std::optional<ConvAlgorithm> algorithm(const NodeContext& ctx, const ConvShape& s) {
    const auto none = [&](const char* name) {
      const std::vector<int64_t> v = ctx.attr_ints(name);
      return std::all_of(v.begin(), v.end(), [](int64_t x) { return x == 0; });
    };
    const bool whole = none("pads") && none("output_padding") && ctx.attr_ints("output_shape").empty() &&
                       ctx.attr_string("auto_pad", "NOTSET") == "NOTSET";
    // The costlier activations of few channels go over whole lines, which the kernels of the family do.
    const bool costly = fused_activation(ctx).kind > Activation::kClip && s.out_channels < kPanelWidth;
    return whole && !costly && Disjoint::allows(s) ? ConvAlgorithm::kDisjoint : ConvAlgorithm::kDirect;
  }
  static ConvAlgorithm choose(const ConvShape&) { return ConvAlgorithm::kDirect; }
  static int64_t packed_size(const ConvShape& s, ConvAlgorithm a) {
    return a == ConvAlgorithm::kDisjoint ? Disjoint(s).packed_size() : packed_conv_transpose_weights_size(s);
  }
  static void pack(const ConvShape& s, ConvAlgorithm a, const float* weights, float* packed) {
    a == ConvAlgorithm::kDisjoint ? Disjoint(s).pack(weights, packed)
                                  : pack_conv_transpose_weights(s, weights, packed);
  }
  static size_t scratch_bytes(const ConvArgs& args, ConvAlgorithm a) {
    return a == ConvAlgorithm::kDisjoint ? static_cast<size_t>(Disjoint(args.shape).columns) * sizeof(float)
                                         : kernels().conv_transpose.scratch_bytes(args);
  }

  template <class Scratch>
  static void compute_disjoint(const RunContext& ctx, const ConvArgs& args, Scratch scratch) {
    const Disjoint disjoint(args.shape);
    const int64_t outputs = args.shape.out_channels;
    const Tiling tiling(disjoint.rows, panel_count(disjoint.columns), kPanelWidth * disjoint.inputs);
    const int64_t tiles = tiling.count();
    const int64_t grain = grain_for(tiling.row_step * tiling.panel_step * kPanelWidth * disjoint.inputs);
    ctx.parallel(disjoint.lines * tiles, grain, [&](int64_t begin, int64_t end, int worker) {
      float* bias = nullptr;
      if (args.epilogue.bias != nullptr) {
        bias = reinterpret_cast<float*>(scratch(worker));
        for (int64_t i = 0; i < disjoint.columns; ++i) bias[i] = args.epilogue.bias[i % outputs];
      }
      for (int64_t t = begin; t < end; ++t) disjoint.run(args, bias, t / tiles, tiling, t % tiles);
    });
  }

  template <class Scratch>
  static void compute(const RunContext& ctx, const ConvArgs& args, ConvAlgorithm a, Scratch scratch) {
    if (a == ConvAlgorithm::kDisjoint) return compute_disjoint(ctx, args, scratch);
    const ConvShape& s = args.shape;
    const int64_t lines = conv_transpose_lines(s), panels = conv_panels(s);
    const int64_t cost = flops(s) / 2 / std::max<int64_t>(lines * panels, 1);
    // An item is a line under as many panels as are worth a thread.
    constexpr int64_t kGoal = int64_t{1} << 20;
    const int64_t step = std::min(panels, grain_for(cost, kGoal)), pieces = ceil_div(panels, step);
    ctx.parallel(lines * pieces, grain_for(cost * step, kGoal), [&](int64_t begin, int64_t end, int worker) {
      const auto run = kernels().conv_transpose.run;
      if (pieces == 1) return run(args, begin, end, 0, panels, scratch(worker));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t line = i / pieces, panel = i % pieces * step;
        run(args, line, line + 1, panel, std::min(panel + step, panels), scratch(worker));
      }
    });
  }

  static void plane(const ConvShape& s, const double* x, const double* weights, double* y, int64_t n,
                    int64_t m) {
    const Window& w = s.window;
    const int64_t outputs = s.out_channels / s.groups, inputs = s.in_channels / s.groups, group = m / outputs;
    const int64_t x_size = spatial_size(w.input, w.rank), taps = spatial_size(w.kernel, w.rank);
    std::fill(y, y + spatial_size(w.output, w.rank), 0.0);
    if (is_empty_sum(s)) return;
    int64_t tap[kMaxSpatialRank] = {};
    for (int64_t t = 0; t < taps; ++t) {
      for (int64_t c = group * inputs; c < (group + 1) * inputs; ++c)
        add_tap(w, tap, 0, weights[(c * outputs + m % outputs) * taps + t],
                x + (n * s.in_channels + c) * x_size, y);
      for (int d = w.rank - 1; d >= 0 && ++tap[d] == w.kernel[d]; --d) tap[d] = 0;
    }
  }

  std::vector<int64_t> output_padding, output_shape;
};

std::unique_ptr<Op> make_first(NodeContext& ctx) {
  return make_conv_op<Transposed>(ctx, 3, Layout::kChannelsFirst);
}
std::unique_ptr<Op> make_last(NodeContext& ctx) {
  return make_conv_op<Transposed>(ctx, 4, Layout::kChannelsLast);
}

}  // namespace

std::span<const OpDef> conv_transpose_ops() {
  static constexpr OpDef kOps[] = {{"", "ConvTranspose", 1, make_first},
                                   {"pyinfer", "ConvTransposeNhwc", 1, make_last}};
  return kOps;
}

}  // namespace pyinfer
