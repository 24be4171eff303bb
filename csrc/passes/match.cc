#include "passes/match.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pyinfer {
namespace {

const Node* producer_node(const GraphEdit& edit, ValueId id) {
  const NodeId n = edit.producer(id);
  return n == kNoNode ? nullptr : &edit.node(n);
}

using Polynomial = std::vector<double>;

std::optional<Polynomial> times(const Polynomial& a, const Polynomial& b, size_t degree) {
  if (a.size() + b.size() - 2 > degree) return std::nullopt;
  Polynomial product(a.size() + b.size() - 1);
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < b.size(); ++j) product[i + j] += a[i] * b[j];
  return product;
}

std::optional<Polynomial> polynomial(const GraphEdit& edit, ValueId id, ValueId x, int64_t rank,
                                     size_t degree, int depth) {
  if (id == x) return Polynomial{0, 1};
  if (const auto c = scalar_value(edit, id, rank)) return Polynomial{*c};
  const Node* node = producer_node(edit, id);
  if (node == nullptr || depth == 0 || node->inputs.empty()) return std::nullopt;
  const auto of = [&](size_t i) { return polynomial(edit, node->inputs[i], x, rank, degree, depth - 1); };
  if (is_op(*node, "Pow") && node->inputs.size() == 2) {
    const auto degrees = exponent(edit, *node, rank);
    if (degrees != 2.0 && degrees != 3.0) return std::nullopt;
    const auto base = of(0);
    auto power = base;
    for (int i = 1; i < *degrees && power; ++i) power = times(*power, *base, degree);
    return power;
  }
  const bool add = is_op(*node, "Add"), sub = is_op(*node, "Sub"), mul = is_op(*node, "Mul"),
             div = is_op(*node, "Div");
  if ((!add && !sub && !mul && !div) || node->inputs.size() != 2) return std::nullopt;
  auto a = of(0), b = a ? of(1) : std::nullopt;
  if (!b) return std::nullopt;
  if (mul) return times(*a, *b, degree);
  if (div) {
    if (b->size() != 1 || (*b)[0] == 0.0) return std::nullopt;
    for (double& v : *a) v /= (*b)[0];
    return a;
  }
  a->resize(std::max(a->size(), b->size()));
  for (size_t i = 0; i < b->size(); ++i) (*a)[i] += sub ? -(*b)[i] : (*b)[i];
  return a;
}

void collect_factors(const GraphEdit& edit, ValueId id, int64_t rank, ValueId whole, int depth, Factors& f) {
  const Node* node = id == whole ? nullptr : producer_node(edit, id);
  if (const auto c = scalar_value(edit, id, rank)) {
    f.scale *= *c;
  } else if (node != nullptr && depth > 0 && is_op(*node, "Mul") && node->inputs.size() == 2) {
    for (ValueId input : node->inputs) collect_factors(edit, input, rank, whole, depth - 1, f);
  } else if (node != nullptr && depth > 0 && is_op(*node, "Div") && node->inputs.size() == 2 &&
             scalar_value(edit, node->inputs[1], rank).value_or(0.0) != 0.0) {
    f.scale /= *scalar_value(edit, node->inputs[1], rank);
    collect_factors(edit, node->inputs[0], rank, whole, depth - 1, f);
  } else {
    f.values.push_back(id);
  }
}

// The value of a constant bound. A Clip gives its input's shape, whatever the rank of a bound.
std::optional<float> clip_bound(const GraphEdit& edit, const Node& clip, size_t i, float otherwise) {
  if (!has_input(clip, i)) return otherwise;
  const Tensor* t = constant_input(edit, clip, i);
  if (t == nullptr || t->dtype() != DType::kFloat32 || t->count() != 1) return std::nullopt;
  return *t->as<float>();
}

}  // namespace

bool keeps_order(const std::vector<int64_t>& perm) {
  for (size_t i = 0; i < perm.size(); ++i)
    if (perm[i] != static_cast<int64_t>(i)) return false;
  return true;
}

const std::vector<int64_t>* permutation(const Node& node) {
  const auto* perm = attribute<std::vector<int64_t>>(node, "perm");
  if (perm == nullptr) return nullptr;
  std::vector<int64_t> sorted = *perm;
  std::ranges::sort(sorted);
  return keeps_order(sorted) ? perm : nullptr;
}

std::optional<ClipBounds> clip_bounds(const GraphEdit& edit, const Node& clip) {
  constexpr float kMost = std::numeric_limits<float>::infinity();
  const auto low = clip_bound(edit, clip, 1, -kMost), high = clip_bound(edit, clip, 2, kMost);
  return low && high ? std::optional(ClipBounds{*low, *high}) : std::nullopt;
}

const Node* producer_of(const GraphEdit& edit, ValueId id, std::string_view op_type) {
  const Node* node = id == kNoValue ? nullptr : producer_node(edit, id);
  return node != nullptr && is_op(*node, op_type) ? node : nullptr;
}

std::optional<double> scalar_value(const GraphEdit& edit, ValueId id, int64_t rank) {
  if (id == kNoValue) return std::nullopt;
  const Tensor& t = const_cast<GraphEdit&>(edit).graph().value(id).constant;
  if (t.empty() || t.count() != 1 || t.shape().rank() > rank) return std::nullopt;
  switch (t.dtype()) {
    case DType::kFloat32: return *t.as<float>();
    case DType::kFloat64: return *t.as<double>();
    default: return std::nullopt;
  }
}

std::optional<double> exponent(const GraphEdit& edit, const Node& pow, int64_t rank) {
  const Tensor* t = constant_input(edit, pow, 1);
  if (t == nullptr || t->count() != 1 || t->shape().rank() > rank) return std::nullopt;
  const DType dtype = t->dtype();
  if (dtype != DType::kInt64 && dtype != DType::kInt32) return scalar_value(edit, pow.inputs[1], rank);
  return static_cast<double>(to_int64s(t->view())[0]);
}

std::optional<std::vector<int64_t>> constant_dims(const GraphEdit& edit, const Node& node, size_t i) {
  const Tensor* t = constant_input(edit, node, i);
  if (t == nullptr || t->count() > Shape::kMaxRank ||
      (t->dtype() != DType::kInt64 && t->dtype() != DType::kInt32))
    return std::nullopt;
  return to_int64s(t->view());
}

bool is_closed(const GraphEdit& edit, const std::vector<NodeId>& nodes, ValueId result) {
  const auto is_inside = [&](NodeId n) { return std::ranges::find(nodes, n) != nodes.end(); };
  for (NodeId n : nodes)
    for (ValueId id : edit.node(n).outputs)
      if (id != result && id != kNoValue &&
          (edit.is_output(id) || !std::ranges::all_of(edit.readers(id), is_inside)))
        return false;
  return true;
}

Factors factors(const GraphEdit& edit, ValueId id, int64_t rank, ValueId whole) {
  Factors f;
  collect_factors(edit, id, rank, whole, 4, f);
  return f;
}

bool is_polynomial(const GraphEdit& edit, ValueId id, ValueId x, int64_t rank,
                   std::initializer_list<double> coefficients) {
  auto p = polynomial(edit, id, x, rank, coefficients.size() - 1, 8);
  if (!p) return false;
  p->resize(coefficients.size());
  return std::equal(p->begin(), p->end(), coefficients.begin(), nearly);
}

bool nearly(double a, double b) {
  return std::abs(a - b) <= 2e-5 * std::abs(b);
}

}  // namespace pyinfer
