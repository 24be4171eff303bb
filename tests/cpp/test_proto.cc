#include <random>

#include "onnx/proto.h"
#include "onnx/tensor_decode.h"
#include "proto_writer.h"

namespace pyinfer::test {
namespace {

using namespace onnx;

ModelProto parse(const std::string& bytes, const Limits& limits = {}) {
  return parse_model(as_bytes(bytes), limits);
}

ProtoWriter model_of(const ProtoWriter& graph) {
  return ProtoWriter().integer(1, 10).bytes(8, ProtoWriter().integer(2, 21)).bytes(7, graph);
}
ProtoWriter graph_with_attribute(const ProtoWriter& attribute) {
  return ProtoWriter().bytes(1, ProtoWriter().bytes(4, "Op").bytes(5, attribute));
}

// `levels` graphs within each other, each the attribute of a node of the one around it.
ProtoWriter nested_graphs(int levels) {
  ProtoWriter graph;
  for (int i = 1; i < levels; ++i) graph = graph_with_attribute(ProtoWriter().integer(20, 5).bytes(6, graph));
  return graph;
}

ProtoWriter tensor_type(int elem, const std::vector<int64_t>& dims) {
  ProtoWriter shape;
  for (const int64_t d : dims)
    shape.bytes(1, d < 0 ? ProtoWriter().bytes(2, "N") : ProtoWriter().integer(1, d));
  return ProtoWriter().bytes(1, ProtoWriter().integer(1, elem).bytes(2, shape));
}

// A model that has every message of proto.h in it.
std::string full_model() {
  ProtoWriter weight;
  weight.integer(1, 2).integer(1, 3).integer(2, 1).bytes(8, "w").bytes(9, std::string(24, '\x40'));
  ProtoWriter typed;
  typed.bytes(1, ProtoWriter().varint(4)).integer(2, 7).bytes(8, "idx");
  typed.bytes(7, ProtoWriter().varint(1).varint(300)).integer(7, 5).integer(7, -1);
  ProtoWriter words;
  words.integer(1, 2).integer(2, 8).bytes(8, "words").bytes(6, "a").bytes(6, "");
  ProtoWriter external;
  external.integer(1, 4).integer(2, 3).bytes(8, "ext").integer(14, 1);
  external.bytes(13, ProtoWriter().bytes(1, "location").bytes(2, "w.bin"));
  ProtoWriter sparse;
  sparse.bytes(1, ProtoWriter().integer(1, 1).integer(2, 1).bytes(8, "sp").tag(4, 5).fixed(2.0f));
  sparse.bytes(2, ProtoWriter().integer(1, 1).integer(2, 7).integer(7, 3)).integer(3, 8);

  ProtoWriter node;
  node.bytes(1, "x")
      .bytes(1, "")
      .bytes(2, "y")
      .bytes(3, "n0")
      .bytes(4, "Op")
      .bytes(7, "d")
      .bytes(8, "o")
      .bytes(6, "doc");
  node.bytes(5, ProtoWriter().bytes(1, "f").tag(2, 5).fixed(0.5f).integer(20, 1));
  node.bytes(5, ProtoWriter()
                    .bytes(1, "ints")
                    .integer(8, 1)
                    .integer(8, 2)
                    .bytes(8, ProtoWriter().varint(3))
                    .integer(20, 7));
  node.bytes(5,
             ProtoWriter().bytes(1, "floats").bytes(7, ProtoWriter().fixed(1.0f).fixed(2.0f)).integer(20, 6));
  node.bytes(5, ProtoWriter().bytes(1, "strings").bytes(9, "p").bytes(9, "\xff").integer(20, 8));
  node.bytes(5, ProtoWriter().bytes(1, "t").bytes(5, weight).integer(20, 4));
  node.bytes(
      5,
      ProtoWriter().bytes(1, "g").bytes(6, graph_with_attribute(ProtoWriter().integer(3, 1))).integer(20, 5));
  node.bytes(5, ProtoWriter().bytes(1, "st").bytes(22, sparse).integer(20, 11));
  node.bytes(5, ProtoWriter().bytes(1, "tp").bytes(14, tensor_type(1, {2})).integer(20, 13));
  node.bytes(5, ProtoWriter().bytes(1, "ref").bytes(21, "outer").integer(20, 4));

  ProtoWriter map;
  map.bytes(5, ProtoWriter().integer(1, 7).bytes(
                   2, ProtoWriter().bytes(4, ProtoWriter().bytes(1, tensor_type(8, {})))));
  ProtoWriter graph;
  graph.bytes(1, node).bytes(2, "main").bytes(5, weight).bytes(5, typed).bytes(5, words).bytes(5, external);
  graph.bytes(15, sparse).bytes(11, ProtoWriter().bytes(1, "x").bytes(2, tensor_type(1, {-1, 3})));
  graph.bytes(12, ProtoWriter().bytes(1, "y").bytes(2, map)).bytes(13, ProtoWriter().bytes(1, "v"));
  graph.tag(77, 3).integer(1, 1).tag(77, 4);  // fields of a later version
  ProtoWriter function;
  function.bytes(1, "Fn").bytes(4, "a").bytes(5, "b").bytes(6, "alpha").bytes(10, "my").bytes(13, "v2");
  function.bytes(7, ProtoWriter().bytes(4, "Relu")).bytes(9, ProtoWriter().bytes(1, "").integer(2, 18));
  function.bytes(11, ProtoWriter().bytes(1, "beta").integer(3, 4).integer(20, 2));
  ProtoWriter model = model_of(graph);
  model.bytes(2, "writer").bytes(3, "1.0").integer(5, 9).bytes(25, function);
  model.bytes(14, ProtoWriter().bytes(1, "k").bytes(2, "v"));
  return model.str();
}

// Decodes every tensor of a graph; each failure must be an Error.
void decode_all(const GraphProto& graph, const Limits& limits) {
  const DataSource source{limits, nullptr, nullptr};
  for (const TensorProto& t : graph.initializers) error_of([&] { decode_tensor(t, source); });
  for (const SparseTensorProto& t : graph.sparse_initializers)
    error_of([&] { decode_sparse_tensor(t, source); });
  for (const NodeProto& n : graph.nodes) {
    for (const AttributeProto& a : n.attributes) {
      if (a.t) error_of([&] { decode_tensor(*a.t, source); });
      if (a.g) decode_all(*a.g, limits);
    }
  }
}

}  // namespace

TEST(proto_reads_a_full_model) {
  const std::string bytes = full_model();
  const ModelProto m = parse(bytes);
  CHECK_EQ(m.ir_version, int64_t{10});
  CHECK_EQ(m.producer_name, "writer");
  CHECK_EQ(m.opset_imports.at(0).version, int64_t{21});
  CHECK_EQ(m.metadata_props.at(0).second, "v");
  const GraphProto& g = m.graph;
  CHECK_EQ(g.name, "main");
  CHECK_EQ(g.initializers.size(), size_t{4});
  CHECK_EQ(g.initializers[0].raw_data.size(), size_t{24});
  CHECK(g.initializers[0].raw_data.data() > as_bytes(bytes).data());
  CHECK(g.initializers[0].raw_data.data() < as_bytes(bytes).data() + bytes.size());
  CHECK_EQ(g.initializers[1].dims.at(0), int64_t{4});
  CHECK(g.initializers[3].external);
  CHECK_EQ(g.initializers[3].external_data.at(0).second, "w.bin");
  const DimensionProto& n = g.inputs.at(0).type->dims.at(0);
  CHECK(!n.value && n.param == "N");
  CHECK_EQ(g.inputs[0].type->dims.at(1).value.value_or(0), int64_t{3});
  const TypeProto& map = *g.outputs.at(0).type;
  CHECK(map.kind == TypeProto::Kind::kMap && map.elem_type == 7);
  CHECK(map.element->kind == TypeProto::Kind::kSequence);
  CHECK(map.element->element->kind == TypeProto::Kind::kTensor && map.element->element->has_shape);
  CHECK(!g.value_infos.at(0).type);
  const FunctionProto& f = m.functions.at(0);
  CHECK(f.name == "Fn" && f.domain == "my" && f.overload == "v2" && f.attributes.at(0) == "alpha");
  CHECK_EQ(f.attribute_protos.at(0).i, int64_t{4});
  CHECK_EQ(f.nodes.at(0).op_type, "Relu");
}

TEST(proto_reads_attributes) {
  const std::string bytes = full_model();
  const ModelProto m = parse(bytes);
  const NodeProto& node = m.graph.nodes.at(0);
  CHECK(node.inputs.size() == 2 && node.inputs[1].empty() && node.domain == "d" && node.overload == "o");
  const auto& a = node.attributes;
  CHECK_EQ(a.at(0).f, 0.5f);
  CHECK((a.at(1).ints == std::vector<int64_t>{1, 2, 3}));  // packed and unpacked, in order
  CHECK((a.at(2).floats == std::vector<float>{1, 2}));
  CHECK_EQ(a.at(3).strings.at(1), "\xff");
  CHECK_EQ(a.at(4).t->name, "w");
  CHECK(a.at(5).g->nodes.at(0).attributes.at(0).type == AttributeType::kInt);  // inferred
  CHECK_EQ(a.at(6).sparse_tensor->dims.at(0), int64_t{8});
  CHECK_EQ(a.at(7).tp->elem_type, 1);
  CHECK(a.at(8).ref_attr_name == "outer" && a.at(8).t == nullptr);
}

TEST(proto_joins_pieces_of_packed_fields) {
  const std::string bytes = full_model();
  const ModelProto m = parse(bytes);
  const Limits limits;
  const Tensor t = decode_tensor(m.graph.initializers[1], {limits, nullptr, nullptr});
  CHECK((to_int64s(t.view()) == std::vector<int64_t>{1, 300, 5, -1}));
}

TEST(proto_rejects_broken_models) {
  CHECK_ERROR(kInvalidModel, parse(""));  // no graph
  CHECK_ERROR(kInvalidModel, parse("not a model at all"));
  const std::string good = model_of(ProtoWriter()).str();
  CHECK_EQ(parse(good).graph.nodes.size(), size_t{0});
  CHECK_ERROR(kInvalidModel, parse(good + good));                                     // two graphs
  CHECK_EQ(parse(good + ProtoWriter().integer(1, 4).str()).ir_version, int64_t{4});   // the last scalar wins
  CHECK_ERROR(kInvalidModel, parse(model_of(ProtoWriter().bytes(2, "\xff")).str()));  // a name of bad UTF-8
  CHECK_ERROR(kInvalidModel, parse(model_of(graph_with_attribute(ProtoWriter().integer(20, 99))).str()));
  CHECK_ERROR(kInvalidModel, parse(model_of(graph_with_attribute(ProtoWriter().integer(20, -1))).str()));
  CHECK_ERROR(kInvalidModel,
              parse(model_of(graph_with_attribute(ProtoWriter().integer(20, 4))).str()));  // no tensor
  CHECK_ERROR(kInvalidModel, parse(model_of(graph_with_attribute(ProtoWriter().bytes(7, "abc"))).str()));
  CHECK_ERROR(kInvalidModel, parse(model_of(graph_with_attribute(ProtoWriter().bytes(8, "\x80"))).str()));
  CHECK_ERROR(kInvalidModel,
              parse(model_of(graph_with_attribute(ProtoWriter().bytes(5, "").bytes(5, ""))).str()));
  CHECK_ERROR(kInvalidModel, parse(model_of(ProtoWriter().bytes(5, ProtoWriter().bytes(7, "\x80"))).str()));
  CHECK_ERROR(kInvalidModel, parse(model_of(ProtoWriter().bytes(5, ProtoWriter().bytes(4, "abc"))).str()));
  CHECK_ERROR(kInvalidModel, parse(model_of(ProtoWriter().bytes(5, ProtoWriter().integer(14, 2))).str()));
  const ProtoWriter two_kinds = ProtoWriter().bytes(1, "").bytes(4, "");
  CHECK_ERROR(kInvalidModel,
              parse(model_of(ProtoWriter().bytes(11, ProtoWriter().bytes(2, two_kinds))).str()));
}

TEST(proto_holds_the_limits) {
  Limits limits;
  limits.max_nesting_depth = 5;
  CHECK_EQ(error_of([&] { parse(model_of(nested_graphs(5)).str(), limits); }), -1);
  CHECK_ERROR(kLimit, parse(model_of(nested_graphs(6)).str(), limits));
  CHECK_EQ(error_of([&] { parse(model_of(nested_graphs(64)).str()); }), -1);
  CHECK_ERROR(kLimit, parse(model_of(nested_graphs(65)).str()));
  // A caller's larger bound does not lift the one on the stack.
  limits.max_nesting_depth = 1'000'000;
  CHECK_ERROR(kInvalidModel, parse(model_of(nested_graphs(2'000)).str(), limits));

  ProtoWriter type;
  for (int i = 0; i < 70; ++i) type = ProtoWriter().bytes(4, ProtoWriter().bytes(1, type));
  CHECK_ERROR(kLimit, parse(model_of(ProtoWriter().bytes(11, ProtoWriter().bytes(2, type))).str()));

  ProtoWriter nodes;
  for (int i = 0; i < 11; ++i) nodes.bytes(1, "");
  limits = {};
  limits.max_nodes = 11;
  CHECK_EQ(parse(model_of(nodes).str(), limits).graph.nodes.size(), size_t{11});
  limits.max_nodes = 10;
  CHECK_ERROR(kLimit, parse(model_of(nodes).str(), limits));

  limits = {};
  limits.max_string_bytes = 10;
  CHECK_ERROR(kLimit, parse(model_of(ProtoWriter().bytes(2, "eleven char")).str(), limits));
  ProtoWriter infos;
  for (int i = 0; i < 1000; ++i) infos.bytes(13, "");
  limits = {};
  limits.max_parsed_bytes = 10'000;
  CHECK_ERROR(kLimit, parse(model_of(infos).str(), limits));
}

TEST(proto_survives_truncation_at_every_byte) {
  const std::string bytes = full_model();
  for (size_t n = 0; n < bytes.size(); ++n) error_of([&] { parse(bytes.substr(0, n)); });
}

TEST(proto_survives_random_mutations) {
  const std::string good = full_model();
  std::mt19937 rng(1);
  const auto below = [&](size_t n) { return static_cast<size_t>(rng() % n); };
  Limits limits;
  limits.max_tensor_bytes = 1 << 20;
  int parsed = 0, rejected = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string bytes = good;
    for (size_t edits = 1 + below(4); edits > 0; --edits) {
      const size_t at = below(bytes.size());
      switch (below(5)) {
        case 0: bytes[at] = static_cast<char>(rng()); break;
        case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
        case 2: bytes.erase(at, 1 + below(8)); break;
        case 3: bytes.insert(at, bytes.substr(below(bytes.size()), below(30))); break;
        default: bytes.insert(at, 1 + below(3), '\xff'); break;
      }
      if (bytes.empty()) bytes = "x";
    }
    const int error = error_of([&] { decode_all(parse(bytes, limits).graph, limits); });
    (error < 0 ? parsed : rejected)++;
  }
  CHECK(parsed > 100);
  CHECK(rejected > 100);
}

}  // namespace pyinfer::test
