// What follows a convolution or a product with constant weights rides on its store:
//   act(X * W + B + Z): ConvNhwc and FusedMatMul of the domain pyinfer take B, Z and act.
// Z is added only where it is certain to have the shape of the product.
#include <algorithm>
#include <limits>

#include "passes/match.h"
#include "passes/pass.h"
#include "passes/shape_facts.h"

namespace pyinfer {
namespace {

constexpr size_t kWeights = 1, kBias = 2, kResidual = 3;

bool is_narrow_float(DType t) {
  return t == DType::kFloat32 || t == DType::kFloat16 || t == DType::kBFloat16;
}

struct Ride {
  std::string_view name;  // as fused_activation.h reads it
  float alpha = 0.0f, beta = 0.0f;
  bool has_alpha = false, has_beta = false;
};

float float_attribute(const Node& node, std::string_view name, float otherwise) {
  const auto* v = attribute<float>(node, name);
  return v ? *v : otherwise;
}

std::optional<Ride> ride_of(const GraphEdit& edit, const Node& node) {
  if (!node.domain.empty() || node.outputs.size() != 1) return std::nullopt;
  for (std::string_view plain : {"Relu", "HardSwish", "Sigmoid", "Tanh", "Mish", "Softplus"})
    if (node.op_type == plain) return Ride{.name = plain};
  if (is_op(node, "Gelu")) {
    const auto* approximate = attribute<std::string>(node, "approximate");
    return Ride{.name = approximate && *approximate == "tanh" ? "GeluTanh" : "Gelu"};
  }
  if (is_op(node, "Swish")) {
    const float alpha = float_attribute(node, "alpha", 1.0f);
    if (alpha == 1.0f) return Ride{.name = "Silu"};
    return Ride{.name = "Swish", .alpha = alpha, .has_alpha = true};
  }
  if (is_op(node, "LeakyRelu"))
    return Ride{.name = "LeakyRelu", .alpha = float_attribute(node, "alpha", 0.01f), .has_alpha = true};
  if (is_op(node, "Elu"))
    return Ride{.name = "Elu", .alpha = float_attribute(node, "alpha", 1.0f), .has_alpha = true};
  if (is_op(node, "HardSigmoid"))
    return Ride{.name = "HardSigmoid",
                .alpha = float_attribute(node, "alpha", 0.2f),
                .beta = float_attribute(node, "beta", 0.5f),
                .has_alpha = true,
                .has_beta = true};
  if (is_op(node, "Clip"))
    if (const auto b = clip_bounds(edit, node))
      return Ride{.name = "Clip", .alpha = b->low, .beta = b->high, .has_alpha = true, .has_beta = true};
  return std::nullopt;
}

class Epilogue {
 public:
  Epilogue(GraphEdit& edit, bool trust_inputs) : edit_(edit), facts_(edit, trust_inputs) {}

  void run() {
    const NodeId count = edit_.num_nodes();
    for (NodeId n = 0; n < count; ++n)
      if (!edit_.removed(n) && carries(n)) fuse(n);
  }

 private:
  // A product that takes an epilogue, and has no activation yet.
  bool carries(NodeId n) {
    const Node& node = edit_.node(n);
    if (node.domain == "pyinfer")
      return (node.op_type == "ConvNhwc" || node.op_type == "ConvTransposeNhwc" ||
              node.op_type == "FusedMatMul") &&
             !node.attributes.contains("activation");
    const Tensor* w = constant_input(edit_, node, kWeights);
    if (w == nullptr || !is_narrow_float(w->dtype()) || w->shape().rank() < 2) return false;
    return is_op(node, "MatMul") || (is_op(node, "Gemm") && gemm_is_product(node, *w));
  }

  // Whether a Gemm is a FusedMatMul: C is one value per column, or absent.
  bool gemm_is_product(const Node& node, const Tensor& w) const {
    const auto* trans_a = attribute<int64_t>(node, "transA");
    const auto* trans_b = attribute<int64_t>(node, "transB");
    if ((trans_a && *trans_a != 0) || facts_.rank(node.inputs[0]) != 2) return false;
    if (!has_input(node, kBias)) return true;
    const Tensor* c = constant_input(edit_, node, kBias);
    return c != nullptr && float_attribute(node, "beta", 1.0f) == 1.0f && c->dtype() == w.dtype() &&
           c->shape().rank() == 1 && c->count() == w.shape()[trans_b && *trans_b != 0 ? 0 : 1];
  }

  // Turns MatMul and Gemm into the form that has an epilogue.
  void prepare(NodeId n) {
    Node& node = edit_.node(n);
    if (node.domain == "pyinfer") return;
    node.attributes.erase("beta");
    node.attributes.erase("transA");
    node.op_type = "FusedMatMul";
    node.domain = "pyinfer";
    node.version = 1;
  }

  void fuse(NodeId n) {
    for (;;) {
      const ValueId y = edit_.node(n).outputs[0];
      const NodeId next = edit_.only_reader(y);
      if (next == kNoNode) return;
      if (is_op(edit_.node(next), "Add")) {
        if (!add(n, next)) return;
        continue;
      }
      const auto ride = ride_of(edit_, edit_.node(next));
      if (!ride || edit_.node(next).inputs[0] != y) return;
      prepare(n);
      auto& attributes = edit_.node(n).attributes;
      attributes["activation"] = Attribute{std::string(ride->name)};
      if (ride->has_alpha) attributes["activation_alpha"] = Attribute{ride->alpha};
      if (ride->has_beta) attributes["activation_beta"] = Attribute{ride->beta};
      absorb(n, next);
      return;
    }
  }

  bool add(NodeId n, NodeId next) {
    const ValueId y = edit_.node(n).outputs[0];
    const std::vector<ValueId>& inputs = edit_.node(next).inputs;
    if (inputs.size() != 2 || inputs[0] == inputs[1]) return false;
    const ValueId other = inputs[inputs[0] == y ? 1 : 0];
    if (add_bias(n, other)) {
      absorb(n, next);
      return true;
    }
    if (has_input(edit_.node(n), kResidual) || !facts_.same(y, other) || edit_.graph().is_constant(other))
      return false;
    prepare(n);
    edit_.set_input(n, kResidual, other);
    absorb(n, next);
    return true;
  }

  // A product without bias takes a constant row.
  bool add_bias(NodeId n, ValueId other) {
    const Node& node = edit_.node(n);
    const Tensor& c = edit_.graph().value(other).constant;
    const Tensor* w = constant_input(edit_, node, kWeights);
    if (c.empty() || w == nullptr || has_input(node, kBias) || has_input(node, kResidual)) return false;
    if (node.op_type.starts_with("Conv")) return false;  // fold_affine has done it
    const auto* trans_b = attribute<int64_t>(node, "transB");
    const int r = w->shape().rank();
    const int64_t columns = w->shape()[trans_b && *trans_b != 0 ? r - 2 : r - 1];
    const int rank = facts_.rank(node.outputs[0]);
    if (c.dtype() != w->dtype() || c.count() != columns || c.shape().rank() < 1 ||
        c.shape()[c.shape().rank() - 1] != columns || c.shape().rank() > std::max(rank, 1))
      return false;
    prepare(n);
    const Tensor row(c.dtype(), Shape{columns}, c.view().data, c.storage());
    edit_.set_input(n, kBias, c.shape().rank() == 1 ? other : edit_.add_constant(row));
    return true;
  }

  // n now computes what `next` did.
  void absorb(NodeId n, NodeId next) {
    const ValueId y = edit_.node(next).outputs[0];
    if (const DimTerms* dims = facts_.dims(edit_.node(n).outputs[0])) facts_.set(y, DimTerms(*dims));
    edit_.remove_node(next);
    edit_.set_output(n, 0, y);
  }

  GraphEdit& edit_;
  ShapeFacts facts_;
};

}  // namespace

void fuse_epilogue(GraphEdit& edit, const PassContext& ctx) {
  Epilogue(edit, !ctx.subgraph).run();
}

}  // namespace pyinfer
