// Over the last dimensions, with or without scale and bias, up to rounding:
//   d / sqrt(mean d^2 + epsilon) * scale + bias, where d = x - mean x,  = LayerNormalization(x, scale, bias);
//   x / sqrt(mean x^2 + epsilon) * scale                                = RMSNormalization(x, scale).
// The scale may also stand on the dividend or on the reciprocal of the root. Keras takes the first for an
// affine map of x: x r + (bias - r mean x), where r = scale / sqrt(mean d^2 + epsilon). Between the nodes,
// torch casts to the type that values have anyway.
#include <algorithm>

#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

struct Norm {
  ValueId x = kNoValue, scale = kNoValue, bias = kNoValue;
  int64_t axes = 0;  // the last so many dimensions
  float epsilon = 0.0f;
  DType dtype = DType::kUndefined;
  bool centered = false;
  std::vector<NodeId> nodes;  // that spell it out; the first computes the result
};

// How many of the last dimensions a reduction takes, when it is just those and keeps their place; else 0.
int64_t last_axes(const GraphEdit& edit, const ShapeFacts& facts, const Node& node) {
  auto axes = constant_dims(edit, node, 1);
  const auto* keep = attribute<int64_t>(node, "keepdims");
  if (!axes || axes->empty() || (keep && *keep == 0)) return 0;
  const int rank = facts.rank(node.inputs[0]);
  if (rank >= 0 && static_cast<int64_t>(axes->size()) > rank) return 0;
  for (int64_t& axis : *axes) {
    if (axis >= std::max(rank, 0)) return 0;
    if (axis >= 0) axis -= rank;
  }
  std::ranges::sort(*axes, std::greater());
  for (size_t i = 0; i < axes->size(); ++i)
    if ((*axes)[i] != -1 - static_cast<int64_t>(i)) return 0;
  return static_cast<int64_t>(axes->size());
}

// Takes a pattern apart from its last node. Each question says whether a value is what its name says, and if
// so takes the nodes that compute it into the pattern.
class Pattern {
 public:
  Pattern(const GraphEdit& edit, const ShapeFacts& facts) : edit_(edit), facts_(facts) {}

  std::optional<Norm> match(NodeId root) {
    const Node& node = edit_.node(root);
    if (!is_op(node, "Div") && !is_op(node, "Mul") && !is_op(node, "Add")) return std::nullopt;
    for (size_t i : {0u, 1u}) {
      const ValueId a = node.inputs[i], b = node.inputs[1 - i];
      norm_ = {.nodes = {root}};
      const bool found = is_op(node, "Add")   ? affine(a, b)
                         : is_op(node, "Mul") ? scaled_inverse(b) && dividend(a)
                                              : i == 0 && deviation(b) && dividend(a);
      if (found && is_sound()) return extended();
    }
    return std::nullopt;
  }

 private:
  const Node* take(ValueId id, std::string_view op_type) {
    const Node* node = producer_of(edit_, id, op_type);
    if (node == nullptr || node->inputs.size() > 2) return nullptr;
    norm_.nodes.push_back(edit_.producer(id));
    return node;
  }
  // Whether the question is answered with yes; else its nodes are none of the pattern.
  template <class Question>
  bool attempt(Question question) {
    const size_t count = norm_.nodes.size();
    if (question()) return true;
    norm_.nodes.resize(count);
    return false;
  }
  // At least so many: what is normalized has a last dimension.
  int64_t rank(ValueId id) const { return std::max(facts_.rank(id), 1); }

  // v when id = mean v, over the dimensions of the other means of the pattern.
  ValueId mean(ValueId id) {
    const Node* node = take(id, "ReduceMean");
    const int64_t axes = node ? last_axes(edit_, facts_, *node) : 0;
    if (axes == 0 || (norm_.axes != 0 && norm_.axes != axes)) return kNoValue;
    norm_.axes = axes;
    return node->inputs[0];
  }

  // v when id = v - mean v.
  ValueId centered(ValueId id) {
    const Node* sub = take(id, "Sub");
    return sub != nullptr && mean(sub->inputs[1]) == sub->inputs[0] ? sub->inputs[0] : kNoValue;
  }

  // v when id is v, cast to the type of the pattern. Where v turns out to be of that type, they are the same.
  ValueId before_cast(ValueId id) {
    return casts(producer_of(edit_, id, "Cast")) ? take(id, "Cast")->inputs[0] : kNoValue;
  }
  bool casts(const Node* node) const {
    const auto* to = node && is_op(*node, "Cast") ? attribute<int64_t>(*node, "to") : nullptr;
    return to != nullptr && *to == static_cast<int64_t>(norm_.dtype);
  }

  // v when id = v^2.
  ValueId root_of(ValueId id) {
    if (const Node* mul = take(id, "Mul"))
      return mul->inputs[0] == mul->inputs[1] ? mul->inputs[0] : kNoValue;
    return power(id, 2.0);
  }

  // v when id = Pow(v, wanted).
  ValueId power(ValueId id, double wanted) {
    const Node* pow = producer_of(edit_, id, "Pow");
    if (pow == nullptr || exponent(edit_, *pow, rank(pow->inputs[0])) != wanted) return kNoValue;
    return take(id, "Pow")->inputs[0];
  }

  // mean d^2 + epsilon: says what d and x are.
  bool variance(ValueId id) {
    const Node* add = take(id, "Add");
    for (size_t i = 0; add != nullptr && i < 2; ++i) {
      const auto epsilon = scalar_value(edit_, add->inputs[i], rank(add->inputs[1 - i]));
      if (!epsilon) continue;
      norm_.epsilon = static_cast<float>(*epsilon);
      norm_.dtype = edit_.graph().value(add->inputs[i]).constant.dtype();
      norm_.x = root_of(mean(add->inputs[1 - i]));
      // The attribute is float32.
      if (norm_.x == kNoValue || static_cast<double>(norm_.epsilon) != *epsilon) return false;
      ValueId x = kNoValue;
      norm_.centered = attempt([&] { return (x = centered(norm_.x)) != kNoValue; }) ||
                       attempt([&] { return (x = centered(before_cast(norm_.x))) != kNoValue; });
      if (norm_.centered) norm_.x = x;
      return true;
    }
    return false;
  }

  // sqrt(mean d^2 + epsilon)
  bool deviation(ValueId id) {
    const Node* sqrt = take(id, "Sqrt");
    return variance(sqrt ? sqrt->inputs[0] : power(id, 0.5));
  }

  bool inverse(ValueId id) {
    if (const Node* reciprocal = take(id, "Reciprocal")) return deviation(reciprocal->inputs[0]);
    if (const Node* div = take(id, "Div"))
      return scalar_value(edit_, div->inputs[0], rank(div->inputs[1])) == 1.0 && deviation(div->inputs[1]);
    return variance(power(id, -0.5));
  }

  // part, or part * scale
  template <class Part>
  bool maybe_scaled(ValueId id, Part part) {
    if (attempt([&] { return part(id); })) return true;
    const Node* mul = norm_.scale == kNoValue ? take(id, "Mul") : nullptr;
    for (size_t i = 0; mul != nullptr && i < 2; ++i) {
      if (!attempt([&] { return part(mul->inputs[i]); })) continue;
      norm_.scale = mul->inputs[1 - i];
      return true;
    }
    return false;
  }

  bool scaled_inverse(ValueId id) {
    return maybe_scaled(id, [&](ValueId v) { return inverse(v); });
  }
  bool dividend(ValueId id) {
    return maybe_scaled(id, [&](ValueId v) {
      if (norm_.centered) return centered(v) == norm_.x;
      if (v == norm_.x) return true;
      if (!attempt([&] { return before_cast(norm_.x) == v; })) return false;
      norm_.x = v;
      return true;
    });
  }

  // x r + shift
  bool affine(ValueId product, ValueId shift) {
    const Node* mul = take(product, "Mul");
    for (size_t i = 0; mul != nullptr && i < 2; ++i) {
      const ValueId r = mul->inputs[i], x = mul->inputs[1 - i];
      if (attempt([&] { return scaled_inverse(r) && norm_.centered && norm_.x == x && is_shift(shift, r); }))
        return true;
      norm_ = {.nodes = {norm_.nodes[0], norm_.nodes[1]}};
    }
    return false;
  }

  // bias - mean x * r, or -mean x * r, or -mean x * r + bias
  bool is_shift(ValueId id, ValueId r) {
    if (const Node* sub = take(id, "Sub")) {
      norm_.bias = sub->inputs[0];
      return mean(times(sub->inputs[1], r)) == norm_.x;
    }
    const auto is_negative = [&](ValueId v) {
      const Node* neg = take(times(v, r), "Neg");
      return neg != nullptr && mean(neg->inputs[0]) == norm_.x;
    };
    if (attempt([&] { return is_negative(id); })) return true;
    const Node* add = take(id, "Add");
    for (size_t i = 0; add != nullptr && i < 2; ++i) {
      if (!attempt([&] { return is_negative(add->inputs[i]); })) continue;
      norm_.bias = add->inputs[1 - i];
      return true;
    }
    return false;
  }

  // v when id = v * r.
  ValueId times(ValueId id, ValueId r) {
    const Node* mul = take(id, "Mul");
    if (mul == nullptr || (mul->inputs[0] != r && mul->inputs[1] != r)) return kNoValue;
    return mul->inputs[mul->inputs[0] == r ? 1 : 0];
  }

  // Whether the pattern can go: scale and bias are none of its values, and nothing else needs those.
  bool is_sound() const {
    for (ValueId id : {norm_.scale, norm_.bias})
      if (id != kNoValue &&
          (!fits(id) || std::ranges::find(norm_.nodes, edit_.producer(id)) != norm_.nodes.end()))
        return false;
    return may_be_of_type(norm_.x) && is_closed(edit_, norm_.nodes, result());
  }
  ValueId result() const { return edit_.node(norm_.nodes[0]).outputs[0]; }

  // What mixes types is left for its operators to refuse.
  bool may_be_of_type(ValueId id) const {
    const ValueType& type = edit_.graph().value(id).type;
    return !type.known() || type.dtype == norm_.dtype;
  }

  // Whether a scale or bias is one number, or is the same for all rows and leaves x its shape.
  bool fits(ValueId id) const {
    const DimTerms *x = facts_.dims(norm_.x), *s = facts_.dims(id);
    if (s == nullptr || !may_be_of_type(id)) return false;
    if (s->size() > (x ? x->size() : static_cast<size_t>(norm_.axes))) return false;
    for (size_t back = 1; back <= s->size(); ++back) {
      const DimTerm length = (*s)[s->size() - back];
      if (length == 1) continue;
      if (static_cast<int64_t>(back) > norm_.axes || x == nullptr || (*x)[x->size() - back] != length)
        return false;
    }
    return true;
  }

  // With the casts, the product and the sum that follow, where they change no type and are scale and bias.
  Norm extended() {
    absorb_cast();
    if (norm_.scale == kNoValue && norm_.bias == kNoValue) absorb("Mul", norm_.scale);
    absorb_cast();
    if (norm_.bias == kNoValue && norm_.centered) absorb("Add", norm_.bias);
    absorb_cast();
    return norm_;
  }
  void absorb_cast() {
    const NodeId next = edit_.only_reader(result());
    if (next != kNoNode && casts(&edit_.node(next))) norm_.nodes.insert(norm_.nodes.begin(), next);
  }
  void absorb(std::string_view op_type, ValueId& operand) {
    const ValueId y = result();
    const NodeId next = edit_.only_reader(y);
    if (next == kNoNode || !is_op(edit_.node(next), op_type)) return;
    const std::vector<ValueId>& inputs = edit_.node(next).inputs;
    const ValueId other = inputs[inputs[0] == y ? 1 : 0];
    if (!fits(other)) return;
    operand = other;
    norm_.nodes.insert(norm_.nodes.begin(), next);
  }

  const GraphEdit& edit_;
  const ShapeFacts& facts_;
  Norm norm_;
};

ValueId one(GraphEdit& edit, DType dtype) {
  Tensor t(dtype, Shape{});
  if (dtype == DType::kFloat64)
    *t.as<double>() = 1.0;
  else
    *t.as<float>() = 1.0f;
  return edit.add_constant(std::move(t));
}

void replace(GraphEdit& edit, ShapeFacts& facts, const Norm& norm) {
  const ValueId y = edit.node(norm.nodes[0]).outputs[0];
  std::vector<ValueId> inputs{norm.x, norm.scale == kNoValue ? one(edit, norm.dtype) : norm.scale};
  if (norm.bias != kNoValue) inputs.push_back(norm.bias);
  const ValueId fused =
      edit.add(edit.node(norm.nodes[0]), norm.centered ? "LayerNormalization" : "RMSNormalization", inputs,
               {{"axis", Attribute{-norm.axes}}, {"epsilon", Attribute{norm.epsilon}}});
  if (const DimTerms* dims = facts.dims(norm.x)) facts.set(fused, DimTerms(*dims));
  edit.replace_uses(y, fused);
  for (NodeId n : norm.nodes) edit.remove_node(n);
}

}  // namespace

void fuse_layer_norm(GraphEdit& edit, const PassContext& ctx) {
  ShapeFacts facts(edit, !ctx.subgraph);
  for (NodeId n = 0; n < edit.num_nodes(); ++n)
    if (!edit.removed(n))
      if (const auto norm = Pattern(edit, facts).match(n)) replace(edit, facts, *norm);
}

}  // namespace pyinfer
