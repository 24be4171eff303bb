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
  AlignedBytes(AlignedBytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBytes& operator=(AlignedBytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
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
};

// Number of heap allocations made by the core's own buffers since the process started.
// Tests read it to hold the promise that a warm static plan allocates nothing.
uint64_t allocation_count();

}  // namespace pyinfer
