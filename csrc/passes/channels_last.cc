// Images go channels last: Conv(x) = T'(ConvNhwc(T(x))), T and T' the transposes between the layouts, and
// f(T'(x)) = T'(f(x)) for what works element by element or along axes, so that transposes move to the edges
// of the graph and cancel.
//
// A value's twin is the same value with its dimensions in another order: twin = Transpose(value, perm). What
// reads a value that has a twin is rewritten to read the twin, where it can; its output then has one too.
#include <algorithm>
#include <cstring>
#include <map>

#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

using Ints = std::vector<int64_t>;

Ints channels_last(int rank) {
  Ints perm{0};
  for (int d = 2; d < rank; ++d) perm.push_back(d);
  perm.push_back(1);
  return perm;
}

Ints inverse(const Ints& perm) {
  Ints inv(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) inv[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return inv;
}

// v(i) = values(order(i)).
Ints pick(const Ints& values, const Ints& order) {
  Ints out;
  for (int64_t i : order) out.push_back(values[static_cast<size_t>(i)]);
  return out;
}

// `t` seen with leading dimensions of 1 up to the rank of `perm`, permuted.
Tensor permuted(const Tensor& t, const Ints& perm) {
  const auto rank = perm.size();
  Ints dims(rank - static_cast<size_t>(t.shape().rank()), 1);
  dims.insert(dims.end(), t.shape().begin(), t.shape().end());
  const auto strides = Shape(dims).strides();
  Tensor out(t.dtype(), Shape(pick(dims, perm)));
  const auto size = dtype_size(t.dtype());
  Ints at(rank, 0);
  for (int64_t i = 0; i < out.count(); ++i) {
    int64_t from = 0;
    for (size_t d = 0; d < rank; ++d) from += at[d] * strides[static_cast<size_t>(perm[d])];
    std::memcpy(out.as<char>() + static_cast<size_t>(i) * size,
                t.as<char>() + static_cast<size_t>(from) * size, size);
    for (size_t d = rank; d-- > 0 && ++at[d] == out.shape()[static_cast<int>(d)];) at[d] = 0;
  }
  return out;
}

// out(i) = t(order(i)), of a vector.
Tensor picked(const Tensor& t, const Ints& order) {
  Tensor out(t.dtype(), Shape{static_cast<int64_t>(order.size())});
  const auto size = dtype_size(t.dtype());
  for (size_t i = 0; i < order.size(); ++i)
    std::memcpy(out.as<char>() + i * size, t.as<char>() + static_cast<size_t>(order[i]) * size, size);
  return out;
}

struct Twin {
  ValueId id;
  Ints perm;
};

class ChannelsLast {
 public:
  ChannelsLast(GraphEdit& edit, bool trust_inputs) : edit_(edit), facts_(edit, trust_inputs) {}

  void run() {
    const NodeId count = edit_.num_nodes();
    for (NodeId n = 0; n < count; ++n)
      if (!edit_.removed(n)) visit(n);
    edit_.remove_unused();
  }

 private:
  void visit(NodeId n);
  void convolution(NodeId n);
  void integer_convolution(NodeId n);
  void pool(NodeId n);
  void broadcasting(NodeId n, size_t count, size_t step);
  void elementwise(NodeId n);
  void integer_elementwise(NodeId n);
  void requantization(NodeId n);
  void clip_like(NodeId n);
  void along_axis(NodeId n);
  void joining(NodeId n, size_t first, size_t step);
  void concat(NodeId n) { joining(n, 0, 1); }
  void drop_axes(NodeId n);
  void slice(NodeId n);
  void pad(NodeId n);
  void resize(NodeId n);
  void transpose(NodeId n);

  const Twin* twin(ValueId id) const {
    const auto it = twins_.find(id);
    return it == twins_.end() ? nullptr : &it->second;
  }
  // The twin of input i of a node, when it has one.
  const Twin* twin_in(NodeId n, size_t i = 0) const {
    return has_input(edit_.node(n), i) ? twin(edit_.node(n).inputs[i]) : nullptr;
  }

  // `id` in the order `perm`: its twin, or a new Transpose.
  ValueId turned(ValueId id, const Ints& perm) {
    if (const Twin* t = twin(id); t != nullptr && t->perm == perm) return t->id;
    if (const NodeId p = edit_.producer(id); p != kNoNode && is_op(edit_.node(p), "Transpose")) {
      const Ints* before = permutation(edit_.node(p));
      if (before && before->size() == perm.size() && keeps_order(pick(*before, perm)))
        return edit_.node(p).inputs[0];
    }
    const NodeId p = edit_.producer(id);
    const ValueId out =
        edit_.add(p == kNoNode ? Node() : edit_.node(p), "Transpose", {id}, {{"perm", Attribute{perm}}});
    twins_.try_emplace(id, Twin{out, perm});
    return out;
  }

  // -1 where it is not certain.
  int rank(ValueId id) const {
    const Twin* t = twin(id);
    return t ? static_cast<int>(t->perm.size()) : facts_.rank(id);
  }
  // Whether an input that broadcasts to the rank of `perm` can be had in that order.
  bool can_turn_operand(ValueId id, const Ints& perm) const {
    const int own = rank(id), full = static_cast<int>(perm.size());
    return own >= 0 && (own == full || own == 0 || (own < full && edit_.graph().is_constant(id)));
  }
  ValueId turned_operand(ValueId id, const Ints& perm) {
    const Tensor& t = edit_.graph().value(id).constant;
    if (t.empty()) return rank(id) == 0 ? id : turned(id, perm);
    if (t.count() == 1 && t.shape().rank() <= static_cast<int>(perm.size())) return id;
    const auto [it, added] = constants_.try_emplace({id, perm}, kNoValue);
    if (added) it->second = edit_.add_constant(permuted(t, perm));
    return it->second;
  }

  // Node n now computes output `index` in the order `perm`.
  void produce(NodeId n, size_t index, const Ints& perm) {
    const ValueId y = edit_.node(n).outputs[index];
    if (y == kNoValue || keeps_order(perm)) return;
    const ValueId out = edit_.add_value(edit_.graph().value(y).name, edit_.graph().value(y).type);
    edit_.set_output(n, index, out);
    Node back;
    back.name = edit_.node(n).name;
    back.op_type = "Transpose";
    back.version = kNewestOpset;
    back.inputs = {out};
    back.outputs = {y};
    back.attributes["perm"] = Attribute{inverse(perm)};
    edit_.add_node(std::move(back));
    twins_[y] = {out, perm};
  }

  void become(NodeId n, std::string_view op_type) {
    edit_.node(n).op_type = op_type;
    edit_.node(n).domain = "pyinfer";
    edit_.node(n).version = 1;
  }

  // A constant input as integers; none when it is absent or not constant.
  std::optional<Ints> ints(NodeId n, size_t i) const {
    const Tensor* t = constant_input(edit_, edit_.node(n), i);
    if (t == nullptr || (t->dtype() != DType::kInt64 && t->dtype() != DType::kInt32)) return std::nullopt;
    return to_int64s(t->view());
  }
  ValueId vector(const Ints& values) { return edit_.add_constant(Tensor::vector_i64(values)); }

  // Axes of a value as axes of its twin; none where one is out of range.
  static std::optional<Ints> moved_axes(const Ints& axes, const Ints& perm) {
    const Ints inv = inverse(perm);
    const auto rank = static_cast<int64_t>(perm.size());
    Ints out;
    for (int64_t a : axes) {
      if (a < -rank || a >= rank) return std::nullopt;
      out.push_back(inv[static_cast<size_t>(a < 0 ? a + rank : a)]);
    }
    return out;
  }

  GraphEdit& edit_;
  ShapeFacts facts_;
  std::map<ValueId, Twin> twins_;
  std::map<std::pair<ValueId, Ints>, ValueId> constants_;
};

// Conv and ConvTranspose make the images that the others follow.
void ChannelsLast::convolution(NodeId n) {
  const bool fused = edit_.node(n).domain == "com.microsoft";
  const Tensor* w = constant_input(edit_, edit_.node(n), 1);
  if (w == nullptr || !has_input(edit_.node(n), 0)) return;
  if (w->dtype() != DType::kFloat32 && w->dtype() != DType::kFloat16 && w->dtype() != DType::kBFloat16)
    return;
  const int rank = w->shape().rank();
  if (rank < 3) return;
  const Ints perm = channels_last(rank);
  edit_.set_input(n, 0, turned(edit_.node(n).inputs[0], perm));
  if (fused && has_input(edit_.node(n), 3)) edit_.set_input(n, 3, turned(edit_.node(n).inputs[3], perm));
  become(n, edit_.node(n).op_type == "ConvTranspose" ? "ConvTransposeNhwc" : "ConvNhwc");
  produce(n, 0, perm);
}

// QLinearConv, of ai.onnx or as the pass fuse_quantized makes it.
void ChannelsLast::integer_convolution(NodeId n) {
  const Tensor* w = constant_input(edit_, edit_.node(n), 3);
  if (w == nullptr || w->shape().rank() < 3) return;
  const Ints perm = channels_last(w->shape().rank());
  edit_.set_input(n, 0, turned(edit_.node(n).inputs[0], perm));
  become(n, "QLinearConvNhwc");
  produce(n, 0, perm);
}

void ChannelsLast::pool(NodeId n) {
  const Twin* x = twin_in(n);
  if (x == nullptr || edit_.node(n).outputs.size() != 1 ||
      x->perm != channels_last(static_cast<int>(x->perm.size())))
    return;
  const Ints perm = x->perm;
  edit_.set_input(n, 0, x->id);
  become(n, edit_.node(n).op_type + "Nhwc");
  produce(n, 0, perm);
}

// Operators of inputs that broadcast to the output: every one, or each `step` inputs one.
void ChannelsLast::broadcasting(NodeId n, size_t count, size_t step) {
  const std::vector<ValueId> inputs = edit_.node(n).inputs;
  const Twin* lead = nullptr;
  for (size_t i = 0; i < count; i += step)
    if (const Twin* t = twin(inputs[i]); t && (!lead || t->perm.size() > lead->perm.size())) lead = t;
  if (lead == nullptr) return;
  const Ints perm = lead->perm;
  for (size_t i = 0; i < count; i += step)
    if (!can_turn_operand(inputs[i], perm)) return;
  for (size_t i = 0; i < count; i += step) edit_.set_input(n, i, turned_operand(inputs[i], perm));
  produce(n, 0, perm);
}
void ChannelsLast::elementwise(NodeId n) {
  broadcasting(n, edit_.node(n).inputs.size(), 1);
}
// Of QLinearAdd and QLinearMul: A and B, each before its scale and zero point.
void ChannelsLast::integer_elementwise(NodeId n) {
  if (edit_.node(n).inputs.size() > 3) broadcasting(n, 4, 3);
}

// QuantizeLinear and DequantizeLinear with one scale for all.
void ChannelsLast::requantization(NodeId n) {
  const Tensor* scale = constant_input(edit_, edit_.node(n), 1);
  const auto* block = attribute<int64_t>(edit_.node(n), "block_size");
  if (scale != nullptr && scale->count() == 1 && scale->shape().rank() <= 1 && (!block || *block == 0))
    clip_like(n);
}

// Operators of one image; what other inputs they have are scalars.
void ChannelsLast::clip_like(NodeId n) {
  const Twin* x = twin_in(n);
  if (x == nullptr || edit_.node(n).outputs.size() != 1) return;
  const Ints perm = x->perm;
  edit_.set_input(n, 0, x->id);
  produce(n, 0, perm);
}

// Softmax, LogSoftmax, Split: attribute "axis".
void ChannelsLast::along_axis(NodeId n) {
  const Twin* x = twin_in(n);
  const auto* axis = attribute<int64_t>(edit_.node(n), "axis");
  if (x == nullptr) return;
  const auto axes = moved_axes({axis ? *axis : is_op(edit_.node(n), "Split") ? 0 : -1}, x->perm);
  if (!axes) return;
  const Ints perm = x->perm;
  edit_.set_input(n, 0, x->id);
  edit_.node(n).attributes["axis"] = Attribute{(*axes)[0]};
  for (size_t i = 0; i < edit_.node(n).outputs.size(); ++i) produce(n, i, perm);
}

// The parts are every `step`th input from `first` on.
void ChannelsLast::joining(NodeId n, size_t first, size_t step) {
  const std::vector<ValueId> inputs = edit_.node(n).inputs;
  const Twin* lead = nullptr;
  for (size_t i = first; i < inputs.size() && !lead; i += step) lead = twin(inputs[i]);
  const auto* axis = attribute<int64_t>(edit_.node(n), "axis");
  if (lead == nullptr || axis == nullptr) return;
  const Ints perm = lead->perm;
  const auto axes = moved_axes({*axis}, perm);
  for (size_t i = first; i < inputs.size(); i += step)
    if (!axes || rank(inputs[i]) != static_cast<int>(perm.size())) return;
  for (size_t i = first; i < inputs.size(); i += step) edit_.set_input(n, i, turned(inputs[i], perm));
  edit_.node(n).attributes["axis"] = Attribute{(*axes)[0]};
  produce(n, 0, perm);
}

// Reductions and Squeeze: constant axes as input 1.
void ChannelsLast::drop_axes(NodeId n) {
  const Twin* x = twin_in(n);
  const auto given = ints(n, 1);
  if (x == nullptr || !given || given->empty()) return;
  const auto axes = moved_axes(*given, x->perm);
  if (!axes) return;
  const auto* keep = attribute<int64_t>(edit_.node(n), "keepdims");
  const bool drops = is_op(edit_.node(n), "Squeeze") || (keep && *keep == 0);
  Ints perm = x->perm;
  if (drops) {
    // What is left of each order; then numbered from 0.
    const auto dropped = [&](int64_t at) { return std::ranges::find(*axes, at) != axes->end(); };
    Ints rest, old;
    for (size_t i = 0; i < perm.size(); ++i)
      if (!dropped(static_cast<int64_t>(i))) rest.push_back(perm[i]);
    old = rest;
    std::ranges::sort(old);
    for (int64_t& p : rest) p = std::ranges::find(old, p) - old.begin();
    perm = rest;
  }
  edit_.set_input(n, 0, x->id);
  edit_.set_input(n, 1, vector(*axes));
  produce(n, 0, perm);
}

void ChannelsLast::slice(NodeId n) {
  const Twin* x = twin_in(n);
  if (x == nullptr) return;
  auto given = ints(n, 3);
  if (has_input(edit_.node(n), 3) && !given) return;
  if (!given) {
    const DimTerms* starts = has_input(edit_.node(n), 1) ? facts_.dims(edit_.node(n).inputs[1]) : nullptr;
    if (starts == nullptr || starts->size() != 1 || (*starts)[0] < 0) return;
    given.emplace();
    for (int64_t a = 0; a < (*starts)[0]; ++a) given->push_back(a);
  }
  const auto axes = moved_axes(*given, x->perm);
  if (!axes) return;
  const Ints perm = x->perm;
  edit_.set_input(n, 0, x->id);
  edit_.set_input(n, 3, vector(*axes));
  produce(n, 0, perm);
}

void ChannelsLast::pad(NodeId n) {
  const Twin* x = twin_in(n);
  if (x == nullptr) return;
  const Ints perm = x->perm;
  if (has_input(edit_.node(n), 3)) {
    const auto given = ints(n, 3);
    const auto axes = given ? moved_axes(*given, perm) : std::nullopt;
    if (!axes) return;
    edit_.set_input(n, 3, vector(*axes));
  } else {
    const auto pads = ints(n, 1);
    if (!pads || pads->size() != 2 * perm.size()) return;
    Ints order = perm;
    for (int64_t p : perm) order.push_back(p + static_cast<int64_t>(perm.size()));
    edit_.set_input(n, 1, vector(pick(*pads, order)));
  }
  edit_.set_input(n, 0, x->id);
  produce(n, 0, perm);
}

void ChannelsLast::resize(NodeId n) {
  const Twin* x = twin_in(n);
  if (x == nullptr) return;
  if (const Tensor* roi = constant_input(edit_, edit_.node(n), 1); roi != nullptr && roi->count() == 0)
    edit_.set_input(n, 1, kNoValue);
  if (has_input(edit_.node(n), 1)) return;  // a region of interest
  const Ints perm = x->perm;
  if (const auto* given = attribute<Ints>(edit_.node(n), "axes")) {
    const auto axes = moved_axes(*given, perm);
    if (!axes) return;
    edit_.node(n).attributes["axes"] = Attribute{*axes};
  } else {
    for (size_t i : {2u, 3u})
      if (const Tensor* t = constant_input(edit_, edit_.node(n), i);
          t != nullptr && t->shape() != Shape{static_cast<int64_t>(perm.size())})
        return;
    for (size_t i : {2u, 3u}) {
      if (!has_input(edit_.node(n), i)) continue;
      const Tensor* t = constant_input(edit_, edit_.node(n), i);
      // What is no constant is a small vector, gathered while planning.
      edit_.set_input(n, i,
                      t ? edit_.add_constant(picked(*t, perm))
                        : edit_.add(edit_.node(n), "Gather", {edit_.node(n).inputs[i], vector(perm)}));
    }
  }
  edit_.set_input(n, 0, x->id);
  produce(n, 0, perm);
}

// Transpose(value, p) = Transpose(twin, q).
void ChannelsLast::transpose(NodeId n) {
  const Twin* x = twin_in(n);
  const Ints* p = permutation(edit_.node(n));
  if (x == nullptr || p == nullptr || p->size() != x->perm.size()) return;
  const Ints q = pick(inverse(x->perm), *p);
  const ValueId id = x->id, y = edit_.node(n).outputs[0];
  if (keeps_order(q)) {
    edit_.replace_uses(y, id);
    edit_.remove_node(n);
    return;
  }
  edit_.set_input(n, 0, id);
  edit_.node(n).attributes["perm"] = Attribute{q};
}

void ChannelsLast::visit(NodeId n) {
  using Visit = void (ChannelsLast::*)(NodeId);
  static const std::map<std::string_view, Visit> kVisits = [] {
    std::map<std::string_view, Visit> m;
    const auto all = [&](Visit visit, std::initializer_list<std::string_view> ops) {
      for (std::string_view op : ops) m[op] = visit;
    };
    all(&ChannelsLast::convolution, {"Conv", "ConvTranspose"});
    all(&ChannelsLast::pool, {"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"});
    all(&ChannelsLast::elementwise,
        {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu"});
    all(&ChannelsLast::clip_like, {"Abs",         "Ceil",      "Celu",       "Clip",           "Dropout",
                                   "Elu",         "Erf",       "Exp",        "Floor",          "Gelu",
                                   "HardSigmoid", "HardSwish", "Identity",   "LeakyRelu",      "Log",
                                   "Mish",        "Neg",       "Reciprocal", "Relu",           "Round",
                                   "Selu",        "Sigmoid",   "Sign",       "Softplus",       "Softsign",
                                   "Sqrt",        "Swish",     "Tanh",       "ThresholdedRelu"});
    all(&ChannelsLast::integer_convolution, {"QLinearConv"});
    all(&ChannelsLast::requantization, {"QuantizeLinear", "DequantizeLinear"});
    all(&ChannelsLast::along_axis, {"Softmax", "LogSoftmax", "Split"});
    all(&ChannelsLast::concat, {"Concat"});
    all(&ChannelsLast::drop_axes,
        {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd",
         "ReduceSumSquare", "ReduceLogSumExp", "Squeeze"});
    all(&ChannelsLast::slice, {"Slice"});
    all(&ChannelsLast::pad, {"Pad"});
    all(&ChannelsLast::resize, {"Resize"});
    all(&ChannelsLast::transpose, {"Transpose"});
    return m;
  }();
  const Node& node = edit_.node(n);
  if (node.domain == "com.microsoft" && node.op_type == "FusedConv") return convolution(n);
  if (node.domain == "com.microsoft" && (node.op_type == "QLinearAdd" || node.op_type == "QLinearMul"))
    return integer_elementwise(n);
  if (node.domain == "com.microsoft" && node.op_type == "QLinearConcat") return joining(n, 2, 3);
  if (node.domain == "pyinfer" && node.op_type == "QLinearConv") return integer_convolution(n);
  if (node.domain == "pyinfer" && node.op_type == "QLinearUnary") return clip_like(n);
  const auto it = node.domain.empty() ? kVisits.find(node.op_type) : kVisits.end();
  if (it != kVisits.end()) (this->*it->second)(n);
}

}  // namespace

void channels_last(GraphEdit& edit, const PassContext& ctx) {
  ChannelsLast(edit, !ctx.subgraph).run();
}

}  // namespace pyinfer
