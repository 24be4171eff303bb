// What stands between DequantizeLinear and QuantizeLinear becomes an operator on the integers themselves:
//   Q(clip(Conv(D(x), D(w), D(b)))) = QLinearConv(x, w, b)      Q(Gemm(D(x), D(w), D(b))) = QGemm(x, w, b)
//   Q(MatMul(D(a), D(b))) = QLinearMatMul(a, b)                 Q([D(a), D(b) ...]) = QLinearConcat(a, b ...)
//   Q(D(a) + D(b)) = QLinearAdd(a, b), and so products          Q(f(D(x))) = QLinearUnary(x), a table
//   Q(f(D(x))) = f(x), where f moves elements or takes the greatest, and all grids are one;
//   Gather(D(table), i) = D(Gather(table, i))
// with D(q) = (q - zero) scale. Sums of integers are exact, and are rounded once, to the grid of the output.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/elementwise_kinds.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

// An 8-bit value and where its grid stands.
struct Quantized {
  ValueId q = kNoValue, scale = kNoValue, zero = kNoValue;
};

// The grid of a QuantizeLinear, and what a Relu or Clip before it leaves of its range.
struct Target {
  Quantized grid;
  DType dtype;
  int64_t low, high;
  bool whole() const { return high - low == 255; }
};

bool is_byte(DType t) {
  return t == DType::kInt8 || t == DType::kUInt8;
}

class Fusion {
 public:
  explicit Fusion(GraphEdit& edit) : edit_(edit) {}

  void run() {
    each("QuantizeLinear", [&](NodeId n) { onto_grid(n); });
    each("Gemm", [&](NodeId n) { gemm(n, n, nullptr); });  // those without one
    each("Gather", [&](NodeId n) { gather(n); });
    edit_.remove_unused();
  }

 private:
  const Tensor& constant(ValueId id) const { return edit_.graph().value(id).constant; }

  template <class Visit>
  void each(std::string_view op_type, Visit visit) {
    const NodeId count = edit_.num_nodes();
    for (NodeId n = 0; n < count; ++n)
      if (!edit_.removed(n) && is_op(edit_.node(n), op_type)) visit(n);
  }

  // Whether a node computes in float32, by one scale for many elements.
  static bool is_plain(const Node& node) {
    for (const char* name : {"output_dtype", "precision"}) {
      const auto* dtype = attribute<int64_t>(node, name);
      const bool to_bytes = is_op(node, "QuantizeLinear") && std::string_view(name) == "output_dtype";
      if (dtype != nullptr && *dtype > 1 && !to_bytes) return false;
    }
    const auto* block = attribute<int64_t>(node, "block_size");
    return block == nullptr || *block == 0;
  }

  // The grid of a DequantizeLinear or QuantizeLinear: constants, a scale for each of `count` slices along
  // `axis` of `rank`, or one for all. A zero point that is absent becomes a constant, so that pointers to
  // constants do not outlive the call. Of scales that keep far from the ends of float32, products and
  // quotients are numbers, and larger means larger.
  std::optional<Quantized> grid_of(NodeId n, DType dtype, int64_t count, int64_t axis, int64_t rank) {
    const Node& node = edit_.node(n);
    const Tensor* scale = constant_input(edit_, node, 1);
    if (!is_plain(node) || scale == nullptr || scale->dtype() != DType::kFloat32 || scale->shape().rank() > 1)
      return std::nullopt;
    for (float s : scale->span<float>())
      if (!(s >= 1e-15f && s <= 1e15f)) return std::nullopt;
    const auto* along = attribute<int64_t>(node, "axis");
    const int64_t own = along ? *along : 1;
    const bool one = scale->count() == 1;
    if (!one && (scale->count() != count || (own < 0 ? own + rank : own) != axis)) return std::nullopt;
    Quantized g{.scale = node.inputs[1]};
    if (has_input(node, 2)) {
      const Tensor* zero = constant_input(edit_, node, 2);
      if (zero == nullptr || zero->dtype() != dtype || zero->count() != scale->count()) return std::nullopt;
      g.zero = node.inputs[2];
    } else {
      Tensor zeros(dtype, scale->shape());
      std::fill_n(zeros.as<char>(), zeros.bytes(), char{0});
      g.zero = edit_.add_constant(zeros);
    }
    return g;
  }

  // D(q) as q, of an activation: one grid.
  std::optional<Quantized> dequantized(ValueId id) {
    const NodeId n = edit_.producer(id);
    if (n == kNoNode || !is_op(edit_.node(n), "DequantizeLinear")) return std::nullopt;
    const Tensor* zero = constant_input(edit_, edit_.node(n), 2);  // says the type
    if (zero == nullptr || !is_byte(zero->dtype())) return std::nullopt;
    auto g = grid_of(n, zero->dtype(), 1, 0, 1);
    if (g) g->q = edit_.node(n).inputs[0];
    return g;
  }

  // Constant weights, a grid for each output channel, of which there are shape[axis].
  std::optional<Quantized> weights(ValueId id, int64_t axis) {
    const NodeId n = edit_.producer(id);
    if (n == kNoNode || !is_op(edit_.node(n), "DequantizeLinear")) return std::nullopt;
    const Tensor* q = constant_input(edit_, edit_.node(n), 0);
    if (q == nullptr || !is_byte(q->dtype()) || q->shape().rank() <= axis) return std::nullopt;
    auto g = grid_of(n, q->dtype(), q->shape()[static_cast<int>(axis)], axis, q->shape().rank());
    if (g) g->q = edit_.node(n).inputs[0];
    return g;
  }

  // Constant real values of shape [count] or, where `row` says so (the C of a Gemm), [1, count].
  std::optional<std::vector<double>> reals(ValueId id, int64_t count, bool row) {
    const auto fits = [&](const Shape& s) { return s == Shape{count} || (row && s == Shape{1, count}); };
    std::vector<double> values;
    if (const Tensor& c = constant(id); !c.empty()) {
      if (c.dtype() != DType::kFloat32 || !fits(c.shape())) return std::nullopt;
      values.assign(c.as<float>(), c.as<float>() + count);
      return values;
    }
    const NodeId d = edit_.producer(id);
    if (d == kNoNode || !is_op(edit_.node(d), "DequantizeLinear")) return std::nullopt;
    const ValueId q = edit_.node(d).inputs[0];
    if (constant(q).dtype() != DType::kInt32 || constant(q).shape() != Shape{count}) return std::nullopt;
    const auto g = grid_of(d, DType::kInt32, count, 0, 1);
    if (!g) return std::nullopt;
    const Tensor &s = constant(g->scale), &z = constant(g->zero), &c = constant(q);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = s.count() == 1 ? 0 : i;
      values.push_back((static_cast<double>(c.as<int32_t>()[i]) - z.as<int32_t>()[at]) *
                       static_cast<double>(s.as<float>()[at]));
    }
    return values;
  }

  // The bias of a node on the grid of its sums, of scale x w and zero point 0: kNoValue where there is none,
  // nothing where the node must stay as it is. Rounding it may cost what float32 does, or `slack`; and with
  // it no sum of `depth` products may leave int32.
  std::optional<ValueId> bias(const Node& node, const Quantized& x, const Quantized& w, int64_t depth,
                              int64_t count, double slack, bool row) {
    const double room = INT32_MAX - 255.0 * 255.0 * static_cast<double>(depth);
    if (room < 0) return std::nullopt;
    if (!has_input(node, 2)) return kNoValue;
    const auto values = reals(node.inputs[2], count, row);
    if (!values) return std::nullopt;
    const Tensor &xs = constant(x.scale), &ws = constant(w.scale);
    Tensor out(DType::kInt32, Shape{count});
    for (int64_t i = 0; i < count; ++i) {
      const double value = (*values)[static_cast<size_t>(i)];
      const double unit = static_cast<double>(xs.as<float>()[0]) *
                          static_cast<double>(ws.as<float>()[ws.count() == 1 ? 0 : i]);
      const double v = std::nearbyint(value / unit);
      if (!(std::fabs(v) <= room)) return std::nullopt;
      if (std::fabs(v * unit - value) > std::fmax(0x1p-20 * std::fabs(value), slack)) return std::nullopt;
      out.as<int32_t>()[i] = static_cast<int32_t>(v);
    }
    return edit_.add_constant(out);
  }
  // A hundredth of a step.
  double slack(const Target& t) const {
    return 0.01 * static_cast<double>(constant(t.grid.scale).as<float>()[0]);
  }

  std::optional<Target> target(NodeId q) {
    const Node& node = edit_.node(q);
    const Tensor* zero = constant_input(edit_, node, 2);
    if (has_input(node, 2) && zero == nullptr) return std::nullopt;
    Target t{.grid = {}, .dtype = zero ? zero->dtype() : DType::kUInt8, .low = 0, .high = 255};
    if (!is_byte(t.dtype) || (zero == nullptr && node.attributes.contains("output_dtype")))
      return std::nullopt;
    const auto g = grid_of(q, t.dtype, 1, 0, 1);
    if (!g) return std::nullopt;
    t.grid = *g;
    if (t.dtype == DType::kInt8) t.low = -128, t.high = 127;
    return t;
  }
  int64_t quantize(const Target& t, double x) const {
    const Tensor& z = constant(t.grid.zero);
    const int64_t zero = t.dtype == DType::kInt8 ? z.as<int8_t>()[0] : z.as<uint8_t>()[0];
    const double v = std::nearbyint(x / static_cast<double>(constant(t.grid.scale).as<float>()[0]));
    return static_cast<int64_t>(std::fmin(std::fmax(v + static_cast<double>(zero), -1000.0), 1000.0));
  }
  // Takes the bounds of an activation that only this chain reads into the target; the value before it.
  ValueId without_clip(ValueId id, Target& t) {
    const NodeId n = edit_.producer(id);
    if (n == kNoNode || edit_.only_reader(id) == kNoNode) return id;
    ClipBounds bounds{0.0f, INFINITY};
    if (is_op(edit_.node(n), "Clip")) {
      const auto b = clip_bounds(edit_, edit_.node(n));
      if (!b || !(b->low <= b->high)) return id;
      bounds = *b;
    } else if (!is_op(edit_.node(n), "Relu")) {
      return id;
    }
    const int64_t low = t.low, high = t.high;
    t.low = std::clamp(quantize(t, static_cast<double>(bounds.low)), low, high);
    t.high = std::clamp(quantize(t, static_cast<double>(bounds.high)), low, high);
    return edit_.node(n).inputs[0];
  }

  void onto_grid(NodeId q) {
    const auto t = target(q);
    if (!t || moves(q, *t)) return;
    clipped(q, *t);
    if (is_op(edit_.node(q), "QuantizeLinear")) unary(q, *t);
  }

  // Operators that bounds may follow.
  void clipped(NodeId q, Target t) {
    const ValueId y = without_clip(edit_.node(q).inputs[0], t);
    const NodeId n = edit_.producer(y);
    if (n == kNoNode || edit_.only_reader(y) == kNoNode) return;
    if (is_op(edit_.node(n), "Conv")) convolution(n, q, t);
    if (!t.whole()) return;
    if (is_op(edit_.node(n), "Gemm")) gemm(n, q, &t);
    if (is_op(edit_.node(n), "MatMul")) matmul(n, q, t);
    if (is_op(edit_.node(n), "Add")) binary(n, q, t, "QLinearAdd");
    if (is_op(edit_.node(n), "Mul")) binary(n, q, t, "QLinearMul");
    if (is_op(edit_.node(n), "Concat")) concat(n, q, t);
  }

  // The QuantizeLinear becomes the whole: its place and its output stay.
  void become(NodeId q, std::string_view domain, std::string_view op_type, const std::vector<ValueId>& inputs,
              NodeId attributes_of) {
    Node& node = edit_.node(q);
    node.domain = domain;
    node.op_type = op_type;
    node.version = 1;
    node.name = edit_.node(attributes_of).name;
    node.attributes = edit_.node(attributes_of).attributes;
    edit_.set_inputs(q, inputs);
  }

  // Whether what the sums are multiplied by are ordinary numbers.
  bool is_usable(const Quantized& x, const Quantized& w, const Target& t) const {
    const auto first = [&](const Quantized& g) {
      return static_cast<double>(constant(g.scale).as<float>()[0]);
    };
    for (float s : constant(w.scale).span<float>()) {
      const double factor = first(x) * static_cast<double>(s) / first(t.grid);
      if (!(factor >= 1e-30 && factor <= 1e30)) return false;
    }
    return true;
  }

  void convolution(NodeId n, NodeId q, const Target& t) {
    const Node& conv = edit_.node(n);
    const auto x = dequantized(conv.inputs[0]);
    const auto w = weights(conv.inputs[1], 0);
    if (!x || !w) return;
    const Tensor& filters = constant(w->q);
    if (filters.count() == 0 || !is_usable(*x, *w, t)) return;
    const int64_t outputs = filters.shape()[0];
    const auto b = bias(conv, *x, *w, filters.count() / outputs, outputs, slack(t), false);
    if (!b) return;
    const Quantized& y = t.grid;
    std::vector<ValueId> inputs{x->q, x->scale, x->zero, w->q, w->scale, w->zero, y.scale, y.zero};
    if (*b != kNoValue) inputs.push_back(*b);
    become(q, "pyinfer", "QLinearConv", inputs, n);
    if (t.whole()) return;
    edit_.node(q).attributes["y_low"] = Attribute{t.low};
    edit_.node(q).attributes["y_high"] = Attribute{t.high};
  }

  // The QuantizeLinear q after it becomes the whole, or without one it does itself: then its output is
  // float32.
  void gemm(NodeId n, NodeId q, const Target* t) {
    const Node& node = edit_.node(n);
    const auto flag = [&](const char* name) {
      const auto* v = attribute<int64_t>(node, name);
      return v != nullptr && *v != 0;
    };
    const auto one = [&](const char* name) {
      const auto* v = attribute<float>(node, name);
      return v == nullptr || *v == 1.0f;
    };
    if (!one("alpha") || !one("beta")) return;
    const int64_t axis = flag("transB") ? 0 : 1;
    const auto a = dequantized(node.inputs[0]);
    const auto b = weights(node.inputs[1], axis);
    if (!a || !b) return;
    const Shape s = constant(b->q).shape();
    if (s.rank() != 2 || s.count() == 0) return;
    if (t && !is_usable(*a, *b, *t)) return;
    const int64_t outputs = s[static_cast<int>(axis)];
    const auto c = bias(node, *a, *b, s.count() / outputs, outputs, t ? slack(*t) : 0.0, true);
    if (!c) return;
    std::vector<ValueId> inputs{a->q, a->scale, a->zero, b->q, b->scale, b->zero, *c};
    if (t) {
      inputs.insert(inputs.end(), {t->grid.scale, t->grid.zero});
    } else if (*c == kNoValue) {
      inputs.pop_back();
    }
    become(q, "com.microsoft", "QGemm", inputs, n);
    edit_.node(q).attributes.erase("beta");
  }

  // Of two activations, or of weights with a grid for each column.
  void matmul(NodeId n, NodeId q, const Target& t) {
    const Node& node = edit_.node(n);
    const auto a = dequantized(node.inputs[0]);
    auto b = dequantized(node.inputs[1]);
    if (!b) b = weights(node.inputs[1], 1);
    if (!a || !b) return;
    const Tensor& w = constant(b->q);
    if (constant(b->scale).count() != 1 && w.shape().rank() != 2) return;
    // Of two activations the depth is not known: as the operator says, sums may leave int32, from 33,026
    // products on.
    if (!w.empty() && (w.shape().rank() != 2 || w.shape()[0] > INT32_MAX / (255 * 255))) return;
    if (!is_usable(*a, *b, t)) return;
    const Quantized& y = t.grid;
    become(q, "", "QLinearMatMul", {a->q, a->scale, a->zero, b->q, b->scale, b->zero, y.scale, y.zero}, n);
    edit_.node(q).version = kNewestOpset;
  }

  // D(x) as x, of the type of the result.
  std::optional<Quantized> dequantized(ValueId id, const Target& t) {
    const auto x = dequantized(id);
    return x && constant(x->zero).dtype() == t.dtype ? x : std::nullopt;
  }

  void binary(NodeId n, NodeId q, const Target& t, std::string_view op_type) {
    const Node& node = edit_.node(n);
    if (node.inputs.size() != 2) return;
    const auto a = dequantized(node.inputs[0], t), b = dequantized(node.inputs[1], t);
    if (!a || !b) return;
    const Quantized& y = t.grid;
    become(q, "com.microsoft", op_type, {a->q, a->scale, a->zero, b->q, b->scale, b->zero, y.scale, y.zero},
           n);
  }

  void concat(NodeId n, NodeId q, const Target& t) {
    std::vector<ValueId> bytes, inputs{t.grid.scale, t.grid.zero};
    bool one_grid = true;
    for (ValueId id : edit_.node(n).inputs) {
      const auto x = dequantized(id, t);
      if (!x) return;
      one_grid = one_grid && same(x->scale, t.grid.scale) && same(x->zero, t.grid.zero);
      bytes.push_back(x->q);
      inputs.insert(inputs.end(), {x->q, x->scale, x->zero});
    }
    become(q, one_grid ? "" : "com.microsoft", one_grid ? "Concat" : "QLinearConcat",
           one_grid ? bytes : inputs, n);
    if (one_grid) edit_.node(q).version = kNewestOpset;
  }

  // An operator of one tensor, as a table of all its bytes.
  void unary(NodeId q, const Target& t) {
    const ValueId y = edit_.node(q).inputs[0];
    const NodeId n = edit_.producer(y);
    if (n == kNoNode || edit_.only_reader(y) == kNoNode) return;
    std::optional<UnaryCall> call;
    try {
      call = unary_call(edit_.node(n));
    } catch (const Error&) {
      return;  // reported when the graph is lowered
    }
    const auto x =
        call && edit_.node(n).inputs.size() == 1 ? dequantized(edit_.node(n).inputs[0], t) : std::nullopt;
    if (!x) return;
    become(q, "pyinfer", "QLinearUnary", {x->q, x->scale, x->zero, t.grid.scale, t.grid.zero}, n);
    edit_.node(q).attributes = {{"op", Attribute{std::string(call->name)}},
                                {"params", Attribute{std::vector<float>{call->params.a, call->params.b}}}};
  }

  // Gather(D(x), i) = D(Gather(x, i)): what is gathered of a table is dequantized, not the table.
  void gather(NodeId n) {
    const auto x = dequantized(edit_.node(n).inputs[0]);
    if (!x || !edit_.graph().is_constant(x->q)) return;
    const ValueId y = edit_.node(n).outputs[0], q = edit_.add_value();
    edit_.set_input(n, 0, x->q);
    edit_.set_output(n, 0, q);
    Node d;
    d.name = edit_.node(n).name;
    d.op_type = "DequantizeLinear";
    d.version = kNewestOpset;
    d.inputs = {q, x->scale, x->zero};
    d.outputs = {y};
    edit_.add_node(std::move(d));
  }

  bool same(ValueId a, ValueId b) const {
    const Tensor &x = constant(a), &y = constant(b);
    return x.dtype() == y.dtype() && x.count() == 1 && y.count() == 1 &&
           std::memcmp(x.view().data, y.view().data, x.bytes()) == 0;
  }

  // Q(f(D(x))) where f keeps the values: the node itself reads x.
  bool moves(NodeId q, const Target& t) {
    static constexpr std::string_view kMoves[] = {"MaxPool", "Reshape",   "Transpose", "Flatten",
                                                  "Squeeze", "Unsqueeze", "Slice",     "Identity"};
    const ValueId y = edit_.node(q).inputs[0];
    const NodeId n = edit_.producer(y);
    if (n == kNoNode || edit_.only_reader(y) == kNoNode || !edit_.node(n).domain.empty() ||
        std::ranges::find(kMoves, edit_.node(n).op_type) == std::end(kMoves) ||
        edit_.node(n).outputs.size() != 1)
      return false;
    const auto x = dequantized(edit_.node(n).inputs[0]);
    if (!x || !same(x->scale, t.grid.scale) || !same(x->zero, t.grid.zero)) return false;
    edit_.set_input(n, 0, x->q);
    const ValueId out = edit_.node(q).outputs[0];
    edit_.remove_node(q);
    edit_.set_output(n, 0, out);
    return true;
  }

  GraphEdit& edit_;
};

}  // namespace

void fuse_quantized(GraphEdit& edit, const PassContext&) {
  Fusion(edit).run();
}

}  // namespace pyinfer
