// The kernels that measure this CPU's limits do the work that they are credited with.
#include <numeric>

#include "check.h"
#include "kernels/kernel_table.h"
#include "runtime/roofline.h"

namespace pyinfer::test {

TEST(roofline_multiply_add_counts_its_operations) {
  for (Isa isa : available_isas()) {
    const RooflineKernels& kernel = kernel_table(isa).roofline;
    const int64_t lanes = kernel.flops_per_round / 2;
    // All lanes start at different values, and tend to 1.
    CHECK_NEAR(kernel.multiply_add(0, 0.5F), static_cast<double>(lanes * (lanes - 1) / 2), 0.0);
    CHECK_NEAR(kernel.multiply_add(100, 0.5F), static_cast<double>(lanes), 0.0);
  }
}

TEST(roofline_read_and_copy_touch_every_element) {
  for (Isa isa : available_isas()) {
    const RooflineKernels& kernel = kernel_table(isa).roofline;
    for (int64_t n = 0; n <= 4 * kRooflineBlock; n += kRooflineBlock) {
      std::vector<float> src(static_cast<size_t>(n) + 1), dst(src.size(), -1.0F);
      std::iota(src.begin(), src.end(), 1.0F);
      CHECK_NEAR(kernel.read(src.data(), n), static_cast<double>(n * (n + 1) / 2), 0.0);
      kernel.copy(src.data(), dst.data(), n);
      CHECK(std::equal(dst.begin(), dst.end() - 1, src.begin()));
      CHECK_NEAR(dst.back(), -1.0, 0.0);
    }
  }
}

TEST(roofline_levels_grow_to_memory) {
  for (int threads : {1, 3}) {
    const Roofline found = measure_roofline(threads);
    CHECK(found.flops > 0);
    CHECK(found.bandwidth.size() >= 4);
    for (size_t i = 0; i < found.bandwidth.size(); ++i) {
      CHECK(found.bandwidth[i].read > 0 && found.bandwidth[i].copy > 0);
      CHECK(i == 0 || found.bandwidth[i].bytes > found.bandwidth[i - 1].bytes);
    }
  }
}

}  // namespace pyinfer::test
