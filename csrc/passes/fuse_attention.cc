// Transpose(MatMul(Softmax(choose(keep, scale Q K^T, fill) + mask), V)) = Attention (ops/fused_attention.cc),
// with the transposes that bring heads to the front of Q, K and V, and the Concat of earlier keys and values.
// scale may stand on Q, on K and on the product; NaN may be replaced by 0 after the softmax.
#include <algorithm>

#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

constexpr int64_t kRank = 4;
using Perm = std::vector<int64_t>;
const Perm kSwapHeads = {0, 2, 1, 3};

// One of Q, K and V, as the fused operator reads it.
struct Operand {
  ValueId rows = kNoValue, past = kNoValue, present = kNoValue;
  bool rows_first = false;
};

struct Match {
  Operand q, k, v;
  double scale = 1.0;
  ValueId mask = kNoValue, keep = kNoValue;
  double fill = 0.0;
  bool fill_where = false, nan_to_zero = false;
  NodeId output = kNoNode;  // the Transpose after all
};

const Perm* perm_of(const GraphEdit& edit, ValueId id) {
  const Node* node = producer_of(edit, id, "Transpose");
  return node ? attribute<Perm>(*node, "perm") : nullptr;
}

ValueId input_of(const GraphEdit& edit, ValueId id) {
  return edit.node(edit.producer(id)).inputs[0];
}

// The reader of a value that nothing else reads, when it is that operator.
NodeId next(const GraphEdit& edit, ValueId id, std::string_view op_type) {
  const NodeId n = edit.only_reader(id);
  return n != kNoNode && is_op(edit.node(n), op_type) ? n : kNoNode;
}

bool softmax_over_last(const Node& node) {
  const auto* axis = attribute<int64_t>(node, "axis");
  return is_op(node, "Softmax") && (!axis || *axis == -1 || *axis == kRank - 1);
}

// Takes scalar factors off a value.
ValueId without_scale(const GraphEdit& edit, ValueId id, double& scale) {
  const Factors f = factors(edit, id, kRank);
  if (f.values.size() != 1) return id;
  scale *= f.scale;
  return f.values[0];
}

// Rows with heads in front: past ones and new ones, rows whose heads were brought there, or just such rows.
std::optional<Operand> heads_first(const GraphEdit& edit, const ShapeFacts& facts, ValueId id) {
  if (const Node* concat = producer_of(edit, id, "Concat")) {
    const auto* axis = attribute<int64_t>(*concat, "axis");
    const bool rows = axis && (*axis == 2 || *axis == -2) && concat->inputs.size() == 2;
    const Perm* perm = rows ? perm_of(edit, concat->inputs[1]) : nullptr;
    if (perm && *perm == kSwapHeads)
      return Operand{input_of(edit, concat->inputs[1]), concat->inputs[0], id, true};
  }
  if (const Perm* perm = perm_of(edit, id); perm && *perm == kSwapHeads)
    return Operand{input_of(edit, id), kNoValue, kNoValue, true};
  if (facts.rank(id) != kRank) return std::nullopt;
  return Operand{id, kNoValue, kNoValue, false};
}

std::optional<Operand> transposed_keys(const GraphEdit& edit, const ShapeFacts& facts, ValueId id,
                                       double& scale) {
  id = without_scale(edit, id, scale);
  const Perm* perm = perm_of(edit, id);
  if (!perm) return std::nullopt;
  if (*perm == Perm{0, 1, 3, 2}) {
    const ValueId keys = input_of(edit, id);
    // Factors before a Concat belong to what is kept for the next run, too.
    if (producer_of(edit, keys, "Concat")) return heads_first(edit, facts, keys);
    return heads_first(edit, facts, without_scale(edit, keys, scale));
  }
  if (*perm != Perm{0, 2, 3, 1}) return std::nullopt;
  return Operand{without_scale(edit, input_of(edit, id), scale), kNoValue, kNoValue, true};
}

// scale Q K^T, read by one node alone.
bool match_product(const GraphEdit& edit, const ShapeFacts& facts, ValueId id, Match& m) {
  if (edit.only_reader(id) == kNoNode) return false;
  double scale = 1.0;
  const ValueId product = without_scale(edit, id, scale);
  const Node* matmul = producer_of(edit, product, "MatMul");
  if (matmul == nullptr || edit.only_reader(product) == kNoNode) return false;
  const auto k = transposed_keys(edit, facts, matmul->inputs[1], scale);
  const auto q = k ? heads_first(edit, facts, without_scale(edit, matmul->inputs[0], scale)) : std::nullopt;
  if (!q || q->past != kNoValue) return false;
  m.q = *q;
  m.k = *k;
  m.scale = scale;
  return true;
}

// choose(keep, scale Q K^T, fill), or the product alone.
bool match_chosen(const GraphEdit& edit, const ShapeFacts& facts, ValueId id, Match& m) {
  const Node* where = producer_of(edit, id, "Where");
  if (where == nullptr) return match_product(edit, facts, id, m);
  if (edit.only_reader(id) == kNoNode) return false;
  for (size_t i : {1, 2}) {
    const auto fill = scalar_value(edit, where->inputs[3 - i], kRank);
    if (!fill || !match_product(edit, facts, where->inputs[i], m)) continue;
    m.keep = where->inputs[0];
    m.fill = *fill;
    m.fill_where = i == 2;
    return true;
  }
  return false;
}

bool match_scores(const GraphEdit& edit, const ShapeFacts& facts, ValueId id, Match& m) {
  const Node* add = producer_of(edit, id, "Add");
  if (add == nullptr || add->inputs.size() != 2) return match_chosen(edit, facts, id, m);
  if (edit.only_reader(id) == kNoNode) return false;
  for (size_t i = 0; i < 2; ++i) {
    if (!match_chosen(edit, facts, add->inputs[i], m)) continue;
    m.mask = add->inputs[1 - i];
    return true;
  }
  return false;
}

// p, or the value that is p but for NaN, which becomes 0.
ValueId guarded(const GraphEdit& edit, ValueId p, Match& m) {
  const auto& readers = edit.readers(p);
  if (readers.size() != 2 || edit.is_output(p)) return p;
  for (NodeId n : readers) {
    const Node& where = edit.node(n);
    if (!is_op(where, "Where") || where.inputs[2] != p) continue;
    const Node* is_nan = producer_of(edit, where.inputs[0], "IsNaN");
    if (is_nan && is_nan->inputs[0] == p && scalar_value(edit, where.inputs[1], kRank) == 0.0) {
      m.nan_to_zero = true;
      return where.outputs[0];
    }
  }
  return p;
}

// Whether computing any of `values` needs what `a` or `b` computes.
bool depends(const GraphEdit& edit, std::vector<ValueId> values, NodeId a, NodeId b) {
  std::vector<bool> seen(static_cast<size_t>(edit.num_nodes()));
  while (!values.empty()) {
    const NodeId n = edit.producer(values.back());
    values.pop_back();
    if (n == kNoNode || seen[static_cast<size_t>(n)]) continue;
    if (n == a || n == b) return true;
    seen[static_cast<size_t>(n)] = true;
    for (ValueId id : all_inputs(edit.node(n))) values.push_back(id);
  }
  return false;
}

// Concatenated rows become past and new ones only where both keys and values are, and where nothing that the
// operator reads is computed from them (a mask from their shape, say). Else they are rows like others.
void settle_past(const GraphEdit& edit, Match& m) {
  const bool both = m.k.past != kNoValue && m.v.past != kNoValue && m.k.present != m.v.present;
  if (both && !depends(edit, {m.q.rows, m.k.rows, m.v.rows, m.mask, m.k.past, m.v.past, m.keep},
                       edit.producer(m.k.present), edit.producer(m.v.present)))
    return;
  for (Operand* x : {&m.k, &m.v})
    if (x->past != kNoValue) *x = Operand{x->present, kNoValue, kNoValue, false};
}

std::optional<Match> match(const GraphEdit& edit, const ShapeFacts& facts, NodeId n) {
  const Node& softmax = edit.node(n);
  if (!softmax_over_last(softmax)) return std::nullopt;
  Match m;
  const ValueId p = guarded(edit, softmax.outputs[0], m);
  const NodeId product = next(edit, p, "MatMul");
  if (product == kNoNode || edit.node(product).inputs[0] != p) return std::nullopt;
  m.output = next(edit, edit.node(product).outputs[0], "Transpose");
  // That it has four dimensions bounds those of all operands.
  const Perm* perm = m.output == kNoNode ? nullptr : attribute<Perm>(edit.node(m.output), "perm");
  if (!perm || *perm != kSwapHeads) return std::nullopt;
  const auto v = heads_first(edit, facts, edit.node(product).inputs[1]);
  if (!v || !match_scores(edit, facts, softmax.inputs[0], m)) return std::nullopt;
  m.v = *v;
  settle_past(edit, m);
  return m;
}

void fuse(GraphEdit& edit, NodeId n, const Match& m) {
  Node fused;
  fused.name = edit.node(n).name;
  fused.domain = "pyinfer";
  fused.op_type = "Attention";
  fused.version = 1;
  fused.inputs = {m.q.rows, m.k.rows, m.v.rows, m.mask, m.k.past, m.v.past, m.keep};
  while (fused.inputs.back() == kNoValue) fused.inputs.pop_back();
  const auto flag = [&](const char* name, bool set) {
    if (set) fused.attributes[name] = Attribute{int64_t{1}};
  };
  const auto number = [&](const char* name, double value) {
    Tensor t(DType::kFloat64, Shape{});
    *t.as<double>() = value;
    fused.attributes[name] = Attribute{std::move(t)};
  };
  number("scale", m.scale);
  flag("q_rows_first", m.q.rows_first);
  flag("k_rows_first", m.k.rows_first);
  flag("v_rows_first", m.v.rows_first);
  flag("fill_where", m.fill_where);
  flag("nan_to_zero", m.nan_to_zero);
  if (m.keep != kNoValue) number("fill", m.fill);

  const NodeId before = edit.producer(edit.node(m.output).inputs[0]);
  const ValueId y = edit.node(m.output).outputs[0];
  edit.remove_node(m.output);
  edit.remove_node(before);
  fused.outputs = {y};
  // What else reads the concatenated rows gets them from here.
  for (const Operand* x : {&m.k, &m.v}) {
    if (x->past == kNoValue) continue;
    edit.remove_node(edit.producer(x->present));
    fused.outputs.push_back(x->present);
  }
  const NodeId added = edit.add_node(std::move(fused));
  edit.remove_unused();
  for (size_t i = edit.node(added).outputs.size(); i-- > 1;)
    if (const ValueId id = edit.node(added).outputs[i]; edit.readers(id).empty() && !edit.is_output(id))
      edit.set_output(added, i, kNoValue);
}

}  // namespace

void fuse_attention(GraphEdit& edit, const PassContext& ctx) {
  const ShapeFacts facts(edit, !ctx.subgraph);
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n)) continue;
    if (const auto m = match(edit, facts, n)) fuse(edit, n, *m);
  }
}

}  // namespace pyinfer
