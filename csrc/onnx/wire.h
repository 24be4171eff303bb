// The protobuf wire format: a message is a sequence of fields, each a tag (number << 3 | type) and a value.
// https://protobuf.dev/programming-guides/encoding/
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pyinfer::onnx {

enum class WireType : uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

// Messages and groups within each other. Bounds the stack of every recursive reader.
inline constexpr int kMaxWireDepth = 256;

// The varint at `p`, which moves behind it; nothing when it is longer than 64 bits or reaches `end`.
std::optional<uint64_t> decode_varint(const std::byte*& p, const std::byte* end);

bool is_utf8(std::span<const std::byte> bytes);

// Walks the fields of one message and borrows their bytes. After next() returned true, exactly one of
// the value functions must be called. Errors are kInvalidModel and name the byte and the message.
class WireReader {
 public:
  // The outermost message; `name` must outlive the reader.
  WireReader(std::span<const std::byte> bytes, const char* name);

  // Moves to the next field; false at the end of the message.
  bool next();
  uint32_t field() const { return field_; }
  WireType type() const { return type_; }

  uint64_t varint();
  int64_t int64() { return static_cast<int64_t>(varint()); }
  // Truncates to 32 bits, as protobuf does: writers differ in how they extend negative values.
  int32_t int32() { return static_cast<int32_t>(varint()); }
  float float32();
  std::span<const std::byte> bytes();
  // A reader of the submessage. `this` must outlive it.
  WireReader message(const char* name);
  // The bytes of one scalar of the given type.
  std::span<const std::byte> scalar(WireType type);
  // Passes over the value, groups included.
  void skip();

  // Bytes from the start of the outermost message.
  size_t offset() const { return static_cast<size_t>(p_ - origin_); }

  template <class... Args>
  [[noreturn]] void fail(const Args&... args) const {
    pyinfer::fail(ErrorCode::kInvalidModel, "malformed model at byte ", offset(), ", in ", context(), ": ",
                  args...);
  }

 private:
  WireReader(std::span<const std::byte> bytes, const char* name, const WireReader& parent);
  uint64_t raw_varint();
  std::span<const std::byte> take(uint64_t size);
  void read_tag();
  void expect(WireType type) const;
  void skip_group(uint32_t number, int depth);
  std::string context() const;

  const std::byte* p_;
  const std::byte* end_;
  const std::byte* origin_;
  const char* name_;
  const WireReader* parent_ = nullptr;
  int depth_ = 0;
  uint32_t field_ = 0;
  WireType type_ = WireType::kVarint;
};

}  // namespace pyinfer::onnx
