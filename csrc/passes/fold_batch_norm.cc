// BatchNormalization(Conv(x, W, b)) = Conv(x, W * s, b * s + t),  s = scale / sqrt(var + epsilon),
// t = bias - mean * s, per output channel; in float64, rounded once. The same for ConvTranspose.
#include <cmath>

#include "passes/match.h"
#include "passes/pass.h"

namespace pyinfer {
namespace {

struct Affine {
  std::vector<double> scale, shift;  // per channel
};

std::optional<Affine> affine_of(const GraphEdit& edit, const Node& bn) {
  const auto* training = attribute<int64_t>(bn, "training_mode");
  if (training && *training != 0) return std::nullopt;
  const Tensor* p[4];
  for (size_t i = 0; i < 4; ++i) {
    p[i] = constant_input(edit, bn, i + 1);
    if (p[i] == nullptr || p[i]->dtype() != DType::kFloat32 || p[i]->count() != p[0]->count())
      return std::nullopt;
  }
  const auto* epsilon = attribute<float>(bn, "epsilon");
  Affine a;
  for (int64_t c = 0; c < p[0]->count(); ++c) {
    const double s = p[0]->as<float>()[c] /
                     std::sqrt(static_cast<double>(p[3]->as<float>()[c]) + (epsilon ? *epsilon : 1e-5f));
    a.scale.push_back(s);
    a.shift.push_back(p[1]->as<float>()[c] - p[2]->as<float>()[c] * s);
  }
  return a;
}

}  // namespace

void fold_batch_norm(GraphEdit& edit, const PassContext&) {
  for (NodeId n = 0; n < edit.num_nodes(); ++n) {
    if (edit.removed(n) || !is_op(edit.node(n), "BatchNormalization") || edit.node(n).inputs.size() < 5)
      continue;
    const ValueId x = edit.node(n).inputs[0];
    const NodeId conv = edit.producer(x);
    if (conv == kNoNode || edit.only_reader(x) != n || edit.node(n).outputs.size() != 1) continue;
    const bool transposed = is_op(edit.node(conv), "ConvTranspose");
    if (!transposed && !is_op(edit.node(conv), "Conv")) continue;
    const Tensor* w = constant_input(edit, edit.node(conv), 1);
    const Tensor* b = constant_input(edit, edit.node(conv), 2);
    if (w == nullptr || w->dtype() != DType::kFloat32 || w->shape().rank() < 3 ||
        (has_input(edit.node(conv), 2) && !b))
      continue;
    const auto affine = affine_of(edit, edit.node(n));
    if (!affine) continue;
    const auto* group = attribute<int64_t>(edit.node(conv), "group");
    const int64_t groups = group ? *group : 1;
    const auto channels = static_cast<int64_t>(affine->scale.size());
    // Conv: [channels, ...]. ConvTranspose: [in, channels / groups, ...], group g's inputs first.
    const int64_t per_group = transposed ? w->shape()[1] : channels;
    if (groups < 1 || (transposed ? per_group * groups != channels || w->shape()[0] % groups != 0
                                  : w->shape()[0] != channels))
      continue;
    if (b && (b->dtype() != DType::kFloat32 || b->count() != channels)) continue;

    Tensor weights(DType::kFloat32, w->shape());
    const int64_t inner = w->shape().count(transposed ? 2 : 1, w->shape().rank());
    const int64_t rows = inner == 0 ? 0 : w->count() / inner;
    const int64_t inputs_per_group = transposed ? w->shape()[0] / groups : 1;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t c = transposed ? r / per_group / inputs_per_group * per_group + r % per_group : r;
      for (int64_t i = 0; i < inner; ++i)
        weights.as<float>()[r * inner + i] =
            static_cast<float>(w->as<float>()[r * inner + i] * affine->scale[static_cast<size_t>(c)]);
    }
    Tensor bias(DType::kFloat32, {channels});
    for (int64_t c = 0; c < channels; ++c)
      bias.as<float>()[c] =
          static_cast<float>((b ? b->as<float>()[c] : 0.0) * affine->scale[static_cast<size_t>(c)] +
                             affine->shift[static_cast<size_t>(c)]);
    edit.set_input(conv, 1, edit.add_constant(std::move(weights)));
    edit.set_input(conv, 2, edit.add_constant(std::move(bias)));
    const ValueId y = edit.node(n).outputs[0];
    edit.replace_uses(y, x);
    edit.remove_node(n);
  }
}

}  // namespace pyinfer
