// Memory aligned to a cache line, freed by its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace pyinfer {

inline constexpr size_t kCacheLine = 64;

// Owns `size` bytes aligned to kCacheLine. Contents are uninitialised unless asked otherwise.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(size_t size, bool zero = false);
  // For what is large and stays: on huge pages where the system has them, straight from it and back to it.
  // With pages of 4 KiB a run over much memory waits for page walks, in a virtual machine a third of its
  // time.
  static AlignedBytes on_huge_pages(size_t size);
  AlignedBytes(AlignedBytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        mapped_(std::exchange(other.mapped_, 0)) {}
  AlignedBytes& operator=(AlignedBytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  ~AlignedBytes();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_ = 0;  // bytes of a mapping of its own; 0: from the heap
};

// Number of heap allocations made by the core's own buffers since the process started.
// Tests read it to hold the promise that a warm static plan allocates nothing.
uint64_t allocation_count();

}  // namespace pyinfer
