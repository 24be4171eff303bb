#include "onnx/wire.h"

#include <bit>
#include <cstring>

namespace pyinfer::onnx {
namespace {

static_assert(std::endian::native == std::endian::little, "fixed-width values are read as they lie");

const char* type_name(WireType type) {
  switch (type) {
    case WireType::kVarint: return "varint";
    case WireType::kFixed64: return "64-bit";
    case WireType::kBytes: return "length-delimited";
    case WireType::kStartGroup: return "start of group";
    case WireType::kEndGroup: return "end of group";
    case WireType::kFixed32: return "32-bit";
  }
  return "unknown";
}

}  // namespace

std::optional<uint64_t> decode_varint(const std::byte*& p, const std::byte* end) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (p == end) return std::nullopt;
    const auto byte = std::to_integer<uint64_t>(*p++);
    if (shift == 63 && byte > 1) return std::nullopt;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// Table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::span<const std::byte> bytes) {
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto* end = p + bytes.size();
  while (p != end) {
    const unsigned lead = *p++;
    if (lead < 0x80) continue;
    if (lead < 0xc2 || lead > 0xf4) return false;
    const int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (end - p < more) return false;
    const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (*p < low || *p > high) return false;
    for (int i = 1; i < more; ++i)
      if ((p[i] & 0xc0) != 0x80) return false;
    p += more;
  }
  return true;
}

WireReader::WireReader(std::span<const std::byte> bytes, const char* name)
    : p_(bytes.data()), end_(bytes.data() + bytes.size()), origin_(bytes.data()), name_(name) {}

WireReader::WireReader(std::span<const std::byte> bytes, const char* name, const WireReader& parent)
    : p_(bytes.data()),
      end_(bytes.data() + bytes.size()),
      origin_(parent.origin_),
      name_(name),
      parent_(&parent),
      depth_(parent.depth_ + 1) {}

bool WireReader::next() {
  if (p_ == end_) return false;
  read_tag();
  if (type_ == WireType::kEndGroup) fail("the end of a group that was not started");
  return true;
}

void WireReader::read_tag() {
  const uint64_t tag = raw_varint();
  const uint64_t type = tag & 7;
  if (tag > UINT32_MAX || tag < 8) fail("field number ", tag >> 3, " is not valid");
  if (type > 5) fail("wire type ", type, " does not exist");
  field_ = static_cast<uint32_t>(tag >> 3);
  type_ = static_cast<WireType>(type);
}

uint64_t WireReader::raw_varint() {
  const auto value = decode_varint(p_, end_);
  if (!value) fail("a variable-length integer does not end");
  return *value;
}

std::span<const std::byte> WireReader::take(uint64_t size) {
  const auto left = static_cast<uint64_t>(end_ - p_);
  if (size > left) fail("field ", field_, " needs ", size, " bytes, ", left, " are left");
  const std::byte* begin = p_;
  p_ += size;
  return {begin, static_cast<size_t>(size)};
}

void WireReader::expect(WireType type) const {
  if (type_ != type)
    fail("field ", field_, " has wire type ", type_name(type_), ", expected ", type_name(type));
}

uint64_t WireReader::varint() {
  expect(WireType::kVarint);
  return raw_varint();
}

float WireReader::float32() {
  expect(WireType::kFixed32);
  float value;
  std::memcpy(&value, take(4).data(), 4);
  return value;
}

std::span<const std::byte> WireReader::bytes() {
  expect(WireType::kBytes);
  return take(raw_varint());
}

WireReader WireReader::message(const char* name) {
  if (depth_ >= kMaxWireDepth) fail("messages are nested more than ", kMaxWireDepth, " deep");
  return WireReader(bytes(), name, *this);
}

std::span<const std::byte> WireReader::scalar(WireType type) {
  expect(type);
  if (type == WireType::kFixed32) return take(4);
  if (type == WireType::kFixed64) return take(8);
  const std::byte* begin = p_;
  raw_varint();
  return {begin, p_};
}

void WireReader::skip() {
  switch (type_) {
    case WireType::kVarint: raw_varint(); return;
    case WireType::kFixed64: take(8); return;
    case WireType::kFixed32: take(4); return;
    case WireType::kBytes: take(raw_varint()); return;
    case WireType::kStartGroup: skip_group(field_, depth_ + 1); return;
    case WireType::kEndGroup: break;
  }
  fail("the end of a group that was not started");
}

void WireReader::skip_group(uint32_t number, int depth) {
  if (depth > kMaxWireDepth) fail("groups are nested more than ", kMaxWireDepth, " deep");
  while (true) {
    if (p_ == end_) fail("group ", number, " does not end");
    read_tag();
    if (type_ == WireType::kStartGroup) {
      skip_group(field_, depth + 1);
    } else if (type_ == WireType::kEndGroup) {
      if (field_ != number) fail("group ", number, " ends as group ", field_);
      return;
    } else {
      skip();
    }
  }
}

std::string WireReader::context() const {
  // The outermost and the innermost messages tell where it is; a deep chain between them does not.
  constexpr int kShown = 6;
  std::string out = name_;
  int shown = 1;
  for (const WireReader* r = parent_; r != nullptr; r = r->parent_, ++shown) {
    if (shown < kShown || r->parent_ == nullptr)
      out = join(r->name_, " > ", out);
    else if (shown == kShown)
      out = "... > " + out;
  }
  return out;
}

}  // namespace pyinfer::onnx
