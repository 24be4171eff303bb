#include "ops/packed_weights.h"

#include <algorithm>

#include "base/error.h"

namespace pyinfer {
namespace {

std::string key_of(std::span<const Tensor* const> sources, std::string_view layout) {
  std::string key(layout);
  for (const Tensor* t : sources)
    key += join(" ", reinterpret_cast<uintptr_t>(t->as<void>()), " ", dtype_name(t->dtype()), t->shape());
  return key;
}

}  // namespace

bool PackedWeights::same_storages(const Entry& entry, std::span<const Tensor* const> sources) {
  return std::ranges::equal(entry.storages, sources, [](const std::weak_ptr<const void>& a, const Tensor* t) {
    return !a.owner_before(t->storage()) && !t->storage().owner_before(a);
  });
}

PackedWeights::Packed PackedWeights::find(const std::string& key, std::span<const Tensor* const> sources) {
  const auto it = entries_.find(key);
  return it != entries_.end() && same_storages(it->second, sources) ? it->second.packed : nullptr;
}

PackedWeights::Packed PackedWeights::get(std::span<const Tensor* const> sources, std::string_view layout,
                                         int64_t bytes, FunctionRef<void(std::byte*)> fill) {
  const std::string key = key_of(sources, layout);
  {
    const std::lock_guard lock(mutex_);
    if (Packed known = find(key, sources)) return known;
    require(bytes <= max_bytes_ - bytes_, ErrorCode::kLimit, "packed weights of ", bytes_, " and ", bytes,
            " bytes would exceed max_initializer_bytes=", max_bytes_);
    bytes_ += bytes;
  }
  // Without the mutex: packing takes its time, and must not hold up a fork. Of two threads that meet here the
  // first to come back is the one whose bytes all use.
  Packed packed;
  try {
    PackedBytes made(static_cast<size_t>(bytes));
    fill(made.data());
    packed = std::make_shared<const PackedBytes>(std::move(made));
  } catch (...) {
    const std::lock_guard lock(mutex_);
    bytes_ -= bytes;
    throw;
  }
  const std::lock_guard lock(mutex_);
  if (Packed known = find(key, sources)) {
    bytes_ -= bytes;
    return known;
  }
  Entry& entry = entries_[key];
  entry = {};
  for (const Tensor* t : sources) entry.storages.emplace_back(t->storage());
  return entry.packed = std::move(packed);
}

}  // namespace pyinfer
