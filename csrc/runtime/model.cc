#include "runtime/model.h"

#include "base/mapped_file.h"
#include "base/math.h"
#include "onnx/external_data.h"
#include "onnx/importer.h"
#include "passes/pipeline.h"
#include "runtime/lower.h"

namespace pyinfer {
namespace {

ModelInfo info_of(const onnx::ModelProto& proto) {
  ModelInfo info;
  info.ir_version = proto.ir_version;
  info.model_version = proto.model_version;
  info.producer_name = proto.producer_name;
  info.producer_version = proto.producer_version;
  info.domain = proto.domain;
  info.doc_string = proto.doc_string;
  info.graph_name = proto.graph.name;
  for (const auto& o : proto.opset_imports) info.opset_imports[std::string(o.domain)] = o.version;
  for (const auto& [key, value] : proto.metadata_props) info.metadata[std::string(key)] = value;
  return info;
}

std::vector<ValueSpec> specs(const Graph& graph, const std::vector<ValueId>& ids) {
  std::vector<ValueSpec> list;
  for (ValueId id : ids) list.push_back({graph.value(id).name, graph.value(id).type, graph.value(id).shape});
  return list;
}

ModelSummary summarize(const Graph& graph) {
  ModelSummary s;
  for (const Node& node : graph.nodes)
    ++s.operators[node.domain.empty() ? node.op_type : join(node.domain, ".", node.op_type)];
  for (const Value& v : graph.values) {
    if (v.constant.empty()) continue;
    s.parameters += v.constant.count();
    s.parameter_bytes += static_cast<int64_t>(v.constant.bytes());
  }
  return s;
}

void check_limits(const Object& given, const std::string& name, const Limits& limits) {
  const TensorView& view = given.tensor.view();
  const auto bytes = static_cast<int64_t>(view.bytes());
  require(bytes <= limits.max_tensor_bytes, ErrorCode::kLimit, "input '", name, "': a tensor of ", bytes,
          " bytes, over max_tensor_bytes=", limits.max_tensor_bytes);
  const int64_t longest = view.longest_string();
  require(longest <= limits.max_string_bytes, ErrorCode::kLimit, "input '", name, "': a string of ", longest,
          " bytes, over max_string_bytes=", limits.max_string_bytes);
  for (const Object& item : given.items) check_limits(item, name, limits);
}

bool fits(const std::vector<Dim>& dims, const Shape& shape) {
  if (shape.rank() != static_cast<int>(dims.size())) return false;
  for (size_t d = 0; d < dims.size(); ++d)
    if (dims[d].value >= 0 && dims[d].value != shape[static_cast<int>(d)]) return false;
  return true;
}

std::string str(const std::vector<Dim>& dims) {
  std::string s;
  for (const Dim& d : dims) {
    const std::string unknown = d.symbol.empty() ? "?" : d.symbol;
    s += join(s.empty() ? "" : ", ", d.value >= 0 ? std::to_string(d.value) : unknown);
  }
  return join("[", s, "]");
}

}  // namespace

std::unique_ptr<Model> Model::load_bytes(std::span<const std::byte> bytes,
                                         std::shared_ptr<const void> keep_alive, const LoadOptions& options) {
  const RunGuard guard(nullptr);  // of the loops that constant folding runs
  std::unique_ptr<Model> model(new Model(options));
  const onnx::ModelProto proto = onnx::parse_model(bytes, model->limits_);
  onnx::ExternalData external({}, options.external_data_root);
  Problems problems;
  Graph graph = model->read(proto, {model->limits_, std::move(keep_alive), &external}, options, problems);
  external.release();
  model->build(std::move(graph), std::move(problems),
               [&](const Tensor& t) { external.release(t.view().data, t.bytes()); });
  return model;
}

std::unique_ptr<Model> Model::load_file(const std::string& path, const LoadOptions& options) {
  const RunGuard guard(nullptr);
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  std::unique_ptr<Model> model(new Model(options));
  const onnx::ModelProto proto = onnx::parse_model(file->bytes(), model->limits_);
  onnx::ExternalData external(onnx::ExternalData::folder_of(path), options.external_data_root);
  Problems problems;
  Graph graph = model->read(proto, {model->limits_, file, &external, file.get()}, options, problems);
  // What passes have read and replaced would stay in memory beside what took its place.
  file->release(file->bytes().data(), file->bytes().size());
  external.release();
  model->build(std::move(graph), std::move(problems), [&](const Tensor& t) {
    file->release(t.view().data, t.bytes());
    external.release(t.view().data, t.bytes());
  });
  return model;
}

Graph Model::read(const onnx::ModelProto& proto, const onnx::DataSource& source, const LoadOptions& options,
                  Problems& problems) {
  info_ = info_of(proto);
  Graph graph = onnx::import_graph(proto, source, problems);
  // Names and declared dimensions as in the file: passes may replace the values behind them.
  inputs_ = specs(graph, graph.inputs);
  outputs_ = specs(graph, graph.outputs);
  // Around a node that is missing, passes would remove others that are to be named.
  if (problems.count() == 0)
    run_passes(graph, {{options.disabled_passes.begin(), options.disabled_passes.end()}, limits_});
  dump_ = pyinfer::dump(graph);
  summary_ = summarize(graph);
  return graph;
}

void Model::build(Graph graph, Problems problems, const ReleaseConstant& release) {
  Program program = lower(graph, limits_, pool_, release, std::move(problems));
  for (size_t i = 0; i < outputs_.size(); ++i) outputs_[i].type = graph.value(graph.outputs[i]).type;
  executor_ = std::make_unique<Executor>(std::move(program), limits_, pool_);
}

void Model::check(const std::vector<Object>& inputs) const {
  require(inputs.size() == inputs_.size(), ErrorCode::kInvalidInput, "expected ", inputs_.size(),
          " inputs, got ", inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ValueSpec& spec = inputs_[i];
    const Object& given = inputs[i];
    if (given.kind == Object::Kind::kAbsent && spec.type.optional) continue;
    const auto expected = spec.type.sequence                       ? Object::Kind::kSequence
                          : spec.type.map_key != DType::kUndefined ? Object::Kind::kMap
                                                                   : Object::Kind::kTensor;
    require(given.kind == expected, ErrorCode::kInvalidInput, "input '", spec.name, "': expected ", spec.type,
            ", got a value of another kind");
    check_limits(given, spec.name, limits_);
    if (expected != Object::Kind::kTensor) continue;
    const TensorView& view = given.tensor.view();
    require(view.dtype == spec.type.dtype, ErrorCode::kInvalidInput, "input '", spec.name, "': expected ",
            spec.type, ", got ", dtype_name(view.dtype));
    if (!spec.shape) continue;
    if (!fits(*spec.shape, view.shape))
      fail(ErrorCode::kInvalidInput, "input '", spec.name, "': expected shape ", str(*spec.shape), ", got ",
           view.shape);
  }
}

std::optional<PlanSummary> Model::plan_summary(const std::map<std::string, std::vector<int64_t>>& shapes) {
  std::vector<Shape> input_shapes;
  bool guessed = false;
  for (const ValueSpec& spec : inputs_) {
    if (!spec.type.is_tensor()) continue;
    if (const auto it = shapes.find(spec.name); it != shapes.end()) {
      const Shape& given = input_shapes.emplace_back(std::span<const int64_t>(it->second));
      const auto bytes = checked_mul(given.count(), static_cast<int64_t>(dtype_size(spec.type.dtype)));
      require(bytes && *bytes <= limits_.max_tensor_bytes, ErrorCode::kLimit, "input '", spec.name,
              "' of shape ", given, " would exceed max_tensor_bytes=", limits_.max_tensor_bytes);
      continue;
    }
    if (!spec.shape) return std::nullopt;
    Shape shape;
    for (const Dim& d : *spec.shape) {
      guessed |= d.value < 0;
      shape.push_back(d.value >= 0 ? d.value : 1);
    }
    input_shapes.push_back(shape);
  }
  std::shared_ptr<const Segment> segment;
  try {
    segment = executor_->plan(input_shapes);
  } catch (const Error& e) {
    // A length of 1 may not fit the others, but it asks for little: what is too large was given.
    if (guessed && (e.code() != ErrorCode::kLimit || shapes.empty())) return std::nullopt;
    throw;
  }
  if (!segment->needs.empty()) return std::nullopt;
  return PlanSummary{static_cast<int64_t>(segment->steps.size()), segment->arena_bytes, segment->flops};
}

void Model::run(const std::vector<Object>& inputs, std::vector<Object>& outputs, RunGuard::Poll poll) {
  const RunGuard guard(poll);
  check(inputs);
  executor_->run(inputs, outputs);
}

}  // namespace pyinfer
