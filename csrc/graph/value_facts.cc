#include "graph/value_facts.h"

#include <algorithm>
#include <string_view>

namespace pyinfer {
namespace {

enum class TypeRule : uint8_t { kFirst, kSecond, kThird, kAny, kBool, kInt64, kTo, kUnknown };
enum class RankRule : uint8_t {
  kFirst,
  kBroadcast,
  kMatMul,
  kTwo,
  kThree,
  kPerm,
  kReshape,
  kVector,
  kGather,
  kAxes,
  kReduce,
  kUnknown
};

struct Rule {
  std::string_view op;
  TypeRule type;
  RankRule rank;
};

// Output 0 of the operators that exporters and optimisers put around those which need facts: ai.onnx's,
// com.microsoft's and pyinfer's under names that mean the same in all. Sorted.
constexpr Rule kRules[] = {
    {"Abs", TypeRule::kFirst, RankRule::kFirst},
    {"Acos", TypeRule::kFirst, RankRule::kFirst},
    {"Acosh", TypeRule::kFirst, RankRule::kFirst},
    {"Add", TypeRule::kAny, RankRule::kBroadcast},
    {"Asin", TypeRule::kFirst, RankRule::kFirst},
    {"Asinh", TypeRule::kFirst, RankRule::kFirst},
    {"Atan", TypeRule::kFirst, RankRule::kFirst},
    {"Atanh", TypeRule::kFirst, RankRule::kFirst},
    {"Attention", TypeRule::kFirst, RankRule::kFirst},
    {"AveragePool", TypeRule::kFirst, RankRule::kFirst},
    {"AveragePoolNhwc", TypeRule::kFirst, RankRule::kFirst},
    {"BatchNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"BiasGelu", TypeRule::kFirst, RankRule::kFirst},
    {"Cast", TypeRule::kTo, RankRule::kFirst},
    {"CastLike", TypeRule::kUnknown, RankRule::kFirst},
    {"Ceil", TypeRule::kFirst, RankRule::kFirst},
    {"Celu", TypeRule::kFirst, RankRule::kFirst},
    {"Clip", TypeRule::kAny, RankRule::kFirst},
    {"Concat", TypeRule::kAny, RankRule::kFirst},
    {"Conv", TypeRule::kAny, RankRule::kBroadcast},
    {"ConvNhwc", TypeRule::kAny, RankRule::kBroadcast},
    {"ConvTranspose", TypeRule::kAny, RankRule::kBroadcast},
    {"ConvTransposeNhwc", TypeRule::kAny, RankRule::kBroadcast},
    {"Cos", TypeRule::kFirst, RankRule::kFirst},
    {"Cosh", TypeRule::kFirst, RankRule::kFirst},
    {"CumSum", TypeRule::kFirst, RankRule::kFirst},
    {"DepthToSpace", TypeRule::kFirst, RankRule::kFirst},
    {"DequantizeLinear", TypeRule::kUnknown, RankRule::kFirst},
    {"Div", TypeRule::kAny, RankRule::kBroadcast},
    {"Dropout", TypeRule::kFirst, RankRule::kFirst},
    {"DynamicQuantizeMatMul", TypeRule::kFirst, RankRule::kMatMul},
    {"Einsum", TypeRule::kAny, RankRule::kUnknown},
    {"Elu", TypeRule::kFirst, RankRule::kFirst},
    {"EmbedLayerNormalization", TypeRule::kThird, RankRule::kThree},
    {"Equal", TypeRule::kBool, RankRule::kBroadcast},
    {"Erf", TypeRule::kFirst, RankRule::kFirst},
    {"Exp", TypeRule::kFirst, RankRule::kFirst},
    {"Expand", TypeRule::kFirst, RankRule::kUnknown},
    {"ExpandDepthwiseNhwc", TypeRule::kFirst, RankRule::kFirst},
    {"FastGelu", TypeRule::kFirst, RankRule::kFirst},
    {"Flatten", TypeRule::kFirst, RankRule::kTwo},
    {"Floor", TypeRule::kFirst, RankRule::kFirst},
    {"FusedConv", TypeRule::kAny, RankRule::kBroadcast},
    {"FusedGemm", TypeRule::kAny, RankRule::kTwo},
    {"FusedMatMul", TypeRule::kAny, RankRule::kMatMul},
    {"GRU", TypeRule::kFirst, RankRule::kUnknown},
    {"Gather", TypeRule::kFirst, RankRule::kGather},
    {"GatherElements", TypeRule::kFirst, RankRule::kUnknown},
    {"GatherND", TypeRule::kFirst, RankRule::kUnknown},
    {"Gelu", TypeRule::kFirst, RankRule::kFirst},
    {"Gemm", TypeRule::kAny, RankRule::kTwo},
    {"GlobalAveragePool", TypeRule::kFirst, RankRule::kFirst},
    {"GlobalAveragePoolNhwc", TypeRule::kFirst, RankRule::kFirst},
    {"GlobalLpPool", TypeRule::kFirst, RankRule::kFirst},
    {"GlobalMaxPool", TypeRule::kFirst, RankRule::kFirst},
    {"GlobalMaxPoolNhwc", TypeRule::kFirst, RankRule::kFirst},
    {"Greater", TypeRule::kBool, RankRule::kBroadcast},
    {"GridSample", TypeRule::kFirst, RankRule::kFirst},
    {"GroupNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"HardSigmoid", TypeRule::kFirst, RankRule::kFirst},
    {"HardSwish", TypeRule::kFirst, RankRule::kFirst},
    {"Identity", TypeRule::kFirst, RankRule::kFirst},
    {"InstanceNormalization", TypeRule::kAny, RankRule::kFirst},
    {"LRN", TypeRule::kFirst, RankRule::kFirst},
    {"LSTM", TypeRule::kFirst, RankRule::kUnknown},
    {"LayerNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"LeakyRelu", TypeRule::kFirst, RankRule::kFirst},
    {"Less", TypeRule::kBool, RankRule::kBroadcast},
    {"Log", TypeRule::kFirst, RankRule::kFirst},
    {"LogSoftmax", TypeRule::kFirst, RankRule::kFirst},
    {"LpNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"LpPool", TypeRule::kFirst, RankRule::kFirst},
    {"MatMul", TypeRule::kAny, RankRule::kMatMul},
    {"MatMulIntegerToFloat", TypeRule::kThird, RankRule::kMatMul},
    {"MatMulNBits", TypeRule::kFirst, RankRule::kFirst},
    {"Max", TypeRule::kAny, RankRule::kUnknown},
    {"MaxPool", TypeRule::kFirst, RankRule::kFirst},
    {"MaxPoolNhwc", TypeRule::kFirst, RankRule::kFirst},
    {"Mean", TypeRule::kAny, RankRule::kUnknown},
    {"MeanVarianceNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"Min", TypeRule::kAny, RankRule::kUnknown},
    {"Mish", TypeRule::kFirst, RankRule::kFirst},
    {"Mul", TypeRule::kAny, RankRule::kBroadcast},
    {"Neg", TypeRule::kFirst, RankRule::kFirst},
    {"PRelu", TypeRule::kAny, RankRule::kFirst},
    {"Pad", TypeRule::kFirst, RankRule::kFirst},
    {"PointwisePairNhwc", TypeRule::kFirst, RankRule::kFirst},
    {"Pow", TypeRule::kFirst, RankRule::kBroadcast},
    {"QuantizeLinear", TypeRule::kUnknown, RankRule::kFirst},
    {"RMSNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"RNN", TypeRule::kFirst, RankRule::kUnknown},
    {"Reciprocal", TypeRule::kFirst, RankRule::kFirst},
    {"ReduceLogSum", TypeRule::kFirst, RankRule::kUnknown},
    {"ReduceLogSumExp", TypeRule::kFirst, RankRule::kUnknown},
    {"ReduceMax", TypeRule::kFirst, RankRule::kUnknown},
    {"ReduceMean", TypeRule::kFirst, RankRule::kUnknown},
    {"ReduceMin", TypeRule::kFirst, RankRule::kUnknown},
    {"ReduceProd", TypeRule::kFirst, RankRule::kUnknown},
    {"ReduceSum", TypeRule::kFirst, RankRule::kReduce},
    {"ReduceSumSquare", TypeRule::kFirst, RankRule::kUnknown},
    {"Relu", TypeRule::kFirst, RankRule::kFirst},
    {"Reshape", TypeRule::kFirst, RankRule::kReshape},
    {"Resize", TypeRule::kFirst, RankRule::kFirst},
    {"RotaryEmbedding", TypeRule::kFirst, RankRule::kFirst},
    {"Round", TypeRule::kFirst, RankRule::kFirst},
    {"ScatterElements", TypeRule::kFirst, RankRule::kFirst},
    {"ScatterND", TypeRule::kFirst, RankRule::kFirst},
    {"Selu", TypeRule::kFirst, RankRule::kFirst},
    {"Shape", TypeRule::kInt64, RankRule::kVector},
    {"Shrink", TypeRule::kFirst, RankRule::kFirst},
    {"Sigmoid", TypeRule::kFirst, RankRule::kFirst},
    {"Sign", TypeRule::kFirst, RankRule::kFirst},
    {"SimplifiedLayerNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"Sin", TypeRule::kFirst, RankRule::kFirst},
    {"Sinh", TypeRule::kFirst, RankRule::kFirst},
    {"SkipLayerNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"SkipSimplifiedLayerNormalization", TypeRule::kFirst, RankRule::kFirst},
    {"Slice", TypeRule::kFirst, RankRule::kFirst},
    {"Softmax", TypeRule::kFirst, RankRule::kFirst},
    {"Softplus", TypeRule::kFirst, RankRule::kFirst},
    {"Softsign", TypeRule::kFirst, RankRule::kFirst},
    {"SpaceToDepth", TypeRule::kFirst, RankRule::kFirst},
    {"Split", TypeRule::kFirst, RankRule::kFirst},
    {"Sqrt", TypeRule::kFirst, RankRule::kFirst},
    {"Squeeze", TypeRule::kFirst, RankRule::kAxes},
    {"Sub", TypeRule::kAny, RankRule::kBroadcast},
    {"Sum", TypeRule::kAny, RankRule::kUnknown},
    {"SwiGLU", TypeRule::kFirst, RankRule::kUnknown},
    {"Swish", TypeRule::kFirst, RankRule::kFirst},
    {"Tan", TypeRule::kFirst, RankRule::kFirst},
    {"Tanh", TypeRule::kFirst, RankRule::kFirst},
    {"ThresholdedRelu", TypeRule::kFirst, RankRule::kFirst},
    {"Tile", TypeRule::kFirst, RankRule::kFirst},
    {"Transpose", TypeRule::kFirst, RankRule::kPerm},
    {"Trilu", TypeRule::kFirst, RankRule::kFirst},
    {"Unsqueeze", TypeRule::kFirst, RankRule::kAxes},
    {"Where", TypeRule::kSecond, RankRule::kUnknown},
};

template <class T>
const T* attribute(const Node& node, std::string_view name) {
  const auto it = node.attributes.find(name);
  return it == node.attributes.end() ? nullptr : std::get_if<T>(&it->second.value);
}

DType infer_type(TypeRule rule, const Node& node, const std::vector<ValueFact>& in) {
  switch (rule) {
    case TypeRule::kBool: return DType::kBool;
    case TypeRule::kInt64: return DType::kInt64;
    case TypeRule::kTo: {
      const auto* to = attribute<int64_t>(node, "to");
      return to && *to > 0 && *to < kDTypeCount ? static_cast<DType>(*to) : DType::kUndefined;
    }
    case TypeRule::kAny:
      for (const ValueFact& f : in)
        if (f.dtype != DType::kUndefined) return f.dtype;
      return DType::kUndefined;
    case TypeRule::kFirst: return in[0].dtype;
    case TypeRule::kSecond: return in.size() > 1 ? in[1].dtype : DType::kUndefined;
    case TypeRule::kThird: return in.size() > 2 ? in[2].dtype : DType::kUndefined;
    case TypeRule::kUnknown: return DType::kUndefined;
  }
  return DType::kUndefined;
}

// The number of axes that a Squeeze, an Unsqueeze or a reduction is given.
int count_axes(const Node& node, const std::vector<ValueFact>& in) {
  if (const auto* axes = attribute<std::vector<int64_t>>(node, "axes")) return static_cast<int>(axes->size());
  return in.size() > 1 && in[1].length <= Shape::kMaxRank ? static_cast<int>(in[1].length) : -1;
}

int infer_rank(RankRule rule, const Node& node, const std::vector<ValueFact>& in) {
  const int first = in[0].rank;
  const int second = in.size() > 1 ? in[1].rank : -1;
  switch (rule) {
    case RankRule::kFirst: return first;
    case RankRule::kTwo: return 2;
    case RankRule::kThree: return 3;
    case RankRule::kVector: return 1;
    case RankRule::kBroadcast: {
      // Data and weights of a convolution have the same rank, so one is enough.
      const bool conv = node.op_type.find("Conv") != std::string::npos;
      return conv || (first >= 0 && second >= 0) ? std::max(first, second) : -1;
    }
    case RankRule::kMatMul: return first >= 2 && second >= 2 ? std::max(first, second) : -1;
    case RankRule::kPerm: {
      const auto* perm = attribute<std::vector<int64_t>>(node, "perm");
      return perm ? static_cast<int>(std::min<size_t>(perm->size(), Shape::kMaxRank)) : first;
    }
    case RankRule::kReshape: {
      if (const auto* shape = attribute<std::vector<int64_t>>(node, "shape"))
        return static_cast<int>(std::min<size_t>(shape->size(), Shape::kMaxRank));
      return in.size() > 1 && in[1].length <= Shape::kMaxRank ? static_cast<int>(in[1].length) : -1;
    }
    case RankRule::kGather: return first >= 0 && second >= 0 ? first + second - 1 : -1;
    case RankRule::kAxes: {
      const int axes = count_axes(node, in);
      if (first < 0 || axes < 0) return -1;
      return node.op_type == "Unsqueeze" ? first + axes : std::max(first - axes, 0);
    }
    case RankRule::kReduce: {
      const auto* keep = attribute<int64_t>(node, "keepdims");
      if (keep == nullptr || *keep != 0) return first;
      const int axes = count_axes(node, in);
      return first < 0 || axes <= 0 ? -1 : std::max(first - axes, 0);
    }
    case RankRule::kUnknown: return -1;
  }
  return -1;
}

// Of an output of rank 1.
int64_t infer_length(const Node& node, const std::vector<ValueFact>& in) {
  if (node.op_type == "Shape") return node.attributes.empty() ? in[0].rank : -1;
  if (node.op_type == "Unsqueeze" && in[0].rank == 0) return 1;
  if (node.op_type == "Identity" || node.op_type == "Cast") return in[0].length;
  if (node.op_type != "Concat") return -1;
  int64_t total = 0;
  for (const ValueFact& f : in) {
    if (f.length < 0) return -1;
    total += f.length;
  }
  return total;
}

}  // namespace

ValueFacts::ValueFacts(const Graph& graph, bool main) : facts_(graph.values.size()) {
  for (size_t i = 0; i < graph.values.size(); ++i) learn_constant(graph, static_cast<ValueId>(i));
  if (!main) return;
  for (ValueId id : graph.inputs) {
    const Value& v = graph.value(id);
    if (!v.type.is_tensor()) continue;
    set(graph, id, {v.type.dtype, v.shape ? static_cast<int>(v.shape->size()) : -1, -1});
  }
}

ValueFact ValueFacts::of(ValueId id) const {
  return id == kNoValue || static_cast<size_t>(id) >= facts_.size() ? ValueFact{}
                                                                    : facts_[static_cast<size_t>(id)];
}

void ValueFacts::set(const Graph& graph, ValueId id, ValueFact fact) {
  if (facts_.size() < graph.values.size()) facts_.resize(graph.values.size());
  facts_[static_cast<size_t>(id)] = fact;
}

void ValueFacts::learn_constant(const Graph& graph, ValueId id) {
  const Tensor& t = graph.value(id).constant;
  if (!t.empty()) set(graph, id, {t.dtype(), t.shape().rank(), t.shape().rank() == 1 ? t.shape()[0] : -1});
}

void ValueFacts::learn(const Graph& graph, const Node& node) {
  for (ValueId id : node.inputs)
    if (graph.is_constant(id)) learn_constant(graph, id);
  const auto rule = std::ranges::lower_bound(kRules, std::string_view(node.op_type), {}, &Rule::op);
  if (rule == std::end(kRules) || rule->op != node.op_type) return;
  if (!node.domain.empty() && node.domain != "com.microsoft" && node.domain != "pyinfer") return;
  if (node.inputs.empty() || node.outputs.empty()) return;
  std::vector<ValueFact> in;
  for (ValueId id : node.inputs) in.push_back(of(id));
  ValueFact fact{.dtype = infer_type(rule->type, node, in), .rank = infer_rank(rule->rank, node, in)};
  if (fact.rank == 1) fact.length = infer_length(node, in);
  const size_t outputs = node.op_type == "Split" ? node.outputs.size() : 1;
  for (size_t i = 0; i < outputs; ++i)
    if (node.outputs[i] != kNoValue) set(graph, node.outputs[i], fact);
  // The second output counts the keys of each sequence.
  if (node.op_type == "EmbedLayerNormalization" && node.outputs.size() > 1 && node.outputs[1] != kNoValue)
    set(graph, node.outputs[1], {.dtype = DType::kInt32, .rank = 1, .length = -1});
}

}  // namespace pyinfer
