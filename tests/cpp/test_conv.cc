// Convolutions and changes of layout against plain loops, on every instruction set this CPU has.
#include <cstring>
#include <numeric>

#include "base/aligned.h"
#include "base/cpu_features.h"
#include "check.h"
#include "kernels/kernel_table.h"
#include "kernels/reference/matrix.h"
#include "matrix_data.h"

namespace pyinfer::test {
namespace {

enum class Kind { kConv, kDepthwise, kTranspose };

struct Data {
  ConvArgs args;
  std::vector<float> x, weights, packed, bias, residual, y, expected;
  Kind kind;
};

struct Options {
  int64_t x_gap = 0, y_gap = 0;
  Epilogue epilogue = {};
  bool bias = true, residual = false, in_place = false;
};

Data make(const ConvShape& s, const Options& o, uint32_t seed, Kind kind) {
  Random random(seed);
  Data d;
  d.kind = kind;
  const Window& w = s.window;
  d.args.shape = s;
  d.args.x_stride = s.in_channels + o.x_gap;
  d.args.y_stride = s.out_channels + o.y_gap;
  d.x = random.floats(s.batch * spatial_size(w.input, w.rank) * d.args.x_stride + 1);
  d.weights = random.floats(s.out_channels * (s.in_channels / s.groups) * spatial_size(w.kernel, w.rank));
  d.bias = random.floats(s.out_channels);
  d.residual = random.floats(conv_rows(s) * d.args.y_stride + 1);
  d.y.assign(d.residual.size(), 777.0f);
  if (o.in_place) d.y = d.residual;
  d.expected = d.y;
  if (kind == Kind::kDepthwise) {
    d.packed.resize(packed_depthwise_weights_size(s));
    pack_depthwise_weights(s, d.weights.data(), d.packed.data());
  } else if (kind == Kind::kTranspose) {
    d.packed.resize(packed_conv_transpose_weights_size(s));
    pack_conv_transpose_weights(s, d.weights.data(), d.packed.data());
  } else {
    d.packed.resize(packed_conv_weights_size(s));
    pack_conv_weights(s, d.weights.data(), d.packed.data());
  }
  d.args.x = d.x.data() + 1;
  d.args.weights = d.packed.data();
  d.args.y = d.y.data() + 1;
  d.args.epilogue = o.epilogue;
  if (o.bias) d.args.epilogue.bias = d.bias.data();
  if (o.residual) d.args.epilogue.residual = d.residual.data() + 1;
  d.args.epilogue.residual_stride = d.args.y_stride;
  if (kind == Kind::kTranspose) {
    reference::conv_transpose(d.args, d.weights.data(), d.expected.data() + 1);
  } else {
    reference::conv(d.args, d.weights.data(), d.expected.data() + 1);
  }
  if (o.in_place) d.args.epilogue.residual = d.args.y;
  return d;
}

void run(const KernelTable& table, Data& d, int64_t row_begin, int64_t row_end, int64_t panel_begin,
         int64_t panel_end) {
  const bool transpose = d.kind == Kind::kTranspose;
  d.args.epilogue.activate_rows = table.activate_rows;
  const AlignedBytes scratch(transpose ? table.conv_transpose.scratch_bytes(d.args)
                                       : table.conv.scratch_bytes(d.args));
  std::memset(scratch.data(), 0xff, scratch.size());
  if (transpose) {
    table.conv_transpose.run(d.args, row_begin, row_end, panel_begin, panel_end, scratch.data());
  } else if (d.kind == Kind::kDepthwise) {
    table.conv.run_depthwise(d.args, row_begin, row_end, scratch.data());
  } else {
    table.conv.run(d.args, row_begin, row_end, panel_begin, panel_end, scratch.data());
  }
}

void check(const KernelTable& table, const Data& d) {
  report_bits(table.name, d.y);
  const ConvShape& s = d.args.shape;
  const double tolerance =
      1e-6 * (4 + spatial_size(s.window.kernel, s.window.rank) * s.in_channels / s.groups);
  for (size_t i = 0; i < d.y.size(); ++i) CHECK_NEAR(d.y[i], d.expected[i], tolerance);
}

void run_and_check(const ConvShape& s, const Options& o, uint32_t seed) {
  for_each_isa([&](const KernelTable& table) {
    for (Kind kind : {Kind::kConv, Kind::kDepthwise}) {
      if (kind == Kind::kDepthwise && !is_depthwise(s)) continue;
      Data d = make(s, o, seed, kind);
      run(table, d, 0, conv_rows(s), 0, conv_panels(s));
      check(table, d);
    }
  });
}

ConvShape shape(const std::vector<Axis>& axes, int64_t batch, int64_t in, int64_t out, int64_t groups = 1) {
  return {.window = window(axes), .batch = batch, .in_channels = in, .out_channels = out, .groups = groups};
}

TEST(conv_random_shapes) {
  Random random(17);
  for (int i = 0; i < 300; ++i) {
    std::vector<Axis> axes;
    const int64_t rank = i % 10 == 0 ? 4 : random.integer(1, 3);
    for (int64_t d = 0; d < rank; ++d) axes.push_back(random_axis(random));
    const int64_t groups = random.integer(0, 2) ? 1 : random.integer(1, 4);
    // One draw per statement: compilers differ in the order of a call's arguments.
    const int64_t batch = random.integer(1, 3);
    const int64_t in = groups * random.integer(1, 20), out = groups * random.integer(1, 20);
    const ConvShape s = shape(axes, batch, in, out, groups);
    const std::vector<Epilogue> acts = all_activations();
    Options o{.x_gap = random.integer(0, 1) * 3,
              .y_gap = random.integer(0, 1) * 2,
              .epilogue = acts[random.integer(0, acts.size() - 1)],
              .bias = random.integer(0, 1) == 1,
              .residual = random.integer(0, 1) == 1};
    o.in_place = o.residual && random.integer(0, 1);
    if (rank == 4 && conv_rows(s) > 3000) continue;
    run_and_check(s, o, i);
  }
}

TEST(conv_typical_layers) {
  run_and_check(shape({{21, 7, 2, 1, 3, 3}, {23, 7, 2, 1, 3, 3}}, 1, 3, 33), {}, 1);     // stem
  run_and_check(shape({{9, 3, 1, 1, 1, 1}, {9, 3, 1, 1, 1, 1}}, 2, 140, 40), {}, 2);     // several k blocks
  run_and_check(shape({{9, 1}, {9, 1}}, 2, 64, 48), {.x_gap = 5, .residual = true}, 3);  // pointwise
  run_and_check(shape({{9, 1, 2}, {9, 1, 2}}, 2, 64, 48), {}, 4);         // pointwise, stride 2
  run_and_check(shape({{1, 1}, {50, 5, 1, 2, 4, 4}}, 1, 40, 17), {}, 5);  // 1-D, dilated
  run_and_check(shape({{12, 3, 1, 1, 1, 1}, {12, 3, 1, 1, 1, 1}}, 1, 64, 64, 16), {}, 6);  // grouped
  run_and_check(shape({{8, 3, 1, 1, 9, 9}, {8, 3, 1, 1, 9, 9}}, 1, 20, 8), {}, 7);  // windows of padding only
  run_and_check(shape({{5, 1, 1, 1, 1, 1}, {5, 1, 1, 1, 1, 1}}, 1, 20, 8), {}, 8);  // padded 1x1
  run_and_check(shape({{40, 9}, {40, 9}}, 1, 20, 8), {}, 9);  // large window, few channels
}

TEST(conv_depthwise) {
  for (int64_t channels : {1, 2, 7, 8, 9, 15, 16, 17, 32, 40}) {
    for (int64_t kernel : {1, 2, 3, 5, 7}) {
      for (int64_t stride : {1, 2, 3}) {
        for (int64_t width : {2, 5, 6, 7, 8, 11, 17}) {
          if (width < kernel / 2) continue;
          const Axis a{width, kernel, stride, 1, kernel / 2, kernel / 2};
          run_and_check(shape({a, a}, 2, channels, channels, channels),
                        {.x_gap = 1,
                         .y_gap = 2,
                         .epilogue = {.activation = width % 3 == 0 ? Activation::kSilu : Activation::kRelu},
                         .residual = width % 2 == 0},
                        3);
        }
      }
    }
  }
}

TEST(conv_depthwise_odd_windows) {
  run_and_check(shape({{90, 2, 11}, {90, 2, 11}}, 1, 16, 16, 16), {}, 3);  // 2 * 10 + 11 = 3 * 10 + 1
  run_and_check(shape({{40, 7, 1, 1, 3, 3}}, 2, 24, 24, 24), {}, 3);
  run_and_check(shape({{3, 3, 1, 1, 1, 1}, {4, 3, 2, 1, 0, 1}, {19, 3, 2, 1, 0, 1}}, 1, 8, 8, 8), {}, 3);
  run_and_check(shape({{19, 3, 1, 2, 2, 2}, {19, 3, 1, 2, 2, 2}}, 1, 8, 8, 8), {}, 3);
  run_and_check(shape({{9, 3, 1, 1, 20, 20}, {9, 3, 1, 1, 20, 20}}, 1, 8, 8, 8), {}, 3);  // padding alone
}

// An output has the same bits whatever the tiling and whatever batch it travels in.
TEST(conv_same_bits_for_every_tiling_and_batch) {
  const std::vector<ConvShape> shapes = {
      shape({{11, 3, 1, 1, 1, 1}, {9, 3, 1, 1, 1, 1}}, 3, 72, 40),
      shape({{11, 3, 2, 1, 1, 1}, {9, 3, 1, 1, 1, 1}}, 3, 3, 40),
      shape({{11, 1}, {9, 1}}, 3, 300, 40),
      shape({{11, 3, 1, 2, 1, 1}, {9, 3, 1, 1, 1, 1}}, 3, 24, 48, 4),
      shape({{11, 3, 1, 1, 1, 1}, {9, 3, 1, 1, 1, 1}}, 3, 24, 24, 24),
  };
  for_each_isa([&](const KernelTable& table) {
    for (const ConvShape& s : shapes) {
      for (bool in_place : {false, true}) {
        const Options o{
            .epilogue = {.activation = Activation::kHardSwish}, .residual = true, .in_place = in_place};
        Data whole = make(s, o, 1, is_depthwise(s) ? Kind::kDepthwise : Kind::kConv);
        run(table, whole, 0, conv_rows(s), 0, conv_panels(s));
        check(table, whole);
        for (int64_t rows : {1, 3, 4, 6, 7, 50, 100}) {
          for (int64_t panels : {int64_t{1}, int64_t{2}, conv_panels(s)}) {
            if (is_depthwise(s) && panels != conv_panels(s)) continue;
            Data tiled = make(s, o, 1, is_depthwise(s) ? Kind::kDepthwise : Kind::kConv);
            for (int64_t i = 0; i < conv_rows(s); i += rows) {
              for (int64_t p = 0; p < conv_panels(s); p += panels) {
                run(table, tiled, i, std::min(i + rows, conv_rows(s)), p,
                    std::min(p + panels, conv_panels(s)));
              }
            }
            CHECK(std::memcmp(tiled.y.data(), whole.y.data(), whole.y.size() * sizeof(float)) == 0);
          }
        }
      }
    }
  });
}

// Chains of whole taps, or lines of taps, run over (taps, channels) ascending: what std::fma computes step by
// step.
TEST(conv_is_a_sum_of_ascending_chains) {
  struct Case {
    ConvShape shape;
    int64_t chain_taps;
  };
  for (const auto& [s, chain_taps] : {Case{shape({{7, 3, 1, 1, 1, 1}, {7, 3, 1, 1, 1, 1}}, 1, 50, 20), 5},
                                      Case{shape({{6, 2, 1, 1, 1, 1}, {6, 2, 1, 1, 1, 1}}, 1, 500, 3), 1},
                                      Case{shape({{9, 5, 2, 1, 2, 2}, {9, 5, 2, 1, 2, 2}}, 1, 3, 20), 25},
                                      Case{shape({{9, 5, 2, 1, 2, 2}, {9, 7, 2, 1, 3, 3}}, 1, 20, 17), 14}}) {
    for_each_isa([&](const KernelTable& table) {
      if (std::string(table.name) == "baseline") return;
      Data d = make(s, {.bias = false}, 1, Kind::kConv);
      run(table, d, 0, conv_rows(s), 0, conv_panels(s));
      const int64_t taps = spatial_size(s.window.kernel, 2);
      for (int64_t row = 0; row < conv_rows(s); ++row) {
        for (int64_t m = 0; m < s.out_channels; ++m) {
          std::vector<float> chains((taps + chain_taps - 1) / chain_taps);
          reference::for_each_tap(s.window, row, [&](int64_t tap, int64_t pixel) {
            float& chain = chains[tap / chain_taps];
            for (int64_t c = 0; c < s.in_channels; ++c) {
              chain = std::fma(d.args.x[pixel * s.in_channels + c],
                               d.weights[(m * s.in_channels + c) * taps + tap], chain);
            }
          });
          const float sum = std::accumulate(chains.begin() + 1, chains.end(), chains[0]);
          CHECK_EQ(d.args.y[row * s.out_channels + m], sum);
        }
      }
    });
  }
}

// The size a transposed convolution gives an axis, `extra` more at the end.
void set_transposed_output(Window& w, int d, int64_t extra) {
  w.output[d] = (w.input[d] - 1) * w.stride[d] + (w.kernel[d] - 1) * w.dilation[d] + 1 - w.pad[d] + extra;
}

TEST(conv_transpose_random_shapes) {
  Random random(23);
  for (int i = 0; i < 300; ++i) {
    ConvShape s{.window = {}, .batch = random.integer(1, 3), .groups = random.integer(1, 3)};
    s.in_channels = s.groups * random.integer(1, 20);
    s.out_channels = s.groups * random.integer(1, 20);
    Window& w = s.window;
    w.rank = static_cast<int>(random.integer(1, 3));
    for (int d = 0; d < w.rank; ++d) {
      w.input[d] = random.integer(1, 6);
      w.kernel[d] = random.integer(1, 5);
      w.stride[d] = random.integer(1, 4);
      w.dilation[d] = random.integer(1, 3);
      do {
        w.pad[d] = random.integer(-1, 3);
        set_transposed_output(w, d, random.integer(-2, 2));
      } while (w.output[d] < 1);
    }
    const std::vector<Epilogue> acts = all_activations();
    Options o{.x_gap = random.integer(0, 1) * 3,
              .y_gap = random.integer(0, 1) * 2,
              .epilogue = acts[random.integer(0, acts.size() - 1)],
              .bias = random.integer(0, 1) == 1,
              .residual = random.integer(0, 1) == 1};
    o.in_place = o.residual && random.integer(0, 1);
    for_each_isa([&](const KernelTable& table) {
      Data whole = make(s, o, i, Kind::kTranspose);
      run(table, whole, 0, conv_transpose_lines(s), 0, conv_panels(s));
      check(table, whole);
      Data tiled = make(s, o, i, Kind::kTranspose);
      for (int64_t line = 0; line < conv_transpose_lines(s); ++line) {
        for (int64_t p = 0; p < conv_panels(s); ++p) run(table, tiled, line, line + 1, p, p + 1);
      }
      CHECK(std::memcmp(tiled.y.data(), whole.y.data(), whole.y.size() * sizeof(float)) == 0);
    });
  }
}

TEST(conv_transpose_wide_line) {
  ConvShape s{.window = {}, .batch = 1, .in_channels = 40, .out_channels = 24};
  s.window = {
      .rank = 2, .input = {3, 130}, .kernel = {4, 4}, .stride = {2, 2}, .dilation = {1, 1}, .pad = {1, 1}};
  for (int d = 0; d < 2; ++d) set_transposed_output(s.window, d, -1);
  for_each_isa([&](const KernelTable& table) {
    Data d = make(s, {.residual = true}, 9, Kind::kTranspose);
    run(table, d, 0, conv_transpose_lines(s), 0, conv_panels(s));
    check(table, d);
  });
}

TEST(layout_transpose) {
  for_each_isa([](const KernelTable& table) {
    Random random(5);
    for (int64_t rows : {1, 3, 4, 15, 16, 17, 33, 48}) {
      for (int64_t columns : {0, 1, 3, 15, 16, 17, 31, 50}) {
        const int64_t src_stride = columns + 2, dst_stride = rows + 3;
        const std::vector<float> src = random.floats(rows * src_stride + 1);
        std::vector<float> dst(columns * dst_stride + 1, 777.0f);
        const TransposeArgs args{.rows = rows,
                                 .columns = columns,
                                 .src = src.data() + 1,
                                 .src_stride = src_stride,
                                 .dst = dst.data() + 1,
                                 .dst_stride = dst_stride};
        table.layout.transpose(args, 0, columns / 3);
        table.layout.transpose(args, columns / 3, columns);
        for (int64_t j = 0; j < columns; ++j) {
          for (int64_t i = 0; i < dst_stride; ++i) {
            CHECK_EQ(args.dst[j * dst_stride + i], i < rows ? args.src[i * src_stride + j] : 777.0f);
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace pyinfer::test
