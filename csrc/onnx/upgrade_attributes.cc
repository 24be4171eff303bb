// Attributes that became inputs, and attributes whose form or default changed.
#include <algorithm>
#include <cmath>

#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {
namespace {

// attribute `name` -> input `index`
void ints_to_input(NodeUpgrade& n, std::string_view name, size_t index) {
  if (const auto values = n.take_ints(name)) n.set_input(index, n.ints(*values));
}

void axes_to_input(NodeUpgrade& n) {
  ints_to_input(n, "axes", 1);
}

void reshape(NodeUpgrade& n) {
  const auto shape = n.take_ints("shape");
  n.set_input(1, n.ints(shape.value_or(std::vector<int64_t>())));
}

void slice(NodeUpgrade& n) {
  const auto starts = n.take_ints("starts"), ends = n.take_ints("ends");
  require(starts && ends, ErrorCode::kInvalidModel, "attributes 'starts' and 'ends' are required");
  n.set_input(1, n.ints(*starts));
  n.set_input(2, n.ints(*ends));
  ints_to_input(n, "axes", 3);
}

void pad_paddings(NodeUpgrade& n) {
  if (auto pads = n.take_ints("paddings")) n.set_attr("pads", {std::move(*pads)});
}

void pad(NodeUpgrade& n) {
  const auto pads = n.take_ints("pads");
  require(pads.has_value(), ErrorCode::kInvalidModel, "attribute 'pads' is required");
  const float value = n.take_float("value").value_or(0);
  n.set_input(1, n.ints(*pads));
  if (value != 0) n.set_input(2, n.scalar_like(n.required(0), value));
}

void clip(NodeUpgrade& n) {
  constexpr float kMax = 3.4028234663852886e+38f;
  // The defaults bound infinities.
  n.set_input(1, n.scalar_like(n.required(0), n.take_float("min").value_or(-kMax)));
  n.set_input(2, n.scalar_like(n.required(0), n.take_float("max").value_or(kMax)));
}

void topk(NodeUpgrade& n) {
  const auto k = n.take_int("k");
  require(k.has_value(), ErrorCode::kInvalidModel, "attribute 'k' is required");
  n.set_input(1, n.ints({*k}));
}

void split_v1(NodeUpgrade& n) {
  if (n.input(1) != kNoValue) n.set_input(1, n.add("Cast", {n.input(1)}, {{"to", {int64_t{7}}}}));
}

void split(NodeUpgrade& n) {
  ints_to_input(n, "split", 1);
  if (n.input(1) == kNoValue) n.set_attr("num_outputs", {static_cast<int64_t>(n.num_outputs())});
}

void concat(NodeUpgrade& n) {
  n.set_default("axis", {int64_t{1}});
}

void cast(NodeUpgrade& n) {
  auto name = n.take_string("to");
  require(name.has_value(), ErrorCode::kInvalidModel, "attribute 'to' is required");
  std::ranges::transform(*name, name->begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const DType to = dtype_from_name(*name);
  require(to != DType::kUndefined, ErrorCode::kInvalidModel, "attribute 'to': '", *name,
          "' names no element type");
  n.set_attr("to", {static_cast<int64_t>(to)});
}

void dft(NodeUpgrade& n) {
  n.set_input(2, n.scalar(n.take_int("axis").value_or(1)));
}

void grid_sample(NodeUpgrade& n) {
  const std::string mode = n.take_string("mode").value_or("bilinear");
  n.set_attr("mode", {mode == "bilinear"  ? std::string("linear")
                      : mode == "bicubic" ? std::string("cubic")
                                          : mode});
}

// p was a float.
void lp_pool(NodeUpgrade& n) {
  const float p = n.take_float("p").value_or(2);
  require(p == std::floor(p) && std::abs(p) < 1e6f, ErrorCode::kUnsupported, "attribute 'p' = ", p,
          " is no integer");
  n.set_attr("p", {static_cast<int64_t>(p)});
}

void selu(NodeUpgrade& n) {
  n.set_default("alpha", {1.6732f});
  n.set_default("gamma", {1.0507f});
}

void roi_align(NodeUpgrade& n) {
  n.set_default("coordinate_transformation_mode", {std::string("output_half_pixel")});
}

void scatter(NodeUpgrade& n) {
  n.rename("ScatterElements");
}

// Whether the outputs are all wanted; which ones exist is known from the node.
void recurrent(NodeUpgrade& n) {
  n.drop_attr("output_sequence");
}

void gru(NodeUpgrade& n) {
  // The default of the first version is misspelt.
  if (auto direction = n.take_string("direction"))
    n.set_attr("direction", {*direction == "foward" ? std::string("forward") : *direction});
}

// Tile(x, tiles, axis): the number of repeats is 1 but for one axis.
void tile(NodeUpgrade& n) {
  const ValueId x = n.required(0), one = n.ints({1});
  const auto index = [&](size_t i) {
    return n.add("Reshape", {n.add("Cast", {n.required(i)}, {{"to", {int64_t{7}}}}), one});
  };
  const ValueId tiles = index(1), axis = index(2);
  const ValueId rank = n.add("Shape", {n.add("Shape", {x})});
  const ValueId ones = n.add("Expand", {one, rank});
  n.become("Tile", {x, n.add("ScatterElements", {ones, axis, tiles})});
}

}  // namespace

std::span<const UpgradeRule> attribute_rules() {
  static constexpr UpgradeRule kRules[] = {
      {"Cast", 6, cast},
      {"Clip", 11, clip},
      {"Concat", 4, concat},
      {"DFT", 20, dft},
      {"GRU", 3, gru},
      {"GRU", 7, recurrent},
      {"GlobalLpPool", 2, lp_pool},
      {"GridSample", 20, grid_sample},
      {"LSTM", 7, recurrent},
      {"LpPool", 2, lp_pool},
      {"Pad", 2, pad_paddings},
      {"Pad", 11, pad},
      {"RNN", 7, recurrent},
      {"ReduceL1", 18, axes_to_input},
      {"ReduceL2", 18, axes_to_input},
      {"ReduceLogSum", 18, axes_to_input},
      {"ReduceLogSumExp", 18, axes_to_input},
      {"ReduceMax", 18, axes_to_input},
      {"ReduceMean", 18, axes_to_input},
      {"ReduceMin", 18, axes_to_input},
      {"ReduceProd", 18, axes_to_input},
      {"ReduceSum", 13, axes_to_input},
      {"ReduceSumSquare", 18, axes_to_input},
      {"Reshape", 5, reshape},
      {"RoiAlign", 16, roi_align},
      {"Scatter", 11, scatter},
      {"Selu", 6, selu},
      {"Slice", 10, slice},
      {"Split", 2, split_v1},
      {"Split", 18, split},
      {"Squeeze", 13, axes_to_input},
      {"Tile", 6, tile},
      {"TopK", 10, topk},
      {"Unsqueeze", 13, axes_to_input},
  };
  return kRules;
}

}  // namespace pyinfer::onnx
