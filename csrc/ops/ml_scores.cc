#include "ops/ml_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/elementwise.h"
#include "ops/elements.h"

namespace pyinfer {
namespace {

template <class T>
T unary_one(UnaryKind kind, T x) {
  T y;
  unary(kind, DTypeOf<T>::value, &x, &y, 1);
  return y;
}

template <class T>
void softmax(T* s, int64_t n) {
  const T top = *std::max_element(s, s + n);
  T sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += s[i] = unary_one(UnaryKind::kExp, s[i] - top);
  for (int64_t i = 0; i < n; ++i) s[i] /= sum;
}

// Scores of 0 stay next to 0: a class that got no vote has no share.
template <class T>
void softmax_zero(T* s, int64_t n) {
  constexpr T kTiny = T(1e-7);
  const T top = *std::max_element(s, s + n);
  const T exp_of_zero = unary_one(UnaryKind::kExp, -top);
  T sum = 0;
  for (int64_t i = 0; i < n; ++i)
    sum += s[i] = s[i] > kTiny || s[i] < -kTiny ? unary_one(UnaryKind::kExp, s[i] - top) : s[i] * exp_of_zero;
  for (int64_t i = 0; i < n; ++i) s[i] = sum == 0 ? T(0.5) : s[i] / sum;
}

// sqrt(2) erf^-1(2 x - 1), by Winitzki's approximation.
template <class T>
T probit(T x) {
  const T y = 2 * x - 1;
  const T sign = y < 0 ? T(-1) : T(1);
  const T z = (1 - y) * (1 + y);
  if (z == 0) return sign * std::numeric_limits<T>::infinity();
  const T log = unary_one(UnaryKind::kLog, z);
  const T v = T(2.0 / (3.14159265358979323846 * 0.147)) + T(0.5) * log;
  const T w = T(1.0 / 0.147) * log;
  return T(1.41421356) * sign * std::sqrt(-v + std::sqrt(v * v - w));
}

}  // namespace

float exp_f32(float x) {
  return unary_one(UnaryKind::kExp, x);
}
float tanh_f32(float x) {
  return unary_one(UnaryKind::kTanh, x);
}
float sigmoid_f32(float x) {
  return unary_one(UnaryKind::kSigmoid, x);
}

PostTransform read_post_transform(const NodeContext& ctx) {
  const std::string name = ctx.attr_string("post_transform", "NONE");
  if (name == "NONE") return PostTransform::kNone;
  if (name == "SOFTMAX") return PostTransform::kSoftmax;
  if (name == "LOGISTIC") return PostTransform::kLogistic;
  if (name == "SOFTMAX_ZERO") return PostTransform::kSoftmaxZero;
  if (name == "PROBIT") return PostTransform::kProbit;
  fail(ErrorCode::kInvalidModel, "unknown post_transform '", name, "'");
}

template <class T>
void apply_post_transform(PostTransform transform, T* scores, int64_t n) {
  if (n == 0) return;
  switch (transform) {
    case PostTransform::kNone: return;
    case PostTransform::kSoftmax: return softmax(scores, n);
    case PostTransform::kSoftmaxZero: return softmax_zero(scores, n);
    case PostTransform::kLogistic: unary(UnaryKind::kSigmoid, DTypeOf<T>::value, scores, scores, n); return;
    case PostTransform::kProbit:
      for (int64_t i = 0; i < n; ++i) scores[i] = probit(scores[i]);
  }
}
template void apply_post_transform(PostTransform, float*, int64_t);
template void apply_post_transform(PostTransform, double*, int64_t);

void write_scores(const float* scores, int64_t n, PostTransform transform, SecondClass second, float* z) {
  if (second == SecondClass::kNone) {
    std::copy_n(scores, n, z);
    return apply_post_transform(transform, z, n);
  }
  const float s = scores[0];
  z[0] = second == SecondClass::kComplement ? 1 - s : -s;
  z[1] = s;
  apply_post_transform(transform, z, 2);
}

RowShape row_shape(const Shape& shape) {
  require(shape.rank() == 1 || shape.rank() == 2, ErrorCode::kInvalidInput,
          "expected shape [N, F] or [F], got ", shape);
  return shape.rank() == 2 ? RowShape{shape[0], shape[1]} : RowShape{1, shape[0]};
}

void load_features(const TensorView& x, int64_t at, int64_t n, double* out) {
  switch (x.dtype) {
    case DType::kFloat32: std::copy_n(x.as<float>() + at, n, out); return;
    case DType::kFloat64: std::copy_n(x.as<double>() + at, n, out); return;
    case DType::kInt32: std::copy_n(x.as<int32_t>() + at, n, out); return;
    case DType::kInt64:
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<double>(x.as<int64_t>()[at + i]);
      return;
    default: fail(ErrorCode::kInternal, "features of type ", dtype_name(x.dtype));
  }
}

void plan_rows(PlanContext& ctx, const RowShape& shape, int64_t extra) {
  ScratchLayout one, all;
  one.take(shape.features, sizeof(double));
  one.take(extra, 1);
  all.take(shape.rows <= 1 ? 1 : ctx.workers(), one.bytes());  // a single row runs on the caller
  ctx.scratch(all.bytes());
}

ClassLabels::ClassLabels(const NodeContext& ctx, std::string_view ints, std::string_view strings)
    : is_string_(!ctx.attr_strings(strings).empty()),
      ints_(ctx.attr_ints(ints)),
      strings_(ctx.attr_strings(strings)) {
  require(ints_.empty() || strings_.empty(), ErrorCode::kInvalidModel, "both attributes '", ints, "' and '",
          strings, "' are given");
}

int64_t ClassLabels::longest() const {
  size_t longest = 0;
  for (const std::string& s : strings_) longest = std::max(longest, s.size());
  return static_cast<int64_t>(longest);
}

void ClassLabels::write(const TensorView& y, int64_t i, size_t label) const {
  if (is_string_)
    y.as<std::string>()[i] = strings_[label];
  else
    y.as<int64_t>()[i] = ints_.empty() ? static_cast<int64_t>(label) : ints_[label];
}

void ClassLabels::write_binary(const TensorView& y, int64_t i, bool positive) const {
  if (size() == 2) return write(y, i, positive ? 1 : 0);
  if (is_string_)
    y.as<std::string>()[i] = positive ? '1' : '0';
  else
    y.as<int64_t>()[i] = positive ? 1 : 0;
}

std::vector<double> to_doubles(const TensorView& view) {
  require(view.dtype == DType::kFloat32 || view.dtype == DType::kFloat64 || view.dtype == DType::kFloat16,
          ErrorCode::kInvalidModel, "expected a tensor of floats, got ", dtype_name(view.dtype));
  std::vector<double> values(static_cast<size_t>(view.count())), buffer(values.size());
  const double* from = load_as<double>(view.dtype, view.data, 0, view.count(), buffer.data());
  std::copy_n(from, values.size(), values.begin());
  return values;
}

std::vector<double> attr_numbers(const NodeContext& ctx, const std::string& name) {
  if (const Tensor* t = ctx.attr_tensor(name + "_as_tensor")) return to_doubles(t->view());
  const std::vector<float> values = ctx.attr_floats(name);
  return {values.begin(), values.end()};
}

}  // namespace pyinfer
