// Operators of which the newest form sees its inputs' dimensions in another way: explicit broadcasting
// (operator sets 1 to 6) and operations on inputs flattened to a matrix (Softmax up to 12).
#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {
namespace {

// b with as many dimensions of 1 behind as make its first one axis `axis` of x.
ValueId align(NodeUpgrade& n, ValueId x, ValueId b, int64_t axis) {
  if (axis >= 0 && n.rank(x) >= 0 && n.rank(b) >= 0) {
    const int64_t behind = n.rank(x) - axis - n.rank(b);
    require(behind >= 0, ErrorCode::kInvalidModel, "rank ", n.rank(b), " at axis ", axis, " exceeds rank ",
            n.rank(x));
    if (behind == 0) return b;
    const Tensor* t = n.constant(b);
    std::vector<int64_t> axes;
    for (int64_t i = 0; i < behind; ++i) axes.push_back(n.rank(b) + i);
    if (t == nullptr) return n.add("Unsqueeze", {b, n.ints(axes)});
    Shape shape = t->shape();
    for (int64_t i = 0; i < behind; ++i) shape.push_back(1);
    return n.constant_value(t->reshaped(shape));
  }
  const ValueId shape_b = n.add("Shape", {b});
  const ValueId rank_x = n.add("Shape", {n.add("Shape", {x})}), rank_b = n.add("Shape", {shape_b});
  // A negative axis counts from the end of x.
  ValueId behind = axis < 0 ? n.ints({-axis}) : n.add("Sub", {rank_x, n.ints({axis})});
  behind = n.add("Sub", {behind, rank_b});
  const ValueId ones = n.add("Expand", {n.ints({1}), behind});
  return n.add("Reshape", {b, n.add("Concat", {shape_b, ones}, {{"axis", {int64_t{0}}}})});
}

void broadcast(NodeUpgrade& n) {
  const bool on = n.take_int("broadcast").value_or(0) != 0;
  const auto axis = n.take_int("axis");
  // Without an axis the last dimensions match, as they do now.
  if (on && axis) n.set_input(1, align(n, n.required(0), n.required(1), *axis));
}

void gemm(NodeUpgrade& n) {
  n.drop_attr("broadcast");
}

// A slope of one dimension belonged to the channels.
void prelu(NodeUpgrade& n) {
  const ValueId slope = n.required(1);
  if (n.rank(slope) < 0 || n.rank(slope) == 1) n.set_input(1, align(n, n.required(0), slope, 1));
}

// op(x, axis) = op over each row of x flattened to a matrix whose columns are the dimensions from `axis` on
void on_matrix(NodeUpgrade& n) {
  const int64_t axis = n.take_int("axis").value_or(1);
  const ValueId x = n.required(0);
  const int rank = n.rank(x);
  if (axis == -1 || (rank > 0 && axis == rank - 1)) {
    n.set_attr("axis", {int64_t{-1}});
    return;
  }
  const ValueId matrix = n.add("Flatten", {x}, {{"axis", {axis}}});
  const ValueId y = n.add(n.op(), {matrix}, {{"axis", {int64_t{-1}}}});
  n.become("Reshape", {y, n.add("Shape", {x})}, {{"allowzero", {int64_t{1}}}});
}

}  // namespace

std::span<const UpgradeRule> broadcast_rules() {
  static constexpr UpgradeRule kRules[] = {
      {"Add", 7, broadcast},      {"And", 7, broadcast},      {"Div", 7, broadcast},
      {"Equal", 7, broadcast},    {"Gemm", 7, gemm},          {"Greater", 7, broadcast},
      {"Hardmax", 13, on_matrix}, {"Less", 7, broadcast},     {"LogSoftmax", 13, on_matrix},
      {"Mul", 7, broadcast},      {"Or", 7, broadcast},       {"PRelu", 7, prelu},
      {"Pow", 7, broadcast},      {"Softmax", 13, on_matrix}, {"Sub", 7, broadcast},
      {"Xor", 7, broadcast},
  };
  return kRules;
}

}  // namespace pyinfer::onnx
