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
constexpr size_t kPage = size_t{64} << 10;  // a multiple of what any system has
}  // namespace

AlignedBytes::AlignedBytes(size_t size, bool zero) : size_(size) {
  if (size == 0) return;
  require(size <= SIZE_MAX - kCacheLine, ErrorCode::kLimit, "allocation of ", size, " bytes is not possible");
  const size_t rounded = (size + kCacheLine - 1) / kCacheLine * kCacheLine;
  data_ = static_cast<std::byte*>(std::aligned_alloc(kCacheLine, rounded));
  require(data_ != nullptr, ErrorCode::kOutOfMemory, "the system refuses ", size, " bytes of memory");
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  if (zero) std::memset(data_, 0, rounded);
}

AlignedBytes AlignedBytes::on_huge_pages(size_t size) {
  if (size < kHugePage) return AlignedBytes(size);
  require(size <= SIZE_MAX - 2 * kHugePage, ErrorCode::kLimit, "allocation of ", size,
          " bytes is not possible");
  const size_t rounded = (size + kPage - 1) / kPage * kPage;
  void* all =
      ::mmap(nullptr, rounded + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(all != MAP_FAILED, ErrorCode::kOutOfMemory, "the system refuses ", size, " bytes of memory");
  // The part that begins with a huge page.
  auto* const begin = static_cast<std::byte*>(all);
  const size_t skipped = (kHugePage - reinterpret_cast<uintptr_t>(all) % kHugePage) % kHugePage;
  if (skipped > 0) ::munmap(begin, skipped);
  ::munmap(begin + skipped + rounded, kHugePage - skipped);
  AlignedBytes bytes;
  bytes.data_ = begin + skipped;
  bytes.size_ = size;
  bytes.mapped_ = rounded;
  // Only whole huge pages: the rest would take up to one more of memory.
  ::madvise(bytes.data_, size / kHugePage * kHugePage, MADV_HUGEPAGE);
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return bytes;
}

AlignedBytes::~AlignedBytes() {
  if (mapped_ > 0) {
    ::munmap(data_, mapped_);
  } else {
    std::free(data_);
  }
}

uint64_t allocation_count() {
  return g_allocations.load(std::memory_order_relaxed);
}

}  // namespace pyinfer
