#include <cstring>

#include "onnx/tensor_decode.h"
#include "proto_writer.h"

namespace pyinfer::test {
namespace {

using namespace onnx;

const Limits kLimits;

// A tensor whose one field of data is written by `data`.
ProtoWriter tensor(DType dtype, const std::vector<int64_t>& dims) {
  ProtoWriter w;
  for (const int64_t d : dims) w.integer(1, d);
  return w.integer(2, static_cast<int64_t>(dtype)).bytes(8, "t");
}

Tensor decode(const ProtoWriter& w, const Limits& limits = kLimits) {
  return decode_tensor(parse_tensor(as_bytes(w.str()), limits), {limits, nullptr, nullptr});
}

template <class T>
std::string little_endian(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <class T>
std::vector<T> values(const Tensor& t) {
  CHECK_EQ(t.bytes(), static_cast<size_t>(t.count()) * sizeof(T));
  return {t.as<T>(), t.as<T>() + t.count()};
}

ProtoWriter varints(const std::vector<int64_t>& values) {
  ProtoWriter w;
  for (const int64_t v : values) w.varint(static_cast<uint64_t>(v));
  return w;
}

ProtoWriter sparse(const ProtoWriter& values, const ProtoWriter& indices, const std::vector<int64_t>& dims) {
  ProtoWriter w;
  w.bytes(1, values).bytes(2, indices);
  for (const int64_t d : dims) w.integer(3, d);
  return w;
}

Tensor decode_sparse(const ProtoWriter& w, const Limits& limits = kLimits) {
  const ProtoWriter node = ProtoWriter().bytes(5, ProtoWriter().integer(20, 11).bytes(22, w));
  const std::string bytes = ProtoWriter().bytes(7, ProtoWriter().bytes(1, node)).str();
  const ModelProto model = parse_model(as_bytes(bytes), limits);
  return decode_sparse_tensor(*model.graph.nodes.at(0).attributes.at(0).sparse_tensor,
                              {limits, nullptr, nullptr});
}

}  // namespace

TEST(tensor_decode_raw_data) {
  const std::vector<float> f = {1.0f, -2.5f, 3.0f, 0.0f, 5.0f, 6.0f};
  const Tensor t = decode(tensor(DType::kFloat32, {2, 3}).bytes(9, little_endian(f)));
  CHECK(t.shape() == Shape({2, 3}));
  CHECK(values<float>(t) == f);
  const std::vector<uint16_t> h = {0x3c00, 0xfbff};
  CHECK(values<uint16_t>(decode(tensor(DType::kFloat16, {2}).bytes(9, little_endian(h)))) == h);
  const std::vector<double> c = {1, 2, 3, 4};
  CHECK_EQ(decode(tensor(DType::kComplex128, {2}).bytes(9, little_endian(c))).as<double>()[3], 4.0);
  CHECK_EQ(decode(tensor(DType::kInt64, {}).bytes(9, little_endian<int64_t>({-7}))).as<int64_t>()[0],
           int64_t{-7});
}

TEST(tensor_decode_borrows_only_aligned_data) {
  alignas(16) std::byte buffer[64] = {};
  const float f[2] = {1.5f, 2.5f};
  const auto owner = std::make_shared<int>(0);
  for (size_t shift = 0; shift < 8; ++shift) {
    std::memcpy(buffer + shift, f, sizeof(f));
    TensorProto proto;
    proto.dims = {2};
    proto.data_type = 1;
    proto.raw_data = {buffer + shift, sizeof(f)};
    const Tensor t = decode_tensor(proto, {kLimits, owner, nullptr});
    const bool borrowed = static_cast<const void*>(t.as<float>()) == buffer + shift;
    CHECK_EQ(borrowed, shift % 4 == 0);
    CHECK_EQ(owner.use_count(), borrowed ? 2L : 1L);
    CHECK(values<float>(t) == std::vector<float>({1.5f, 2.5f}));
    const Tensor copied = decode_tensor(proto, {kLimits, nullptr, nullptr});
    CHECK(static_cast<const void*>(copied.as<float>()) != buffer + shift);
  }
}

TEST(tensor_decode_typed_fields) {
  CHECK(values<float>(decode(tensor(DType::kFloat32, {2}).tag(4, 5).fixed(1.5f).tag(4, 5).fixed(-2.0f))) ==
        std::vector<float>({1.5f, -2.0f}));
  CHECK_EQ(
      decode(tensor(DType::kComplex64, {1}).bytes(4, ProtoWriter().fixed(3.0f).fixed(4.0f))).as<float>()[1],
      4.0f);
  CHECK(values<double>(decode(tensor(DType::kFloat64, {1}).bytes(10, ProtoWriter().fixed(2.25)))) ==
        std::vector<double>{2.25});
  CHECK_EQ(
      decode(tensor(DType::kComplex128, {1}).bytes(10, ProtoWriter().fixed(3.0).fixed(4.0))).as<double>()[1],
      4.0);
  CHECK(values<int64_t>(decode(tensor(DType::kInt64, {3}).bytes(7, varints({INT64_MIN, -1, INT64_MAX})))) ==
        std::vector<int64_t>({INT64_MIN, -1, INT64_MAX}));
  CHECK(values<uint64_t>(decode(tensor(DType::kUInt64, {2}).bytes(11, varints({-1, 5})))) ==
        std::vector<uint64_t>({UINT64_MAX, 5}));
  CHECK(values<uint32_t>(decode(tensor(DType::kUInt32, {1}).bytes(11, varints({0xffffffff})))) ==
        std::vector<uint32_t>{0xffffffff});
  CHECK(values<int32_t>(decode(tensor(DType::kInt32, {3}).bytes(5, varints({INT32_MIN, -1, INT32_MAX})))) ==
        std::vector<int32_t>({INT32_MIN, -1, INT32_MAX}));
  CHECK(values<int16_t>(decode(tensor(DType::kInt16, {2}).bytes(5, varints({-32768, 32767})))) ==
        std::vector<int16_t>({-32768, 32767}));
  CHECK(values<uint16_t>(decode(tensor(DType::kFloat16, {2}).bytes(5, varints({0x3c00, 0xc000})))) ==
        std::vector<uint16_t>({0x3c00, 0xc000}));
  CHECK(values<uint16_t>(decode(tensor(DType::kBFloat16, {1}).bytes(5, varints({0xbf80})))) ==
        std::vector<uint16_t>{0xbf80});
  CHECK(values<int8_t>(decode(tensor(DType::kInt8, {2}).bytes(5, varints({-128, 127})))) ==
        std::vector<int8_t>({-128, 127}));
  CHECK(values<uint8_t>(decode(tensor(DType::kFloat8E4M3FN, {1}).bytes(5, varints({0xfe})))) ==
        std::vector<uint8_t>{0xfe});
  const Tensor b = decode(tensor(DType::kBool, {2}).bytes(5, varints({1, 0})));
  CHECK(b.as<bool>()[0] && !b.as<bool>()[1]);
  const Tensor s = decode(tensor(DType::kString, {2, 1}).bytes(6, "one").bytes(6, std::string(100, 'x')));
  CHECK_EQ(s.as<std::string>()[0], "one");
  CHECK_EQ(s.as<std::string>()[1].size(), size_t{100});
}

TEST(tensor_decode_unpacks_small_types) {
  // 0x21 0x8f 0x07: nibbles 1 2 15 8 7
  const std::string nibbles = "\x21\x8f\x07";
  CHECK(values<uint8_t>(decode(tensor(DType::kUInt4, {5}).bytes(9, nibbles))) ==
        std::vector<uint8_t>({1, 2, 15, 8, 7}));
  CHECK(values<int8_t>(decode(tensor(DType::kInt4, {5}).bytes(9, nibbles))) ==
        std::vector<int8_t>({1, 2, -1, -8, 7}));
  CHECK(values<uint8_t>(decode(tensor(DType::kFloat4E2M1, {5}).bytes(9, nibbles))) ==
        std::vector<uint8_t>({1, 2, 15, 8, 7}));
  // 0b11100100, 0b01: pairs 0 1 2 3 1
  const std::string pairs = "\xe4\x01";
  CHECK(values<uint8_t>(decode(tensor(DType::kUInt2, {5}).bytes(9, pairs))) ==
        std::vector<uint8_t>({0, 1, 2, 3, 1}));
  CHECK(values<int8_t>(decode(tensor(DType::kInt2, {5}).bytes(9, pairs))) ==
        std::vector<int8_t>({0, 1, -2, -1, 1}));
  CHECK(values<int8_t>(decode(tensor(DType::kInt4, {3}).bytes(5, varints({0x21, 0x0f})))) ==
        std::vector<int8_t>({1, 2, -1}));
  CHECK(values<int8_t>(decode(tensor(DType::kInt2, {5}).bytes(5, varints({0xe4, 1})))) ==
        std::vector<int8_t>({0, 1, -2, -1, 1}));
  // Codes 1 63 32 31 5 in ceil(30 / 8) = 4 bytes.
  const std::string sixes = "\xc1\x0f\x7e\x05";
  CHECK(values<uint8_t>(decode(tensor(DType::kFloat6E2M3, {5}).bytes(9, sixes))) ==
        std::vector<uint8_t>({1, 63, 32, 31, 5}));
  CHECK(values<uint8_t>(decode(tensor(DType::kFloat6E3M2, {2}).bytes(5, varints({63, 1})))) ==
        std::vector<uint8_t>({63, 1}));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kFloat6E3M2, {1}).bytes(5, varints({64}))));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kFloat6E2M3, {5}).bytes(9, sixes + "a")));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kInt4, {5}).bytes(9, "\x21\x8f")));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kInt4, {5}).bytes(9, "\x21\x8f\x07\x01")));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kInt4, {4}).bytes(5, varints({1, 2, 3, 4}))));
}

TEST(tensor_decode_empty_tensors) {
  for (int dtype = 1; dtype < kDTypeCount; ++dtype) {
    const auto d = static_cast<DType>(dtype);
    CHECK_EQ(decode(tensor(d, {0})).count(), int64_t{0});
    CHECK_EQ(decode(tensor(d, {3, 0, 1 << 20})).count(), int64_t{0});
    if (d != DType::kString) CHECK_EQ(decode(tensor(d, {0}).bytes(9, "")).count(), int64_t{0});
    CHECK_ERROR(kInvalidModel, decode(tensor(d, {1})));  // one element declared, none there
    CHECK_ERROR(kInvalidModel, decode(tensor(d, {0}).bytes(9, "x")));
  }
}

TEST(tensor_decode_rejects_sizes) {
  const std::string eight(8, '\0');
  CHECK_EQ(decode(tensor(DType::kFloat32, {2}).bytes(9, eight)).count(), int64_t{2});
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kFloat32, {3}).bytes(9, eight)));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kFloat32, {1}).bytes(9, eight)));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kFloat32, {-2}).bytes(9, eight)));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kFloat32, {-1, -2}).bytes(9, eight)));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kFloat32, {INT64_MIN}).bytes(9, eight)));
  // Products that wrap to a small number, or to zero.
  CHECK_ERROR(kLimit, decode(tensor(DType::kFloat32, {int64_t{1} << 62}).bytes(9, eight)));
  CHECK_ERROR(kLimit, decode(tensor(DType::kUInt8, {int64_t{1} << 32, int64_t{1} << 32})));
  CHECK_ERROR(kLimit,
              decode(tensor(DType::kUInt8, {(int64_t{1} << 32) + 1, (int64_t{1} << 32), 8}).bytes(9, eight)));
  CHECK_ERROR(kLimit, decode(tensor(DType::kUInt8, {0, int64_t{1} << 62, int64_t{1} << 62})));
  // Terabytes declared in a few bytes.
  CHECK_ERROR(kLimit, decode(tensor(DType::kFloat32, {1 << 20, 1 << 20}).bytes(9, eight)));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kUInt8, {int64_t{15} << 30}).bytes(9, eight)));
  Limits small;
  small.max_tensor_bytes = 7;
  CHECK_ERROR(kLimit, decode(tensor(DType::kFloat32, {2}).bytes(9, eight), small));
  CHECK_ERROR(kLimit, decode(tensor(DType::kInt4, {8}).bytes(9, "abcd"), small));  // 8 bytes once unpacked
  small.max_tensor_bytes = sizeof(std::string) + 2;
  CHECK_EQ(decode(tensor(DType::kString, {1}).bytes(6, "ab"), small).count(), int64_t{1});
  CHECK_ERROR(kLimit, decode(tensor(DType::kString, {1}).bytes(6, "abc"), small));
  ProtoWriter deep = tensor(DType::kUInt8, std::vector<int64_t>(17, 1)).bytes(9, "x");
  CHECK_ERROR(kUnsupported, decode(deep));
}

TEST(tensor_decode_rejects_values_and_fields) {
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kUInt8, {1}).bytes(5, varints({256}))));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kInt8, {1}).bytes(5, varints({-129}))));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kUInt16, {1}).bytes(5, varints({65536}))));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kUInt32, {1}).bytes(11, varints({int64_t{1} << 32}))));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kBool, {1}).bytes(5, varints({2}))));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kBool, {1}).bytes(9, "\x02")));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kInt64, {1}).bytes(5, varints({1}))));  // the wrong field
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kInt64, {2}).bytes(7, varints({1}))));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kInt64, {1}).bytes(7, varints({1, 2}))));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kInt64, {1}).bytes(7, std::string(12, '\x80') + "\x01")));
  CHECK_ERROR(kInvalidModel,
              decode(tensor(DType::kInt32, {1}).bytes(5, varints({1})).bytes(9, "abcd")));  // two
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kString, {1}).bytes(9, "a")));
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kUndefined, {1}).bytes(9, "a")));
  CHECK_ERROR(kInvalidModel, decode(ProtoWriter().integer(2, -1)));
  CHECK_ERROR(kUnsupported, decode(ProtoWriter().integer(2, kDTypeCount)));
  CHECK_ERROR(kUnsupported, decode(tensor(DType::kUInt8, {1}).bytes(9, "a").bytes(3, "")));  // a segment
  CHECK_ERROR(kInvalidModel, decode(tensor(DType::kUInt8, {1}).integer(14, 1)));  // external data, no source
}

TEST(tensor_decode_sparse) {
  const ProtoWriter v = tensor(DType::kFloat32, {2}).bytes(9, little_endian<float>({5, 7}));
  const auto index = [](const std::vector<int64_t>& dims, const std::vector<int64_t>& i) {
    return tensor(DType::kInt64, dims).bytes(7, varints(i));
  };
  CHECK(values<float>(decode_sparse(sparse(v, index({2}, {4, 1}), {2, 3}))) ==
        std::vector<float>({0, 7, 0, 0, 5, 0}));
  CHECK(values<float>(decode_sparse(sparse(v, index({2, 2}, {0, 2, 1, 0}), {2, 3}))) ==
        std::vector<float>({0, 0, 5, 7, 0, 0}));
  const ProtoWriter none = tensor(DType::kFloat32, {0});
  CHECK(values<float>(decode_sparse(sparse(none, index({0}, {}), {3}))) == std::vector<float>({0, 0, 0}));
  CHECK_EQ(decode_sparse(sparse(none, index({0}, {}), {3, 0})).count(), int64_t{0});
  const ProtoWriter word = tensor(DType::kString, {1}).bytes(6, "w");
  CHECK_EQ(decode_sparse(sparse(word, index({1}, {1}), {2})).as<std::string>()[1], "w");

  CHECK_ERROR(kInvalidModel, decode_sparse(sparse(v, index({2}, {0, 6}), {2, 3})));
  CHECK_ERROR(kInvalidModel, decode_sparse(sparse(v, index({2}, {-1, 0}), {2, 3})));
  CHECK_ERROR(kInvalidModel,
              decode_sparse(sparse(v, index({2, 2}, {0, 3, 1, 0}), {2, 3})));  // in range once flattened
  CHECK_ERROR(kInvalidModel, decode_sparse(sparse(v, index({2}, {4, 4}), {2, 3})));
  CHECK_ERROR(kInvalidModel, decode_sparse(sparse(v, index({2}, {0, 0}), {3, 0})));
  CHECK_ERROR(kInvalidModel, decode_sparse(sparse(v, index({3}, {0, 1, 2}), {2, 3})));
  CHECK_ERROR(kInvalidModel, decode_sparse(sparse(v, index({2, 1}, {0, 1}), {2, 3})));
  CHECK_ERROR(kInvalidModel, decode_sparse(sparse(v, index({2}, {0, 1}), {})));
  CHECK_ERROR(kInvalidModel, decode_sparse(sparse(v, index({2}, {0, 1}), {-2, 3})));
  CHECK_ERROR(kInvalidModel,
              decode_sparse(sparse(v, tensor(DType::kInt32, {2}).bytes(5, varints({0, 1})), {6})));
  CHECK_ERROR(kLimit, decode_sparse(sparse(v, index({2}, {0, 1}), {int64_t{1} << 40})));
  CHECK_ERROR(kLimit, decode_sparse(sparse(v, index({2}, {0, 1}), {int64_t{1} << 40, int64_t{1} << 40})));
}

}  // namespace pyinfer::test
