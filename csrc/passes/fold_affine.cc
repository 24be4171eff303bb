// Conv(x, W, b) * s + t = Conv(x, W * s, b * s + t), for constants s and t of one element per output channel
// or one in all; Sub and Div likewise.
#include "passes/match.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

// The value of `t` for each of `channels` channels, when it is a float scalar or broadcasts along axis 1 of a
// tensor of `rank` dimensions; else empty.
std::vector<double> per_channel(const Tensor* t, int64_t channels, int rank) {
  if (t == nullptr || t->dtype() != DType::kFloat32 || t->shape().rank() > rank) return {};
  const auto v = t->span<float>();
  if (t->count() == 1) return std::vector<double>(static_cast<size_t>(channels), v[0]);
  const int axis = t->shape().rank() - (rank - 1);  // where axis 1 of the tensor stands in t's shape
  if (t->count() != channels || axis < 0 || t->shape()[axis] != channels) return {};
  return {v.begin(), v.end()};
}

bool fold(GraphEdit& edit, NodeId n) {
  const Node& node = edit.node(n);
  const bool mul = is_op(node, "Mul"), div = is_op(node, "Div"), add = is_op(node, "Add"),
             sub = is_op(node, "Sub");
  if ((!mul && !div && !add && !sub) || node.inputs.size() != 2) return false;
  const bool swapped = (mul || add) && constant_input(edit, node, 0) != nullptr;
  const ValueId x = node.inputs[swapped ? 1 : 0];
  const NodeId conv = edit.producer(x);
  if (conv == kNoNode || edit.only_reader(x) != n || !is_op(edit.node(conv), "Conv")) return false;
  const Tensor* w = constant_input(edit, edit.node(conv), 1);
  const Tensor* b = constant_input(edit, edit.node(conv), 2);
  if (w == nullptr || w->dtype() != DType::kFloat32 || w->shape().rank() < 3 ||
      (has_input(edit.node(conv), 2) && !b))
    return false;
  const int64_t channels = w->shape()[0];
  if (b && (b->dtype() != DType::kFloat32 || b->count() != channels)) return false;
  std::vector<double> k =
      per_channel(constant_input(edit, node, swapped ? 0 : 1), channels, w->shape().rank());
  if (k.empty()) return false;
  for (double& v : k) v = div ? 1.0 / v : sub ? -v : v;

  if (mul || div) {
    Tensor weights(DType::kFloat32, w->shape());
    const int64_t inner = channels == 0 ? 0 : w->count() / channels;
    for (int64_t i = 0; i < w->count(); ++i)
      weights.as<float>()[i] = static_cast<float>(w->as<float>()[i] * k[static_cast<size_t>(i / inner)]);
    edit.set_input(conv, 1, edit.add_constant(std::move(weights)));
  }
  if (b || add || sub) {
    Tensor bias(DType::kFloat32, {channels});
    for (int64_t c = 0; c < channels; ++c) {
      const double old = b ? b->as<float>()[c] : 0.0, v = k[static_cast<size_t>(c)];
      bias.as<float>()[c] = static_cast<float>(mul || div ? old * v : old + v);
    }
    edit.set_input(conv, 2, edit.add_constant(std::move(bias)));
  }
  const ValueId y = edit.node(n).outputs[0];
  edit.replace_uses(y, x);
  edit.remove_node(n);
  return true;
}

}  // namespace

void fold_affine(GraphEdit& edit, const PassContext&) {
  // In order, so that a chain Mul, Add folds one after the other.
  for (NodeId n = 0; n < edit.num_nodes(); ++n)
    if (!edit.removed(n)) fold(edit, n);
}

}  // namespace pyinfer
