// Convolutions of bytes whose sums become bytes, to the bit, on every instruction set this CPU has.
#include <cmath>

#include "base/aligned.h"
#include "check.h"
#include "kernels/reference/matrix.h"
#include "matrix_data.h"

namespace pyinfer::test {
namespace {

int64_t value(uint8_t byte, bool is_signed) {
  return is_signed ? static_cast<int8_t>(byte) : byte;
}
std::vector<uint8_t> bytes(Random& random, int64_t count) {
  std::vector<uint8_t> v(static_cast<size_t>(count));
  for (uint8_t& b : v) b = static_cast<uint8_t>(random.integer(0, 255));
  return v;
}

// The contract of S8Requantize, for a sum with its bias.
uint8_t requantized(const S8Requantize& to, int64_t sum, int64_t channel) {
  const float v = static_cast<float>(static_cast<int32_t>(sum)) * to.multiplier[channel];
  const double q = std::nearbyint(static_cast<double>(v)) + to.zero;
  return static_cast<uint8_t>(static_cast<int64_t>(std::fmin(std::fmax(q, to.low), to.high)));
}

struct Case {
  ConvShape shape;
  bool x_signed, w_signed, w_zeros;
  int64_t x_gap, y_gap;
  std::vector<uint8_t> x, weights;
  int32_t x_zero;
  std::vector<int32_t> w_zero, bias;
  std::vector<float> multiplier;
  S8Requantize to;

  Case(Random& random, const ConvShape& s)
      : shape(s),
        x_signed(random.integer(0, 1)),
        w_signed(random.integer(0, 2) > 0),
        w_zeros(random.integer(0, 1)),
        x_gap(random.integer(0, 1)),
        y_gap(random.integer(0, 2)) {
    const int64_t taps = spatial_size(s.window.kernel, s.window.rank),
                  depth = taps * s.in_channels / s.groups;
    x = bytes(random, s.batch * spatial_size(s.window.input, s.window.rank) * x_stride());
    weights = bytes(random, s.out_channels * depth);
    x_zero = static_cast<int32_t>(value(bytes(random, 1)[0], x_signed));
    for (uint8_t z : bytes(random, s.out_channels))
      w_zero.push_back(w_zeros ? static_cast<int32_t>(value(z, w_signed)) : 0);
    for (int64_t m = 0; m < s.out_channels; ++m) {
      bias.push_back(static_cast<int32_t>(random.integer(-100000, 100000)));
      multiplier.push_back(0.01f * std::abs(random.real()) / std::sqrt(static_cast<float>(depth)));
    }
    to = {.bias = bias.data(), .multiplier = multiplier.data(), .ldy = s.out_channels + y_gap};
    if (random.integer(0, 1)) to.low = -128, to.high = 127;
    to.zero = static_cast<int32_t>(random.integer(to.low, to.high));
    if (random.integer(0, 1)) to.low = static_cast<int32_t>(random.integer(to.low, to.zero));
    if (random.integer(0, 1)) to.high = static_cast<int32_t>(random.integer(to.zero, to.high));
  }
  int64_t x_stride() const { return shape.in_channels + x_gap; }
  int64_t weight(int64_t m, int64_t c, int64_t tap) const {
    const int64_t taps = spatial_size(shape.window.kernel, shape.window.rank);
    const int64_t i = (m * (shape.in_channels / shape.groups) + c) * taps + tap;
    return value(weights[static_cast<size_t>(i)], w_signed) - w_zero[static_cast<size_t>(m)];
  }
  // What the bias is less for a kernel that does not take X's zero point off.
  std::vector<int32_t> raw_bias() const {
    std::vector<int32_t> raw = bias;
    const int64_t taps = spatial_size(shape.window.kernel, shape.window.rank);
    for (int64_t m = 0; m < shape.out_channels; ++m)
      for (int64_t c = 0; c < shape.in_channels / shape.groups; ++c)
        for (int64_t t = 0; t < taps; ++t)
          raw[static_cast<size_t>(m)] -= static_cast<int32_t>(x_zero * weight(m, c, t));
    return raw;
  }
  void check(const std::string& isa, const std::vector<uint8_t>& y) const {
    const Window& w = shape.window;
    const int64_t in_size = spatial_size(w.input, w.rank), out_size = spatial_size(w.output, w.rank);
    const int64_t channels = shape.in_channels / shape.groups, outputs = shape.out_channels / shape.groups;
    for (int64_t r = 0; r < conv_rows(shape); ++r)
      for (int64_t m = 0; m < to.ldy; ++m) {
        int64_t sum = m < shape.out_channels ? bias[static_cast<size_t>(m)] : 0;
        if (m < shape.out_channels)
          reference::for_each_tap(w, r % out_size, [&](int64_t tap, int64_t pixel) {
            for (int64_t c = 0; c < channels; ++c) {
              const int64_t at = (r / out_size * in_size + pixel) * x_stride() + m / outputs * channels + c;
              sum += (value(x[static_cast<size_t>(at)], x_signed) - x_zero) * weight(m, c, tap);
            }
          });
        CHECK_EQ(int{y[static_cast<size_t>(r * to.ldy + m)]},
                 m < shape.out_channels ? int{requantized(to, sum, m)} : 77);
      }
    report_bits(isa, std::vector<int32_t>(y.begin(), y.end()));
  }
};

ConvShape random_shape(Random& random, int64_t groups, int64_t per_group, int64_t outputs) {
  std::vector<Axis> axes;
  const int64_t rank = random.integer(1, 3);
  for (int64_t d = 0; d < rank; ++d) axes.push_back(random_axis(random));
  return {.window = window(axes),
          .batch = random.integer(1, 2),
          .in_channels = groups * per_group,
          .out_channels = groups * outputs,
          .groups = groups};
}

void run(const KernelTable& table, Case& c, bool raw) {
  const ConvShape& s = c.shape;
  std::vector<int8_t> packed(static_cast<size_t>(table.conv_s8.packed_size(s)));
  table.conv_s8.pack(
      {.shape = s, .weights = c.weights.data(), .w_signed = c.w_signed, .packed = packed.data()});
  std::vector<uint8_t> y(static_cast<size_t>(conv_rows(s) * c.to.ldy), 77);
  const std::vector<int32_t> raw_bias = c.raw_bias();
  S8Requantize to = c.to;
  to.y = y.data();
  if (raw) to.bias = raw_bias.data();
  const ConvS8Args args{.shape = s,
                        .x = c.x.data(),
                        .x_signed = c.x_signed,
                        .x_stride = c.x_stride(),
                        .x_zero = c.x_zero,
                        .raw = raw,
                        .weights = packed.data(),
                        .w_signed = c.w_signed,
                        .w_zero = c.w_zeros ? c.w_zero.data() : nullptr,
                        .w_zero_per_channel = true,
                        .bytes = &to};
  const AlignedBytes scratch(table.conv_s8.scratch_bytes(s));
  const int64_t row = conv_rows(s) / 2, panel = conv_panels(s) / 2;
  table.conv_s8.run(args, 0, row, 0, conv_panels(s), scratch.data());
  table.conv_s8.run(args, row, conv_rows(s), 0, panel, scratch.data());
  table.conv_s8.run(args, row, conv_rows(s), panel, conv_panels(s), scratch.data());
  c.check(table.name, y);
}

TEST(conv_s8_bytes) {
  Random random(91);
  for (int i = 0; i < 200; ++i) {
    const int64_t groups = random.integer(0, 2) ? 1 : random.integer(1, 4);
    const int64_t channels = random.integer(0, 1) ? 4 * random.integer(1, 9) : random.integer(1, 40);
    const ConvShape s = random_shape(random, groups, channels, random.integer(1, 70));
    Case c(random, s);
    for_each_isa([&](const KernelTable& table) {
      run(table, c, false);
      if (c.w_signed && !c.w_zeros) run(table, c, true);
    });
  }
}

TEST(conv_s8_depthwise) {
  Random random(92);
  for (int i = 0; i < 200; ++i) {
    const ConvShape s = random_shape(random, random.integer(1, 70), 1, 1);
    Case c(random, s);
    const int64_t taps = spatial_size(s.window.kernel, s.window.rank);
    CHECK(fits_s8_depthwise(s));
    std::vector<float> filters;
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t m = 0; m < s.out_channels; ++m) filters.push_back(static_cast<float>(c.weight(m, 0, t)));
    const std::vector<int32_t> raw_bias = c.raw_bias();
    for_each_isa([&](const KernelTable& table) {
      std::vector<uint8_t> y(static_cast<size_t>(conv_rows(s) * c.to.ldy), 77);
      DepthwiseS8Args args{.shape = s,
                           .x = c.x.data(),
                           .x_signed = c.x_signed,
                           .x_stride = c.x_stride(),
                           .x_zero = c.x_zero,
                           .filters = filters.data(),
                           .bytes = c.to};
      args.bytes.bias = raw_bias.data();
      args.bytes.y = y.data();
      const AlignedBytes scratch(table.conv_s8.scratch_bytes(s));
      const int64_t row = conv_rows(s) / 3;
      table.conv_s8.run_depthwise(args, 0, row, scratch.data());
      table.conv_s8.run_depthwise(args, row, conv_rows(s), scratch.data());
      c.check(table.name, y);
    });
  }
}

}  // namespace
}  // namespace pyinfer::test
