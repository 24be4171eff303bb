// Normalization, dropout and resizing.
#include <algorithm>

#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {
namespace {

// Up to operator set 6 `is_test` chose between inference and training; exporters that left it out meant
// inference.
void test_mode(NodeUpgrade& n) {
  require(n.take_int("is_test").value_or(1) != 0, ErrorCode::kUnsupported,
          "training mode (is_test=0); export the model for inference");
}

// y = (x - mean) / sqrt(var + epsilon) * scale + b, all of one shape but for the batch
void batch_norm_per_activation(NodeUpgrade& n) {
  const ValueId x = n.required(0);
  const ValueId epsilon = n.scalar_like(x, n.take_float("epsilon").value_or(1e-5f));
  const ValueId deviation = n.add("Sqrt", {n.add("Add", {n.required(4), epsilon})});
  const ValueId normal = n.add("Div", {n.add("Sub", {x, n.required(3)}), deviation});
  n.become("Add", {n.add("Mul", {normal, n.required(1)}), n.required(2)});
}

void batch_norm(NodeUpgrade& n) {
  if (n.version() < 7) test_mode(n);
  for (size_t i = 1; i < n.num_outputs(); ++i) {
    require(!n.read(i), ErrorCode::kUnsupported, "outputs of training mode; export the model for inference");
    n.set_output(i, kNoValue);
  }
  if (n.version() < 9 && n.take_int("spatial").value_or(1) == 0) batch_norm_per_activation(n);
}

void dropout(NodeUpgrade& n) {
  if (n.version() < 7) test_mode(n);
  const ValueId x = n.required(0);
  if (!n.read(1)) {
    n.set_output(1, kNoValue);
    n.become("Identity", {x});
    return;
  }
  n.become("Dropout", {x});
  if (n.version() < 10) n.then(1, "CastLike", {x});
}

// scale and bias were per group; now they are per channel: each repeated C / num_groups times.
void group_norm(NodeUpgrade& n) {
  const ValueId x = n.required(0);
  const ValueId channels = n.add("Shape", {x}, {{"start", {int64_t{1}}}, {"end", {int64_t{2}}}});
  for (size_t i : {1, 2}) {
    const ValueId groups = n.add("Shape", {n.required(i)});
    const ValueId repeats = n.add("Div", {channels, groups});
    const ValueId shape = n.add("Concat", {groups, repeats}, {{"axis", {int64_t{0}}}});
    const ValueId column = n.add("Unsqueeze", {n.required(i), n.ints({1})});
    n.set_input(i, n.add("Reshape", {n.add("Expand", {column, shape}), channels}));
  }
}

Attributes resize_attributes(const std::string& mode, const std::string& nearest_mode) {
  return {{"mode", {mode == "bilinear" || mode == "trilinear" ? std::string("linear") : mode}},
          {"coordinate_transformation_mode", {std::string("asymmetric")}},
          {"nearest_mode", {nearest_mode}}};
}

void upsample(NodeUpgrade& n) {
  const std::string mode = n.take_string("mode").value_or("nearest");
  ValueId scales = n.input(1);
  if (n.version() < 9) {
    std::vector<float> values;
    if (auto given = n.take_floats("scales"))
      values = *given;
    else
      values = {1, 1, n.take_float("height_scale").value_or(1), n.take_float("width_scale").value_or(1)};
    scales = n.constant_value(Tensor::from<float>({static_cast<int64_t>(values.size())}, values));
  }
  require(scales != kNoValue, ErrorCode::kInvalidModel, "input 1 is missing");
  n.become("Resize", {n.required(0), kNoValue, scales}, resize_attributes(mode, "floor"));
}

// The nearest element was the one below when an axis grows, the one above when it shrinks: two resizes,
// unless the scales tell which one is needed.
void resize_v10(NodeUpgrade& n) {
  const std::string mode = n.take_string("mode").value_or("nearest");
  ValueId x = n.required(0), scales = n.required(1);
  const Tensor* known = n.constant(scales);
  const auto all = [&](auto&& test) {
    return known && known->dtype() == DType::kFloat32 && std::ranges::all_of(known->span<float>(), test);
  };
  const bool grows = mode != "nearest" || all([](float s) { return s >= 1; });
  const bool shrinks = mode == "nearest" && all([](float s) { return s <= 1; });
  if (!grows && !shrinks) {
    const ValueId one = n.scalar(1.0f);
    x = n.add("Resize", {x, kNoValue, n.add("Min", {scales, one})}, resize_attributes(mode, "ceil"));
    scales = n.add("Max", {scales, one});
  }
  n.become("Resize", {x, kNoValue, scales}, resize_attributes(mode, grows || !shrinks ? "floor" : "ceil"));
}

// An input that is not used was an empty tensor, not omitted.
void resize_v11(NodeUpgrade& n) {
  for (size_t i : {1, 2, 3})
    if (const Tensor* t = n.constant(n.input(i)); t && t->count() == 0) n.set_input(i, kNoValue);
}

}  // namespace

std::span<const UpgradeRule> neural_rules() {
  static constexpr UpgradeRule kRules[] = {
      {"BatchNormalization", 14, batch_norm},
      {"Dropout", 12, dropout},
      {"GroupNormalization", 21, group_norm},
      {"Resize", 11, resize_v10},
      {"Resize", 13, resize_v11},
      {"Upsample", 10, upsample},
  };
  return kRules;
}

}  // namespace pyinfer::onnx
