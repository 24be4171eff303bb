// Weighted sums of indexed elements and of rows: against sums in double, and bit for bit against one chain of
// fused multiply-adds.
#include <cmath>

#include "check.h"
#include "kernels/kernel_table.h"
#include "matrix_data.h"

namespace pyinfer::test {
namespace {

struct Sums {
  double wide = 0;
  float chain = 0;
  void add(float weight, float x) {
    wide += static_cast<double>(weight) * static_cast<double>(x);
    chain = first ? weight * x : std::fma(weight, x, chain);
    first = false;
  }
  bool first = true;
};

void check_sum(Isa isa, float got, const Sums& want) {
  CHECK_NEAR(got, want.wide, 1e-5);
  if (isa != Isa::kBaseline) CHECK_EQ(got, want.chain);  // the baseline rounds twice
}

}  // namespace

TEST(resample_gathers_weighted_elements) {
  Random random(1);
  std::mt19937 rng(2);
  const std::vector<float> x = random.floats(50);
  for (int64_t taps : {1, 2, 4, 7}) {
    for (int64_t n = 0; n <= 50; ++n) {
      std::vector<int32_t> index(static_cast<size_t>(taps * n));
      for (int32_t& i : index) i = static_cast<int32_t>(rng() % 50);
      const std::vector<float> weight = random.floats(taps * n);
      for (Isa isa : available_isas()) {
        std::vector<float> y(static_cast<size_t>(n) + 1, 777.0f);
        kernel_table(isa).resample.gather(x.data(), index.data(), weight.data(), taps, n, y.data());
        for (int64_t i = 0; i < n; ++i) {
          Sums want;
          for (int64_t t = 0; t < taps; ++t) {
            const auto k = static_cast<size_t>(t * n + i);
            want.add(weight[k], x[static_cast<size_t>(index[k])]);
          }
          check_sum(isa, y[static_cast<size_t>(i)], want);
        }
        CHECK_EQ(y.back(), 777.0f);
      }
    }
  }
}

TEST(resample_sums_weighted_rows) {
  Random random(3);
  for (int64_t taps : {1, 2, 4, 7}) {
    for (int64_t n = 0; n <= 50; ++n) {
      const std::vector<float> x = random.floats(taps * (n + 3)), weight = random.floats(taps);
      std::vector<int64_t> offset;
      for (int64_t t = 0; t < taps; ++t) offset.push_back((taps - 1 - t) * (n + 3));
      for (Isa isa : available_isas()) {
        std::vector<float> y(static_cast<size_t>(n) + 1, 777.0f);
        kernel_table(isa).resample.rows(x.data(), offset.data(), weight.data(), taps, n, y.data());
        for (int64_t j = 0; j < n; ++j) {
          Sums want;
          for (int64_t t = 0; t < taps; ++t)
            want.add(weight[static_cast<size_t>(t)],
                     x[static_cast<size_t>(offset[static_cast<size_t>(t)] + j)]);
          check_sum(isa, y[static_cast<size_t>(j)], want);
        }
        CHECK_EQ(y.back(), 777.0f);
      }
    }
  }
}

}  // namespace pyinfer::test
