// Counts what a process allocates through operator new: preloaded before the C++ library.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {
std::atomic<long> count{0};

void* counted(std::size_t size, std::size_t alignment = alignof(std::max_align_t)) {
  count.fetch_add(1, std::memory_order_relaxed);
  return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
void* or_throw(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace

extern "C" long counted_allocations() {
  return count.load(std::memory_order_relaxed);
}

void* operator new(std::size_t size) {
  return or_throw(counted(size));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return counted(size);
}
void* operator new(std::size_t size, std::align_val_t at) {
  return or_throw(counted(size, static_cast<std::size_t>(at)));
}
void* operator new[](std::size_t size, std::align_val_t at) {
  return or_throw(counted(size, static_cast<std::size_t>(at)));
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete[](void* p, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}
