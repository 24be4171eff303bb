// onnx.proto as plain structs. Strings and bulk data borrow from the bytes that were parsed, which must
// outlive them. Fields that no part of the runtime reads (device placement, training, quantization
// annotations, metadata below the model) are passed over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/limits.h"

namespace pyinfer::onnx {

struct GraphProto;

using StringPairs = std::vector<std::pair<std::string_view, std::string_view>>;

// A repeated scalar field in its packed form. Borrowed when the file holds it in one piece, as every
// common writer does; joined into memory of its own when it comes in pieces.
class PackedField {
 public:
  std::span<const std::byte> bytes() const { return owned_.empty() ? borrowed_ : owned_; }
  bool empty() const { return bytes().empty(); }
  void append(std::span<const std::byte> piece);

 private:
  std::span<const std::byte> borrowed_;
  std::vector<std::byte> owned_;
};

struct TensorProto {
  std::string_view name;
  std::string_view doc_string;
  std::vector<int64_t> dims;
  int32_t data_type = 0;
  bool external = false;  // data_location == EXTERNAL
  bool has_segment = false;
  std::span<const std::byte> raw_data;
  PackedField float_data;   // 32-bit little-endian
  PackedField double_data;  // 64-bit little-endian
  PackedField int32_data;   // varints, as are the next two
  PackedField int64_data;
  PackedField uint64_data;
  std::vector<std::string_view> string_data;
  StringPairs external_data;
};

struct SparseTensorProto {
  TensorProto values;
  TensorProto indices;
  std::vector<int64_t> dims;
};

// Neither value nor parameter: unknown. A value may be negative; what that means is the importer's business.
struct DimensionProto {
  std::optional<int64_t> value;
  std::string_view param;
};

struct TypeProto {
  enum class Kind : uint8_t { kNone, kTensor, kSparseTensor, kSequence, kMap, kOptional, kOpaque };
  Kind kind = Kind::kNone;
  bool has_shape = false;              // tensors: false means that the rank is unknown
  int32_t elem_type = 0;               // tensors: a TensorProto.DataType; maps: that of the key
  std::vector<DimensionProto> dims;    // tensors
  std::unique_ptr<TypeProto> element;  // sequences, optionals: the element (may be null); maps: the value
};

struct ValueInfoProto {
  std::string_view name;
  std::string_view doc_string;
  std::optional<TypeProto> type;
};

// The numbers are those of AttributeProto.AttributeType.
enum class AttributeType : uint8_t {
  kUndefined = 0,
  kFloat = 1,
  kInt = 2,
  kString = 3,
  kTensor = 4,
  kGraph = 5,
  kFloats = 6,
  kInts = 7,
  kStrings = 8,
  kTensors = 9,
  kGraphs = 10,
  kSparseTensor = 11,
  kSparseTensors = 12,
  kTypeProto = 13,
  kTypeProtos = 14,
};

// `type` says which value is meant. Where the file does not (IR version 1), it is inferred from the field
// that is present, and stays kUndefined when none is (an empty list). For kTensor, kGraph, kSparseTensor
// and kTypeProto the pointer is set, unless ref_attr_name refers to an attribute of the function.
struct AttributeProto {
  std::string_view name;
  std::string_view ref_attr_name;
  AttributeType type = AttributeType::kUndefined;
  float f = 0;
  int64_t i = 0;
  std::string_view s;  // any bytes
  std::unique_ptr<TensorProto> t;
  std::unique_ptr<GraphProto> g;
  std::unique_ptr<SparseTensorProto> sparse_tensor;
  std::unique_ptr<TypeProto> tp;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;
  std::vector<TensorProto> tensors;
  std::vector<GraphProto> graphs;
  std::vector<SparseTensorProto> sparse_tensors;
  std::vector<TypeProto> type_protos;
};

struct NodeProto {
  std::vector<std::string_view> inputs;  // an empty name is an omitted optional input
  std::vector<std::string_view> outputs;
  std::string_view name;
  std::string_view op_type;
  std::string_view domain;
  std::string_view overload;
  std::string_view doc_string;
  std::vector<AttributeProto> attributes;
};

struct GraphProto {
  std::string_view name;
  std::string_view doc_string;
  std::vector<NodeProto> nodes;
  std::vector<TensorProto> initializers;
  std::vector<SparseTensorProto> sparse_initializers;
  std::vector<ValueInfoProto> inputs;
  std::vector<ValueInfoProto> outputs;
  std::vector<ValueInfoProto> value_infos;
};

struct OperatorSetIdProto {
  std::string_view domain;
  int64_t version = 0;
};

struct FunctionProto {
  std::string_view name;
  std::string_view domain;
  std::string_view overload;
  std::string_view doc_string;
  std::vector<std::string_view> inputs;
  std::vector<std::string_view> outputs;
  std::vector<std::string_view> attributes;      // without default
  std::vector<AttributeProto> attribute_protos;  // with default
  std::vector<NodeProto> nodes;
  std::vector<OperatorSetIdProto> opset_imports;
  std::vector<ValueInfoProto> value_infos;
};

struct ModelProto {
  int64_t ir_version = 0;
  int64_t model_version = 0;
  std::string_view producer_name;
  std::string_view producer_version;
  std::string_view domain;
  std::string_view doc_string;
  std::vector<OperatorSetIdProto> opset_imports;
  GraphProto graph;
  StringPairs metadata_props;
  std::vector<FunctionProto> functions;
};

// Reads a serialized ModelProto. Throws Error(kInvalidModel) where the bytes are not one or it has no
// graph, and Error(kLimit) where it exceeds max_nodes, max_parsed_bytes, max_string_bytes or
// max_nesting_depth. A scalar that appears twice takes its last value, as in protobuf; a submessage that
// may appear once and appears twice is an error, where protobuf would merge the two.
// Strings are valid UTF-8, except attribute values, elements of string tensors and doc strings.
ModelProto parse_model(std::span<const std::byte> bytes, const Limits& limits);

// The same for a serialized TensorProto.
TensorProto parse_tensor(std::span<const std::byte> bytes, const Limits& limits);

}  // namespace pyinfer::onnx
