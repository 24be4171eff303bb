// The fp32 matrix product against plain loops, on every instruction set this CPU has.
#include <cstring>

#include "base/cpu_features.h"
#include "check.h"
#include "kernels/kernel_table.h"
#include "kernels/reference/matrix.h"
#include "matrix_data.h"

namespace pyinfer::test {
namespace {

struct Problem {
  int64_t m, n, k;
  int64_t lda = 0, ldb = 0, ldc = 0;
  bool transposed = false;
  Epilogue epilogue = {};
  bool in_place = false;  // the residual is C itself
};

// Runs `p` whole on `table` and compares with the reference.
void run_and_check(const KernelTable& table, const Problem& p, uint32_t seed) {
  Random random(seed);
  const int64_t lda = p.k + p.lda, ldc = p.n + p.ldc;
  const int64_t b_rows = p.transposed ? p.n : p.k;
  const int64_t ldb = (p.transposed ? p.k : p.n) + p.ldb;
  // One float in, so that no pointer is aligned.
  std::vector<float> a = random.floats(p.m * lda + 1), b = random.floats(b_rows * ldb + 1);
  std::vector<float> bias = random.floats(p.n + p.m + 1), residual = random.floats(p.m * ldc + 1);
  std::vector<float> packed(packed_b_size(p.k, p.n) + 1, std::nanf(""));
  std::vector<float> c(p.m * ldc + 1, 777.0f), expected = c;
  if (p.in_place) c = residual;

  const PackBArgs pack{.k = p.k,
                       .n = p.n,
                       .b = b.data() + 1,
                       .ldb = ldb,
                       .transposed = p.transposed,
                       .packed = packed.data() + 1};
  table.gemm.pack_b(pack, 0, p.k, 0, panel_count(p.n));

  GemmArgs args{.m = p.m,
                .n = p.n,
                .k = p.k,
                .a = a.data() + 1,
                .lda = lda,
                .b = packed.data() + 1,
                .c = c.data() + 1,
                .ldc = ldc,
                .epilogue = p.epilogue};
  if (args.epilogue.bias != nullptr) args.epilogue.bias = bias.data() + 1;
  args.epilogue.residual_stride = ldc;
  args.epilogue.activate_rows = table.activate_rows;
  if (args.epilogue.residual != nullptr) args.epilogue.residual = residual.data() + 1;
  reference::gemm(args, b.data() + 1, ldb, p.transposed, expected.data() + 1);
  if (p.in_place) args.epilogue.residual = args.c;
  table.gemm.run(args, 0, p.m, 0, panel_count(p.n));

  const double tolerance = 1e-6 * (4 + p.k);
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      const int64_t at = 1 + i * ldc + j;
      if (j < p.n) {
        CHECK_NEAR(c[at], expected[at], tolerance);
      } else {
        CHECK_EQ(c[at], p.in_place ? residual[at] : 777.0f);  // the gaps are not ours
      }
    }
  }
  report_bits(table.name, c);
}

const float kPresent = 0;  // stands for "there is one" in Problem::epilogue

TEST(gemm_every_small_shape) {
  for_each_isa([](const KernelTable& table) {
    for (int64_t m = 0; m <= 26; ++m) {
      for (int64_t n : {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 80, 112}) {
        for (int64_t k : {0, 1, 2, 3, 8, 17}) {
          run_and_check(table, {.m = m, .n = n, .k = k}, static_cast<uint32_t>(m * 1000 + n * 10 + k));
        }
      }
    }
  });
}

TEST(gemm_every_column_tail) {
  for_each_isa([](const KernelTable& table) {
    for (int64_t n = 1; n <= 34; ++n) {
      for (int64_t m : {1, 2, 3, 6, 7, 13}) {
        run_and_check(table, {.m = m, .n = n, .k = 5, .ldc = 3, .epilogue = {.bias = &kPresent}}, 7);
      }
    }
  });
}

TEST(gemm_blocks_of_k_and_rows) {
  for_each_isa([](const KernelTable& table) {
    for (int64_t k : {255, 256, 257, 512, 700}) {
      for (int64_t m : {1, 5, 6, 8, 29, 241}) {
        run_and_check(table,
                      {.m = m,
                       .n = 35,
                       .k = k,
                       .lda = 3,
                       .ldb = 2,
                       .ldc = 5,
                       .epilogue = {.bias = &kPresent,
                                    .residual = &kPresent,
                                    .activation = Activation::kLeakyRelu,
                                    .alpha = 0.1f}},
                      5);
      }
    }
  });
}

TEST(gemm_transposed_b) {
  for_each_isa([](const KernelTable& table) {
    for (int64_t k : {1, 15, 16, 17, 40, 64}) {
      for (int64_t n : {1, 15, 16, 17, 50}) {
        run_and_check(table, {.m = 7, .n = n, .k = k, .ldb = 3, .transposed = true}, 11);
      }
    }
  });
}

TEST(gemm_every_epilogue) {
  for_each_isa([](const KernelTable& table) {
    for (const Epilogue& act : all_activations()) {
      for (int mask = 0; mask < 16; ++mask) {
        Problem p{.m = 13, .n = 37, .k = mask & 8 ? 300 : 9, .ldc = 2, .epilogue = act};
        if (mask & 1) p.epilogue.bias = &kPresent;
        p.epilogue.bias_per_row = mask & 2;
        if (mask & 4) p.epilogue.residual = &kPresent;
        run_and_check(table, p, 3);
        p.in_place = p.epilogue.residual != nullptr;
        run_and_check(table, p, 4);
      }
    }
  });
}

TEST(gemm_nan_and_infinity_go_through) {
  for_each_isa([](const KernelTable& table) {
    const float values[] = {std::nanf(""), INFINITY, -INFINITY, 2.0f};
    float one[16] = {1.0f};
    for (const Epilogue& act : all_activations()) {
      for (float v : values) {
        float c = 0;
        GemmArgs args{
            .m = 1, .n = 1, .k = 1, .a = &v, .lda = 1, .b = one, .c = &c, .ldc = 1, .epilogue = act};
        args.epilogue.activate_rows = table.activate_rows;
        table.gemm.run(args, 0, 1, 0, 1);
        const double expected = reference::apply(act, v, 0, 0);
        CHECK_NEAR(c, expected, 1e-6);
      }
    }
  });
}

// The same row has the same bits whatever tiles, panels and M it is computed with.
TEST(gemm_same_bits_for_every_tiling) {
  for_each_isa([](const KernelTable& table) {
    const int64_t m = 61, n = 150, k = 777;
    Random random(1);
    std::vector<float> a = random.floats(m * k), b = random.floats(k * n), bias = random.floats(n);
    std::vector<float> packed(packed_b_size(k, n)), whole(m * n), c(m * n);
    table.gemm.pack_b({.k = k, .n = n, .b = b.data(), .ldb = n, .packed = packed.data()}, 0, 300, 0, 10);
    table.gemm.pack_b({.k = k, .n = n, .b = b.data(), .ldb = n, .packed = packed.data()}, 300, k, 0, 4);
    table.gemm.pack_b({.k = k, .n = n, .b = b.data(), .ldb = n, .packed = packed.data()}, 300, k, 4, 10);
    GemmArgs args{
        .m = m,
        .n = n,
        .k = k,
        .a = a.data(),
        .lda = k,
        .b = packed.data(),
        .c = whole.data(),
        .ldc = n,
        .epilogue = {
            .bias = bias.data(), .activation = Activation::kHardSwish, .activate_rows = table.activate_rows}};
    table.gemm.run(args, 0, m, 0, panel_count(n));
    args.c = c.data();
    for (int64_t rows : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 40}) {
      for (int64_t panels : {1, 2, 3, 4, 5, 10}) {
        std::fill(c.begin(), c.end(), 0.0f);
        for (int64_t i = 0; i < m; i += rows) {
          for (int64_t p = 0; p < panel_count(n); p += panels) {
            table.gemm.run(args, i, std::min(i + rows, m), p, std::min(p + panels, panel_count(n)));
          }
        }
        CHECK(std::memcmp(c.data(), whole.data(), c.size() * sizeof(float)) == 0);
      }
    }
  });
}

// Ascending chains: what std::fma computes step by step, and so the same on all sets with FMA.
TEST(gemm_is_a_sum_of_ascending_chains) {
  for_each_isa([](const KernelTable& table) {
    if (std::string(table.name) == "baseline") return;
    const int64_t m = 9, n = 21, k = 2 * kChainLength + 100;
    Random random(2);
    std::vector<float> a = random.floats(m * k), b = random.floats(k * n), c(m * n);
    std::vector<float> packed(packed_b_size(k, n));
    table.gemm.pack_b({.k = k, .n = n, .b = b.data(), .ldb = n, .packed = packed.data()}, 0, k, 0, 2);
    table.gemm.run({.m = m,
                    .n = n,
                    .k = k,
                    .a = a.data(),
                    .lda = k,
                    .b = packed.data(),
                    .c = c.data(),
                    .ldc = n,
                    .epilogue = {}},
                   0, m, 0, 2);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        float sum = 0;
        const int64_t length = 304;  // of three chains, in multiples of 16
        for (int64_t first = 0; first < k; first += length) {
          float chain = 0;
          for (int64_t l = first; l < std::min(k, first + length); ++l)
            chain = std::fma(a[i * k + l], b[l * n + j], chain);
          sum = first == 0 ? chain : sum + chain;
        }
        CHECK_EQ(c[i * n + j], sum);
      }
    }
  });
}

}  // namespace
}  // namespace pyinfer::test
