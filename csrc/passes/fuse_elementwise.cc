// Elementwise operators that read one another become one step, Elementwise of the domain pyinfer:
//   y = f(g(x), h(x, b)) ...
// so that what lies between them stays in the first cache. To the bit.
// A group has one result; what it swallows is float32, read by the group alone, and certain to have the shape
// of the result: nothing is computed more often than before. What follows from shapes alone is left out: it
// is computed while planning.
#include <algorithm>
#include <set>

#include "graph/value_facts.h"
#include "ops/elementwise_kinds.h"
#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

constexpr size_t kMostNodes = 32, kMostInputs = 8;
constexpr size_t kNamed = 6;  // operators in the label of the step

// An operator as an instruction of Elementwise.
struct Call {
  std::string op;
  size_t operands;
  UnaryParams params;
};

std::optional<Call> call_of(const GraphEdit& edit, const Node& node) {
  if (!node.domain.empty() || node.outputs.size() != 1) return std::nullopt;
  if (binary_kind(node.op_type))
    return node.inputs.size() == 2 ? std::optional(Call{node.op_type, 2, {}}) : std::nullopt;
  if (is_op(node, "Clip")) {
    const auto bounds = clip_bounds(edit, node);
    return bounds ? std::optional(Call{node.op_type, 1, {bounds->low, bounds->high}}) : std::nullopt;
  }
  try {
    const auto call = unary_call(node);
    if (!call || node.inputs.size() != 1) return std::nullopt;
    return Call{std::string(call->name), 1, call->params};
  } catch (const Error&) {
    return std::nullopt;  // reported when the graph is lowered
  }
}

class Groups {
 public:
  Groups(GraphEdit& edit, bool main) : edit_(edit), shapes_(edit, main), types_(edit.graph(), main) {
    const size_t values = edit.graph().values.size();
    from_data_.resize(values, false);
    for (ValueId id : edit.graph().inputs) from_data_[static_cast<size_t>(id)] = true;
    for (const Capture& c : edit.graph().captures) from_data_[static_cast<size_t>(c.inner)] = true;
    for (size_t i = 0; i < values; ++i) like_.push_back(static_cast<ValueId>(i));
    for (NodeId n = 0; n < edit.num_nodes(); ++n) calls_.push_back(learn(edit.node(n)));
  }

  void run() {
    for (NodeId n = edit_.num_nodes() - 1; n >= 0; --n) {
      if (edit_.removed(n) || !call(n)) continue;
      const std::set<NodeId> group = grow(n);
      if (group.size() > 1) fuse(n, group);
    }
  }

 private:
  // Nodes are numbered so that producers come first, and stay so: a fused one takes the place of the last.
  std::optional<Call> learn(const Node& node) {
    types_.learn(edit_.graph(), node);
    const std::vector<ValueId> inputs = all_inputs(node);
    const bool data =
        !is_op(node, "Shape") && !is_op(node, "Size") && std::ranges::any_of(inputs, [&](ValueId id) {
          return id != kNoValue && from_data_[static_cast<size_t>(id)];
        });
    for (ValueId id : node.outputs)
      if (id != kNoValue) from_data_[static_cast<size_t>(id)] = data;
    const auto call = call_of(edit_, node);
    if (!call) return std::nullopt;
    const ValueId y = node.outputs[0], a = node.inputs[0];
    if (call->operands == 1 || same(a, node.inputs[1]) || shapes_.rank(node.inputs[1]) == 0)
      like_[static_cast<size_t>(y)] = like(a);
    else if (shapes_.rank(a) == 0)
      like_[static_cast<size_t>(y)] = like(node.inputs[1]);
    const bool slope = call->op == "PRelu";  // which does not widen the other operand
    return data && floats(node, *call) && !(slope && !same(a, y)) ? call : std::nullopt;
  }

  // Operands of an unknown type have that of the result, or the graph cannot be lowered; but an exponent may
  // have a type of its own.
  bool floats(const Node& node, const Call& call) const {
    if (types_.of(node.outputs[0]).dtype != DType::kFloat32) return false;
    for (size_t i = 0; i < call.operands; ++i) {
      const DType type = types_.of(node.inputs[i]).dtype;
      const bool open = type == DType::kUndefined && call.op != "Pow";
      if (type != DType::kFloat32 && !open) return false;
    }
    return true;
  }

  const std::optional<Call>& call(NodeId n) const { return calls_[static_cast<size_t>(n)]; }
  ValueId like(ValueId id) const { return like_[static_cast<size_t>(id)]; }
  bool same(ValueId a, ValueId b) const { return like(a) == like(b) || shapes_.same(like(a), like(b)); }

  std::set<NodeId> grow(NodeId last) const {
    std::set<NodeId> group{last}, candidates;
    const auto add_producers = [&](NodeId n) {
      for (size_t i = 0; i < call(n)->operands; ++i)
        if (const NodeId p = edit_.producer(edit_.node(n).inputs[i]); p != kNoNode) candidates.insert(p);
    };
    add_producers(last);
    // The latest first: by then all that may read it are in the group.
    while (!candidates.empty() && group.size() < kMostNodes) {
      const NodeId n = *candidates.rbegin();
      candidates.erase(n);
      if (!belongs(n, last, group)) continue;
      const int64_t held = held_by(inputs_of(group), last);
      group.insert(n);
      const std::vector<ValueId> inputs = inputs_of(group);
      if (inputs.size() <= kMostInputs && (held_by(inputs, last) <= held || adjoins(n, last, group)))
        add_producers(n);
      else
        group.erase(n);
    }
    return group;
  }

  bool belongs(NodeId n, NodeId last, const std::set<NodeId>& group) const {
    if (edit_.removed(n) || !call(n)) return false;
    const ValueId y = edit_.node(n).outputs[0];
    return !edit_.is_output(y) && same(y, edit_.node(last).outputs[0]) &&
           std::ranges::all_of(edit_.readers(y), [&](NodeId r) { return group.contains(r); });
  }

  // How many of the inputs take as much memory as the result, until it is computed.
  int64_t held_by(const std::vector<ValueId>& inputs, NodeId last) const {
    return std::ranges::count_if(inputs, [&](ValueId id) {
      return !edit_.graph().is_constant(id) && same(id, edit_.node(last).outputs[0]);
    });
  }
  // Whether only nodes of the group run between n and the last: else what n reads would be held for longer,
  // in place of what it computes.
  bool adjoins(NodeId n, NodeId last, const std::set<NodeId>& group) const {
    for (NodeId m = n + 1; m < last; ++m)
      if (!edit_.removed(m) && !group.contains(m)) return false;
    return true;
  }

  // Operand i, when it is a number that may stand in the program: the other one has the shape of the result.
  const Tensor* number(const Node& node, size_t i) const {
    const Tensor* t = node.inputs.size() == 2 ? constant_input(edit_, node, i) : nullptr;
    if (t == nullptr || t->count() != 1 || t->dtype() != DType::kFloat32) return nullptr;
    if (is_op(node, "PRelu") && i == 0) return nullptr;  // its slope never has more dimensions
    return t->shape().rank() <= std::max(shapes_.rank(like(node.inputs[1 - i])), 0) ? t : nullptr;
  }

  // What the group reads from outside, numbers left out.
  std::vector<ValueId> inputs_of(const std::set<NodeId>& group) const {
    std::vector<ValueId> inputs;
    for (NodeId n : group) {
      const Node& node = edit_.node(n);
      for (size_t i = 0; i < call(n)->operands; ++i) {
        const ValueId id = node.inputs[i];
        const bool inside = edit_.producer(id) != kNoNode && group.contains(edit_.producer(id));
        if (!inside && !number(node, i) && std::ranges::find(inputs, id) == inputs.end())
          inputs.push_back(id);
      }
    }
    return inputs;
  }

  void fuse(NodeId last, const std::set<NodeId>& group) {
    std::vector<ValueId> values = inputs_of(group);
    const std::vector<ValueId> inputs = values;
    std::vector<std::string> ops;
    std::vector<int64_t> operands;
    std::vector<float> params;
    std::string label;
    for (NodeId n : group) {
      const Node& node = edit_.node(n);
      UnaryParams p = call(n)->params;
      for (size_t i = 0; i < 2; ++i) {
        const Tensor* c = i < call(n)->operands ? number(node, i) : nullptr;
        if (c != nullptr) p.a = *c->as<float>();
        const bool value = i < call(n)->operands && c == nullptr;
        operands.push_back(value ? std::ranges::find(values, node.inputs[i]) - values.begin() : -1);
      }
      params.insert(params.end(), {p.a, p.b});
      if (ops.size() < kNamed) label += join(ops.empty() ? "" : ", ", call(n)->op);
      ops.push_back(call(n)->op);
      values.push_back(node.outputs[0]);
    }
    if (ops.size() > kNamed) label += " ...";
    for (NodeId n : group)
      if (n != last) edit_.remove_node(n);
    edit_.set_inputs(last, inputs);
    Node& node = edit_.node(last);
    node.name += node.name.empty() ? label : join(": ", label);
    node.domain = "pyinfer";
    node.op_type = "Elementwise";
    node.version = 1;
    node.attributes = {
        {"ops", Attribute{ops}}, {"operands", Attribute{operands}}, {"params", Attribute{params}}};
  }

  GraphEdit& edit_;
  ShapeFacts shapes_;
  ValueFacts types_;
  std::vector<bool> from_data_;             // by value: whether it depends on more than shapes
  std::vector<ValueId> like_;               // by value: one that has its shape, whatever that is
  std::vector<std::optional<Call>> calls_;  // by node; nothing for those that belong to no group
};

}  // namespace

void fuse_elementwise(GraphEdit& edit, const PassContext& ctx) {
  Groups(edit, !ctx.subgraph).run();
}

}  // namespace pyinfer
