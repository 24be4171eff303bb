// What the classifiers and regressors of ai.onnx.ml share: how they read rows of features, turn scores into
// outputs, and name classes. Where the specification is vague, they mean what ONNX Runtime and the ONNX
// reference evaluator agree on.
#pragma once

#include <string>
#include <vector>

#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {

enum class PostTransform { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };

// The attribute post_transform, as a string.
PostTransform read_post_transform(const NodeContext& ctx);

// scores = transform(scores), for one row. T is float or double.
template <class T>
void apply_post_transform(PostTransform transform, T* scores, int64_t n);

// exp, tanh ... of one number, the same on every machine.
float exp_f32(float x);
float tanh_f32(float x);
float sigmoid_f32(float x);

// How a lone score becomes the scores of two classes.
enum class SecondClass {
  kNone,        // it stays alone
  kComplement,  // {1 - s, s}
  kOpposite,    // {-s, s}
};

// z = transform(scores of n classes), or transform of the two that a lone score becomes.
void write_scores(const float* scores, int64_t n, PostTransform transform, SecondClass second, float* z);

// [N, F] of an input of shape [N, F], or [F] for N = 1. Throws Error(kInvalidInput) for another rank.
struct RowShape {
  int64_t rows, features;
};
RowShape row_shape(const Shape& shape);

// Features [at, at + n) as double.
void load_features(const TensorView& x, int64_t at, int64_t n, double* out);

// The scratch memory of for_rows: a row of features, and `extra` bytes, for each worker.
void plan_rows(PlanContext& ctx, const RowShape& shape, int64_t extra = 0);

// Calls f(row, its features as double, extra bytes) for every row. `work` is what one row costs, in
// multiply-adds.
template <class F>
void for_rows(const RunContext& ctx, const RowShape& shape, int64_t extra, int64_t work, F&& f) {
  const int64_t row_bytes = round_up(shape.features * int64_t{sizeof(double)}, kCacheLine);
  const int64_t worker_bytes = row_bytes + round_up(extra, kCacheLine);
  ctx.parallel(shape.rows, std::min<int64_t>(grain_for(work, 32768), 4096),
               [&](int64_t begin, int64_t end, int worker) {
                 std::byte* const memory = ctx.scratch() + worker * worker_bytes;
                 auto* const x = reinterpret_cast<double*>(memory);
                 for (int64_t r = begin; r < end; ++r) {
                   load_features(ctx.in(0), r * shape.features, shape.features, x);
                   f(r, x, memory + row_bytes);
                 }
               });
}

// The names of classes: strings or integers, by two attributes of which one is given.
class ClassLabels {
 public:
  ClassLabels(const NodeContext& ctx, std::string_view ints, std::string_view strings);

  size_t size() const { return is_string_ ? strings_.size() : ints_.size(); }
  bool is_string() const { return is_string_; }
  int64_t longest() const;  // name, in bytes
  DType dtype() const { return is_string_ ? DType::kString : DType::kInt64; }
  // y[i] = the name of class `label`.
  void write(const TensorView& y, int64_t i, size_t label) const;
  // y[i] = the name of the second class for a positive answer, of the first for a negative one; 1 or 0 when
  // there are not two names.
  void write_binary(const TensorView& y, int64_t i, bool positive) const;

 private:
  bool is_string_;
  std::vector<int64_t> ints_;
  std::vector<std::string> strings_;
};

// The numbers of a FLOATS attribute `name` or of the tensor attribute `name`_as_tensor.
std::vector<double> attr_numbers(const NodeContext& ctx, const std::string& name);
// The elements of a float, double or float16 tensor.
std::vector<double> to_doubles(const TensorView& view);

}  // namespace pyinfer
