// x / 2 * (1 + erf(x / sqrt 2)) = Gelu(x);  x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = its
// approximation by tanh;  x * sigmoid(a x) = Swish(x).  Factors and terms may come in any order.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

constexpr double kCubic = 0.044715;

// The value t when `id` is 1 + t.
ValueId one_plus(const GraphEdit& edit, ValueId id, int64_t rank) {
  const Node* add = producer_of(edit, id, "Add");
  if (add == nullptr || add->inputs.size() != 2) return kNoValue;
  for (size_t i = 0; i < 2; ++i)
    if (scalar_value(edit, add->inputs[i], rank) == 1.0) return add->inputs[1 - i];
  return kNoValue;
}

// What x * gate is, when it is something.
struct Activation {
  std::string_view op_type;
  std::map<std::string, Attribute, std::less<>> attributes;
};

std::optional<Activation> activation(const GraphEdit& edit, ValueId x, ValueId gate, double scale,
                                     int64_t rank) {
  if (const Node* sigmoid = producer_of(edit, gate, "Sigmoid"); sigmoid && scale == 1.0) {
    const Factors f = factors(edit, sigmoid->inputs[0], rank, x);
    if (f.values.size() != 1 || f.values[0] != x) return std::nullopt;
    return Activation{"Swish", {{"alpha", Attribute{static_cast<float>(f.scale)}}}};
  }
  const ValueId t = nearly(scale, 0.5) ? one_plus(edit, gate, rank) : kNoValue;
  if (const Node* erf = producer_of(edit, t, "Erf"))
    if (is_polynomial(edit, erf->inputs[0], x, rank, {0, 1 / std::numbers::sqrt2}))
      return Activation{"Gelu", {}};
  const double slope = std::sqrt(2 / std::numbers::pi);
  if (const Node* tanh = producer_of(edit, t, "Tanh"))
    if (is_polynomial(edit, tanh->inputs[0], x, rank, {0, slope, 0, slope * kCubic}))
      return Activation{"Gelu", {{"approximate", Attribute{std::string("tanh")}}}};
  return std::nullopt;
}

// All that the product `id` multiplies, products among it included.
void collect(const GraphEdit& edit, ValueId id, int depth, std::vector<ValueId>& values) {
  const NodeId n = edit.producer(id);
  if (n == kNoNode || depth == 0 || (!is_op(edit.node(n), "Mul") && !is_op(edit.node(n), "Div"))) return;
  for (ValueId input : edit.node(n).inputs) {
    values.push_back(input);
    collect(edit, input, depth - 1, values);
  }
}

// Whether a constant between `id` and x is float64: the operators that patterns become round it.
bool has_float64(GraphEdit& edit, ValueId id, ValueId x, int depth) {
  if (id == x || id == kNoValue || depth == 0) return false;
  if (edit.graph().value(id).constant.dtype() == DType::kFloat64) return true;
  const NodeId n = edit.producer(id);
  if (n == kNoNode) return false;
  const std::vector<ValueId>& inputs = edit.node(n).inputs;
  return std::any_of(inputs.begin(), inputs.end(),
                     [&](ValueId input) { return has_float64(edit, input, x, depth - 1); });
}

void fuse(GraphEdit& edit, ShapeFacts& facts, NodeId n) {
  const ValueId y = edit.node(n).outputs[0];
  std::vector<ValueId> candidates;
  collect(edit, y, 3, candidates);
  for (ValueId x : candidates) {
    const int64_t rank = std::max(facts.rank(x), 0);
    const Factors f = factors(edit, y, rank, x);
    if (f.values.size() != 2 || (f.values[0] != x && f.values[1] != x)) continue;
    const auto found = activation(edit, x, f.values[f.values[0] == x ? 1 : 0], f.scale, rank);
    if (!found || has_float64(edit, y, x, 8)) continue;
    const ValueId fused = edit.add(edit.node(n), found->op_type, {x}, found->attributes);
    if (const DimTerms* dims = facts.dims(x)) facts.set(fused, DimTerms(*dims));
    edit.replace_uses(y, fused);
    edit.remove_node(n);
    return;
  }
}

}  // namespace

void fuse_gelu(GraphEdit& edit, const PassContext& ctx) {
  ShapeFacts facts(edit, !ctx.subgraph);
  // The last product of a chain comes last, and holds the others.
  for (NodeId n = edit.num_nodes() - 1; n >= 0; --n)
    if (!edit.removed(n) && (is_op(edit.node(n), "Mul") || is_op(edit.node(n), "Div")) &&
        edit.node(n).outputs[0] != kNoValue)
      fuse(edit, facts, n);
  edit.remove_unused();
}

}  // namespace pyinfer
