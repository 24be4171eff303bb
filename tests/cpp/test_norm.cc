// Softmax and normalisations: every length, misalignment and split against plain loops.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "check.h"
#include "kernels/kernel_table.h"
#include "kernels/reference/rows.h"

using namespace pyinfer;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> random_floats(int64_t n, uint32_t seed, float mean = 0.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(mean, 3.0f);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = d(rng);
  return v;
}

using Run = std::function<void(const float* x, float* y, int64_t begin, int64_t end)>;

// Runs `units` in one range, in two, and in place: the bits are the same. Returns y.
std::vector<float> run_split(const std::vector<float>& x, int64_t offset, int64_t units, const Run& run) {
  const size_t n = x.size() - static_cast<size_t>(offset);
  std::vector<float> whole(n + 1, -99.0f), parts(n + 1, -99.0f), in_place = x;
  run(x.data() + offset, whole.data(), 0, units);
  run(x.data() + offset, parts.data(), 0, units / 3);
  run(x.data() + offset, parts.data(), units / 3, units);
  run(in_place.data() + offset, in_place.data() + offset, 0, units);
  CHECK_EQ(whole.back(), -99.0f);
  CHECK(n == 0 || std::memcmp(whole.data(), parts.data(), n * 4) == 0);
  CHECK(n == 0 || std::memcmp(whole.data(), in_place.data() + offset, n * 4) == 0);
  whole.pop_back();
  return whole;
}

void check_axis(int64_t outer, int64_t n, int64_t inner, int64_t offset) {
  const std::vector<float> x =
      random_floats(outer * n * inner + offset, static_cast<uint32_t>(n * 131 + inner));
  for (Isa isa : available_isas()) {
    const NormKernels& k = kernel_table(isa).norm;
    const auto check = [&](reference::AxisKind kind, double tolerance, auto kernel) {
      const std::vector<float> y =
          run_split(x, offset, outer * inner, [&](const float* from, float* to, int64_t b, int64_t e) {
            kernel(AxisArgs{from, to, n, inner}, b, e);
          });
      const AxisArgs args{x.data() + offset, nullptr, n, inner};
      for (int64_t line = 0; line < outer * inner; ++line) {
        const std::vector<double> want = reference::along_axis(kind, args, line);
        for (int64_t j = 0; j < n; ++j)
          CHECK_NEAR(y[static_cast<size_t>(line / inner * n * inner + j * inner + line % inner)],
                     want[static_cast<size_t>(j)],
                     tolerance * std::max(1.0, std::abs(want[static_cast<size_t>(j)])));
      }
    };
    check(reference::AxisKind::kSoftmax, 4e-7, k.softmax);
    check(reference::AxisKind::kLogSoftmax, 1e-6, k.log_softmax);
    check(reference::AxisKind::kHardmax, 0, k.hardmax);
    check(reference::AxisKind::kL1, 5e-7,
          [&](const AxisArgs& a, int64_t b, int64_t e) { k.lp_normalize(a, 1, b, e); });
    check(reference::AxisKind::kL2, 5e-7,
          [&](const AxisArgs& a, int64_t b, int64_t e) { k.lp_normalize(a, 2, b, e); });
  }
}

}  // namespace

TEST(norm_axis_rows_every_length_and_offset) {
  for (int64_t n = 0; n <= 34; ++n)
    for (int64_t offset : {0, 1, 5}) check_axis(3, n, 1, offset);
  check_axis(2, 1000, 1, 3);
}

TEST(norm_axis_columns_every_width) {
  for (int64_t inner = 2; inner <= 36; ++inner) check_axis(2, 5, inner, inner % 3);
  check_axis(3, 19, 70, 1);
  check_axis(2, 1, 3, 0);
}

TEST(norm_softmax_specials) {
  for (Isa isa : available_isas()) {
    const NormKernels& k = kernel_table(isa).norm;
    for (int64_t inner : {1, 2}) {
      // A masked line; a line with NaN; huge values do not overflow.
      std::vector<float> x = {-kInf, 1.0f, -kInf, 1.0f}, y(4);
      if (inner == 2) x = {-kInf, -kInf, 1.0f, 1.0f, -kInf, -kInf, 1.0f, 1.0f}, y.resize(8);
      k.softmax({x.data(), y.data(), 4, inner}, 0, inner);
      CHECK_EQ(y[0], 0.0f);
      CHECK_EQ(y[static_cast<size_t>(inner)], 0.5f);
      x[0] = std::numeric_limits<float>::quiet_NaN();
      k.softmax({x.data(), y.data(), 4, inner}, 0, inner);
      for (size_t i = 0; i < y.size(); i += static_cast<size_t>(inner)) CHECK(std::isnan(y[i]));
    }
    const std::vector<float> huge = {3e38f, 1.0f, 3e38f};
    std::vector<float> y(3);
    k.softmax({huge.data(), y.data(), 3, 1}, 0, 1);
    CHECK_EQ(y[0], 0.5f);
    const std::vector<float> masked(5, -kInf);
    y.resize(5);
    k.softmax({masked.data(), y.data(), 5, 1}, 0, 1);
    CHECK(std::isnan(y[0]));
    const std::vector<float> zeros(5, 0.0f);
    k.lp_normalize({zeros.data(), y.data(), 5, 1}, 2, 0, 1);
    CHECK_EQ(y[4], 0.0f);
  }
}

TEST(norm_rows_layer_and_rms) {
  for (int64_t n : {1, 2, 3, 8, 15, 16, 17, 31, 32, 33, 100, 257}) {
    for (int64_t offset : {0, 3}) {
      // A mean far from zero: one pass would cancel.
      const std::vector<float> x = random_floats(4 * n + offset, static_cast<uint32_t>(n), 100.0f);
      const std::vector<float> scale = random_floats(n, 1), bias = random_floats(n, 2);
      for (Isa isa : available_isas()) {
        const NormKernels& k = kernel_table(isa).norm;
        for (int form = 0; form < 4; ++form) {
          for (bool centred : {true, false}) {
            RowNormArgs args{.n = n,
                             .scale = form & 1 ? scale.data() : nullptr,
                             .bias = form & 2 ? bias.data() : nullptr,
                             .epsilon = 1e-5f};
            const std::vector<float> y =
                run_split(x, offset, 4, [&](const float* from, float* to, int64_t b, int64_t e) {
                  args.x = from, args.y = to;
                  (centred ? k.layer_norm : k.rms_norm)(args, b, e);
                });
            args.x = x.data() + offset;
            for (int64_t r = 0; r < 4; ++r) {
              const std::vector<double> want = reference::row_norm(args, centred, r);
              for (int64_t j = 0; j < n; ++j)
                CHECK_NEAR(y[static_cast<size_t>(r * n + j)], want[static_cast<size_t>(j)],
                           n == 1 ? 1e-2 : 2e-4);
            }
          }
        }
      }
    }
  }
  // What was asked for beside y.
  const float x[] = {1.0f, 3.0f};
  float y[2], mean = 0, inv = 0;
  kernels().norm.layer_norm({.x = x, .y = y, .n = 2, .mean = &mean, .inv_deviation = &inv}, 0, 1);
  CHECK_EQ(mean, 2.0f);
  CHECK_EQ(inv, 1.0f);
}

TEST(norm_groups_both_layouts) {
  std::mt19937 rng(4);
  for (int trial = 0; trial < 60; ++trial) {
    const int64_t groups = 1 + static_cast<int64_t>(rng() % 9),
                  width = trial % 5 == 0 ? 70 + static_cast<int64_t>(rng() % 80)
                                         : 1 + static_cast<int64_t>(rng() % 20);
    const int64_t spatial = 1 + static_cast<int64_t>(rng() % 30), batch = 1 + static_cast<int64_t>(rng() % 3);
    const int64_t channels = groups * width;
    const std::vector<float> x =
        random_floats(batch * channels * spatial + 1, static_cast<uint32_t>(trial), 5.0f);
    const std::vector<float> scale = random_floats(channels, 1), bias = random_floats(channels, 2);
    for (Isa isa : available_isas()) {
      for (bool last : {false, true}) {
        GroupNormArgs args{.channels = channels,
                           .groups = groups,
                           .spatial = spatial,
                           .channels_last = last,
                           .scale = trial % 3 ? scale.data() : nullptr,
                           .bias = trial % 4 ? bias.data() : nullptr,
                           .epsilon = 1e-3f};
        const std::vector<float> y =
            run_split(x, 1, batch * groups, [&](const float* from, float* to, int64_t b, int64_t e) {
              args.x = from, args.y = to;
              kernel_table(isa).norm.group_norm(args, b, e);
            });
        args.x = x.data() + 1;
        const std::vector<double> want = reference::group_norm(args, batch);
        for (size_t i = 0; i < y.size(); ++i)
          CHECK_NEAR(y[i], want[i], 3e-5 * std::max(1.0, std::abs(want[i])));
      }
    }
  }
}

TEST(norm_channel_affine) {
  for (int64_t inner : {1, 2, 15, 16, 17, 40}) {
    const int64_t outer = 3, channels = 21;
    const std::vector<float> x = random_floats(outer * channels * inner + 1, 7),
                             scale = random_floats(channels, 8), shift = random_floats(channels, 9);
    for (Isa isa : available_isas()) {
      const int64_t units = inner == 1 ? outer : outer * channels;
      const std::vector<float> y =
          run_split(x, 1, units, [&](const float* from, float* to, int64_t b, int64_t e) {
            kernel_table(isa).norm.channel_affine({from, to, channels, inner, scale.data(), shift.data()}, b,
                                                  e);
          });
      for (size_t i = 0; i < y.size(); ++i) {
        const size_t c = i / static_cast<size_t>(inner) % static_cast<size_t>(channels);
        CHECK_NEAR(y[i], double(x[i + 1]) * scale[c] + shift[c], 1e-5);
      }
    }
  }
}
