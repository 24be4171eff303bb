// Blocks of packed weights: apart from each other, aligned, and given back when they go.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "base/packed_bytes.h"
#include "check.h"

namespace pyinfer::test {
namespace {

bool holds(const PackedBytes& block, int value) {
  for (size_t i = 0; i < block.size(); ++i) {
    if (block.data()[i] != static_cast<std::byte>(value)) return false;
  }
  return true;
}
PackedBytes filled(size_t size, int value) {
  PackedBytes block(size);
  if (size > 0) std::memset(block.data(), value, size);
  return block;
}
// Of this process, in bytes.
int64_t resident() {
  long long all = 0, pages = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%lld %lld", &all, &pages) != 2) pages = 0;
  if (file != nullptr) std::fclose(file);
  return pages * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

TEST(packed_bytes_keep_apart) {
  // Smaller and larger than a chunk; every other one goes before the rest is read.
  std::vector<PackedBytes> blocks;
  const size_t sizes[] = {
      0, 1, 63, 64, 65, 4095, 4096, 70000, size_t{3} << 20, size_t{40} << 20, 5, size_t{20} << 20};
  int value = 1;
  for (int round = 0; round < 3; ++round) {
    for (const size_t size : sizes) blocks.push_back(filled(size, value++));
  }
  for (const PackedBytes& block : blocks) {
    CHECK_EQ(reinterpret_cast<uintptr_t>(block.data()) % kCacheLine, uintptr_t{0});
  }
  for (size_t i = 0; i < blocks.size(); i += 2) blocks[i] = PackedBytes();
  for (size_t i = 1; i < blocks.size(); i += 2) CHECK(holds(blocks[i], static_cast<int>(i) + 1));
}

TEST(packed_bytes_go_back) {
  const PackedBytes kept = filled(1000, 7);  // of the same chunk
  const int64_t before = resident();
  constexpr int64_t kSize = 16 << 20;
  PackedBytes block = filled(kSize, 1);
  const int64_t with = resident();
  block = PackedBytes();
  const int64_t after = resident();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which keep memory of their own
  if (with > 0) {                                                    // Linux
    CHECK(with - before > kSize * 3 / 4);
    CHECK(after - before < kSize / 4);
  }
#else
  (void)before, (void)with, (void)after;
#endif
  CHECK(holds(kept, 7));
}

TEST(packed_bytes_from_many_threads) {
  std::vector<std::thread> threads;
  std::vector<int> right(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &right] {
      std::vector<PackedBytes> blocks;
      for (int i = 0; i < 200; ++i) {
        blocks.push_back(filled(static_cast<size_t>(1 + 977 * i), t + 1));
        if (i % 3 == 2) blocks.erase(blocks.begin());
      }
      right[static_cast<size_t>(t)] = 1;
      for (const PackedBytes& block : blocks) right[static_cast<size_t>(t)] &= holds(block, t + 1) ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int r : right) CHECK(r == 1);
}

}  // namespace pyinfer::test
