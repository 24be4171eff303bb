#include "passes/shape_facts.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string_view>

#include "base/math.h"
#include "passes/match.h"

namespace pyinfer {
namespace {

using Maybe = std::optional<DimTerms>;

// A file may say any number. Of those beyond this nothing is said here, so that a product of two others fits.
constexpr int64_t kFar = int64_t{1} << 31;

bool within_reach(int64_t v) {
  return v > -kFar && v < kFar;
}

// What a derived term is a function of; the first word of its key.
enum Key : int64_t { kWindow, kSamePadding, kScaled, kSum, kProduct };

struct Rule {
  const GraphEdit& edit;
  ShapeFacts& facts;
  const Node& node;

  const DimTerms* in(size_t i) const { return has_input(node, i) ? facts.dims(node.inputs[i]) : nullptr; }
  const Tensor* constant(size_t i) const { return constant_input(edit, node, i); }
  // One number for each dimension, or fewer.
  std::optional<std::vector<int64_t>> ints(size_t i) const { return constant_dims(edit, node, i); }
  int64_t attr(std::string_view name, int64_t otherwise) const {
    const auto* v = attribute<int64_t>(node, name);
    return v ? *v : otherwise;
  }
  std::vector<int64_t> attr_ints(std::string_view name, size_t count, int64_t otherwise) const {
    const auto* v = attribute<std::vector<int64_t>>(node, name);
    return v && v->size() == count ? *v : std::vector<int64_t>(count, otherwise);
  }
  // So many dimensions of which nothing is known.
  Maybe unknowns(int64_t rank) const {
    if (rank < 0 || rank > Shape::kMaxRank) return std::nullopt;
    DimTerms dims;
    for (int64_t d = 0; d < rank; ++d) dims.push_back(facts.unknown());
    return dims;
  }
};

// Whether a dimension broadcasts to `length` and not beyond it.
bool fits(DimTerm t, DimTerm length) {
  return t == 1 || t == length;
}

// [batch, rows, heads, size] of the operator that fuse_attention writes, where that is certain.
Maybe attention(Rule& r) {
  if (r.node.domain != "pyinfer") return std::nullopt;
  const DimTerms *q = r.in(0), *k = r.in(1), *v = r.in(2);
  Maybe out = r.unknowns(4);
  if (q == nullptr || k == nullptr || v == nullptr || q->size() != 4 || k->size() != 4 || v->size() != 4)
    return out;
  out->back() = v->back();
  // Batch, rows and heads broadcast; masks have batch, heads, rows and keys.
  const auto of = [&](const DimTerms& x, size_t d, const char* rows_first) {
    return d == 0 ? x[0] : x[(d == 1) == (r.attr(rows_first, 0) != 0) ? 1 : 2];
  };
  for (size_t d = 0; d < 3; ++d) {
    const DimTerm length = of(*q, d, "q_rows_first");
    bool certain = d == 1 || length > 1 ||
                   (fits(of(*k, d, "k_rows_first"), length) && fits(of(*v, d, "v_rows_first"), length));
    for (size_t i : {3, 6}) {
      if (!has_input(r.node, i) || length > 1) continue;
      const DimTerms* mask = r.in(i);
      const size_t from_end = d == 0 ? 4 : d == 1 ? 2 : 3;
      certain &=
          mask != nullptr && (mask->size() < from_end || fits((*mask)[mask->size() - from_end], length));
    }
    if (certain) (*out)[d] = length;
  }
  return out;
}

Maybe same_as_first(Rule& r) {
  const DimTerms* x = r.in(0);
  return x ? Maybe(*x) : std::nullopt;
}

Maybe broadcast(Rule& r) {
  DimTerms out;
  for (size_t i = 0; i < r.node.inputs.size(); ++i) {
    const DimTerms* x = r.in(i);
    if (x == nullptr) return std::nullopt;
    if (x->size() > out.size()) out.insert(out.begin(), x->size() - out.size(), 1);
    for (size_t d = 0; d < x->size(); ++d) {
      DimTerm& o = out[out.size() - x->size() + d];
      const DimTerm t = (*x)[d];
      if (t == 1 || t == o) continue;
      // A number other than 1 wins over what may be 1; two unknowns may be either.
      if (o == 1 || (o < 0 && t > 1))
        o = t;
      else if (o < 0)
        o = r.facts.unknown();
    }
  }
  return out;
}

// One spatial dimension of a convolution or pool.
DimTerm window_dim(Rule& r, DimTerm x, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads,
                   bool same, bool ceil) {
  if (!within_reach(kernel) || !within_reach(dilation) || stride < 1 || !within_reach(stride))
    return r.facts.unknown();
  const int64_t reach = dilation * (kernel - 1);
  if (stride == 1 && (same || pads == reach)) return x;
  if (same) return x >= 0 ? (x + stride - 1) / stride : r.facts.derived({kSamePadding, x, stride});
  if (x < 0 || ceil) return r.facts.derived({kWindow, x, pads - reach - 1, stride, ceil});
  const int64_t last = x + pads - reach - 1;
  return last < 0 ? r.facts.unknown() : last / stride + 1;
}

// Spatial dimensions from `first` on; kernel of `size`.
void window(Rule& r, const DimTerms& x, size_t first, const std::vector<int64_t>& kernel, DimTerms& out) {
  const size_t n = kernel.size();
  const auto strides = r.attr_ints("strides", n, 1), dilations = r.attr_ints("dilations", n, 1);
  const auto pads = r.attr_ints("pads", 2 * n, 0);
  const auto* padding = attribute<std::string>(r.node, "auto_pad");
  const bool same = padding && padding->starts_with("SAME"), valid = padding && *padding == "VALID";
  const bool ceil = r.attr("ceil_mode", 0) != 0, padded = std::ranges::all_of(pads, within_reach);
  for (size_t d = 0; d < n; ++d)
    out.push_back(padded ? window_dim(r, x[first + d], kernel[d], strides[d], dilations[d],
                                      valid ? 0 : pads[d] + pads[n + d], same, ceil)
                         : r.facts.unknown());
}

Maybe conv(Rule& r) {
  const DimTerms* x = r.in(0);
  const Tensor* w = r.constant(1);
  if (x == nullptr || w == nullptr || w->shape().rank() < 3 ||
      static_cast<int>(x->size()) != w->shape().rank())
    return std::nullopt;
  const bool last = r.node.op_type == "ConvNhwc";
  std::vector<int64_t> kernel;
  for (int d = 2; d < w->shape().rank(); ++d) kernel.push_back(w->shape()[d]);
  DimTerms out{(*x)[0]};
  if (!last) out.push_back(w->shape()[0]);
  window(r, *x, last ? 1 : 2, kernel, out);
  if (last) out.push_back(w->shape()[0]);
  return out;
}

Maybe conv_transpose(Rule& r) {
  const DimTerms* x = r.in(0);
  const Tensor* w = r.constant(1);
  if (x == nullptr || w == nullptr || static_cast<int>(x->size()) != w->shape().rank() || x->size() < 3)
    return std::nullopt;
  const bool last = r.node.op_type == "ConvTransposeNhwc";
  const auto channels = checked_mul(w->shape()[1], r.attr("group", 1));
  if (!channels || *channels < 0) return std::nullopt;
  DimTerms out{(*x)[0]};
  for (size_t d = 2; d < x->size(); ++d) out.push_back(r.facts.unknown());
  out.insert(last ? out.end() : out.begin() + 1, *channels);
  return out;
}

Maybe pool(Rule& r) {
  const DimTerms* x = r.in(0);
  const auto* kernel = attribute<std::vector<int64_t>>(r.node, "kernel_shape");
  if (x == nullptr || kernel == nullptr || x->size() != kernel->size() + 2) return std::nullopt;
  const bool last = r.node.op_type.ends_with("Nhwc");
  DimTerms out{(*x)[0]};
  if (!last) out.push_back((*x)[1]);
  window(r, *x, last ? 1 : 2, *kernel, out);
  if (last) out.push_back(x->back());
  return out;
}

Maybe global_pool(Rule& r) {
  const DimTerms* x = r.in(0);
  if (x == nullptr || x->size() < 2) return std::nullopt;
  const size_t channel = r.node.op_type.ends_with("Nhwc") ? x->size() - 1 : 1;
  DimTerms out(x->size(), 1);
  out[0] = (*x)[0];
  out[channel] = (*x)[channel];
  return out;
}

std::optional<size_t> axis_of(int64_t axis, size_t rank) {
  const auto n = static_cast<int64_t>(rank);
  if (axis < -n || axis >= n) return std::nullopt;
  return static_cast<size_t>(axis < 0 ? axis + n : axis);
}

Maybe concat(Rule& r) {
  const DimTerms* first = r.in(0);
  if (first == nullptr) return std::nullopt;
  const auto axis = axis_of(r.attr("axis", 0), first->size());
  if (!axis) return std::nullopt;
  DimTerms out = *first;
  std::vector<int64_t> key{kSum};
  int64_t sum = 0;
  for (size_t i = 0; i < r.node.inputs.size(); ++i) {
    const DimTerms* x = r.in(i);
    if (x == nullptr || x->size() != out.size()) return std::nullopt;
    for (size_t d = 0; d < out.size(); ++d)
      if (d != *axis && out[d] < 0 && (*x)[d] >= 0) out[d] = (*x)[d];  // they must be equal
    key.push_back((*x)[*axis]);
    sum = sum < 0 || (*x)[*axis] < 0 ? -1 : sum + (*x)[*axis];
  }
  out[*axis] = sum >= 0 ? sum : r.facts.derived(key);
  return out;
}

Maybe transpose(Rule& r) {
  const DimTerms* x = r.in(0);
  const auto* perm = attribute<std::vector<int64_t>>(r.node, "perm");
  if (x == nullptr) return perm ? r.unknowns(perm->size()) : std::nullopt;
  if (perm == nullptr) return DimTerms(x->rbegin(), x->rend());
  DimTerms out;
  for (int64_t p : *perm) {
    if (p < 0 || static_cast<size_t>(p) >= x->size()) return std::nullopt;
    out.push_back((*x)[static_cast<size_t>(p)]);
  }
  return out;
}

Maybe reduce(Rule& r) {
  const DimTerms* x = r.in(0);
  if (x == nullptr) return std::nullopt;
  std::vector<int64_t> axes;
  if (has_input(r.node, 1)) {
    const auto given = r.ints(1);
    if (!given) return std::nullopt;
    axes = *given;
  }
  if (axes.empty() && r.attr("noop_with_empty_axes", 0) != 0) return *x;
  std::set<size_t> reduced;
  for (int64_t a : axes) {
    const auto axis = axis_of(a, x->size());
    if (!axis) return std::nullopt;
    reduced.insert(*axis);
  }
  DimTerms out;
  for (size_t d = 0; d < x->size(); ++d) {
    if (!axes.empty() && !reduced.contains(d))
      out.push_back((*x)[d]);
    else if (r.attr("keepdims", 1) != 0)
      out.push_back(1);
  }
  return out;
}

Maybe squeeze(Rule& r) {
  const DimTerms* x = r.in(0);
  const auto axes = r.ints(1);
  if (x == nullptr || !axes) return std::nullopt;
  DimTerms out;
  std::set<size_t> dropped;
  for (int64_t a : *axes)
    if (const auto axis = axis_of(a, x->size())) dropped.insert(*axis);
  for (size_t d = 0; d < x->size(); ++d)
    if (!dropped.contains(d)) out.push_back((*x)[d]);
  return out;
}

Maybe unsqueeze(Rule& r) {
  const DimTerms* x = r.in(0);
  const auto axes = r.ints(1);
  if (x == nullptr || !axes) return std::nullopt;
  DimTerms out(x->size() + axes->size(), -1);
  std::vector<bool> added(out.size(), false);
  for (int64_t a : *axes) {
    const auto axis = axis_of(a, out.size());
    if (!axis) return std::nullopt;
    added[*axis] = true;
  }
  size_t next = 0;
  for (size_t d = 0; d < out.size(); ++d) {
    if (!added[d] && next >= x->size()) return std::nullopt;
    out[d] = added[d] ? 1 : (*x)[next++];
  }
  return out;
}

Maybe reshape(Rule& r) {
  const auto wanted = r.ints(1);
  if (!wanted) {
    const DimTerms* length = r.in(1);
    return length && length->size() == 1 ? r.unknowns((*length)[0]) : std::nullopt;
  }
  const DimTerms* x = r.in(0);
  DimTerms out;
  for (size_t d = 0; d < wanted->size(); ++d) {
    const int64_t w = (*wanted)[d];
    if (w > 0 || (w == 0 && r.attr("allowzero", 0) != 0))
      out.push_back(w);
    else if (w == 0 && x && d < x->size())
      out.push_back((*x)[d]);
    else
      out.push_back(r.facts.unknown());
  }
  const auto open = std::ranges::count_if(*wanted, [](int64_t w) { return w == -1; });
  if (open != 1 || x == nullptr) return out;
  // What is left of the product of known dimensions.
  DimTerms left = *x;
  int64_t rest = 1;
  size_t at = 0;
  for (size_t d = 0; d < out.size(); ++d) {
    if ((*wanted)[d] == -1) {
      at = d;
      continue;
    }
    const auto it = std::ranges::find(left, out[d]);
    if (it != left.end() && out[d] < 0)
      left.erase(it);
    else if (out[d] >= 0)
      rest = checked_mul(rest, std::max<int64_t>(out[d], 1)).value_or(0);
    else
      return out;
    if (rest == 0) return out;
  }
  int64_t product = 1;
  std::vector<int64_t> key{kProduct};
  for (DimTerm t : left) {
    if (t < 0)
      key.push_back(t);
    else if (const auto next = checked_mul(product, t))
      product = *next;
    else
      return out;
  }
  if (product % rest != 0) return out;
  if (key.size() == 1)
    out[at] = product / rest;
  else if (key.size() == 2 && product == rest)
    out[at] = key[1];
  else {
    key.push_back(product / rest);
    out[at] = r.facts.derived(key);
  }
  return out;
}

Maybe matmul(Rule& r) {
  const DimTerms *a = r.in(0), *b = r.in(1);
  if (a == nullptr || b == nullptr || a->size() < 2 || b->size() < 2) return std::nullopt;
  if (b->size() > 2 && b->size() != a->size()) return std::nullopt;
  DimTerms out = *a;
  if (r.attr("transA", 0) != 0) std::swap(out[out.size() - 1], out[out.size() - 2]);
  for (size_t d = 0; b->size() > 2 && d + 2 < out.size(); ++d) {
    const DimTerm t = (*b)[d];
    if (t == 1 || t == out[d]) continue;
    if (out[d] == 1 || (out[d] < 0 && t > 1))
      out[d] = t;
    else if (out[d] < 0)
      out[d] = r.facts.unknown();
  }
  out.back() = (*b)[b->size() - (r.attr("transB", 0) != 0 ? 2 : 1)];
  return out;
}

Maybe gemm(Rule& r) {
  const DimTerms *a = r.in(0), *b = r.in(1);
  if (a == nullptr || b == nullptr || a->size() != 2 || b->size() != 2) return std::nullopt;
  return DimTerms{(*a)[r.attr("transA", 0) != 0 ? 1 : 0], (*b)[r.attr("transB", 0) != 0 ? 0 : 1]};
}

Maybe resize(Rule& r) {
  const DimTerms* x = r.in(0);
  if (x == nullptr || attribute<std::vector<int64_t>>(r.node, "axes") != nullptr) return std::nullopt;
  DimTerms out = *x;
  if (const auto sizes = r.ints(3); sizes && sizes->size() == x->size())
    return std::ranges::all_of(*sizes, [](int64_t s) { return s >= 0; }) ? Maybe(*sizes) : std::nullopt;
  const Tensor* scales = r.constant(2);
  if (scales == nullptr || scales->dtype() != DType::kFloat32 ||
      scales->count() != static_cast<int64_t>(x->size())) {
    for (DimTerm& t : out) t = r.facts.unknown();
    return out;
  }
  for (size_t d = 0; d < out.size(); ++d) {
    const float scale = scales->as<float>()[d];
    if (scale == 1.0f) continue;
    // Only whole factors are certain to give the same whatever the rounding.
    const bool whole = scale > 0 && scale < 1 << 16 && scale == static_cast<float>(static_cast<int>(scale));
    out[d] = !whole       ? r.facts.unknown()
             : out[d] < 0 ? r.facts.derived({kScaled, out[d], static_cast<int64_t>(scale)})
                          : out[d] * static_cast<int64_t>(scale);
  }
  return out;
}

Maybe gather(Rule& r) {
  const DimTerms *x = r.in(0), *i = r.in(1);
  if (x == nullptr || i == nullptr) return std::nullopt;
  const auto axis = axis_of(r.attr("axis", 0), x->size());
  if (!axis) return std::nullopt;
  DimTerms out(x->begin(), x->begin() + static_cast<std::ptrdiff_t>(*axis));
  out.insert(out.end(), i->begin(), i->end());
  out.insert(out.end(), x->begin() + static_cast<std::ptrdiff_t>(*axis) + 1, x->end());
  return out;
}

struct OpRule {
  std::string_view op_type;
  Maybe (*rule)(Rule&);
};

constexpr OpRule kRules[] = {
    {"Conv", conv},
    {"FusedConv", conv},
    {"ConvNhwc", conv},
    {"ConvTranspose", conv_transpose},
    {"ConvTransposeNhwc", conv_transpose},
    {"MaxPool", pool},
    {"AveragePool", pool},
    {"LpPool", pool},
    {"MaxPoolNhwc", pool},
    {"AveragePoolNhwc", pool},
    {"GlobalAveragePool", global_pool},
    {"GlobalMaxPool", global_pool},
    {"GlobalLpPool", global_pool},
    {"GlobalAveragePoolNhwc", global_pool},
    {"GlobalMaxPoolNhwc", global_pool},
    {"Concat", concat},
    {"Transpose", transpose},
    {"Attention", attention},
    {"Squeeze", squeeze},
    {"Unsqueeze", unsqueeze},
    {"Reshape", reshape},
    {"MatMul", matmul},
    {"FusedMatMul", matmul},
    {"Gemm", gemm},
    {"FusedGemm", gemm},
    {"Resize", resize},
    {"Gather", gather},
};

constexpr std::string_view kBroadcast[] = {
    "Add", "Sub", "Mul", "Div",   "Pow",  "Max",     "Min",         "Mean",           "Sum",  "Where", "And",
    "Or",  "Xor", "Mod", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "PRelu"};

constexpr std::string_view kSame[] = {"Abs",
                                      "BatchNormalization",
                                      "Cast",
                                      "Ceil",
                                      "Celu",
                                      "Clip",
                                      "Cos",
                                      "DequantizeLinear",
                                      "Dropout",
                                      "Elu",
                                      "Erf",
                                      "Exp",
                                      "Floor",
                                      "Gelu",
                                      "GroupNormalization",
                                      "HardSigmoid",
                                      "HardSwish",
                                      "Hardmax",
                                      "Identity",
                                      "InstanceNormalization",
                                      "LRN",
                                      "LayerNormalization",
                                      "LeakyRelu",
                                      "Log",
                                      "LogSoftmax",
                                      "LpNormalization",
                                      "MeanVarianceNormalization",
                                      "Mish",
                                      "Neg",
                                      "Not",
                                      "QuantizeLinear",
                                      "RMSNormalization",
                                      "Reciprocal",
                                      "Relu",
                                      "Round",
                                      "Selu",
                                      "Shrink",
                                      "Sigmoid",
                                      "Sign",
                                      "Sin",
                                      "Softmax",
                                      "Softplus",
                                      "Softsign",
                                      "Sqrt",
                                      "Swish",
                                      "Tan",
                                      "Tanh",
                                      "ThresholdedRelu"};

Maybe infer(Rule& r) {
  const std::string_view op = r.node.op_type;
  for (const OpRule& rule : kRules)
    if (rule.op_type == op) return rule.rule(r);
  if (std::ranges::find(kBroadcast, op) != std::end(kBroadcast)) return broadcast(r);
  if (std::ranges::find(kSame, op) != std::end(kSame)) return same_as_first(r);
  if (op.starts_with("Reduce")) return reduce(r);
  return std::nullopt;
}

}  // namespace

ShapeFacts::ShapeFacts(const GraphEdit& edit, bool trust_inputs) {
  const Graph& graph = edit.graph();
  dims_.resize(graph.values.size());
  for (size_t i = 0; i < graph.values.size(); ++i)
    if (const Tensor& t = graph.values[i].constant; !t.empty())
      set(static_cast<ValueId>(i), DimTerms(t.shape().begin(), t.shape().end()));
  for (ValueId id : graph.inputs) {
    const Value& v = graph.value(id);
    if (!trust_inputs || !v.shape) continue;
    DimTerms dims;
    for (const Dim& d : *v.shape) dims.push_back(d.value >= 0 ? d.value : unknown());
    set(id, std::move(dims));
  }
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    const Node& node = edit.node(n);
    if (edit.removed(n) || node.outputs.empty() || node.outputs[0] == kNoValue) continue;
    if (!node.domain.empty() && node.domain != "pyinfer" && node.domain != "com.microsoft") continue;
    Rule rule{edit, *this, node};
    if (Maybe dims = infer(rule)) set(node.outputs[0], std::move(*dims));
  }
}

const DimTerms* ShapeFacts::dims(ValueId id) const {
  const auto i = static_cast<size_t>(id);
  return id == kNoValue || i >= dims_.size() || !dims_[i] ? nullptr : &*dims_[i];
}

int ShapeFacts::rank(ValueId id) const {
  const DimTerms* d = dims(id);
  return d ? static_cast<int>(d->size()) : -1;
}

bool ShapeFacts::same(ValueId a, ValueId b) const {
  const DimTerms *x = dims(a), *y = dims(b);
  return a == b || (x != nullptr && y != nullptr && *x == *y);
}

void ShapeFacts::set(ValueId id, DimTerms dims) {
  const auto i = static_cast<size_t>(id);
  if (i >= dims_.size()) dims_.resize(i + 1);
  if (dims.size() > Shape::kMaxRank) return dims_[i].reset();
  for (DimTerm& t : dims)
    if (t >= kFar) t = unknown();
  dims_[i] = std::move(dims);
}

DimTerm ShapeFacts::derived(const std::vector<int64_t>& key) {
  const auto [it, added] = derived_.try_emplace(key, 0);
  if (added) it->second = unknown();
  return it->second;
}

}  // namespace pyinfer
