// One promise: every instruction set with fused multiply-add gives the same bits. Here for elementary
// functions, reductions and normalisations; NaN counts as NaN whatever its payload.
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

#include "check.h"
#include "kernels/kernel_table.h"

using namespace pyinfer;

namespace {

// In [-8, 8). The distributions of the standard library go through the C library's logarithm, whose bits are
// its own.
float moderate(std::mt19937& rng) {
  return static_cast<float>(static_cast<int32_t>(rng())) * 0x1p-28f;
}

std::vector<float> random_bits(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<float> v(n);
  // Half of all magnitudes, half of moderate ones.
  for (size_t i = 0; i < n; ++i)
    v[i] = i % 2 == 0 ? std::bit_cast<float>(static_cast<uint32_t>(rng())) : moderate(rng);
  return v;
}

// Runs `run(table)`, which returns what it computed, on each instruction set.
void expect_same(const std::string& what, const std::function<std::vector<float>(const KernelTable&)>& run) {
  std::vector<float> first;
  for (Isa isa : available_isas()) {
    if (isa == Isa::kBaseline) continue;
    const std::vector<float> y = run(kernel_table(isa));
    test::report_bits(isa_name(isa), y);
    if (first.empty()) first = y;
    CHECK_EQ(y.size(), first.size());
    for (size_t i = 0; i < y.size(); ++i) {
      if (std::memcmp(&y[i], &first[i], 4) == 0 || (std::isnan(y[i]) && std::isnan(first[i]))) continue;
      std::ostringstream os;
      os << what << " on " << isa_name(isa) << ": element " << i << " is " << y[i] << ", elsewhere "
         << first[i];
      test::report_failure(__FILE__, __LINE__, os.str());
      break;
    }
  }
}

}  // namespace

TEST(same_bits_unary) {
  const std::vector<float> x = random_bits(100003, 1);
  for (int kind = 0; kind < static_cast<int>(UnaryKind::kNot); ++kind) {
    expect_same("unary " + std::to_string(kind), [&](const KernelTable& k) {
      std::vector<float> y(x.size());
      k.elementwise.unary(static_cast<UnaryKind>(kind), x.data(), y.data(), static_cast<int64_t>(x.size()),
                          {0.7f, 1.3f});
      return y;
    });
  }
}

TEST(same_bits_binary) {
  const std::vector<float> a = random_bits(50021, 2), b = random_bits(50021, 3);
  for (int kind = 0; kind <= static_cast<int>(BinaryKind::kPRelu); ++kind) {
    expect_same("binary " + std::to_string(kind), [&](const KernelTable& k) {
      std::vector<float> y(a.size());
      k.elementwise.binary(static_cast<BinaryKind>(kind), DType::kFloat32)
          .vector_vector(a.data(), b.data(), y.data(), static_cast<int64_t>(a.size()));
      return y;
    });
  }
}

TEST(same_bits_half_precision) {
  const std::vector<float> x = random_bits(100003, 4);
  const auto n = static_cast<int64_t>(x.size());
  expect_same("float16", [&](const KernelTable& k) {
    std::vector<Float16> h(x.size());
    std::vector<float> y(x.size());
    k.convert.f32_to_f16(x.data(), h.data(), n);
    k.convert.f16_to_f32(h.data(), y.data(), n);
    return y;
  });
  expect_same("bfloat16", [&](const KernelTable& k) {
    std::vector<BFloat16> h(x.size());
    std::vector<float> y(x.size());
    k.convert.f32_to_bf16(x.data(), h.data(), n);
    k.convert.bf16_to_f32(h.data(), y.data(), n);
    return y;
  });
}

TEST(same_bits_reductions_and_normalisations) {
  std::mt19937 rng(5);
  for (const auto& [n, inner] :
       {std::pair{1, 1}, {5, 1}, {16, 1}, {77, 1}, {1000, 1}, {9, 2}, {33, 21}, {20, 64}, {7, 130}}) {
    std::vector<float> x(static_cast<size_t>(4 * n * inner));
    for (float& v : x) v = 0.5f + moderate(rng) / 2;
    for (int kind = 0; kind <= static_cast<int>(ReduceKind::kLogSumExp); ++kind) {
      expect_same("reduce " + std::to_string(kind), [&](const KernelTable& k) {
        std::vector<float> y(static_cast<size_t>(4 * inner));
        k.reduce.reduce(static_cast<ReduceKind>(kind), {x.data(), n, inner}, y.data(), 0, 4 * inner);
        return y;
      });
    }
    expect_same("axis", [&](const KernelTable& k) {
      std::vector<float> y(4 * x.size());
      const auto part = [&](size_t i) { return AxisArgs{x.data(), y.data() + i * x.size(), n, inner}; };
      k.norm.softmax(part(0), 0, 4 * inner);
      k.norm.log_softmax(part(1), 0, 4 * inner);
      k.norm.lp_normalize(part(2), 1, 0, 4 * inner);
      k.norm.lp_normalize(part(3), 2, 0, 4 * inner);
      return y;
    });
    expect_same("rows and groups", [&](const KernelTable& k) {
      std::vector<float> y(4 * x.size());
      k.norm.layer_norm({.x = x.data(), .y = y.data(), .n = n, .scale = x.data(), .epsilon = 1e-5f}, 0,
                        4 * inner);
      k.norm.rms_norm({.x = x.data(), .y = y.data() + x.size(), .n = n, .epsilon = 1e-5f}, 0, 4 * inner);
      GroupNormArgs group{
          .x = x.data(), .y = y.data() + 2 * x.size(), .channels = inner, .spatial = n, .epsilon = 1e-5f};
      k.norm.group_norm(group, 0, 4);
      group.y += x.size();
      group.channels_last = true;
      group.groups = inner;
      k.norm.group_norm(group, 0, 4 * inner);
      return y;
    });
  }
}
