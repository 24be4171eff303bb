// Tensors, types, and the values that all messages share. Field numbers are those of onnx.proto.
#include <cstring>

#include "onnx/proto_parser.h"

namespace pyinfer::onnx {

TensorProto parse_tensor(std::span<const std::byte> bytes, const Limits& limits) {
  TensorProto tensor;
  Parser(limits).read(WireReader(bytes, "TensorProto"), tensor);
  return tensor;
}

void PackedField::append(std::span<const std::byte> piece) {
  if (piece.empty()) return;
  if (empty()) {
    borrowed_ = piece;
    return;
  }
  if (owned_.empty()) owned_.assign(borrowed_.begin(), borrowed_.end());
  owned_.insert(owned_.end(), piece.begin(), piece.end());
}

void Parser::read(WireReader r, TensorProto& out) {
  while (r.next()) {
    switch (r.field()) {
      case 1: int64s(r, out.dims); break;
      case 2: out.data_type = r.int32(); break;
      case 3:
        out.has_segment = true;
        r.skip();
        break;
      case 4: packed(r, WireType::kFixed32, out.float_data); break;
      case 5: packed(r, WireType::kVarint, out.int32_data); break;
      case 6: push(out.string_data, blob(r)); break;
      case 7: packed(r, WireType::kVarint, out.int64_data); break;
      case 8: out.name = text(r); break;
      case 9: out.raw_data = r.bytes(); break;
      case 10: packed(r, WireType::kFixed64, out.double_data); break;
      case 11: packed(r, WireType::kVarint, out.uint64_data); break;
      case 12: out.doc_string = blob(r); break;
      case 13: read(r.message("StringStringEntryProto"), push(out.external_data)); break;
      case 14: {
        const int32_t location = r.int32();
        if (location != 0 && location != 1) r.fail("data_location ", location, " does not exist");
        out.external = location == 1;
        break;
      }
      default: r.skip();
    }
  }
}

void Parser::read(WireReader r, SparseTensorProto& out) {
  bool has_values = false, has_indices = false;
  while (r.next()) {
    switch (r.field()) {
      case 1:
        mark(r, has_values);
        read(r.message("TensorProto"), out.values);
        break;
      case 2:
        mark(r, has_indices);
        read(r.message("TensorProto"), out.indices);
        break;
      case 3: int64s(r, out.dims); break;
      default: r.skip();
    }
  }
}

void Parser::read(WireReader r, std::pair<std::string_view, std::string_view>& out) {
  while (r.next()) {
    switch (r.field()) {
      case 1: out.first = text(r); break;
      case 2: out.second = text(r); break;
      default: r.skip();
    }
  }
}

void Parser::read(WireReader r, ValueInfoProto& out) {
  while (r.next()) {
    switch (r.field()) {
      case 1: out.name = text(r); break;
      case 2:
        if (out.type) r.fail("field 2 appears twice");
        read(r.message("TypeProto"), out.type.emplace());
        break;
      case 3: out.doc_string = blob(r); break;
      default: r.skip();
    }
  }
}

void Parser::read(WireReader r, TypeProto& out) {
  const Level level(type_depth_, limits_.max_nesting_depth, "types");
  using Kind = TypeProto::Kind;
  const auto set = [&](Kind kind) {
    if (out.kind != Kind::kNone) r.fail("a type is of two kinds");
    out.kind = kind;
  };
  while (r.next()) {
    switch (r.field()) {
      case 1:
        set(Kind::kTensor);
        read_tensor_type(r.message("TypeProto.Tensor"), out);
        break;
      case 4:
        set(Kind::kSequence);
        read_element_type(r.message("TypeProto.Sequence"), out);
        break;
      case 5: {
        set(Kind::kMap);
        WireReader map = r.message("TypeProto.Map");
        while (map.next()) {
          switch (map.field()) {
            case 1: out.elem_type = map.int32(); break;
            case 2: once(map, "TypeProto", out.element); break;
            default: map.skip();
          }
        }
        break;
      }
      case 7:
        set(Kind::kOpaque);
        r.skip();
        break;
      case 8:
        set(Kind::kSparseTensor);
        read_tensor_type(r.message("TypeProto.SparseTensor"), out);
        break;
      case 9:
        set(Kind::kOptional);
        read_element_type(r.message("TypeProto.Optional"), out);
        break;
      default: r.skip();
    }
  }
}

void Parser::read_element_type(WireReader r, TypeProto& out) {
  while (r.next()) {
    if (r.field() == 1)
      once(r, "TypeProto", out.element);
    else
      r.skip();
  }
}

void Parser::read_tensor_type(WireReader r, TypeProto& out) {
  while (r.next()) {
    switch (r.field()) {
      case 1: out.elem_type = r.int32(); break;
      case 2:
        mark(r, out.has_shape);
        read_shape(r.message("TensorShapeProto"), out);
        break;
      default: r.skip();
    }
  }
}

void Parser::read_shape(WireReader r, TypeProto& out) {
  while (r.next()) {
    if (r.field() == 1)
      read(r.message("TensorShapeProto.Dimension"), push(out.dims));
    else
      r.skip();
  }
}

void Parser::read(WireReader r, DimensionProto& out) {
  while (r.next()) {
    switch (r.field()) {  // one of the two: the later one replaces the earlier
      case 1:
        out.value = r.int64();
        out.param = {};
        break;
      case 2:
        out.param = text(r);
        out.value.reset();
        break;
      default: r.skip();
    }
  }
}

std::string_view Parser::blob(WireReader& r) {
  const auto bytes = r.bytes();
  require(static_cast<uint64_t>(bytes.size()) <= static_cast<uint64_t>(limits_.max_string_bytes),
          ErrorCode::kLimit, "a string of ", bytes.size(), " bytes at byte ", r.offset(),
          " exceeds max_string_bytes = ", limits_.max_string_bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string_view Parser::text(WireReader& r) {
  const std::string_view s = blob(r);
  if (!is_utf8(std::as_bytes(std::span(s)))) r.fail("the string in field ", r.field(), " is not valid UTF-8");
  return s;
}

void Parser::int64s(WireReader& r, std::vector<int64_t>& out) {
  if (r.type() != WireType::kBytes) {
    push(out, r.int64());
    return;
  }
  const auto bytes = r.bytes();
  for (const std::byte *p = bytes.data(), *end = p + bytes.size(); p != end;) {
    const auto value = decode_varint(p, end);
    if (!value) r.fail("a variable-length integer in field ", r.field(), " does not end");
    push(out, static_cast<int64_t>(*value));
  }
}

void Parser::floats(WireReader& r, std::vector<float>& out) {
  if (r.type() != WireType::kBytes) {
    push(out, r.float32());
    return;
  }
  const auto bytes = r.bytes();
  if (bytes.size() % sizeof(float) != 0)
    r.fail("field ", r.field(), " holds 32-bit values in ", bytes.size(), " bytes");
  if (bytes.empty()) return;
  charge(bytes.size());
  const size_t old = out.size();
  out.resize(old + bytes.size() / sizeof(float));
  std::memcpy(out.data() + old, bytes.data(), bytes.size());
}

void Parser::packed(WireReader& r, WireType type, PackedField& out) {
  const bool whole = r.type() == WireType::kBytes;
  const auto piece = whole ? r.bytes() : r.scalar(type);
  if (piece.empty()) return;
  // Pieces are joined, so each must end where an element does.
  const size_t unit = type == WireType::kFixed32 ? 4 : type == WireType::kFixed64 ? 8 : 1;
  if (piece.size() % unit != 0)
    r.fail("field ", r.field(), " holds ", unit, "-byte values in ", piece.size(), " bytes");
  if (type == WireType::kVarint && std::to_integer<int>(piece.back()) >= 0x80)
    r.fail("a variable-length integer in field ", r.field(), " does not end");
  if (!out.empty()) charge(piece.size());
  out.append(piece);
}

void Parser::charge(size_t bytes) {
  parsed_bytes_ += static_cast<int64_t>(bytes);
  require(parsed_bytes_ <= limits_.max_parsed_bytes, ErrorCode::kLimit,
          "the structure of the model takes more than max_parsed_bytes = ", limits_.max_parsed_bytes);
}

Parser::Level::Level(int& depth, int limit, const char* what) : depth_(depth) {
  require(depth < limit, ErrorCode::kLimit, what, " are nested more than max_nesting_depth = ", limit,
          " deep");
  ++depth_;
}

}  // namespace pyinfer::onnx
