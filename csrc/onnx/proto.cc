// Models, graphs, nodes, functions and attributes. Field numbers are those of onnx.proto.
#include "onnx/proto.h"

#include "onnx/proto_parser.h"

namespace pyinfer::onnx {

ModelProto parse_model(std::span<const std::byte> bytes, const Limits& limits) {
  ModelProto model;
  Parser(limits).read(WireReader(bytes, "ModelProto"), model);
  return model;
}

void Parser::read(WireReader r, ModelProto& out) {
  bool has_graph = false;
  while (r.next()) {
    switch (r.field()) {
      case 1: out.ir_version = r.int64(); break;
      case 2: out.producer_name = text(r); break;
      case 3: out.producer_version = text(r); break;
      case 4: out.domain = text(r); break;
      case 5: out.model_version = r.int64(); break;
      case 6: out.doc_string = blob(r); break;
      case 7:
        mark(r, has_graph);
        read(r.message("GraphProto"), out.graph);
        break;
      case 8: read(r.message("OperatorSetIdProto"), push(out.opset_imports)); break;
      case 14: read(r.message("StringStringEntryProto"), push(out.metadata_props)); break;
      case 25: read(r.message("FunctionProto"), push(out.functions)); break;
      default: r.skip();
    }
  }
  if (!has_graph) r.fail("there is no graph; is this an ONNX model?");
}

void Parser::read(WireReader r, OperatorSetIdProto& out) {
  while (r.next()) {
    switch (r.field()) {
      case 1: out.domain = text(r); break;
      case 2: out.version = r.int64(); break;
      default: r.skip();
    }
  }
}

void Parser::read(WireReader r, GraphProto& out) {
  const Level level(graph_depth_, limits_.max_nesting_depth, "graphs");
  while (r.next()) {
    switch (r.field()) {
      case 1: read(r.message("NodeProto"), push(out.nodes)); break;
      case 2: out.name = text(r); break;
      case 5: read(r.message("TensorProto"), push(out.initializers)); break;
      case 10: out.doc_string = blob(r); break;
      case 11: read(r.message("ValueInfoProto"), push(out.inputs)); break;
      case 12: read(r.message("ValueInfoProto"), push(out.outputs)); break;
      case 13: read(r.message("ValueInfoProto"), push(out.value_infos)); break;
      case 15: read(r.message("SparseTensorProto"), push(out.sparse_initializers)); break;
      default: r.skip();
    }
  }
}

void Parser::read(WireReader r, NodeProto& out) {
  require(++nodes_ <= limits_.max_nodes, ErrorCode::kLimit,
          "the model has more than max_nodes = ", limits_.max_nodes, " nodes");
  while (r.next()) {
    switch (r.field()) {
      case 1: push(out.inputs, text(r)); break;
      case 2: push(out.outputs, text(r)); break;
      case 3: out.name = text(r); break;
      case 4: out.op_type = text(r); break;
      case 5: read(r.message("AttributeProto"), push(out.attributes)); break;
      case 6: out.doc_string = blob(r); break;
      case 7: out.domain = text(r); break;
      case 8: out.overload = text(r); break;
      default: r.skip();
    }
  }
}

void Parser::read(WireReader r, FunctionProto& out) {
  while (r.next()) {
    switch (r.field()) {
      case 1: out.name = text(r); break;
      case 4: push(out.inputs, text(r)); break;
      case 5: push(out.outputs, text(r)); break;
      case 6: push(out.attributes, text(r)); break;
      case 7: read(r.message("NodeProto"), push(out.nodes)); break;
      case 8: out.doc_string = blob(r); break;
      case 9: read(r.message("OperatorSetIdProto"), push(out.opset_imports)); break;
      case 10: out.domain = text(r); break;
      case 11: read(r.message("AttributeProto"), push(out.attribute_protos)); break;
      case 12: read(r.message("ValueInfoProto"), push(out.value_infos)); break;
      case 13: out.overload = text(r); break;
      default: r.skip();
    }
  }
}

namespace {

// Whether the value that `type` names is there. Scalars and lists have a default: writers may omit it.
bool has_value(const AttributeProto& a) {
  switch (a.type) {
    case AttributeType::kTensor: return a.t != nullptr;
    case AttributeType::kGraph: return a.g != nullptr;
    case AttributeType::kSparseTensor: return a.sparse_tensor != nullptr;
    case AttributeType::kTypeProto: return a.tp != nullptr;
    default: return true;
  }
}

AttributeType infer_type(const AttributeProto& a, AttributeType scalar) {
  if (scalar != AttributeType::kUndefined) return scalar;
  if (a.t != nullptr) return AttributeType::kTensor;
  if (a.g != nullptr) return AttributeType::kGraph;
  if (a.sparse_tensor != nullptr) return AttributeType::kSparseTensor;
  if (a.tp != nullptr) return AttributeType::kTypeProto;
  if (!a.floats.empty()) return AttributeType::kFloats;
  if (!a.ints.empty()) return AttributeType::kInts;
  if (!a.strings.empty()) return AttributeType::kStrings;
  if (!a.tensors.empty()) return AttributeType::kTensors;
  if (!a.graphs.empty()) return AttributeType::kGraphs;
  if (!a.sparse_tensors.empty()) return AttributeType::kSparseTensors;
  if (!a.type_protos.empty()) return AttributeType::kTypeProtos;
  return AttributeType::kUndefined;
}

}  // namespace

void Parser::read(WireReader r, AttributeProto& out) {
  AttributeType scalar = AttributeType::kUndefined;
  int32_t type = 0;
  while (r.next()) {
    switch (r.field()) {
      case 1: out.name = text(r); break;
      case 2:
        out.f = r.float32();
        scalar = AttributeType::kFloat;
        break;
      case 3:
        out.i = r.int64();
        scalar = AttributeType::kInt;
        break;
      case 4:
        out.s = blob(r);
        scalar = AttributeType::kString;
        break;
      case 5: once(r, "TensorProto", out.t); break;
      case 6: once(r, "GraphProto", out.g); break;
      case 14: once(r, "TypeProto", out.tp); break;
      case 20: type = r.int32(); break;
      case 21: out.ref_attr_name = text(r); break;
      case 22: once(r, "SparseTensorProto", out.sparse_tensor); break;
      default:
        if (!read_attribute_list(r, out)) r.skip();
    }
  }
  if (type < 0 || type > static_cast<int32_t>(AttributeType::kTypeProtos))
    r.fail("attribute '", out.name, "' has unknown type ", type);
  out.type = static_cast<AttributeType>(type);
  if (!out.ref_attr_name.empty()) return;
  if (out.type == AttributeType::kUndefined) out.type = infer_type(out, scalar);
  if (!has_value(out)) r.fail("attribute '", out.name, "' of type ", type, " has no value");
}

bool Parser::read_attribute_list(WireReader& r, AttributeProto& out) {
  switch (r.field()) {
    case 7: floats(r, out.floats); return true;
    case 8: int64s(r, out.ints); return true;
    case 9: push(out.strings, blob(r)); return true;
    case 10: read(r.message("TensorProto"), push(out.tensors)); return true;
    case 11: read(r.message("GraphProto"), push(out.graphs)); return true;
    case 15: read(r.message("TypeProto"), push(out.type_protos)); return true;
    case 23: read(r.message("SparseTensorProto"), push(out.sparse_tensors)); return true;
    default: return false;
  }
}

}  // namespace pyinfer::onnx
