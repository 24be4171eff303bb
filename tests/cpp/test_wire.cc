#include <algorithm>
#include <optional>

#include "onnx/wire.h"
#include "proto_writer.h"

namespace pyinfer::test {
namespace {

using onnx::is_utf8;
using onnx::WireReader;
using onnx::WireType;

// Walks a whole message, every value skipped; the number of fields.
int skim(std::string_view message) {
  WireReader r(as_bytes(message), "Test");
  int fields = 0;
  while (r.next()) {
    r.skip();
    ++fields;
  }
  return fields;
}

std::optional<uint64_t> varint(std::string_view s) {
  const auto bytes = as_bytes(s);
  const std::byte* p = bytes.data();
  return onnx::decode_varint(p, p + bytes.size());
}

}  // namespace

TEST(wire_varint_round_trips) {
  for (int bit = 0; bit < 64; ++bit) {
    for (const int64_t delta : {-1, 0, 1}) {
      const uint64_t v = (uint64_t{1} << bit) + static_cast<uint64_t>(delta);
      CHECK_EQ(varint(ProtoWriter().varint(v).str()).value_or(~v), v);
    }
  }
}

TEST(wire_varint_rejects_what_does_not_fit) {
  CHECK(!varint(""));
  CHECK(!varint("\x80"));
  CHECK(!varint(std::string(10, '\x80')));
  CHECK(!varint(std::string(9, '\xff') + '\x02'));
  CHECK_EQ(varint(std::string(9, '\xff') + '\x01').value_or(0), UINT64_MAX);
  CHECK_EQ(varint(std::string("\x80\x00", 2)).value_or(1), uint64_t{0});  // longer than needed, but valid
}

TEST(wire_reads_every_type) {
  ProtoWriter w;
  w.integer(1, -5).tag(2, 5).fixed(1.5f).bytes(3, "abc").tag(4, 1).fixed(2.5);
  w.bytes(5, ProtoWriter().integer(1, 7)).integer(6, 0xffffffff);
  WireReader r(as_bytes(w.str()), "Test");
  CHECK(r.next());
  CHECK_EQ(r.int64(), int64_t{-5});
  CHECK(r.next());
  CHECK_EQ(r.float32(), 1.5f);
  CHECK(r.next());
  CHECK_EQ(r.field(), 3u);
  CHECK_EQ(r.bytes().size(), size_t{3});
  CHECK(r.next());
  CHECK_EQ(r.scalar(WireType::kFixed64).size(), size_t{8});
  CHECK(r.next());
  WireReader inner = r.message("Inner");
  CHECK(inner.next());
  CHECK_EQ(inner.int64(), int64_t{7});
  CHECK(!inner.next());
  CHECK(r.next());
  CHECK_EQ(r.int32(), -1);  // a negative value that was not extended to 64 bits
  CHECK(!r.next());
  CHECK_EQ(r.offset(), w.str().size());
}

TEST(wire_truncation_is_an_error_at_every_byte) {
  ProtoWriter w;
  w.tag(4, 1).fixed(2.5).tag(2, 5).fixed(1.5f).bytes(3, "abc").integer(1, 300);
  const std::string all = w.str();
  CHECK_EQ(skim(all), 4);
  const std::vector<size_t> whole = {0, 9, 14, 19};
  for (size_t n = 0; n < all.size(); ++n) {
    if (std::find(whole.begin(), whole.end(), n) == whole.end())
      CHECK_ERROR(kInvalidModel, skim(all.substr(0, n)));
    else
      skim(all.substr(0, n));
  }
}

TEST(wire_rejects_bad_tags_and_lengths) {
  CHECK_ERROR(kInvalidModel, skim(std::string(1, '\0')));           // field 0
  CHECK_ERROR(kInvalidModel, skim(ProtoWriter().tag(1, 6).str()));  // no such wire type
  CHECK_ERROR(kInvalidModel,
              skim(ProtoWriter().varint(uint64_t{1} << 40).varint(0).str()));  // field over 2^29
  CHECK_ERROR(kInvalidModel, skim(ProtoWriter().tag(1, 2).varint(UINT64_MAX).str()));
  CHECK_ERROR(kInvalidModel, skim(ProtoWriter().tag(1, 2).varint(INT64_MAX).raw("abc").str()));
  CHECK_ERROR(kInvalidModel, skim(ProtoWriter().tag(1, 4).str()));  // a group ends, none began
  const std::string text = ProtoWriter().bytes(1, "x").str();
  WireReader r(as_bytes(text), "Test");
  r.next();
  CHECK_ERROR(kInvalidModel, r.varint());  // of another type
}

TEST(wire_skips_groups) {
  ProtoWriter w;
  w.tag(1, 3).integer(2, 5).tag(3, 3).bytes(4, "x").tag(3, 4).tag(1, 4).integer(9, 1);
  CHECK_EQ(skim(w.str()), 2);
  CHECK_ERROR(kInvalidModel, skim(ProtoWriter().tag(1, 3).tag(2, 4).str()));
  CHECK_ERROR(kInvalidModel, skim(ProtoWriter().tag(1, 3).integer(2, 5).str()));
  ProtoWriter deep;
  for (int i = 0; i < 100'000; ++i) deep.tag(1, 3);
  for (int i = 0; i < 100'000; ++i) deep.tag(1, 4);
  CHECK_ERROR(kInvalidModel, skim(deep.str()));
}

namespace {
void descend(WireReader r, int& depth) {
  ++depth;
  while (r.next()) descend(r.message("Inner"), depth);
}
}  // namespace

TEST(wire_bounds_nesting) {
  std::string nested;
  for (int i = 0; i < onnx::kMaxWireDepth; ++i) nested = ProtoWriter().bytes(1, nested).str();
  int depth = 0;
  descend(WireReader(as_bytes(nested), "Outer"), depth);
  CHECK_EQ(depth, onnx::kMaxWireDepth + 1);
  nested = ProtoWriter().bytes(1, nested).str();
  CHECK_ERROR(kInvalidModel, descend(WireReader(as_bytes(nested), "Outer"), depth));
}

TEST(wire_errors_name_the_place) {
  const std::string text = ProtoWriter().bytes(1, ProtoWriter().tag(7, 2).varint(100)).str();
  std::string message;
  try {
    WireReader r(as_bytes(text), "Outer");
    r.next();
    WireReader inner = r.message("Inner");
    inner.next();
    inner.bytes();
  } catch (const Error& e) {
    message = e.message();
  }
  CHECK_EQ(message,
           std::string("malformed model at byte 4, in Outer > Inner: field 7 needs 100 bytes, 0 are left"));
}

TEST(wire_utf8) {
  for (const char* good :
       {"", "plain", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"})
    CHECK(is_utf8(as_bytes(good)));
  for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe2\x82", "\xed\xa0\x80",
                          "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xe2(\xa1"})
    CHECK(!is_utf8(as_bytes(bad)));
}

}  // namespace pyinfer::test
