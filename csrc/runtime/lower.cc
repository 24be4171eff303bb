#include "runtime/lower.h"

#include <algorithm>

#include "ops/registry.h"
#include "runtime/executor.h"

namespace pyinfer {
namespace {

// A subgraph with an executor of its own. Its captured values are inputs of the step that holds it.
class LoweredBody final : public Body {
 public:
  LoweredBody(Program program, size_t explicit_inputs, int first_capture, const Limits& limits,
              Parallel& parallel)
      : executor_(std::move(program), limits, parallel),
        explicit_inputs_(explicit_inputs),
        first_capture_(first_capture) {
    for (ValueId id : executor_.program().outputs)
      output_types_.push_back(executor_.program().types[static_cast<size_t>(id)]);
  }

  const std::vector<ValueType>& output_types() const override { return output_types_; }
  bool pure() const override {
    return std::ranges::all_of(executor_.program().steps, [](const ProgramStep& s) { return s.op->pure(); });
  }

  std::vector<std::optional<Shape>> output_shapes(const PlanContext& ctx) const override {
    std::vector<std::optional<Shape>> unknown(output_types_.size());
    std::vector<Shape> shapes;
    const std::vector<ValueId>& captures = executor_.program().inputs;
    for (size_t i = 0; i < captures.size(); ++i) {
      const int at = first_capture_ + static_cast<int>(i);
      if (!executor_.program().types[static_cast<size_t>(captures[i])].is_tensor()) continue;
      if (!ctx.shape_known(at)) return unknown;
      shapes.push_back(ctx.shape(at));
    }
    try {
      return executor_.output_shapes(shapes);
    } catch (const Error&) {
      return unknown;  // a branch that does not fit these shapes may never run; one that runs reports it
    }
  }

  void run(RunContext& ctx, const std::vector<Object>& inputs, std::vector<Object>& outputs) const override {
    std::vector<Object> all = inputs;
    all.resize(explicit_inputs_);
    const size_t captures = executor_.program().inputs.size() - explicit_inputs_;
    for (size_t i = 0; i < captures; ++i) {
      const int at = first_capture_ + static_cast<int>(i);
      // The captured bytes outlive the body's run, so borrowing them is safe; outputs that borrow are copied
      // below.
      const Object& object = ctx.object_ref(at);
      all.push_back(object.kind != Object::Kind::kAbsent || ctx.in(at).dtype == DType::kUndefined
                        ? object
                        : Object::of(Tensor(ctx.in(at).dtype, ctx.in(at).shape, ctx.in(at).data, nullptr)));
    }
    std::vector<bool> given;
    for (const Object& o : outputs) given.push_back(o.kind == Object::Kind::kTensor);
    executor_.run(all, outputs);
    given.resize(outputs.size(), false);
    HeldBytes held(ctx.limits().max_total_bytes);
    for (size_t i = 0; i < outputs.size(); ++i) {
      Tensor& t = outputs[i].tensor;
      if (given[i] || outputs[i].kind != Object::Kind::kTensor || t.storage() != nullptr) continue;
      held.add(static_cast<int64_t>(t.bytes()) + t.view().string_bytes());
      t = Tensor::copy_of(t.view());
    }
  }

 private:
  mutable Executor executor_;
  size_t explicit_inputs_;
  int first_capture_;
  std::vector<ValueType> output_types_;
};

// A subgraph with nodes that cannot be run, for the step that holds it, which cannot be either.
class RefusedBody final : public Body {
 public:
  explicit RefusedBody(size_t outputs) : output_types_(outputs) {}
  const std::vector<ValueType>& output_types() const override { return output_types_; }
  bool pure() const override { return false; }
  std::vector<std::optional<Shape>> output_shapes(const PlanContext&) const override {
    return std::vector<std::optional<Shape>>(output_types_.size());
  }
  void run(RunContext&, const std::vector<Object>&, std::vector<Object>&) const override {
    fail(ErrorCode::kInternal, "a subgraph that was refused");
  }

 private:
  std::vector<ValueType> output_types_;
};

// What a graph and all its subgraphs are lowered with.
struct Lowering {
  const Limits& limits;
  Parallel& parallel;
  const ReleaseConstant& release;
  std::shared_ptr<PackedWeights> weights;
};
Program lower_nodes(Graph& graph, const Lowering& with, Problems& problems);

class LoweringContext final : public NodeContext {
 public:
  LoweringContext(const Graph& graph, const Node& node, const Lowering& with, Problems& problems)
      : NodeContext(graph, node, with.limits, with.weights), with_(with), problems_(problems) {}

  std::unique_ptr<Body> body(std::string_view name, const std::vector<ValueType>& input_types) override {
    int first_capture = num_inputs();
    for (const auto& [attribute_name, attribute] : node_.attributes) {
      const auto* g = std::get_if<std::shared_ptr<Graph>>(&attribute.value);
      if (!g) continue;
      if (attribute_name != name) {
        first_capture += static_cast<int>((*g)->captures.size());
        continue;
      }
      Graph& sub = **g;
      require(sub.inputs.size() == input_types.size(), ErrorCode::kInvalidModel, "subgraph '", name, "' has ",
              sub.inputs.size(), " inputs, expected ", input_types.size());
      for (size_t i = 0; i < input_types.size(); ++i)
        if (input_types[i].known()) sub.value(sub.inputs[i]).type = input_types[i];
      for (const Capture& c : sub.captures) sub.value(c.inner).type = graph_.value(c.outer).type;
      Problems inner;
      Program program = lower_nodes(sub, with_, inner);
      problems_.add(node_, name, inner);
      if (inner.count() > 0) return std::make_unique<RefusedBody>(sub.outputs.size());
      return std::make_unique<LoweredBody>(std::move(program), sub.inputs.size(), first_capture, limits_,
                                           with_.parallel);
    }
    fail(ErrorCode::kInvalidModel, "subgraph '", name, "' is missing");
  }

 private:
  const Lowering& with_;
  Problems& problems_;
};

// Gives back the elements of constants that all their readers hold in forms of their own.
class PackedConstants {
 public:
  explicit PackedConstants(const Graph& graph) : readers_(graph.values.size()) {
    for (const Node& node : graph.nodes)
      for (ValueId id : all_inputs(node))
        if (id != kNoValue) ++readers_[static_cast<size_t>(id)];
    for (ValueId id : graph.outputs) ++readers_[static_cast<size_t>(id)];
  }

  // An input that is named twice counts twice.
  void packed(Graph& graph, ValueId id, const ReleaseConstant& release) {
    if (--readers_[static_cast<size_t>(id)] > 0) return;
    Tensor& constant = graph.value(id).constant;
    if (release) release(constant);
    constant = constant.without_data();
  }

 private:
  std::vector<int64_t> readers_;  // by value
};

std::string types_str(const Graph& graph, const Node& node) {
  std::string s;
  for (ValueId id : node.inputs)
    s += join(s.empty() ? "" : ", ", id == kNoValue ? "-" : graph.value(id).type.str());
  return s;
}

// Why `node` has no definition, and what to do about it.
std::string unknown_op(const Node& node) {
  for (const OpDef& def : all_ops())
    if (def.domain == node.domain && def.name == node.op_type)
      return join("not supported at this version of the operator set (since ", def.since_version,
                  "); convert the model with onnx.version_converter");
  if (node.domain == "com.microsoft.nchwc")
    return "a layout that ONNX Runtime chooses for one CPU; save the optimised model at ORT_ENABLE_EXTENDED";
  const bool standard = node.domain.empty() || node.domain == "ai.onnx.ml" || node.domain == "com.microsoft";
  return standard
             ? std::string("no such operator is known to this version of pyinfer; replace it in the model")
             : join("custom domain '", node.domain, "'; add its definition to the model as a local function");
}

bool inputs_known(const Graph& graph, const Node& node) {
  const std::vector<ValueId> ids = all_inputs(node);
  return std::all_of(ids.begin(), ids.end(),
                     [&](ValueId id) { return id == kNoValue || graph.value(id).type.known(); });
}

Program lower_nodes(Graph& graph, const Lowering& with, Problems& problems) {
  Program program;
  PackedConstants constants(graph);
  for (Node& node : graph.nodes) {
    // After a node that failed, what depends on it cannot be judged.
    if (!inputs_known(graph, node)) continue;
    const OpDef* def = find_op(node.domain, node.op_type, node.version);
    if (def == nullptr) {
      problems.add(node, ErrorCode::kUnsupported, unknown_op(node), types_str(graph, node));
      continue;
    }
    const int before = problems.count();
    try {
      LoweringContext ctx(graph, node, with, problems);
      ProgramStep step{def->make(ctx), node.str(), all_inputs(node), node.outputs};
      if (problems.count() > before) continue;
      for (size_t i = 0; i < node.outputs.size(); ++i)
        if (node.outputs[i] != kNoValue) graph.value(node.outputs[i]).type = ctx.output_types()[i];
      program.steps.push_back(std::move(step));
      for (int i : ctx.packed()) constants.packed(graph, node.inputs[static_cast<size_t>(i)], with.release);
    } catch (const Error& e) {
      // What is said of a node with such a subgraph follows from that one.
      if (problems.count() == before) problems.add(node, e.code(), e.message(), types_str(graph, node));
    }
  }
  if (problems.count() > 0) return program;
  for (ValueId id : graph.outputs)
    require(graph.value(id).type.known(), ErrorCode::kInvalidModel, "output '", graph.value(id).name,
            "' is never computed");
  for (const Value& v : graph.values) {
    program.types.push_back(v.type);
    program.constants.push_back(v.constant);
  }
  program.inputs = graph.inputs;
  for (const Capture& c : graph.captures) program.inputs.push_back(c.inner);
  program.outputs = graph.outputs;
  return program;
}

}  // namespace

Program lower(Graph& graph, const Limits& limits, Parallel& parallel, const ReleaseConstant& release,
              Problems problems) {
  const Lowering with{limits, parallel, release,
                      std::make_shared<PackedWeights>(limits.max_initializer_bytes)};
  Program program = lower_nodes(graph, with, problems);
  problems.check();
  return program;
}

}  // namespace pyinfer
