#include "base/packed_bytes.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "base/error.h"
#include "base/fork.h"

namespace pyinfer {
namespace {

#ifdef __SANITIZE_ADDRESS__
// The sanitizer sees the borders of allocations alone.
constexpr size_t kChunkBytes = 0;
#else
// Of address space: pages that no block has touched take no memory.
constexpr size_t kChunkBytes = size_t{32} << 20;
#endif

// The chunk that new blocks come from.
struct Pool {
  ForkSafeMutex mutex;
  std::weak_ptr<const AlignedBytes> chunk;
  size_t used = 0;
};
Pool& pool() {
  static Pool& instance = *new Pool;  // outlives the blocks of other static objects
  return instance;
}

}  // namespace

PackedBytes::PackedBytes(size_t size) : size_(size) {
  if (size == 0) return;
  require(size <= SIZE_MAX - kCacheLine, ErrorCode::kLimit, "allocation of ", size, " bytes is not possible");
  const size_t rounded = (size + kCacheLine - 1) / kCacheLine * kCacheLine;
  Pool& p = pool();
  const std::lock_guard lock(p.mutex);
  chunk_ = p.chunk.lock();
  if (chunk_ == nullptr || chunk_->size() - p.used < rounded) {
    const size_t room = chunk_ == nullptr ? 0 : chunk_->size() - p.used;
    chunk_ =
        std::make_shared<const AlignedBytes>(AlignedBytes::on_huge_pages(std::max(kChunkBytes, rounded)));
    if (chunk_->size() - rounded <= room) {  // the current chunk has more left
      data_ = chunk_->data();
      return;
    }
    p.chunk = chunk_;
    p.used = 0;
  }
  data_ = chunk_->data() + p.used;
  p.used += rounded;
}

PackedBytes::~PackedBytes() {
  if (data_ == nullptr) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data_);
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + size_) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace pyinfer
