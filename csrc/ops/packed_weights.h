// The constants of a model in the forms that kernels read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fork.h"
#include "base/function_ref.h"
#include "base/packed_bytes.h"
#include "tensor/tensor.h"

namespace pyinfer {

// One form of each: nodes that read the same constants under the same layout share it. Thread-safe.
class PackedWeights {
 public:
  using Packed = std::shared_ptr<const PackedBytes>;

  // All forms together are held to `max_bytes`, which Limits calls max_initializer_bytes.
  explicit PackedWeights(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // `bytes` that `fill` writes at its argument, from the elements of `sources` alone and in a way that
  // `layout` names: the operator, and all of its attributes that matter. Throws Error(kLimit).
  Packed get(std::span<const Tensor* const> sources, std::string_view layout, int64_t bytes,
             FunctionRef<void(std::byte*)> fill);

 private:
  struct Entry {
    std::vector<std::weak_ptr<const void>> storages;  // of the sources: addresses alone may come again
    Packed packed;
  };
  static bool same_storages(const Entry& entry, std::span<const Tensor* const> sources);
  Packed find(const std::string& key, std::span<const Tensor* const> sources);

  int64_t max_bytes_;
  ForkSafeMutex mutex_;  // of what follows
  int64_t bytes_ = 0;
  std::map<std::string, Entry> entries_;  // by layout, and by address, type and shape of the sources
};

}  // namespace pyinfer
