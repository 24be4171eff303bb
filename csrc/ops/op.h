// What an operator is: a factory that reads a node's attributes and types at load, and an Op that says
// its output shapes while planning and computes while running. docs/add-an-operator.md walks through one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/parallel.h"
#include "graph/graph.h"
#include "ops/packed_weights.h"
#include "ops/plan_context.h"
#include "ops/run_context.h"

namespace pyinfer {

class Op {
 public:
  virtual ~Op() = default;

  // Says the shape of every output (PlanContext::output ...), the scratch memory, and what may share
  // memory. Called once for a new signature of input shapes; const, and from several threads.
  virtual void plan(PlanContext& ctx) const = 0;

  // Computes. Shapes are those that plan() saw. Const, and from several threads.
  virtual void run(RunContext& ctx) const = 0;

  // False when two runs on the same inputs may differ (random operators): such a node is never folded.
  virtual bool pure() const { return true; }
};

// A subgraph of If, Loop, Scan or SequenceMap, ready to run.
class Body {
 public:
  virtual ~Body() = default;
  virtual const std::vector<ValueType>& output_types() const = 0;
  // Whether all its operators are (Op::pure).
  virtual bool pure() const = 0;
  // For a body without explicit inputs: the shape of each output, where those of the captured values decide
  // it.
  virtual std::vector<std::optional<Shape>> output_shapes(const PlanContext& ctx) const = 0;
  // Runs on explicit inputs; captured outer values are read from `ctx`. A tensor in `outputs` of the right
  // type and shape may be written in place, or be replaced by one that borrows; all other outputs own their
  // storage.
  virtual void run(RunContext& ctx, const std::vector<Object>& inputs,
                   std::vector<Object>& outputs) const = 0;
};

// A node's attribute, or `otherwise` where it has none. Throws Error(kInvalidModel) when it is of another
// type.
float attr_float(const Node& node, std::string_view name, float otherwise);
std::string attr_string(const Node& node, std::string_view name, std::string_view otherwise);

// A node at load, as its factory sees it.
class NodeContext {
 public:
  virtual ~NodeContext();
  NodeContext(const Graph& graph, const Node& node, const Limits& limits,
              std::shared_ptr<PackedWeights> weights);

  const Node& node() const { return node_; }
  const Limits& limits() const { return limits_; }
  int64_t version() const { return node_.version; }

  int num_inputs() const { return static_cast<int>(node_.inputs.size()); }
  int num_outputs() const { return static_cast<int>(node_.outputs.size()); }
  bool has_input(int i) const { return i < num_inputs() && node_.inputs[static_cast<size_t>(i)] != kNoValue; }
  bool has_output(int i) const {
    return i < num_outputs() && node_.outputs[static_cast<size_t>(i)] != kNoValue;
  }
  const ValueType& input_type(int i) const;
  DType dtype(int i) const { return input_type(i).dtype; }  // kUndefined for an omitted input
  // The input's value when it is a constant of the model, else nullptr.
  const Tensor* constant(int i) const;
  // The model's packed constants: what pack() asks, for operators that choose a layout while planning.
  const std::shared_ptr<PackedWeights>& packed_weights() const { return weights_; }
  // Constant input i in a form of the operator's own; see PackedWeights::get.
  PackedWeights::Packed pack(int i, std::string_view layout, int64_t bytes,
                             FunctionRef<void(std::byte*)> fill);
  // Says that the operator holds what it needs of constant input i in a form of its own, so that no later
  // call reads the input's elements: once all its readers have said so, their memory is given back.
  void packed(int i);
  const std::vector<int>& packed() const { return packed_; }
  // The declared shape of an input, when the file has it; a constant's own.
  const std::optional<std::vector<Dim>>& declared_shape(int i) const;
  // Throws unless there are at least `least` and at most `most` inputs and the first `least` are given.
  void expect_inputs(int least, int most) const;
  // Throws Error(kUnsupported) unless input i is a tensor of one of `allowed`.
  void expect_dtype(int i, std::initializer_list<DType> allowed) const;
  // Throws Error(kInvalidModel) unless inputs i and j have the same type.
  void expect_same_dtype(int i, int j) const;

  // Attributes. The first form of each requires the attribute; the second has a default.
  bool has_attr(std::string_view name) const;
  int64_t attr_int(std::string_view name) const;
  int64_t attr_int(std::string_view name, int64_t otherwise) const;
  float attr_float(std::string_view name) const;
  float attr_float(std::string_view name, float otherwise) const;
  std::string attr_string(std::string_view name) const;
  std::string attr_string(std::string_view name, std::string_view otherwise) const;
  std::vector<int64_t> attr_ints(std::string_view name) const;  // empty when absent
  std::vector<float> attr_floats(std::string_view name) const;  // empty when absent
  std::vector<std::string> attr_strings(std::string_view name) const;
  const Tensor* attr_tensor(std::string_view name) const;  // nullptr when absent
  const std::vector<Tensor>* attr_tensors(std::string_view name) const;
  const ValueType* attr_type(std::string_view name) const;
  // Element type named by an integer attribute; throws for a number that is none.
  DType attr_dtype(std::string_view name, DType otherwise) const;

  // The types of the outputs; a factory sets each output that exists.
  void output(int i, DType dtype) { output(i, ValueType{.dtype = dtype}); }
  void output(int i, const ValueType& type);
  const std::vector<ValueType>& output_types() const { return output_types_; }

  // Lowers the subgraph of attribute `name`; its explicit inputs take `input_types`.
  virtual std::unique_ptr<Body> body(std::string_view name, const std::vector<ValueType>& input_types) = 0;
  // The subgraph of attribute `name`, or nullptr.
  const Graph* attr_graph(std::string_view name) const;

  // Throws Error(kUnsupported).
  template <class... Args>
  [[noreturn]] void unsupported(const Args&... args) const {
    fail(ErrorCode::kUnsupported, args...);
  }

 protected:
  const Graph& graph_;
  const Node& node_;
  const Limits& limits_;

 private:
  const std::shared_ptr<PackedWeights> weights_;
  std::vector<ValueType> output_types_;
  std::vector<int> packed_;
};

using Factory = std::unique_ptr<Op> (*)(NodeContext& ctx);

struct OpDef {
  std::string_view domain;
  std::string_view name;
  int since_version;  // the oldest operator set whose meaning the factory implements (after import's upgrade)
  Factory make;
};

}  // namespace pyinfer
