// 8-bit products and convolutions, bit for bit against 64-bit sums, on every instruction set this CPU has.
#include <algorithm>

#include "base/aligned.h"
#include "check.h"
#include "kernels/reference/matrix.h"
#include "matrix_data.h"

namespace pyinfer::test {
namespace {

// Bytes read as uint8 or int8.
struct Bytes {
  std::vector<uint8_t> data;
  bool is_signed = false;

  Bytes(Random& random, int64_t count, bool is_signed, bool extreme) : is_signed(is_signed) {
    data.resize(static_cast<size_t>(count));
    const int64_t low = is_signed ? 128 : 0, high = is_signed ? 127 : 255;  // the bits of the two ends
    for (uint8_t& b : data) {
      b = static_cast<uint8_t>(extreme ? (random.integer(0, 1) ? low : high) : random.integer(0, 255));
    }
  }
  int64_t at(int64_t i) const { return is_signed ? static_cast<int8_t>(data[i]) : data[i]; }
};

std::vector<int32_t> zero_points(Random& random, int64_t count, bool is_signed) {
  std::vector<int32_t> zeros(static_cast<size_t>(count));
  for (int32_t& z : zeros) {
    z = static_cast<int32_t>(is_signed ? random.integer(-128, 127) : random.integer(0, 255));
  }
  return zeros;
}

int32_t wrap(int64_t v) {
  return static_cast<int32_t>(static_cast<uint32_t>(v));
}

void check_gemm(const KernelTable& table, int64_t m, int64_t n, int64_t k, uint32_t seed,
                bool extreme = false) {
  Random random(seed);
  const bool a_signed = random.integer(0, 1), b_signed = random.integer(0, 1),
             transposed = random.integer(0, 1);
  const bool per_row = random.integer(0, 1), per_column = random.integer(0, 1);
  const bool zeros = random.integer(0, 2) > 0;
  const int64_t lda = k + random.integer(0, 3), ldc = n + random.integer(0, 2);
  const int64_t ldb = (transposed ? k : n) + random.integer(0, 3);
  const Bytes a(random, m * lda + 1, a_signed, extreme);
  const Bytes b(random, (transposed ? n : k) * ldb + 1, b_signed, extreme);
  const std::vector<int32_t> a_zero = zero_points(random, m + 1, a_signed);
  const std::vector<int32_t> b_zero = zero_points(random, n + 1, b_signed);

  std::vector<int8_t> packed(table.gemm_s8.packed_size(k, n) + 1);
  const PackS8Args pack{.k = k,
                        .n = n,
                        .b = b.data.data() + 1,
                        .b_signed = b_signed,
                        .ldb = ldb,
                        .transposed = transposed,
                        .packed = packed.data() + 1};
  table.gemm_s8.pack_b(pack, 0, panel_count(n) / 2);
  table.gemm_s8.pack_b(pack, panel_count(n) / 2, panel_count(n));
  std::vector<int32_t> c(m * ldc + 1, 777);
  const GemmS8Args args{.m = m,
                        .n = n,
                        .k = k,
                        .a = a.data.data() + 1,
                        .a_signed = a_signed,
                        .lda = lda,
                        .a_zero = zeros ? a_zero.data() : nullptr,
                        .a_zero_per_row = per_row,
                        .b = packed.data() + 1,
                        .b_signed = b_signed,
                        .b_zero = zeros ? b_zero.data() : nullptr,
                        .b_zero_per_column = per_column,
                        .c = c.data() + 1,
                        .ldc = ldc};
  const AlignedBytes scratch(table.gemm_s8.scratch_bytes(k));
  const int64_t row = m / 3, panel = panel_count(n) / 2;
  table.gemm_s8.run(args, 0, row, 0, panel_count(n), scratch.data());
  table.gemm_s8.run(args, row, m, 0, panel, scratch.data());
  table.gemm_s8.run(args, row, m, panel, panel_count(n), scratch.data());

  report_bits(table.name, c);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      int64_t sum = 0;
      for (int64_t l = 0; l < k && j < n; ++l) {
        const int64_t av = a.at(1 + i * lda + l), bv = b.at(1 + (transposed ? j * ldb + l : l * ldb + j));
        sum += (av - (zeros ? a_zero[per_row ? i : 0] : 0)) * (bv - (zeros ? b_zero[per_column ? j : 0] : 0));
      }
      CHECK_EQ(args.c[i * ldc + j], j < n ? wrap(sum) : 777);
    }
  }
}

TEST(gemm_s8_small_shapes) {
  for_each_isa([](const KernelTable& table) {
    uint32_t seed = 0;
    for (int64_t m = 0; m <= 26; ++m) {
      for (int64_t n : {0, 1, 7, 15, 16, 17, 32, 33, 64, 65, 80}) {
        for (int64_t k : {0, 1, 2, 3, 16, 17}) check_gemm(table, m, n, k, ++seed);
      }
    }
  });
}

TEST(gemm_s8_never_saturates) {
  for_each_isa([](const KernelTable& table) {
    for (uint32_t seed = 0; seed < 60; ++seed) check_gemm(table, 1 + seed % 9, 1 + seed, 200, seed, true);
  });
}

TEST(gemm_s8_blocks_of_rows) {
  for_each_isa([](const KernelTable& table) {
    check_gemm(table, 200, 40, 33, 1);
    check_gemm(table, 70, 20, 3001, 2);
  });
}

TEST(gemm_s8_wraps_modulo_2_32) {
  const int64_t k = 70000;  // 70000 * 255 * 255 is more than 2^32
  for_each_isa([&](const KernelTable& table) {
    const std::vector<uint8_t> a(k, 255), b(k, 255);
    std::vector<int8_t> packed(table.gemm_s8.packed_size(k, 1));
    table.gemm_s8.pack_b({.k = k, .n = 1, .b = b.data(), .ldb = 1, .packed = packed.data()}, 0, 1);
    const AlignedBytes scratch(table.gemm_s8.scratch_bytes(k));
    int32_t c = 0;
    table.gemm_s8.run(
        {.m = 1, .n = 1, .k = k, .a = a.data(), .lda = k, .b = packed.data(), .c = &c, .ldc = 1}, 0, 1, 0, 1,
        scratch.data());
    CHECK_EQ(c, wrap(k * 255 * 255));
  });
}

TEST(conv_s8_random_shapes) {
  Random random(43);
  for (int i = 0; i < 150; ++i) {
    std::vector<Axis> axes;
    const int64_t rank = random.integer(1, 3);
    for (int64_t d = 0; d < rank; ++d) axes.push_back(random_axis(random));
    const int64_t groups = random.integer(0, 2) ? 1 : random.integer(1, 4);
    const ConvShape s{.window = window(axes),
                      .batch = random.integer(1, 2),
                      .in_channels = groups * random.integer(1, 20),
                      .out_channels = groups * random.integer(1, 20),
                      .groups = groups};
    const Window& w = s.window;
    const int64_t taps = spatial_size(w.kernel, w.rank), channels = s.in_channels / groups;
    const int64_t outputs = s.out_channels / groups;
    const int64_t in_size = spatial_size(w.input, w.rank), out_size = spatial_size(w.output, w.rank);
    const bool x_signed = random.integer(0, 1), w_signed = random.integer(0, 1);
    const bool per_channel = random.integer(0, 1);
    const int64_t x_stride = s.in_channels + random.integer(0, 1),
                  y_stride = s.out_channels + random.integer(0, 1);
    const Bytes x(random, s.batch * in_size * x_stride, x_signed, false);
    const Bytes weights(random, s.out_channels * channels * taps, w_signed, false);
    const int32_t x_zero = zero_points(random, 1, x_signed)[0];
    const std::vector<int32_t> w_zero = zero_points(random, s.out_channels, w_signed);
    for_each_isa([&](const KernelTable& table) {
      std::vector<int8_t> packed(table.conv_s8.packed_size(s));
      table.conv_s8.pack(
          {.shape = s, .weights = weights.data.data(), .w_signed = w_signed, .packed = packed.data()});
      std::vector<int32_t> y(conv_rows(s) * y_stride, 777);
      const ConvS8Args args{.shape = s,
                            .x = x.data.data(),
                            .x_signed = x_signed,
                            .x_stride = x_stride,
                            .x_zero = x_zero,
                            .weights = packed.data(),
                            .w_signed = w_signed,
                            .w_zero = w_zero.data(),
                            .w_zero_per_channel = per_channel,
                            .y = y.data(),
                            .y_stride = y_stride};
      const AlignedBytes scratch(table.conv_s8.scratch_bytes(s));
      const int64_t row = conv_rows(s) / 2, panel = conv_panels(s) / 2;
      table.conv_s8.run(args, 0, row, 0, conv_panels(s), scratch.data());
      table.conv_s8.run(args, row, conv_rows(s), 0, panel, scratch.data());
      table.conv_s8.run(args, row, conv_rows(s), panel, conv_panels(s), scratch.data());
      report_bits(table.name, y);
      for (int64_t r = 0; r < conv_rows(s); ++r) {
        for (int64_t m = 0; m < y_stride; ++m) {
          int64_t sum = 0;
          if (m < s.out_channels) {
            reference::for_each_tap(w, r % out_size, [&](int64_t tap, int64_t pixel) {
              for (int64_t c = 0; c < channels; ++c) {
                const int64_t xv =
                    x.at((r / out_size * in_size + pixel) * x_stride + m / outputs * channels + c);
                sum += (xv - x_zero) *
                       (weights.at((m * channels + c) * taps + tap) - w_zero[per_channel ? m : 0]);
              }
            });
          }
          CHECK_EQ(y[r * y_stride + m], m < s.out_channels ? wrap(sum) : 777);
        }
      }
    });
  }
}

}  // namespace
}  // namespace pyinfer::test
