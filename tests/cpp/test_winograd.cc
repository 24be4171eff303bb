// Convolution by minimal filtering against plain loops, on every instruction set this CPU has.
#include <algorithm>
#include <cstring>

#include "base/aligned.h"
#include "check.h"
#include "kernels/reference/matrix.h"
#include "matrix_data.h"

namespace pyinfer::test {
namespace {

struct Options {
  int64_t x_gap = 0, y_gap = 0;
  Epilogue epilogue = {};
  bool bias = true, residual = false, in_place = false;
};

struct Data {
  ConvArgs args;
  int64_t m;
  std::vector<float> x, weights, packed, bias, residual, y, expected;
};

ConvShape shape(const std::vector<Axis>& axes, int64_t batch, int64_t in, int64_t out) {
  return {.window = window(axes), .batch = batch, .in_channels = in, .out_channels = out};
}
Axis axis(int64_t input, int64_t pad, int64_t pad_end, int64_t taps = 3) {
  return {input, taps, 1, 1, pad, pad_end};
}

// Windows that can be computed this way.
const std::vector<std::vector<int64_t>> kKernels = {{3, 3}, {3}, {5}, {1, 3}, {1, 5}, {3, 1}, {5, 1}};

// The m that fit.
std::vector<int64_t> tiles_of(const ConvShape& s) {
  std::vector<int64_t> all;
  for (int64_t m : {2, 4})
    if (fits_winograd(s, m)) all.push_back(m);
  return all;
}

int64_t taps_of(const ConvShape& s) {
  return spatial_size(s.window.kernel, s.window.rank);
}

Data make(const ConvShape& s, int64_t m, const Options& o, uint32_t seed) {
  Random random(seed);
  Data d;
  d.m = m;
  d.args.shape = s;
  d.args.x_stride = s.in_channels + o.x_gap;
  d.args.y_stride = s.out_channels + o.y_gap;
  d.x = random.floats(s.batch * spatial_size(s.window.input, s.window.rank) * d.args.x_stride + 1);
  d.weights = random.floats(s.out_channels * s.in_channels * taps_of(s));
  d.bias = random.floats(s.out_channels);
  d.residual = random.floats(conv_rows(s) * d.args.y_stride + 1);
  d.y.assign(d.residual.size(), 777.0f);
  if (o.in_place) d.y = d.residual;
  d.expected = d.y;
  d.packed.resize(packed_winograd_weights_size(s, m));
  pack_winograd_weights(s, m, d.weights.data(), d.packed.data());
  d.args.x = d.x.data() + 1;
  d.args.weights = d.packed.data();
  d.args.y = d.y.data() + 1;
  d.args.epilogue = o.epilogue;
  if (o.bias) d.args.epilogue.bias = d.bias.data();
  if (o.residual) d.args.epilogue.residual = d.residual.data() + 1;
  d.args.epilogue.residual_stride = d.args.y_stride;
  reference::conv(d.args, d.weights.data(), d.expected.data() + 1);
  if (o.in_place) d.args.epilogue.residual = d.args.y;
  return d;
}

void run(const KernelTable& table, Data& d, int64_t tiles, int64_t panels) {
  d.args.epilogue.activate_rows = table.activate_rows;
  const ConvShape& s = d.args.shape;
  const AlignedBytes scratch(table.winograd.scratch_bytes(d.args, d.m, tiles, panels));
  std::memset(scratch.data(), 0xff, scratch.size());
  for (int64_t t = 0; t < winograd_tiles(s, d.m); t += tiles) {
    const int64_t end = std::min(t + tiles, winograd_tiles(s, d.m));
    table.winograd.transform(d.args, d.m, t, end, scratch.data());
    for (int64_t p = 0; p < conv_panels(s); p += panels)
      table.winograd.run(d.args, d.m, t, end, p, std::min(p + panels, conv_panels(s)), scratch.data());
  }
}

void check(const KernelTable& table, const Data& d) {
  report_bits(table.name, d.y);
  const double tolerance = 2e-6 * (4 + taps_of(d.args.shape) * d.args.shape.in_channels);
  for (size_t i = 0; i < d.y.size(); ++i) CHECK_NEAR(d.y[i], d.expected[i], tolerance);
}

// Axes for `kernel` of up to 13 pixels, on which it fits at least once.
std::vector<Axis> random_axes(Random& random, const std::vector<int64_t>& kernel) {
  std::vector<Axis> axes;
  for (int64_t taps : kernel) {
    Axis a;
    do {
      // One draw per statement: compilers differ in the order of a call's arguments.
      const int64_t input = random.integer(1, 13), pad = random.integer(0, 2);
      a = axis(input, pad, random.integer(0, 2), taps);
    } while (a.input + a.pad + a.pad_end < taps);
    axes.push_back(a);
  }
  return axes;
}

void check_random_shapes(const std::vector<int64_t>& kernel, int cases, uint32_t seed) {
  Random random(seed);
  const std::vector<Epilogue> acts = all_activations();
  for (int i = 0; i < cases; ++i) {
    const std::vector<Axis> axes = random_axes(random, kernel);
    const int64_t batch = random.integer(1, 3), in = random.integer(1, 70), out = random.integer(1, 70);
    const ConvShape s = shape(axes, batch, in, out);
    Options o{.x_gap = random.integer(0, 1) * 3,
              .y_gap = random.integer(0, 1) * 2,
              .epilogue = acts[i % acts.size()],
              .bias = random.integer(0, 1) == 1,
              .residual = random.integer(0, 1) == 1};
    o.in_place = o.residual && random.integer(0, 1);
    const int64_t tiles = random.integer(1, 30), panels = random.integer(1, 5);
    for_each_isa([&](const KernelTable& table) {
      for (int64_t m : tiles_of(s)) {
        Data d = make(s, m, o, i);
        run(table, d, tiles, panels);
        check(table, d);
      }
    });
  }
}

TEST(winograd_random_shapes) {
  check_random_shapes({3, 3}, 200, 31);
}

TEST(winograd_random_shapes_along_one_axis) {
  uint32_t seed = 32;
  for (const std::vector<int64_t>& kernel : kKernels) check_random_shapes(kernel, 60, seed++);
}

// Lines of no output, of one and of any remainder of a tile.
TEST(winograd_short_lines) {
  for (int64_t taps : {3, 5}) {
    for (int64_t output = 0; output < 10; ++output) {
      for (int64_t pad : {0, 1, 4}) {
        // Padding reaches over whole windows where the line is shorter.
        const int64_t input = output + taps - 1 - pad;
        if (input < 1) continue;
        ConvShape s = shape({axis(input, pad, 0, taps)}, 2, 19, 33);
        CHECK_EQ(s.window.output[0], output);
        for_each_isa([&](const KernelTable& table) {
          for (int64_t m : tiles_of(s)) {
            Data d = make(s, m, {.residual = true}, 5);
            run(table, d, 3, 2);
            check(table, d);
          }
        });
      }
    }
  }
}

// Each of these is the same sums: they have the same bits.
TEST(winograd_same_bits_for_a_line_in_any_rank) {
  for (int64_t taps : {3, 5}) {
    const Axis along = axis(23, 1, 2, taps), one = axis(1, 0, 0, 1), two = axis(2, 0, 0, 1);
    const std::vector<ConvShape> shapes = {shape({along}, 4, 20, 40), shape({one, along}, 4, 20, 40),
                                           shape({along, one}, 4, 20, 40), shape({two, along}, 2, 20, 40)};
    for_each_isa([&](const KernelTable& table) {
      for (int64_t m : tiles_of(shapes[0])) {
        std::vector<float> first;
        for (const ConvShape& s : shapes) {
          Data d = make(s, m, {.residual = true}, 9);
          run(table, d, 7, 2);
          check(table, d);
          if (first.empty()) first = d.y;
          CHECK(std::memcmp(d.y.data(), first.data(), first.size() * sizeof(float)) == 0);
        }
      }
    });
  }
}

// An output has the same bits however tiles and panels are cut and whatever batch it travels in.
void check_same_bits(const ConvShape& s, int64_t m, const Options& o, const KernelTable& table) {
  Data whole = make(s, m, o, 1);
  run(table, whole, winograd_tiles(s, m), conv_panels(s));
  check(table, whole);
  for (int64_t tiles : {1, 2, 5, 6, 7, 20}) {
    for (int64_t panels : {1, 2, 3}) {
      Data cut = make(s, m, o, 1);
      run(table, cut, tiles, panels);
      CHECK(std::memcmp(cut.y.data(), whole.y.data(), whole.y.size() * sizeof(float)) == 0);
    }
  }
  Data alone = make(s, m, o, 1);
  const int64_t x_size = spatial_size(s.window.input, s.window.rank) * alone.args.x_stride;
  const int64_t y_size = spatial_size(s.window.output, s.window.rank) * alone.args.y_stride;
  alone.args.shape.batch = 1;
  for (int64_t i = 0; i < s.batch; ++i) {
    run(table, alone, 4, 2);
    alone.args.x += x_size;
    alone.args.y += y_size;
    alone.args.epilogue.residual += y_size;
  }
  CHECK(std::memcmp(alone.y.data(), whole.y.data(), whole.y.size() * sizeof(float)) == 0);
}

TEST(winograd_same_bits) {
  for (const std::vector<int64_t>& kernel : std::vector<std::vector<int64_t>>{{3, 3}, {1, 3}, {5, 1}}) {
    const std::vector<Axis> both = {axis(11, 1, 1, kernel[0]), axis(9, 1, 0, kernel.back())};
    const ConvShape s = shape({both.begin(), both.begin() + static_cast<int64_t>(kernel.size())}, 3, 40, 50);
    for (int64_t m : tiles_of(s)) {
      for (bool in_place : {false, true}) {
        const Options o{
            .epilogue = {.activation = Activation::kSilu}, .residual = true, .in_place = in_place};
        for_each_isa([&](const KernelTable& table) { check_same_bits(s, m, o, table); });
      }
    }
  }
}

TEST(winograd_tasks_cover_each_output_once) {
  Random random(8);
  for (int i = 0; i < 200; ++i) {
    std::vector<Axis> axes;
    for (int64_t taps : kKernels[static_cast<size_t>(i) % kKernels.size()])
      axes.push_back(axis(random.integer(1, 60), taps / 2, taps / 2, taps));
    const ConvShape s = shape(axes, random.integer(1, 4), random.integer(1, 600), random.integer(1, 600));
    for (int64_t m : tiles_of(s)) {
      const WinogradTiling tiling(s, m);
      int64_t covered = 0;
      for (int64_t t = 0; t < tiling.count(); ++t) {
        const int64_t tiles = tiling.tile_end(t) - tiling.tile_begin(t);
        const int64_t panels = tiling.panel_end(t) - tiling.panel_begin(t);
        CHECK(tiles > 0 && tiles <= tiling.tile_step && panels > 0 && panels <= tiling.panel_step);
        CHECK(t == 0 || tiling.block(t) == tiling.block(t - 1) || tiling.block(t) == tiling.block(t - 1) + 1);
        covered += tiles * panels;
      }
      CHECK_EQ(covered, winograd_tiles(s, m) * conv_panels(s));
    }
  }
}

// Which algorithm is chosen depends on neither the batch nor anything but the shapes; small cases stay
// direct.
ConvAlgorithm choice(const std::vector<Axis>& axes, int64_t in, int64_t out) {
  ConvShape s = shape(axes, 1, in, out);
  const ConvAlgorithm a = choose_conv_algorithm(s);
  s.batch = 64;
  CHECK(choose_conv_algorithm(s) == a);
  return a;
}

TEST(winograd_choice) {
  const auto square = [](int64_t size, int64_t in, int64_t out) {
    return choice({axis(size, 1, 1), axis(size, 1, 1)}, in, out);
  };
  CHECK(square(56, 64, 64) == ConvAlgorithm::kWinograd4);
  CHECK(square(28, 128, 128) == ConvAlgorithm::kWinograd4);
  CHECK(square(14, 256, 256) == ConvAlgorithm::kWinograd4);
  CHECK(square(7, 512, 512) == ConvAlgorithm::kWinograd2);
  CHECK(square(56, 3, 64) == ConvAlgorithm::kDirect);
  CHECK(square(56, 64, 3) == ConvAlgorithm::kDirect);
  CHECK(square(1, 512, 512) == ConvAlgorithm::kDirect);
  ConvShape s = shape({axis(56, 1, 1), axis(56, 1, 1)}, 1, 64, 64);
  s.window.stride[1] = 2;
  CHECK(choose_conv_algorithm(s) == ConvAlgorithm::kDirect);
}

TEST(winograd_choice_along_one_axis) {
  const Axis one = axis(1, 0, 0, 1);
  for (int64_t taps : {3, 5}) {
    const Axis along = axis(512, 0, 0, taps);
    const ConvAlgorithm best = taps == 3 ? ConvAlgorithm::kWinograd4 : ConvAlgorithm::kWinograd2;
    for (const std::vector<Axis>& axes : {std::vector{along}, {one, along}, {along, one}}) {
      CHECK(choice(axes, 256, 512) == best);
      CHECK(choice(axes, 3, 512) == ConvAlgorithm::kDirect);
    }
    CHECK(choice({axis(4, 2, 2, taps)}, 128, 128) == ConvAlgorithm::kDirect);
  }
  for (const std::vector<int64_t>& kernel : std::vector<std::vector<int64_t>>{
           {1}, {2}, {4}, {7}, {1, 1}, {3, 5}, {5, 5}, {2, 3}, {1, 7}, {1, 1, 3}}) {
    std::vector<Axis> axes;
    for (int64_t taps : kernel) axes.push_back(axis(60, 0, 0, taps));
    CHECK(choice(axes, 128, 128) == ConvAlgorithm::kDirect);
  }
}

}  // namespace
}  // namespace pyinfer::test
