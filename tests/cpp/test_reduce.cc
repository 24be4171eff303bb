// Reductions: every length, misalignment and split against plain loops; specials; the order of additions.
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "check.h"
#include "kernels/kernel_table.h"
#include "kernels/reference/rows.h"

using namespace pyinfer;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr ReduceKind kKinds[] = {
    ReduceKind::kSum,       ReduceKind::kMean, ReduceKind::kMax, ReduceKind::kMin,    ReduceKind::kProd,
    ReduceKind::kSumSquare, ReduceKind::kL1,   ReduceKind::kL2,  ReduceKind::kLogSum, ReduceKind::kLogSumExp};

std::vector<float> random_floats(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0.2f, 1.5f);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = d(rng);
  return v;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The whole of y, computed in ranges cut at `cuts`.
std::vector<float> reduce_in_parts(Isa isa, ReduceKind kind, const ReduceArgs& args, int64_t count,
                                   std::vector<int64_t> cuts) {
  std::vector<float> y(static_cast<size_t>(count) + 1, -99.0f);
  cuts.push_back(count);
  int64_t begin = 0;
  for (int64_t end : cuts) {
    kernel_table(isa).reduce.reduce(kind, args, y.data(), begin, end);
    begin = end;
  }
  CHECK_EQ(y.back(), -99.0f);
  y.pop_back();
  return y;
}

void check_reduce(int64_t outer, int64_t reduce, int64_t inner, int64_t offset) {
  const std::vector<float> x =
      random_floats(outer * reduce * inner + offset, static_cast<uint32_t>(reduce * 97 + inner));
  const ReduceArgs args{x.data() + offset, reduce, inner};
  const int64_t count = outer * inner;
  for (Isa isa : available_isas()) {
    for (ReduceKind kind : kKinds) {
      const std::vector<float> y = reduce_in_parts(isa, kind, args, count, {});
      for (int64_t i = 0; i < count; ++i) {
        const double want = reference::reduce(kind, args, i);
        // A sum that cancels is as good as its terms.
        const double scale = reference::reduce(ReduceKind::kL1, args, i) + std::abs(want) + 1e-30;
        const double tolerance = kind == ReduceKind::kLogSum && std::isfinite(want)
                                     ? 1e-6 * scale / std::exp(want) + 1e-6 * std::abs(want)
                                     : 2e-6 * scale;
        CHECK_NEAR(y[static_cast<size_t>(i)], want, tolerance);
      }
      CHECK(same_bits(y, reduce_in_parts(isa, kind, args, count,
                                         {count / 3, count / 2 + 1 < count ? count / 2 + 1 : count / 2})));
    }
  }
}

}  // namespace

TEST(reduce_rows_every_length_and_offset) {
  for (int64_t n = 0; n <= 34; ++n)
    for (int64_t offset : {0, 1, 5}) check_reduce(3, n, 1, offset);
  check_reduce(2, 1000, 1, 3);
}

TEST(reduce_columns_every_width_and_offset) {
  for (int64_t inner = 2; inner <= 34; ++inner) check_reduce(2, 5, inner, inner % 3);
  for (int64_t inner : {63, 64, 65, 80, 129, 200}) check_reduce(2, 7, inner, 1);
  for (int64_t rows : {63, 64, 65, 129}) check_reduce(1, rows, 70, 0);
  check_reduce(2, 0, 20, 0);
  check_reduce(0, 4, 20, 0);
  check_reduce(3, 1, 17, 2);
}

// The contract's order, written out.
TEST(reduce_sum_follows_the_lanes_and_the_tree) {
  for (int64_t n : {1, 7, 16, 17, 40, 333}) {
    const std::vector<float> x = random_floats(n, 5);
    float lane[16] = {};
    for (int64_t i = 0; i < n; ++i) lane[i % 16] += x[static_cast<size_t>(i)];
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    for (Isa isa : available_isas()) {
      float y = 0;
      kernel_table(isa).reduce.reduce(ReduceKind::kSum, {x.data(), n, 1}, &y, 0, 1);
      CHECK_EQ(y, lane[0]);
    }
    const std::vector<float> columns = random_floats(n * 3, 6);
    float sum = 0, chain = 0;
    for (int64_t i = 0; i < n; ++i) {
      chain += columns[static_cast<size_t>(i * 3 + 1)];
      if ((i + 1) % kReduceRows == 0 || i + 1 == n) sum += std::exchange(chain, 0.0f);
    }
    for (Isa isa : available_isas()) {
      float y[3];
      kernel_table(isa).reduce.reduce(ReduceKind::kSum, {columns.data(), n, 3}, y, 0, 3);
      CHECK_EQ(y[1], sum);
    }
  }
}

TEST(reduce_fed_in_pieces_gives_the_bits_of_the_whole) {
  std::mt19937 rng(3);
  for (int trial = 0; trial < 60; ++trial) {
    const int64_t n = static_cast<int64_t>(rng() % 120);
    const std::vector<float> x = random_floats(n + 1, static_cast<uint32_t>(trial));
    for (Isa isa : available_isas()) {
      const ReduceKernels& k = kernel_table(isa).reduce;
      for (ReduceKind kind : kKinds) {
        if (kind == ReduceKind::kLogSumExp || kind == ReduceKind::kLogSum) continue;
        std::vector<float> whole(1), parts(1);
        k.reduce(kind, {x.data(), n, 1}, whole.data(), 0, 1);
        ReduceLanes lanes;
        k.start(kind, lanes);
        for (int64_t i = 0; i < n;) {
          const int64_t m = std::min<int64_t>(n - i, static_cast<int64_t>(rng() % 40));
          k.feed(kind, lanes, x.data() + i, m);
          i += m;
        }
        parts[0] = k.finish(kind, lanes, n);
        CHECK(same_bits(whole, parts) || (std::isnan(whole[0]) && std::isnan(parts[0])));
      }
    }
  }
}

TEST(reduce_specials) {
  for (Isa isa : available_isas()) {
    const ReduceKernels& k = kernel_table(isa).reduce;
    const auto one = [&](ReduceKind kind, std::vector<float> x) {
      float y = 0;
      k.reduce(kind, {x.data(), static_cast<int64_t>(x.size()), 1}, &y, 0, 1);
      return y;
    };
    for (size_t at = 0; at < 20; ++at) {
      std::vector<float> x(20, 1.0f);
      x[at] = kNan;
      CHECK(std::isnan(one(ReduceKind::kMax, x)));
      CHECK(std::isnan(one(ReduceKind::kMin, x)));
    }
    CHECK_EQ(one(ReduceKind::kMax, {}), -kInf);
    CHECK_EQ(one(ReduceKind::kMin, {}), kInf);
    CHECK_EQ(one(ReduceKind::kProd, {}), 1.0f);
    CHECK_EQ(one(ReduceKind::kLogSumExp, {-kInf, -kInf}), -kInf);
    CHECK_EQ(one(ReduceKind::kLogSumExp, {1.0f, kInf}), kInf);
    CHECK_NEAR(one(ReduceKind::kLogSumExp, {1000.0f, 1000.0f}), 1000.0 + std::log(2.0), 1e-4);
  }
}

TEST(reduce_arg_extremes_with_ties_and_nan) {
  std::mt19937 rng(9);
  for (int trial = 0; trial < 400; ++trial) {
    const int64_t n = 1 + static_cast<int64_t>(rng() % 50),
                  inner = trial % 2 == 0 ? 1 : 1 + static_cast<int64_t>(rng() % 40);
    std::vector<float> x(static_cast<size_t>(2 * n * inner));
    for (float& v : x)
      v = rng() % 40 == 0 ? kNan : rng() % 15 == 0 ? -kInf : static_cast<float>(rng() % 5) - 2.0f;
    const ReduceArgs args{x.data(), n, inner};
    for (Isa isa : available_isas()) {
      const ReduceKernels& k = kernel_table(isa).reduce;
      for (bool last : {false, true}) {
        std::vector<int64_t> high(static_cast<size_t>(2 * inner)), low(high);
        k.arg_max(args, high.data(), 0, inner / 2, last);
        k.arg_max(args, high.data(), inner / 2, 2 * inner, last);
        k.arg_min(args, low.data(), 0, 2 * inner, last);
        for (int64_t i = 0; i < 2 * inner; ++i) {
          CHECK_EQ(high[static_cast<size_t>(i)], reference::arg_extreme(args, i, true, last));
          CHECK_EQ(low[static_cast<size_t>(i)], reference::arg_extreme(args, i, false, last));
        }
      }
    }
  }
}
