// The product with weights of few bits against plain loops, and its bits against the fp32 product's, on every
// instruction set this CPU has.
#include <cstring>

#include "check.h"
#include "kernels/reference/matrix.h"
#include "matrix_data.h"

namespace pyinfer::test {
namespace {

struct Problem {
  int64_t m, n, k;
  int bits;
  int64_t group_size;
  bool indexed = false;
  Epilogue epilogue = {};
};

// Panels of an N x k matrix of 4-byte elements.
std::vector<float> pack(const KernelTable& table, const float* b, int64_t n, int64_t k) {
  std::vector<float> packed(static_cast<size_t>(packed_b_size(k, n)) + 1);
  table.gemm.pack_b({.k = k, .n = n, .b = b, .ldb = k, .transposed = true, .packed = packed.data()}, 0, k, 0,
                    panel_count(n));
  return packed;
}

void run_and_check(const KernelTable& table, const Problem& p, uint32_t seed) {
  Random random(seed);
  const int64_t groups = (p.k + p.group_size - 1) / p.group_size, words = bit_words(p.k, p.bits);
  std::vector<float> a = random.floats(p.m * p.k + 1), scale = random.floats(p.n * groups + 1),
                     zero = random.floats(p.n * groups + 1), bias = random.floats(p.n + 1), w, q;
  std::vector<int32_t> index;
  for (int64_t k = 0; k < p.k; ++k)
    index.push_back(static_cast<int32_t>(p.indexed ? random.integer(0, groups - 1) : k / p.group_size));
  for (float& z : zero) z *= 100;
  for (float& s : scale) s /= static_cast<float>(1 << p.bits);
  for (int64_t i = 0; i < p.n * words; ++i) {
    const auto word = static_cast<uint32_t>(random.integer(0, 0xffffffff));
    float bits;
    std::memcpy(&bits, &word, 4);
    q.push_back(bits);
  }
  q.push_back(0);
  for (int64_t j = 0; j < p.n; ++j)
    for (int64_t k = 0; k < p.k; ++k) {
      uint32_t word;
      std::memcpy(&word, &q[static_cast<size_t>(j * words + k * p.bits / 32)], 4);
      const auto value = static_cast<float>(word >> k * p.bits % 32 & ((1u << p.bits) - 1));
      const auto g = static_cast<size_t>(j * groups + index[static_cast<size_t>(k)]);
      const float centred = value - zero[g];
      w.push_back(centred * scale[g]);
    }
  w.push_back(0);

  std::vector<float> c(static_cast<size_t>(p.m * (p.n + 3)) + 1, 777.0f), plain = c, expected = c;
  Epilogue epilogue = p.epilogue;
  epilogue.bias = bias.data();
  epilogue.activate_rows = table.activate_rows;
  const std::vector<float> packed_q = pack(table, q.data(), p.n, words),
                           packed_s = pack(table, scale.data(), p.n, groups),
                           packed_z = pack(table, zero.data(), p.n, groups),
                           packed_w = pack(table, w.data(), p.n, p.k);
  const GemmBitsArgs args{.m = p.m,
                          .n = p.n,
                          .k = p.k,
                          .bits = p.bits,
                          .a = a.data(),
                          .lda = p.k,
                          .b = packed_q.data(),
                          .scale = packed_s.data(),
                          .zero = packed_z.data(),
                          .groups = groups,
                          .group_size = p.group_size,
                          .group_index = p.indexed ? index.data() : nullptr,
                          .c = c.data(),
                          .ldc = p.n + 3,
                          .epilogue = epilogue};
  table.gemm_bits.run(args, 0, p.m, 0, panel_count(p.n));
  GemmArgs same{.m = p.m,
                .n = p.n,
                .k = p.k,
                .a = a.data(),
                .lda = p.k,
                .b = packed_w.data(),
                .c = plain.data(),
                .ldc = p.n + 3,
                .epilogue = epilogue};
  table.gemm.run(same, 0, p.m, 0, panel_count(p.n));
  CHECK_EQ(std::memcmp(c.data(), plain.data(), c.size() * sizeof(float)), 0);
  report_bits(table.name, c);
  reference::gemm(same, w.data(), p.k, true, expected.data());
  for (size_t i = 0; i < c.size(); ++i) CHECK_NEAR(c[i], expected[i], 1e-4 * (4 + static_cast<double>(p.k)));
}

TEST(gemm_bits_every_small_shape) {
  for_each_isa([](const KernelTable& table) {
    for (int bits : {2, 4, 8})
      for (int64_t m : {0, 1, 2, 3, 6, 7, 14})
        for (int64_t n : {1, 7, 16, 17, 33})
          for (int64_t k : {0, 1, 3, 4, 8, 15, 16, 17, 31, 32, 40, 65, 300}) {
            run_and_check(table, {m, n, k, bits, 16}, static_cast<uint32_t>(m + n + k));
            run_and_check(table, {m, n, k, bits, 32, k > 0}, static_cast<uint32_t>(m + n + k));
          }
  });
}

TEST(gemm_bits_many_rows_and_blocks) {
  for_each_isa([](const KernelTable& table) {
    for (int bits : {2, 4, 8})
      for (const Epilogue& e : all_activations()) run_and_check(table, {250, 20, 600, bits, 64, false, e}, 3);
  });
}

}  // namespace
}  // namespace pyinfer::test
