#include "onnx/importer.h"

#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "onnx/operator_attributes.h"
#include "onnx/upgrade.h"

namespace pyinfer::onnx {
namespace {

constexpr int64_t kNewestIrVersion = 14;

// The names that nodes of one graph, or of one function body inlined into it, can see.
struct Scope {
  Graph& graph;
  Scope* enclosing;  // of the enclosing graph; null for the main graph and for functions
  std::unordered_map<std::string_view, ValueId> names;
  const FunctionProto* function = nullptr;
  const NodeProto* call = nullptr;                     // the node whose attributes ref_attr_name refers to
  Scope* call_scope = nullptr;                         // the scope of that node
  std::unordered_set<std::string_view> promised = {};  // outputs of the function that no node has defined yet
  std::string prefix;                                  // of node and value names
  int depth = 0;
};

std::string node_str(const NodeProto& node) {
  return node.name.empty() ? std::string(node.op_type) : join(node.op_type, " '", node.name, "'");
}

std::string_view normalized_domain(std::string_view domain) {
  return domain == "ai.onnx" ? "" : domain;
}

DType parse_dtype(int64_t elem_type) {
  require(elem_type > 0 && elem_type < kDTypeCount, ErrorCode::kUnsupported, "element type ", elem_type,
          " is not known");
  return static_cast<DType>(elem_type);
}

ValueType parse_type(const TypeProto& proto) {
  switch (proto.kind) {
    case TypeProto::Kind::kTensor: return {.dtype = parse_dtype(proto.elem_type)};
    case TypeProto::Kind::kSequence: {
      require(proto.element != nullptr, ErrorCode::kInvalidModel, "a sequence type without element type");
      ValueType t = parse_type(*proto.element);
      require(!t.sequence && !t.optional, ErrorCode::kUnsupported, "sequences of sequences or optionals");
      t.sequence = true;
      return t;
    }
    case TypeProto::Kind::kOptional: {
      require(proto.element != nullptr, ErrorCode::kInvalidModel, "an optional type without element type");
      ValueType t = parse_type(*proto.element);
      require(!t.optional, ErrorCode::kUnsupported, "optionals of optionals");
      t.optional = true;
      return t;
    }
    case TypeProto::Kind::kMap: {
      require(proto.element != nullptr, ErrorCode::kInvalidModel, "a map type without value type");
      ValueType t = parse_type(*proto.element);
      require(t.is_tensor(), ErrorCode::kUnsupported, "maps to anything but tensors");
      t.map_key = parse_dtype(proto.elem_type);
      return t;
    }
    case TypeProto::Kind::kSparseTensor:
      fail(ErrorCode::kUnsupported, "sparse tensors as inputs or outputs; make them dense in the model");
    default: fail(ErrorCode::kInvalidModel, "a value without type");
  }
}

std::optional<std::vector<Dim>> parse_shape(const TypeProto& proto) {
  if (proto.kind != TypeProto::Kind::kTensor || !proto.has_shape) return std::nullopt;
  std::vector<Dim> dims;
  for (const DimensionProto& d : proto.dims) {
    Dim dim;
    if (d.value && *d.value >= 0) dim.value = *d.value;
    dim.symbol = d.param;
    dims.push_back(std::move(dim));
  }
  return dims;
}

class Importer {
 public:
  Importer(const ModelProto& model, const DataSource& source, Problems& problems)
      : model_(model), source_(source), problems_(&problems) {
    require(model.ir_version <= kNewestIrVersion, ErrorCode::kUnsupported, "the model's IR version ",
            model.ir_version, " is newer than what this version of pyinfer knows, which is ",
            kNewestIrVersion, "; save it with that ir_version, if it uses nothing newer");
    for (const OperatorSetIdProto& o : model.opset_imports) {
      const auto [at, fresh] = opsets_.emplace(normalized_domain(o.domain), o.version);
      require(fresh || at->second == o.version, ErrorCode::kInvalidModel, "the model imports versions ",
              at->second, " and ", o.version, " of operator set '", o.domain, "'");
    }
    for (const FunctionProto& f : model.functions)
      require(functions_.try_emplace({normalized_domain(f.domain), f.name, f.overload}, &f).second,
              ErrorCode::kInvalidModel, "function '", f.name, "' of domain '", f.domain,
              "' is defined twice");
  }

  Graph import() {
    Graph graph;
    Scope scope{.graph = graph, .enclosing = nullptr, .names = {}, .prefix = {}};
    import_graph(model_.graph, scope);
    upgrade(graph, *problems_);
    return graph;
  }

 private:
  void import_graph(const GraphProto& proto, Scope& scope) {
    require(scope.depth <= source_.limits.max_nesting_depth, ErrorCode::kLimit, "graphs nested deeper than ",
            source_.limits.max_nesting_depth);
    Graph& graph = scope.graph;
    graph.name = proto.name;
    for (const TensorProto& t : proto.initializers) define(scope, t.name).constant = decode(t, t.name);
    for (const SparseTensorProto& t : proto.sparse_initializers)
      define(scope, t.values.name).constant = decode_sparse_tensor(t, source_);
    for (Value& v : graph.values) v.type = {.dtype = v.constant.dtype()};
    const auto initialized = static_cast<ValueId>(graph.values.size());
    for (const ValueInfoProto& info : proto.inputs) {
      const auto known = scope.names.find(info.name);
      // An initializer that IR version 3 lists as input too.
      if (known != scope.names.end() && known->second < initialized) continue;
      Value& v = define(scope, info.name);
      describe(info, v, scope.enclosing == nullptr);
      graph.inputs.push_back(scope.names.at(info.name));
    }
    import_nodes(proto.nodes, scope);
    for (const ValueInfoProto& info : proto.outputs) {
      const ValueId id = lookup(scope, info.name).value_or(kNoValue);
      require(id != kNoValue, ErrorCode::kInvalidModel, "graph '", proto.name, "': output '", info.name,
              "' is not computed by any node");
      if (info.type && !graph.value(id).shape) graph.value(id).shape = parse_shape(*info.type);
      graph.outputs.push_back(id);
    }
    sort_nodes(graph);
  }

  static void describe(const ValueInfoProto& info, Value& v, bool type_needed) {
    if (!info.type || info.type->kind == TypeProto::Kind::kNone ||
        (!type_needed && info.type->elem_type == 0)) {
      require(!type_needed, ErrorCode::kInvalidModel, "input '", info.name, "' has no type");
      return;
    }
    try {
      v.type = parse_type(*info.type);
    } catch (const Error& e) {
      fail(e.code(), "input '", info.name, "': ", e.message());
    }
    v.shape = parse_shape(*info.type);
  }

  Value& define(Scope& scope, std::string_view name) {
    const auto [it, fresh] = scope.names.emplace(name, static_cast<ValueId>(scope.graph.values.size()));
    require(fresh, ErrorCode::kInvalidModel, "value '", name, "' is defined twice");
    scope.graph.add_value(
        {.name = scope.prefix + std::string(name), .type = {}, .shape = {}, .constant = {}});
    return scope.graph.values.back();
  }

  Tensor decode(const TensorProto& proto, std::string_view name) {
    try {
      return counted(decode_tensor(proto, source_));
    } catch (const Error& e) {
      fail(e.code(), "initializer '", name, "': ", e.message());
    }
  }

  Tensor counted(Tensor weights) {
    initializer_bytes_ += static_cast<int64_t>(weights.bytes());
    require(initializer_bytes_ <= source_.limits.max_initializer_bytes, ErrorCode::kLimit,
            "the weights exceed max_initializer_bytes=", source_.limits.max_initializer_bytes);
    return weights;
  }

  // The value of that name, captured from the enclosing graphs where need be: nothing when there is none,
  // kNoValue for an input of a function that its caller omits.
  std::optional<ValueId> lookup(Scope& scope, std::string_view name) {
    if (const auto it = scope.names.find(name); it != scope.names.end()) return it->second;
    if (scope.enclosing == nullptr) return std::nullopt;
    const std::optional<ValueId> outer = lookup(*scope.enclosing, name);
    if (!outer || *outer == kNoValue) return outer;
    const Value& value = scope.enclosing->graph.value(*outer);
    const Tensor constant = value.constant;
    const ValueId inner = scope.graph.add_value(
        {.name = std::string(name), .type = value.type, .shape = value.shape, .constant = constant});
    if (constant.empty()) scope.graph.captures.push_back({*outer, inner});
    scope.names.emplace(name, inner);
    return inner;
  }

  // The outputs of a function have their callers' values already.
  void define_output(Scope& scope, std::string_view name) {
    if (scope.promised.erase(name) == 0) define(scope, name);
  }

  // Output names first, so that the file's order of nodes does not matter.
  void import_nodes(const std::vector<NodeProto>& nodes, Scope& scope) {
    for (const NodeProto& node : nodes)
      for (std::string_view name : node.outputs)
        if (!name.empty()) define_output(scope, name);
    // Constants before others: a subgraph takes them by value.
    for (const NodeProto& node : nodes)
      if (node.op_type == "Constant" && normalized_domain(node.domain).empty())
        located(node, [&] { import_constant(node, scope); });
    for (const NodeProto& node : nodes)
      if (node.op_type != "Constant" || !normalized_domain(node.domain).empty())
        located(node, [&] { import_node(node, scope); });
  }

  template <class F>
  static void located(const NodeProto& node, F&& body) {
    try {
      body();
    } catch (const Error& e) {
      fail(e.code(), node_str(node), ": ", e.message());
    }
  }

  void import_constant(const NodeProto& node, Scope& scope) {
    require(node.outputs.size() == 1 && !node.outputs[0].empty() && node.attributes.size() == 1,
            ErrorCode::kInvalidModel, "a Constant has one output and one attribute");
    // A name that came with a later version can mean but one thing, and ONNX Runtime takes it too.
    if (const auto refused = refusal(node, kNewestOpset)) throw Error(*refused);
    const std::optional<Attribute> given = import_attribute(node.attributes[0], scope);
    require(given.has_value(), ErrorCode::kInvalidModel, "attribute '", node.attributes[0].ref_attr_name,
            "' of the function is not given and has no default");
    const Attribute& a = *given;
    Tensor t;
    if (const auto* tensor = std::get_if<Tensor>(&a.value))
      t = *tensor;
    else if (const auto* i = std::get_if<int64_t>(&a.value))
      t = Tensor::scalar_i64(*i);
    else if (const auto* f = std::get_if<float>(&a.value))
      t = Tensor::from<float>({}, std::span(f, 1));
    else if (const auto* s = std::get_if<std::string>(&a.value))
      t = Tensor::from<std::string>({}, std::span(s, 1));
    else if (const auto* is = std::get_if<std::vector<int64_t>>(&a.value))
      t = Tensor::vector_i64(*is);
    else if (const auto* fs = std::get_if<std::vector<float>>(&a.value))
      t = Tensor::from<float>({static_cast<int64_t>(fs->size())}, *fs);
    else if (const auto* ss = std::get_if<std::vector<std::string>>(&a.value))
      t = Tensor::from<std::string>({static_cast<int64_t>(ss->size())}, *ss);
    else
      fail(ErrorCode::kInvalidModel, "attribute '", node.attributes[0].name, "' is no constant value");
    Value& v = scope.graph.value(scope.names.at(node.outputs[0]));
    // A function's output that is a constant already has a consumer's name; it keeps it.
    v.type = {.dtype = t.dtype()};
    v.constant = std::move(t);
  }

  void import_node(const NodeProto& proto, Scope& scope) {
    require(++node_count_ <= source_.limits.max_nodes, ErrorCode::kLimit,
            "more than max_nodes=", source_.limits.max_nodes, " nodes");
    std::vector<ValueId> inputs, outputs;
    for (std::string_view name : proto.inputs) {
      const std::optional<ValueId> id = name.empty() ? kNoValue : lookup(scope, name);
      require(id.has_value(), ErrorCode::kInvalidModel, "input '", name, "' is not defined");
      inputs.push_back(*id);
    }
    for (std::string_view name : proto.outputs)
      outputs.push_back(name.empty() ? kNoValue : scope.names.at(name));
    if (const FunctionProto* function = find_function(proto)) {
      inline_function(*function, proto, inputs, outputs, scope);
      return;
    }
    Node node;
    node.name = proto.name.empty() ? std::string() : scope.prefix + std::string(proto.name);
    node.domain = normalized_domain(proto.domain);
    node.op_type = proto.op_type;
    node.version = opset(node.domain, scope);
    node.inputs = std::move(inputs);
    node.outputs = std::move(outputs);
    if (const auto refused = refusal(proto, node.version))
      return problems_->add(node, refused->code(), refused->message());
    const int before = problems_->count();
    for (const AttributeProto& a : proto.attributes) {
      Problems inner;
      Problems* const outer = std::exchange(problems_, &inner);
      if (auto attribute = import_attribute(a, scope))
        node.attributes[std::string(a.name)] = std::move(*attribute);
      problems_ = outer;
      problems_->add(node, a.name, inner);
    }
    // What holds such a node in a subgraph cannot be judged.
    if (problems_->count() == before) scope.graph.nodes.push_back(std::move(node));
  }

  static std::optional<Error> refusal(const NodeProto& proto, int64_t version) {
    std::vector<std::string_view> names;
    for (const AttributeProto& a : proto.attributes) names.push_back(a.name);
    size_t outputs = proto.outputs.size();
    while (outputs > 0 && proto.outputs[outputs - 1].empty()) --outputs;
    return check_operator(normalized_domain(proto.domain), proto.op_type, version, names,
                          static_cast<int64_t>(outputs));
  }

  int64_t opset(std::string_view domain, const Scope& scope) const {
    for (const Scope* s = &scope; s; s = s->enclosing)
      if (s->function)
        for (const OperatorSetIdProto& o : s->function->opset_imports)
          if (normalized_domain(o.domain) == domain) return o.version;
    const auto it = opsets_.find(domain);
    // Version 1 is implied by files older than the list of imports, and meant by models that use a domain
    // of one version without importing it.
    require(it != opsets_.end() || !domain.empty() || model_.ir_version < 3, ErrorCode::kInvalidModel,
            "the model does not say which version of the operator set 'ai.onnx' it uses (opset_import)");
    return it == opsets_.end() ? 1 : it->second;
  }

  using FunctionKey = std::tuple<std::string_view, std::string_view, std::string_view>;
  const FunctionProto* find_function(const NodeProto& node) const {
    const auto it = functions_.find({normalized_domain(node.domain), node.op_type, node.overload});
    return it == functions_.end() ? nullptr : it->second;
  }

  void inline_function(const FunctionProto& function, const NodeProto& call,
                       const std::vector<ValueId>& inputs, const std::vector<ValueId>& outputs,
                       Scope& caller) {
    for (const Scope* s = &caller; s; s = s->enclosing ? s->enclosing : s->call_scope)
      require(s->function != &function, ErrorCode::kInvalidModel, "function '", function.name,
              "' of domain '", function.domain, "' calls itself; ONNX functions cannot be recursive");
    require(caller.depth < source_.limits.max_nesting_depth, ErrorCode::kLimit,
            "function calls nested deeper than max_nesting_depth=", source_.limits.max_nesting_depth);
    Scope scope{.graph = caller.graph,
                .enclosing = nullptr,
                .names = {},
                .function = &function,
                .call = &call,
                .call_scope = &caller,
                .prefix = join(caller.prefix, call.name.empty() ? function.name : call.name, "/"),
                .depth = caller.depth + 1};
    require(inputs.size() <= function.inputs.size() && outputs.size() <= function.outputs.size(),
            ErrorCode::kInvalidModel, "more inputs or outputs than function '", function.name, "' declares");
    for (size_t i = 0; i < function.inputs.size(); ++i) {
      const bool fresh =
          scope.names.emplace(function.inputs[i], i < inputs.size() ? inputs[i] : kNoValue).second;
      require(fresh, ErrorCode::kInvalidModel, "function '", function.name, "' has two inputs '",
              function.inputs[i], "'");
    }
    // An output that is an input of the function, or an output twice, is passed on by an Identity.
    std::vector<std::pair<std::string_view, ValueId>> passed;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i] == kNoValue) continue;
      if (scope.names.emplace(function.outputs[i], outputs[i]).second)
        scope.promised.insert(function.outputs[i]);
      else
        passed.emplace_back(function.outputs[i], outputs[i]);
    }
    import_nodes(function.nodes, scope);
    require(scope.promised.empty(), ErrorCode::kInvalidModel, "function '", function.name,
            "' has an output that none of its nodes computes");
    for (const auto& [name, output] : passed) {
      Node identity;
      identity.op_type = "Identity";
      identity.version = kNewestOpset;
      identity.inputs = {lookup(scope, name).value_or(kNoValue)};
      identity.outputs = {output};
      caller.graph.nodes.push_back(std::move(identity));
    }
  }

  // Nothing when it refers to an attribute that the function's caller left out.
  std::optional<Attribute> import_attribute(const AttributeProto& proto, Scope& scope) {
    if (!proto.ref_attr_name.empty()) return resolve_reference(proto.ref_attr_name, scope);
    switch (proto.type) {
      case AttributeType::kFloat: return Attribute{proto.f};
      case AttributeType::kInt: return Attribute{proto.i};
      case AttributeType::kString: return Attribute{std::string(proto.s)};
      case AttributeType::kFloats: return Attribute{proto.floats};
      case AttributeType::kInts: return Attribute{proto.ints};
      case AttributeType::kStrings:
        return Attribute{std::vector<std::string>(proto.strings.begin(), proto.strings.end())};
      case AttributeType::kTensor: return Attribute{counted(decode_tensor(*proto.t, source_))};
      case AttributeType::kSparseTensor:
        return Attribute{counted(decode_sparse_tensor(*proto.sparse_tensor, source_))};
      case AttributeType::kTensors: {
        std::vector<Tensor> tensors;
        for (const TensorProto& t : proto.tensors) tensors.push_back(counted(decode_tensor(t, source_)));
        return Attribute{std::move(tensors)};
      }
      case AttributeType::kTypeProto: return Attribute{parse_type(*proto.tp)};
      case AttributeType::kGraph: {
        auto graph = std::make_shared<Graph>();
        Scope inner{.graph = *graph,
                    .enclosing = &scope,
                    .names = {},
                    .call = scope.call,
                    .call_scope = scope.call_scope,
                    .prefix = {},
                    .depth = scope.depth + 1};
        import_graph(*proto.g, inner);
        return Attribute{std::move(graph)};
      }
      case AttributeType::kUndefined: return Attribute{};
      default:
        fail(ErrorCode::kUnsupported, "attribute '", proto.name, "' of type ", static_cast<int>(proto.type));
    }
  }

  std::optional<Attribute> resolve_reference(std::string_view name, Scope& scope) {
    const Scope* s = &scope;
    while (s && !s->function) s = s->enclosing;
    require(s != nullptr, ErrorCode::kInvalidModel, "attribute reference '", name, "' outside of a function");
    for (const AttributeProto& a : s->call->attributes) {
      if (a.name != name) continue;
      auto value = import_attribute(a, *s->call_scope);
      const auto* graph = value ? std::get_if<std::shared_ptr<Graph>>(&value->value) : nullptr;
      require(graph == nullptr || (*graph)->captures.empty() || &s->call_scope->graph == &scope.graph,
              ErrorCode::kUnsupported, "a graph given as attribute '", name,
              "' is used in a subgraph of the function, and reads values of the caller");
      return value;
    }
    for (const AttributeProto& a : s->function->attribute_protos)
      if (a.name == name) return import_attribute(a, scope);
    return std::nullopt;
  }

  const ModelProto& model_;
  const DataSource& source_;
  Problems* problems_;  // of the graph that is being read
  std::unordered_map<std::string_view, int64_t> opsets_;
  std::map<FunctionKey, const FunctionProto*> functions_;
  int64_t node_count_ = 0;
  int64_t initializer_bytes_ = 0;
};

}  // namespace

Graph import_graph(const ModelProto& model, const DataSource& source, Problems& problems) {
  return Importer(model, source, problems).import();
}

}  // namespace pyinfer::onnx
