// Running extremes of columns against the definition, on every instruction set.
#include <cmath>
#include <limits>

#include "check.h"
#include "kernels/kernel_table.h"

namespace pyinfer::test {
namespace {

bool beats(bool max, bool ties, float a, float best) {
  if (std::isnan(best)) return ties && std::isnan(a);
  if (std::isnan(a) || (max ? a > best : a < best)) return true;
  return ties && a == best;
}

}  // namespace

TEST(extreme_rows_take_the_first_or_last_of_the_best) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(),
                  kInf = std::numeric_limits<float>::infinity();
  const float values[] = {0.0f, -0.0f, 1.0f, 2.0f, -1.0f, kInf, -kInf, kNaN, 1.0f, 2.0f, 0.0f};
  std::mt19937 rng(1);
  for (int64_t n = 0; n <= 40; ++n) {
    const int64_t rows = static_cast<int64_t>(rng() % 6), stride = n + 2;
    std::vector<float> x(static_cast<size_t>(stride * (rows + 1)));
    for (float& v : x) v = values[rng() % (n % 2 == 0 ? std::size(values) : 7)];
    for (Isa isa : available_isas()) {
      for (int options = 0; options < 4; ++options) {
        const bool max = options & 1, ties = options & 2;
        std::vector<float> best(x.begin(), x.begin() + n + 1);
        std::vector<int32_t> index(static_cast<size_t>(n) + 1, 4);
        std::vector<float> want_best = best;
        std::vector<int32_t> want_index = index;
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            const auto c = static_cast<size_t>(j);
            const float a = x[static_cast<size_t>((i + 1) * stride + j)];
            if (!beats(max, ties, a, want_best[c])) continue;
            want_best[c] = a;
            want_index[c] = static_cast<int32_t>(5 + i);
          }
        }
        const ExtremeKernels& kernel = kernel_table(isa).extreme;
        (max ? kernel.max_rows : kernel.min_rows)(x.data() + stride, stride, rows, 5, n, ties, best.data(),
                                                  index.data());
        CHECK(index == want_index);
        for (size_t j = 0; j < best.size(); ++j) CHECK_NEAR(best[j], want_best[j], 0.0);
      }
    }
  }
}

}  // namespace pyinfer::test
