// Operators of com.microsoft that mean what one or a few standard operators do: written as those, so that
// passes see one form.
#include <numeric>

#include "onnx/upgrade_attention.h"
#include "onnx/upgrade_quantized.h"
#include "onnx/upgrade_vectors.h"

namespace pyinfer::onnx {
namespace {

bool same(NodeUpgrade&) {
  return true;
}

bool bias_add(NodeUpgrade& n) {
  n.become("Add", {n.add("Add", {n.required(0), n.required(1)}), n.required(2)});
  return true;
}

bool bias_dropout(NodeUpgrade& n) {
  const ValueId residual = n.input(2), ratio = n.input(3), training = n.input(4);
  Attributes attributes;
  if (const auto seed = n.take_int("seed")) attributes["seed"] = {*seed};
  n.become("Dropout", {n.add("Add", {n.required(0), n.required(1)}), ratio, training}, std::move(attributes));
  if (residual != kNoValue) n.then(0, "Add", {residual});
  return true;
}

// softmax(data + bias) over all dimensions from `axis` on: the meaning that Softmax has up to version 12.
bool bias_softmax(NodeUpgrade& n) {
  const int64_t axis = n.take_int("axis").value_or(1);
  n.become("Softmax", {n.add("Add", {n.required(0), n.required(1)})}, {{"axis", {axis}}});
  return true;
}

// Distances between the rows of two matrices.
bool c_dist(NodeUpgrade& n) {
  const std::string metric = n.take_string("metric").value_or("sqeuclidean");
  require(metric == "euclidean" || metric == "sqeuclidean", ErrorCode::kUnsupported, "metric '", metric,
          "', expected euclidean or sqeuclidean");
  const ValueId difference =
      n.add("Sub", {unsqueeze(n, n.required(0), {1}), unsqueeze(n, n.required(1), {0})});
  n.become(metric == "euclidean" ? "ReduceL2" : "ReduceSumSquare", {difference, n.ints({2})},
           {{"keepdims", {int64_t{0}}}});
  return true;
}

bool expand_dims(NodeUpgrade& n) {
  const ValueId axis = n.add("Cast", {n.required(1)}, {{"to", {static_cast<int64_t>(DType::kInt64)}}});
  n.become("Unsqueeze", {n.required(0), n.add("Reshape", {axis, n.ints({1})})});
  return true;
}

// With a bias it stays an operator of its own.
bool fast_gelu(NodeUpgrade& n) {
  if (n.input(1) != kNoValue) return false;
  n.become("Gelu", {n.required(0)}, {{"approximate", {std::string("tanh")}}});
  return true;
}

// A matrix that is stored [rows, batch..., columns].
void move_batch(NodeUpgrade& n, size_t input, std::string_view attribute) {
  if (n.take_int(attribute).value_or(0) == 0) return;
  const ValueId x = n.required(input);
  const int rank = n.rank(x);
  require(rank >= 0, ErrorCode::kUnsupported, attribute, " for an input of unknown rank");
  if (rank < 3) return;
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 1);
  perm[perm.size() - 2] = 0;
  perm.back() = rank - 1;
  n.set_input(input, n.add("Transpose", {x}, {{"perm", {std::move(perm)}}}));
}

bool fused_matmul(NodeUpgrade& n) {
  n.rename("FusedMatMul");
  move_batch(n, 0, "transBatchA");
  move_batch(n, 1, "transBatchB");
  return false;
}

bool gather_nd(NodeUpgrade& n) {
  n.set_input(1, n.add("Cast", {n.required(1)}, {{"to", {static_cast<int64_t>(DType::kInt64)}}}));
  return true;
}

bool grid_sample(NodeUpgrade& n) {
  const std::string mode = n.take_string("mode").value_or("bilinear");
  n.set_attr("mode", {mode == "bilinear" ? "linear" : mode == "bicubic" ? "cubic" : mode});
  return true;
}

// Attributes beyond those of the operator that ai.onnx took over must say what that one does.
template <size_t count>
void expect_values(NodeUpgrade& n, const std::pair<std::string_view, int64_t> (&values)[count]) {
  for (const auto& [name, value] : values) {
    const int64_t given = n.take_int(name).value_or(value);
    require(given == value, ErrorCode::kUnsupported, name, " ", given, ", expected ", value);
  }
}

bool causal_conv(NodeUpgrade& n) {
  expect_values(n, {{"ndim", 1},
                    {"dilation", 1},
                    {"channels_last", 0},
                    {"state_window", 0},
                    {"state_length", 0},
                    {"state_update_capacity", 0},
                    {"input_channels", 0},
                    {"input_channel_offset", 0}});
  return true;
}

bool linear_attention(NodeUpgrade& n) {
  expect_values(n, {{"state_window", 0}});
  n.drop_attr("chunk_size");  // a hint
  return true;
}

// FusedConv of images [batch, spatial..., channels].
bool nhwc_fused_conv(NodeUpgrade& n) {
  n.rename("pyinfer", "ConvNhwc");
  return false;
}

bool pad(NodeUpgrade& n) {
  if (n.rank(n.required(1)) != 1) n.set_input(1, n.add("Reshape", {n.required(1), n.ints({-1})}));
  return true;
}

// y = quantize(average(dequantize(x))). With channels_last, x is [N, spatial ..., C].
bool qlinear_average_pool(NodeUpgrade& n) {
  ValueId x = n.add("DequantizeLinear", {n.required(0), n.required(1), n.input(2)});
  Attributes pool;
  for (const char* name : {"kernel_shape", "pads", "strides"})
    if (auto ints = n.take_ints(name)) pool[name] = {*ints};
  for (const char* name : {"ceil_mode", "count_include_pad"})
    if (const auto flag = n.take_int(name)) pool[name] = {*flag};
  if (const auto auto_pad = n.take_string("auto_pad")) pool["auto_pad"] = {*auto_pad};
  const bool channels_last = n.take_int("channels_last").value_or(0) != 0;
  const auto* kernel = std::get_if<std::vector<int64_t>>(&pool["kernel_shape"].value);
  require(kernel != nullptr, ErrorCode::kInvalidModel, "attribute 'kernel_shape' is required");
  const auto spatial = static_cast<int64_t>(kernel->size());
  std::vector<int64_t> to_first{0, spatial + 1}, to_last{0};
  for (int64_t i = 0; i < spatial; ++i) {
    to_first.push_back(i + 1);
    to_last.push_back(i + 2);
  }
  to_last.push_back(1);
  if (channels_last) x = n.add("Transpose", {x}, {{"perm", {to_first}}});
  x = n.add("AveragePool", {x}, std::move(pool));
  if (channels_last) x = n.add("Transpose", {x}, {{"perm", {to_last}}});
  n.become("QuantizeLinear", {x, n.required(3), n.required(4)});
  return true;
}

bool quick_gelu(NodeUpgrade& n) {
  n.become("Swish", {n.required(0)}, {{"alpha", {n.take_float("alpha").value_or(1.702f)}}});
  return true;
}

bool range_with_step(NodeUpgrade& n) {
  if (n.input(2) == kNoValue) n.set_input(2, n.scalar_like(n.required(0), 1.0f));
  return true;
}

// The distinct elements in the order of their first occurrence.
bool unique(NodeUpgrade& n) {
  const ValueId index = n.output(1), counts = n.output(2);
  n.set_output(1, kNoValue);
  n.set_output(2, index);
  n.set_output(3, counts);
  n.set_attr("sorted", {int64_t{0}});
  return true;
}

constexpr int64_t kSoftmaxOfFlattened = 12;

constexpr ContribRule kRules[] = {
    {"Attention", attention, kNewestOpset},
    {"BiasAdd", bias_add, kNewestOpset},
    {"BiasDropout", bias_dropout, kNewestOpset},
    {"BiasSoftmax", bias_softmax, kSoftmaxOfFlattened},
    {"CDist", c_dist, kNewestOpset},
    {"CausalConvWithState", causal_conv, kNewestOpset},
    {"DequantizeLinear", same, kNewestOpset},
    {"DynamicQuantizeLSTM", dynamic_quantize_lstm, kNewestOpset},
    {"ExpandDims", expand_dims, kNewestOpset},
    {"FastGelu", fast_gelu, kNewestOpset},
    {"FusedMatMul", fused_matmul, kNewestOpset},
    {"FusedMatMulActivation", fused_matmul, kNewestOpset},
    {"GatherBlockQuantized", gather_block_quantized, kNewestOpset},
    {"GatherND", gather_nd, kNewestOpset},
    {"Gelu", same, kNewestOpset},
    {"GridSample", grid_sample, kNewestOpset},
    {"GroupQueryAttention", group_query_attention, kNewestOpset},
    {"LinearAttention", linear_attention, kNewestOpset},
    {"MatMulBnb4", matmul_bnb4, kNewestOpset},
    {"MultiHeadAttention", multi_head_attention, kNewestOpset},
    {"NhwcFusedConv", nhwc_fused_conv, kNewestOpset},
    {"Pad", pad, kNewestOpset},
    {"QAttention", quantized_attention, kNewestOpset},
    {"QEmbedLayerNormalization", quantized_embed_layer_norm, kNewestOpset},
    {"QLinearAveragePool", qlinear_average_pool, kNewestOpset},
    {"QuantizeLinear", same, kNewestOpset},
    {"QuickGelu", quick_gelu, kNewestOpset},
    {"Range", range_with_step, kNewestOpset},
    {"RotaryEmbedding", rotary_embedding, kNewestOpset},
    {"TransposeMatMul", fused_matmul, kNewestOpset},
    {"Trilu", same, kNewestOpset},
    {"Unique", unique, kNewestOpset},
};

}  // namespace

std::span<const ContribRule> contrib_rules() {
  return kRules;
}

}  // namespace pyinfer::onnx
