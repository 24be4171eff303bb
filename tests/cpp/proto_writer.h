// Encodes protobuf messages by hand, valid and invalid alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "check.h"

namespace pyinfer::test {

class ProtoWriter {
 public:
  ProtoWriter& raw(std::string_view bytes) {
    out_ += bytes;
    return *this;
  }
  ProtoWriter& varint(uint64_t v) {
    for (; v >= 0x80; v >>= 7) out_ += static_cast<char>(v | 0x80);
    out_ += static_cast<char>(v);
    return *this;
  }
  ProtoWriter& tag(uint32_t field, int type) {
    return varint(uint64_t{field} << 3 | static_cast<uint64_t>(type));
  }
  ProtoWriter& integer(uint32_t field, int64_t v) { return tag(field, 0).varint(static_cast<uint64_t>(v)); }
  ProtoWriter& bytes(uint32_t field, std::string_view v) { return tag(field, 2).varint(v.size()).raw(v); }
  ProtoWriter& bytes(uint32_t field, const ProtoWriter& message) {
    return bytes(field, std::string_view(message.out_));
  }
  // The bytes of a float or a double, without a tag.
  template <class T>
  ProtoWriter& fixed(T v) {
    char b[sizeof(T)];
    std::memcpy(b, &v, sizeof(T));
    return raw({b, sizeof(T)});
  }

  const std::string& str() const { return out_; }

 private:
  std::string out_;
};

inline std::span<const std::byte> as_bytes(std::string_view s) {
  return std::as_bytes(std::span(s));
}

// The code of the Error that `body` throws, or -1 when it throws none.
template <class F>
int error_of(F body) {
  try {
    body();
  } catch (const Error& e) {
    return static_cast<int>(e.code());
  }
  return -1;
}

#define CHECK_ERROR(expected, ...)                                  \
  CHECK_EQ(::pyinfer::test::error_of([&] { (void)(__VA_ARGS__); }), \
           static_cast<int>(::pyinfer::ErrorCode::expected))

}  // namespace pyinfer::test
