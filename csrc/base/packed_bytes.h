// Memory for packed weights: what is written once at load and read in every run.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "base/aligned.h"

namespace pyinfer {

// Owns `size` bytes aligned to kCacheLine, uninitialised. Blocks are cut one after another from chunks on
// huge pages: a run reads all weights once, and with one entry of the TLB for every 4 KiB of them it would
// wait for page walks about as long as it computes. A freed block's whole pages go back to the system at
// once, its addresses with the chunk's last block. Thread-safe.
class PackedBytes {
 public:
  PackedBytes() = default;
  explicit PackedBytes(size_t size);
  PackedBytes(PackedBytes&& other) noexcept
      : chunk_(std::move(other.chunk_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  PackedBytes& operator=(PackedBytes&& other) noexcept {
    std::swap(chunk_, other.chunk_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~PackedBytes();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::shared_ptr<const AlignedBytes> chunk_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace pyinfer
