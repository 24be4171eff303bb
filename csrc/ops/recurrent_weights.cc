#include <algorithm>
#include <cctype>

#include "ops/elements.h"
#include "ops/recurrent.h"

namespace pyinfer {
namespace {

struct ActivationName {
  std::string_view name;
  UnaryKind kind;
  int parameters;  // of alpha and beta, how many it takes
  float alpha, beta;
};
constexpr ActivationName kActivations[] = {
    {"affine", UnaryKind::kAffine, 2, 1.0f, 0.0f},
    {"elu", UnaryKind::kElu, 1, 1.0f, 0.0f},
    {"hardsigmoid", UnaryKind::kHardSigmoid, 2, 0.2f, 0.5f},
    {"leakyrelu", UnaryKind::kLeakyRelu, 1, 0.01f, 0.0f},
    {"relu", UnaryKind::kRelu, 0, 0.0f, 0.0f},
    {"scaledtanh", UnaryKind::kTanh, 2, 1.0f, 1.0f},
    {"sigmoid", UnaryKind::kSigmoid, 0, 0.0f, 0.0f},
    {"softplus", UnaryKind::kSoftplus, 0, 0.0f, 0.0f},
    {"softsign", UnaryKind::kSoftsign, 0, 0.0f, 0.0f},
    {"tanh", UnaryKind::kTanh, 0, 0.0f, 0.0f},
    {"thresholdedrelu", UnaryKind::kThresholdedRelu, 1, 1.0f, 0.0f},
};

const ActivationName& find_activation(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const ActivationName& a : kActivations)
    if (a.name == name) return a;
  fail(ErrorCode::kInvalidModel, "activation '", name, "' is not defined by ONNX");
}

void read_activations(const NodeContext& ctx, RecurrentAttributes& a) {
  const size_t each = a.cell == Cell::kRnn ? 1 : a.cell == Cell::kGru ? 2 : 3;
  std::vector<std::string> names = ctx.attr_strings("activations");
  if (names.empty())
    for (int d = 0; d < a.directions; ++d) {
      if (a.cell != Cell::kRnn) names.push_back("sigmoid");
      for (size_t i = a.cell == Cell::kRnn ? 0 : 1; i < each; ++i) names.push_back("tanh");
    }
  require(names.size() == each * static_cast<size_t>(a.directions), ErrorCode::kInvalidModel,
          "activations has ", names.size(), " names, expected ", each * static_cast<size_t>(a.directions));
  const std::vector<float> alphas = ctx.attr_floats("activation_alpha"),
                           betas = ctx.attr_floats("activation_beta");
  size_t next_alpha = 0, next_beta = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    const ActivationName& named = find_activation(names[i]);
    float alpha = named.alpha, beta = named.beta;
    if (named.parameters > 0 && next_alpha < alphas.size()) alpha = alphas[next_alpha++];
    if (named.parameters > 1 && next_beta < betas.size()) beta = betas[next_beta++];
    CellActivation& to = a.activations[i / each][i % each];
    to.kind = named.kind;
    if (named.name == "scaledtanh")
      to.outer = alpha, to.inner = beta;
    else
      to.params = {.a = alpha, .b = beta};
  }
}

}  // namespace

template <class C>
void CellActivation::apply(const C* x, C* y, int64_t n) const {
  if (inner != 1.0f) {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<C>(inner) * x[i];
    x = y;
  }
  unary(kind, DTypeOf<C>::value, x, y, n, params);
  if (outer != 1.0f)
    for (int64_t i = 0; i < n; ++i) y[i] *= static_cast<C>(outer);
}

RecurrentAttributes read_recurrent_attributes(const NodeContext& ctx, Cell cell) {
  RecurrentAttributes a;
  a.cell = cell;
  a.hidden = ctx.attr_int("hidden_size", 0);
  require(a.hidden >= 0, ErrorCode::kInvalidModel, "hidden_size is ", a.hidden);
  const std::string direction = ctx.attr_string("direction", "forward");
  require(direction == "forward" || direction == "reverse" || direction == "bidirectional",
          ErrorCode::kInvalidModel, "direction is '", direction,
          "', expected forward, reverse or bidirectional");
  a.directions = direction == "bidirectional" ? 2 : 1;
  a.reverse = direction == "reverse";
  const int64_t layout = ctx.attr_int("layout", 0);
  require(layout == 0 || layout == 1, ErrorCode::kInvalidModel, "layout is ", layout, ", expected 0 or 1");
  a.batch_first = layout == 1;
  a.linear_before_reset = ctx.attr_int("linear_before_reset", 0) != 0;
  a.coupled = ctx.attr_int("input_forget", 0) != 0;
  a.clip = ctx.attr_float("clip", 0.0f);
  require(a.clip >= 0.0f, ErrorCode::kInvalidModel, "clip is ", a.clip, ", expected a positive number");
  read_activations(ctx, a);
  return a;
}

template <class C>
RecurrentWeights<C>::RecurrentWeights(const RecurrentAttributes& a, const Shape& w, const Shape& r,
                                      const Shape* b, const Shape* p)
    : gates(gate_count(a.cell)),
      directions(a.directions),
      split(a.cell == Cell::kGru && !a.linear_before_reset) {
  require(w.rank() == 3 && r.rank() == 3, ErrorCode::kInvalidInput, "W of shape ", w, " and R of shape ", r,
          " must have 3 dimensions");
  input = w[2];
  hidden = r[2];
  require(a.hidden == 0 || a.hidden == hidden, ErrorCode::kInvalidInput, "R has shape ", r,
          ", expected hidden_size ", a.hidden, " as its last dimension");
  (void)w.count();
  (void)r.count();
  const auto expect = [&](const char* name, const Shape& actual, const Shape& expected) {
    require(actual == expected, ErrorCode::kInvalidInput, name, " has shape ", actual, ", expected ",
            expected);
  };
  constexpr int64_t kMost = int64_t{1} << 40;
  require(hidden < kMost && input < kMost, ErrorCode::kLimit, "sizes of ", hidden, " and ", input,
          " are too large");
  expect("R", r, Shape({directions, width(), hidden}));
  expect("W", w, Shape({directions, width(), input}));
  if (b) expect("B", *b, Shape({directions, 2 * width()}));
  if (p) expect("P", *p, Shape({directions, 3 * hidden}));
}

template <class C>
int64_t RecurrentWeights<C>::direction_size() const {
  const int64_t biases = width() + hidden + 3 * hidden;
  return packed_b_size(input, width()) + packed_b_size(hidden, first_width()) +
         (split ? packed_b_size(hidden, hidden) : 0) + round_up(biases, 16);
}

template <class C>
void RecurrentWeights<C>::build(const TensorView& w_view, const TensorView& r_view, const TensorView* b,
                                const TensorView* p, C* base, C* buffer) const {
  const int64_t n = width();
  for (int d = 0; d < directions; ++d) {
    const C* from = load_as(w_view.dtype, w_view.data, d * n * input, n * input, buffer);
    pack_panels(from, input, true, input, n, const_cast<C*>(w(base, d)));
    const C* recurrent = load_as(r_view.dtype, r_view.data, d * n * hidden, n * hidden, buffer);
    pack_panels(recurrent, hidden, true, hidden, first_width(), const_cast<C*>(r(base, d)));
    if (split)
      pack_panels(recurrent + 2 * hidden * hidden, hidden, true, hidden, hidden,
                  const_cast<C*>(r_hidden(base, d)));
    C* to = const_cast<C*>(bias(base, d));
    C* late = const_cast<C*>(hidden_bias(base, d));
    C* peep = const_cast<C*>(peephole(base, d));
    std::fill_n(to, n + 4 * hidden, C{0});
    const auto value = [](const TensorView& v, int64_t at) {
      C one;
      return *load_as(v.dtype, v.data, at, 1, &one);
    };
    const bool separate = gates == 3 && !split;
    for (int64_t i = 0; b && i < n; ++i) {
      const C recurrent_bias = value(*b, (2 * d + 1) * n + i);
      to[i] = value(*b, 2 * d * n + i);
      if (separate && i >= 2 * hidden)
        late[i - 2 * hidden] = recurrent_bias;
      else
        to[i] += recurrent_bias;
    }
    for (int64_t i = 0; p && i < 3 * hidden; ++i) peep[i] = value(*p, d * 3 * hidden + i);
  }
}

template void CellActivation::apply(const float*, float*, int64_t) const;
template void CellActivation::apply(const double*, double*, int64_t) const;
template struct RecurrentWeights<float>;
template struct RecurrentWeights<double>;

}  // namespace pyinfer
