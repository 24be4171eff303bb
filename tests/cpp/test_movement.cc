// Copies between strided boxes, gathered rows and fills against plain loops over bytes.
#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

#include "check.h"
#include "kernels/kernel_table.h"

using namespace pyinfer;

namespace {

struct Box {
  std::vector<int64_t> dims, src_strides, dst_strides;
};

// Copies the whole plan in two halves, on each instruction set, and compares all of dst, the gaps included.
void check_copy(const Box& box, int64_t element, int64_t src_elements, int64_t src_start,
                int64_t dst_elements) {
  std::vector<uint8_t> src(static_cast<size_t>(src_elements * element));
  for (size_t i = 0; i < src.size(); ++i) src[i] = static_cast<uint8_t>(i * 7 + i / 251);
  std::vector<uint8_t> want(static_cast<size_t>(dst_elements * element), 0xee);
  int64_t count = 1;
  for (int64_t d : box.dims) count *= d;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, from = src_start, to = 0;
    for (size_t d = box.dims.size(); d-- > 0; rest /= box.dims[d]) {
      from += rest % box.dims[d] * box.src_strides[d];
      to += rest % box.dims[d] * box.dst_strides[d];
    }
    std::memcpy(&want[static_cast<size_t>(to * element)], &src[static_cast<size_t>(from * element)],
                static_cast<size_t>(element));
  }
  const CopyPlan plan = plan_copy(element, box.dims, box.src_strides, box.dst_strides);
  for (Isa isa : available_isas()) {
    std::vector<uint8_t> dst(want.size(), 0xee);
    const auto* from = reinterpret_cast<const std::byte*>(src.data()) + src_start * element;
    auto* to = reinterpret_cast<std::byte*>(dst.data());
    kernel_table(isa).movement.copy(plan, from, to, plan.units / 2, plan.units);
    kernel_table(isa).movement.copy(plan, from, to, 0, plan.units / 2);
    CHECK(dst == want);
  }
}

std::vector<int64_t> row_major(const std::vector<int64_t>& dims) {
  std::vector<int64_t> strides(dims.size());
  int64_t n = 1;
  for (size_t d = dims.size(); d-- > 0;) {
    strides[d] = n;
    n *= dims[d];
  }
  return strides;
}

int64_t product(const std::vector<int64_t>& dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

TEST(movement_transposes_of_every_rank_and_size) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 400; ++trial) {
    const auto rank = static_cast<size_t>(rng() % 6);
    const int64_t element = std::vector<int64_t>{1, 2, 4, 8, 16, 3, 12}[rng() % 7];
    std::vector<int64_t> dims(rank);
    for (int64_t& d : dims) d = rng() % 25 == 0 ? 0 : 1 + static_cast<int64_t>(rng() % (rank < 3 ? 70 : 7));
    std::vector<size_t> permutation(rank);
    std::iota(permutation.begin(), permutation.end(), size_t{0});
    std::shuffle(permutation.begin(), permutation.end(), rng);
    const std::vector<int64_t> strides = row_major(dims);
    Box box;
    for (size_t p : permutation) {
      box.dims.push_back(dims[p]);
      box.src_strides.push_back(strides[p]);
    }
    box.dst_strides = row_major(box.dims);
    check_copy(box, element, product(dims), 0, product(dims));
  }
}

// Slices with steps of either sign, repeated dimensions, and destinations with gaps.
TEST(movement_slices_expansions_and_gaps) {
  std::mt19937 rng(2);
  for (int trial = 0; trial < 400; ++trial) {
    const auto rank = 1 + static_cast<size_t>(rng() % 4);
    const int64_t element = std::vector<int64_t>{1, 2, 4, 8, 16, 5}[rng() % 6];
    std::vector<int64_t> from(rank), to(rank);
    for (int64_t& d : from) d = 1 + static_cast<int64_t>(rng() % 9);
    const std::vector<int64_t> strides = row_major(from);
    Box box;
    int64_t start = 0;
    for (size_t d = 0; d < rank; ++d) {
      if (rng() % 4 == 0) {  // repeat one index
        start += static_cast<int64_t>(rng() % static_cast<uint64_t>(from[d])) * strides[d];
        box.dims.push_back(1 + static_cast<int64_t>(rng() % 4));
        box.src_strides.push_back(0);
      } else {
        const int64_t step = 1 + static_cast<int64_t>(rng() % 3);
        const bool backwards = rng() % 2 == 0;
        box.dims.push_back((from[d] + step - 1) / step);
        box.src_strides.push_back(backwards ? -step * strides[d] : step * strides[d]);
        if (backwards) start += (from[d] - 1) * strides[d];
      }
      to[d] = box.dims[d] + static_cast<int64_t>(rng() % 3);
    }
    box.dst_strides = row_major(to);
    check_copy(box, element, product(from), start, product(to));
  }
}

TEST(movement_gather_and_fill) {
  std::mt19937 rng(3);
  for (int64_t bytes : {1, 2, 3, 4, 7, 8, 12, 16, 40, 64, 100, 1000}) {
    std::vector<uint8_t> table(static_cast<size_t>(9 * bytes));
    for (uint8_t& b : table) b = static_cast<uint8_t>(rng());
    for (int64_t n : {0, 1, 2, 17}) {
      std::vector<int64_t> indices(static_cast<size_t>(n));
      for (int64_t& i : indices) i = static_cast<int64_t>(rng() % 9);
      for (Isa isa : available_isas()) {
        std::vector<uint8_t> dst(static_cast<size_t>(n * bytes) + 1, 0xee);
        kernel_table(isa).movement.gather_rows(reinterpret_cast<const std::byte*>(table.data()), bytes,
                                               indices.data(), n, reinterpret_cast<std::byte*>(dst.data()));
        for (int64_t i = 0; i < n; ++i)
          CHECK(std::memcmp(&dst[static_cast<size_t>(i * bytes)],
                            &table[static_cast<size_t>(indices[static_cast<size_t>(i)] * bytes)],
                            static_cast<size_t>(bytes)) == 0);
        CHECK_EQ(+dst.back(), 0xee);
      }
    }
  }
  for (size_t bytes : {1, 2, 4, 8, 16}) {
    std::vector<uint8_t> value(bytes);
    for (uint8_t& b : value) b = static_cast<uint8_t>(rng());
    for (size_t n = 0; n <= 70; ++n) {
      for (Isa isa : available_isas()) {
        std::vector<uint8_t> dst(n * bytes + 1, 0xee);
        kernel_table(isa).movement.fill(reinterpret_cast<std::byte*>(dst.data()), static_cast<int64_t>(n),
                                        reinterpret_cast<const std::byte*>(value.data()),
                                        static_cast<int64_t>(bytes));
        for (size_t i = 0; i < n * bytes; ++i) CHECK_EQ(+dst[i], +value[i % bytes]);
        CHECK_EQ(+dst.back(), 0xee);
      }
    }
  }
}
