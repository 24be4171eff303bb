// The recursive reader behind proto.h: one function for each message.
#pragma once

#include "onnx/proto.h"
#include "onnx/wire.h"

namespace pyinfer::onnx {

class Parser {
 public:
  explicit Parser(const Limits& limits) : limits_(limits) {}

  void read(WireReader r, ModelProto& out);
  void read(WireReader r, TensorProto& out);

 private:
  // proto.cc
  void read(WireReader r, GraphProto& out);
  void read(WireReader r, NodeProto& out);
  void read(WireReader r, FunctionProto& out);
  void read(WireReader r, AttributeProto& out);
  void read(WireReader r, OperatorSetIdProto& out);
  bool read_attribute_list(WireReader& r, AttributeProto& out);

  // proto_values.cc
  void read(WireReader r, SparseTensorProto& out);
  void read(WireReader r, ValueInfoProto& out);
  void read(WireReader r, TypeProto& out);
  void read(WireReader r, DimensionProto& out);
  void read_tensor_type(WireReader r, TypeProto& out);
  void read_element_type(WireReader r, TypeProto& out);
  void read_shape(WireReader r, TypeProto& out);
  void read(WireReader r, std::pair<std::string_view, std::string_view>& out);

  // Values. text() is UTF-8, blob() any bytes; both bounded by max_string_bytes.
  std::string_view text(WireReader& r);
  std::string_view blob(WireReader& r);
  void int64s(WireReader& r, std::vector<int64_t>& out);
  void floats(WireReader& r, std::vector<float>& out);
  void packed(WireReader& r, WireType type, PackedField& out);

  void charge(size_t bytes);
  template <class T>
  T& push(std::vector<T>& list, T value = {}) {
    charge(sizeof(T));
    return list.emplace_back(std::move(value));
  }
  // The submessage of a field that may appear once.
  template <class T>
  void once(WireReader& r, const char* name, std::unique_ptr<T>& out) {
    if (out != nullptr) r.fail("field ", r.field(), " appears twice");
    charge(sizeof(T));
    out = std::make_unique<T>();
    read(r.message(name), *out);
  }
  void mark(const WireReader& r, bool& seen) const {
    if (seen) r.fail("field ", r.field(), " appears twice");
    seen = true;
  }

  // Counts one level of graphs or types while it lives.
  class Level {
   public:
    Level(int& depth, int limit, const char* what);
    Level(const Level&) = delete;
    ~Level() { --depth_; }

   private:
    int& depth_;
  };

  const Limits& limits_;
  int64_t parsed_bytes_ = 0;
  int64_t nodes_ = 0;
  int graph_depth_ = 0;
  int type_depth_ = 0;
};

}  // namespace pyinfer::onnx
