// Pools against plain loops, on every instruction set this CPU has.
#include <algorithm>

#include "base/aligned.h"
#include "check.h"
#include "kernels/pool.h"
#include "kernels/reference/matrix.h"
#include "matrix_data.h"

namespace pyinfer::test {
namespace {

double reference_pool(const PoolArgs& args, int64_t row, int64_t channel) {
  const Window& w = args.window;
  const int64_t in_size = spatial_size(w.input, w.rank), out_size = spatial_size(w.output, w.rank);
  double best = -INFINITY, sum = 0, squares = 0, absolute = 0, powers = 0;
  int64_t count = 0;
  reference::for_each_tap(w, row % out_size, [&](int64_t, int64_t pixel) {
    const double x = args.x[(row / out_size * in_size + pixel) * args.x_stride + channel];
    best = std::isnan(best) || std::isnan(x) ? NAN : std::max(best, x);
    sum += x;
    absolute += std::abs(x);
    squares += x * x;
    powers += std::pow(std::abs(x), args.p);
    ++count;
  });
  if (args.count_padding) {
    // The same window over an image grown by its padding.
    Window grown = w;
    for (int d = 0; d < w.rank; ++d) {
      grown.input[d] += w.pad[d] + args.pad_end[d];
      grown.pad[d] = 0;
    }
    count = 0;
    reference::for_each_tap(grown, row % out_size, [&](int64_t, int64_t) { ++count; });
  }
  switch (args.kind) {
    case PoolKind::kMax: return best;
    case PoolKind::kAverage: return sum / static_cast<double>(count);
    case PoolKind::kL1: return absolute;
    case PoolKind::kL2: return std::sqrt(squares);
    case PoolKind::kLp: return std::pow(powers, 1.0 / args.p);
  }
  return NAN;
}

TEST(pool_random_shapes) {
  Random random(31);
  for (int i = 0; i < 300; ++i) {
    std::vector<Axis> axes;
    const int64_t rank = random.integer(1, 3);
    for (int64_t d = 0; d < rank; ++d) axes.push_back(random_axis(random));
    PoolArgs args{.window = window(axes), .batch = random.integer(1, 2), .channels = random.integer(1, 50)};
    Window& w = args.window;
    for (int d = 0; d < w.rank; ++d) {
      args.pad_end[d] = axes[d].pad_end;
      if (random.integer(0, 3) == 0) ++w.output[d];  // ceil_mode
    }
    args.x_stride = args.channels + random.integer(0, 2);
    args.y_stride = args.channels + random.integer(0, 2);
    std::vector<float> x = random.floats(args.batch * spatial_size(w.input, w.rank) * args.x_stride + 1);
    if (i % 5 == 0) {
      for (int j = 0; j < 5; ++j) x[random.integer(0, x.size() - 1)] = std::nanf("");
    }
    args.x = x.data() + 1;
    const int64_t rows = args.batch * spatial_size(w.output, w.rank);
    for (PoolKind kind : {PoolKind::kMax, PoolKind::kAverage, PoolKind::kL1, PoolKind::kL2, PoolKind::kLp}) {
      for (bool count_padding : {false, true}) {
        if (count_padding && kind != PoolKind::kAverage) continue;
        args.kind = kind;
        args.p = 3.0f;
        args.count_padding = count_padding;
        for_each_isa([&](const KernelTable& table) {
          std::vector<float> y(rows * args.y_stride + 1, 777.0f);
          args.y = y.data() + 1;
          const AlignedBytes scratch(table.pool.scratch_bytes(args));
          table.pool.run(args, 0, rows / 3, scratch.data());
          table.pool.run(args, rows / 3, rows, scratch.data());
          report_bits(table.name, y);
          for (int64_t row = 0; row < rows; ++row) {
            for (int64_t c = 0; c < args.y_stride; ++c) {
              const double expected = c < args.channels ? reference_pool(args, row, c) : 777.0;
              const double tolerance = kind == PoolKind::kMax ? 0.0 : 1e-6 * (2 + std::abs(expected));
              CHECK_NEAR(args.y[row * args.y_stride + c], expected, tolerance);
            }
          }
        });
      }
    }
  }
}

TEST(pool_max_bytes) {
  Random random(39);
  for (int i = 0; i < 150; ++i) {
    const bool is_signed = random.integer(0, 1);
    MaxBytesArgs args{.window = window({random_axis(random), random_axis(random)}),
                      .batch = 2,
                      .channels = random.integer(1, 150),
                      .is_signed = is_signed};
    const Window& w = args.window;
    const int64_t in_size = spatial_size(w.input, w.rank), out_size = spatial_size(w.output, w.rank);
    std::vector<uint8_t> x(args.batch * in_size * args.channels);
    for (uint8_t& v : x) v = static_cast<uint8_t>(random.integer(0, 255));
    args.x = x.data();
    const auto value = [&](uint8_t b) { return is_signed ? int{static_cast<int8_t>(b)} : int{b}; };
    for_each_isa([&](const KernelTable& table) {
      const int64_t rows = args.batch * out_size;
      std::vector<uint8_t> y(rows * args.channels, 77);
      args.y = y.data();
      const PoolArgs same{.window = w, .batch = args.batch, .channels = args.channels};
      const AlignedBytes scratch(table.pool.scratch_bytes(same));
      table.pool.max_bytes(args, 0, rows / 2, scratch.data());
      table.pool.max_bytes(args, rows / 2, rows, scratch.data());
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t c = 0; c < args.channels; ++c) {
          int most = is_signed ? -128 : 0;
          reference::for_each_tap(w, row % out_size, [&](int64_t, int64_t pixel) {
            most = std::max(most, value(x[(row / out_size * in_size + pixel) * args.channels + c]));
          });
          CHECK_EQ(value(y[row * args.channels + c]), most);
        }
    });
  }
}

TEST(pool_max_indices) {
  Random random(37);
  for (int i = 0; i < 100; ++i) {
    PoolArgs args{.window = window({random_axis(random), random_axis(random)}),
                  .batch = 2,
                  .channels = 3,
                  .x_stride = 4};
    const Window& w = args.window;
    const int64_t in_size = spatial_size(w.input, w.rank), out_size = spatial_size(w.output, w.rank);
    std::vector<float> x(args.batch * in_size * args.x_stride);
    for (float& v : x) v = static_cast<float>(random.integer(0, 3));  // ties
    if (i % 4 == 0) x[random.integer(0, x.size() - 1)] = std::nanf("");
    args.x = x.data();
    for_each_isa([&](const KernelTable& table) {
      const int64_t rows = args.batch * out_size;
      std::vector<int64_t> indices(rows * args.channels, -7);
      const AlignedBytes scratch(table.pool.scratch_bytes(args));
      table.pool.max_indices(args, 0, rows, indices.data(), scratch.data());
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t c = 0; c < args.channels; ++c) {
          const double best = reference_pool(args, row, c);
          int64_t expected = -1;
          reference::for_each_tap(w, row % out_size, [&](int64_t, int64_t pixel) {
            const float v = args.x[(row / out_size * in_size + pixel) * args.x_stride + c];
            if (expected < 0 && (v == best || (std::isnan(v) && std::isnan(best)))) expected = pixel;
          });
          CHECK_EQ(indices[row * args.channels + c], expected);
        }
      }
    });
  }
}

TEST(pool_global_average) {
  for_each_isa([](const KernelTable& table) {
    Random random(41);
    for (int64_t pixels : {1, 2, 3, 4, 5, 49, 63, 64, 65, 66, 67, 200}) {
      for (int64_t channels : {1, 15, 16, 17, 40}) {
        const std::vector<float> x = random.floats(pixels * (channels + 1));
        std::vector<float> y(channels + 1, 777.0f);
        const GlobalAverageArgs args{
            .pixels = pixels, .channels = channels, .x = x.data(), .x_stride = channels + 1, .y = y.data()};
        table.pool.global_average(args, 0, channels / 2);
        table.pool.global_average(args, channels / 2, channels);
        report_bits(table.name, y);
        for (int64_t c = 0; c < channels; ++c) {
          double sum = 0;
          for (int64_t i = 0; i < pixels; ++i) sum += x[i * (channels + 1) + c];
          CHECK_NEAR(y[c], sum / static_cast<double>(pixels), 1e-6);
        }
        CHECK_EQ(y[channels], 777.0f);
      }
    }
  });
}

}  // namespace
}  // namespace pyinfer::test
