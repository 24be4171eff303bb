#include "base/aligned.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace pyinfer {
namespace {
std::atomic<uint64_t> g_allocations{0};
// On x86-64, and on 64-bit Arm with pages of 4 KiB. With others the advice is for naught, and harmless.
constexpr size_t kHugePage = size_t{2} << 20;
}  // namespace

AlignedBytes::AlignedBytes(size_t size, bool zero) : size_(size) {
  if (size == 0) return;
  require(size <= SIZE_MAX - kCacheLine, ErrorCode::kLimit, "allocation of ", size, " bytes is not possible");
  const size_t rounded = (size + kCacheLine - 1) / kCacheLine * kCacheLine;
  const bool huge = size >= kHugePage;
  data_ = static_cast<std::byte*>(std::aligned_alloc(huge ? kHugePage : kCacheLine, rounded));
  require(data_ != nullptr, ErrorCode::kLimit, "out of memory: ", size, " bytes could not be allocated");
  // Only whole huge pages: the rest would take up to one more of memory.
  if (huge) ::madvise(data_, size / kHugePage * kHugePage, MADV_HUGEPAGE);
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  if (zero) std::memset(data_, 0, rounded);
}

AlignedBytes::~AlignedBytes() {
  std::free(data_);
}

uint64_t allocation_count() {
  return g_allocations.load(std::memory_order_relaxed);
}

}  // namespace pyinfer
