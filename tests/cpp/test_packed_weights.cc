#include <cstring>
#include <new>
#include <thread>

#include "base/error.h"
#include "check.h"
#include "ops/packed_weights.h"

namespace pyinfer {
namespace {

Tensor floats(int64_t n, float value) {
  Tensor t(DType::kFloat32, {n});
  std::fill_n(t.as<float>(), n, value);
  return t;
}

PackedWeights::Packed pack(PackedWeights& weights, const Tensor& t, std::string_view layout, int* fills) {
  const Tensor* source = &t;
  return weights.get({&source, 1}, layout, static_cast<int64_t>(t.bytes()), [&](std::byte* to) {
    ++*fills;
    std::memcpy(to, t.view().data, t.bytes());
  });
}

}  // namespace

TEST(packed_weights_are_shared_by_layout_and_source) {
  PackedWeights weights(1 << 20);
  const Tensor a = floats(100, 1.0f), b = floats(100, 1.0f);
  int fills = 0;
  const auto first = pack(weights, a, "x", &fills);
  CHECK(pack(weights, a, "x", &fills) == first && fills == 1);
  CHECK(pack(weights, a, "y", &fills) != first && fills == 2);
  CHECK(pack(weights, b, "x", &fills) != first && fills == 3);
  CHECK(pack(weights, a.reshaped({10, 10}), "x", &fills) != first && fills == 4);
  CHECK(first->as<float>()[99] == 1.0f);
}

// An address that comes again holds another constant.
TEST(packed_weights_know_a_storage_from_the_next_at_its_address) {
  PackedWeights weights(1 << 20);
  std::vector<float> memory(8, 1.0f);
  int fills = 0;
  const auto at_memory = [&] {
    return Tensor(DType::kFloat32, {8}, memory.data(), std::make_shared<int>(0));
  };
  CHECK(pack(weights, at_memory(), "x", &fills)->as<float>()[0] == 1.0f);
  memory.assign(8, 2.0f);
  CHECK(pack(weights, at_memory(), "x", &fills)->as<float>()[0] == 2.0f && fills == 2);
}

TEST(packed_weights_are_bounded) {
  PackedWeights weights(1000);
  const Tensor a = floats(200, 1.0f), b = floats(100, 2.0f);
  int fills = 0;
  const auto kept = pack(weights, a, "x", &fills);
  ErrorCode code = ErrorCode::kInternal;
  try {
    pack(weights, b, "x", &fills);
  } catch (const Error& e) {
    code = e.code();
  }
  CHECK(code == ErrorCode::kLimit);
  CHECK(fills == 1 && pack(weights, a, "x", &fills) == kept);
}

// What was not packed leaves its room to the next try.
TEST(packed_weights_that_fail_are_not_counted) {
  PackedWeights weights(1000);
  const Tensor a = floats(200, 1.0f);
  const Tensor* source = &a;
  for (int i = 0; i < 3; ++i) {
    bool thrown = false;
    try {
      weights.get({&source, 1}, "x", 800, [](std::byte*) { throw std::bad_alloc(); });
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    CHECK(thrown);
  }
  int fills = 0;
  CHECK(pack(weights, a, "x", &fills)->as<float>()[0] == 1.0f && fills == 1);
}

TEST(packed_weights_of_two_threads_are_one) {
  for (int round = 0; round < 50; ++round) {
    PackedWeights weights(1 << 20);
    const Tensor a = floats(1000, 3.0f);
    PackedWeights::Packed packed[2];
    std::thread other([&] {
      int fills = 0;
      packed[1] = pack(weights, a, "x", &fills);
    });
    int fills = 0;
    packed[0] = pack(weights, a, "x", &fills);
    other.join();
    CHECK(packed[0] == packed[1] && packed[0]->as<float>()[999] == 3.0f);
  }
}

}  // namespace pyinfer
