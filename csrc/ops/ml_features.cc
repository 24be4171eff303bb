// Features. Scaler: y = (x - offset) scale.  Binarizer: y = x > threshold.  Normalizer: y = x / |x| for each
// row. Imputer: y = x = missing ? value : x.  FeatureVectorizer: y = [x0, x1, ...].  ArrayFeatureExtractor:
// y = x[..., indices].  OneHotEncoder: y[..., c] = (x = category c).
#include <algorithm>
#include <cmath>
#include <map>
#include <span>

#include "base/math.h"
#include "ops/dispatch.h"
#include "ops/elements.h"
#include "ops/index_input.h"
#include "ops/ml_scores.h"

namespace pyinfer {
namespace {

constexpr auto kNumbers = {DType::kFloat32, DType::kFloat64, DType::kInt32, DType::kInt64};
constexpr int64_t kGrain = 16384;

int64_t last_dim(const Shape& s) {
  return s.rank() == 0 ? 1 : s[s.rank() - 1];
}

// Throws unless a list has one element or one for each feature.
void check_length(size_t length, int64_t features, const char* name) {
  require(length == 1 || static_cast<int64_t>(length) == features, ErrorCode::kInvalidInput, name, " has ",
          length, " elements for ", features, " features");
}

class Scaler final : public Op {
 public:
  Scaler(std::vector<float> offset, std::vector<float> scale)
      : offset_(std::move(offset)), scale_(std::move(scale)) {}
  void plan(PlanContext& ctx) const override {
    const Shape& s = ctx.shape(0);
    check_length(offset_.size(), last_dim(s), "offset");
    check_length(scale_.size(), last_dim(s), "scale");
    ctx.output(0, s);
    plan_rows(ctx, rows_of(s));
  }
  void run(RunContext& ctx) const override {
    const RowShape s = rows_of(ctx.in(0).shape);
    const int64_t offset_step = offset_.size() == 1 ? 0 : 1, scale_step = scale_.size() == 1 ? 0 : 1;
    for_rows(ctx, s, 0, s.features, [&](int64_t row, const double* x, std::byte*) {
      float* y = ctx.out<float>(0) + row * s.features;
      for (int64_t i = 0; i < s.features; ++i)
        y[i] = static_cast<float>((x[i] - static_cast<double>(offset_.data()[i * offset_step])) *
                                  static_cast<double>(scale_.data()[i * scale_step]));
    });
  }

 private:
  static RowShape rows_of(const Shape& s) {
    const int64_t features = last_dim(s);
    return {features == 0 ? 0 : s.count() / features, features};
  }
  std::vector<float> offset_, scale_;
};

class Binarizer final : public Op {
 public:
  explicit Binarizer(float threshold) : threshold_(static_cast<double>(threshold)) {}
  void plan(PlanContext& ctx) const override {
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
  }
  void run(RunContext& ctx) const override {
    dispatch<float, double, int32_t, int64_t>(ctx.in(0).dtype, [&]<class T> {
      const T* x = ctx.in<T>(0);
      T* y = ctx.out<T>(0);
      ctx.parallel(ctx.in(0).count(), kGrain, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) y[i] = static_cast<double>(x[i]) > threshold_ ? T(1) : T(0);
      });
    });
  }

 private:
  double threshold_;
};

class Normalizer final : public Op {
 public:
  enum class Norm { kMax, kL1, kL2 };
  explicit Normalizer(Norm norm) : norm_(norm) {}
  void plan(PlanContext& ctx) const override {
    plan_rows(ctx, row_shape(ctx.shape(0)));
    ctx.output(0, ctx.shape(0));
  }
  void run(RunContext& ctx) const override {
    const RowShape s = row_shape(ctx.in(0).shape);
    for_rows(ctx, s, 0, 2 * s.features, [&](int64_t row, const double* x, std::byte*) {
      const double length = measure({x, static_cast<size_t>(s.features)});
      float* y = ctx.out<float>(0) + row * s.features;
      for (int64_t i = 0; i < s.features; ++i) y[i] = static_cast<float>(length == 0 ? x[i] : x[i] / length);
    });
  }

 private:
  double measure(std::span<const double> x) const {
    double total = 0;
    for (double v : x) {
      if (norm_ == Norm::kMax) total = std::max(total, std::abs(v));
      if (norm_ == Norm::kL1) total += std::abs(v);
      if (norm_ == Norm::kL2) total += v * v;
    }
    return norm_ == Norm::kL2 ? std::sqrt(total) : total;
  }
  Norm norm_;
};

class Imputer final : public Op {
 public:
  Imputer(std::vector<double> floats, double replaced_float, std::vector<int64_t> ints, int64_t replaced_int)
      : floats_(std::move(floats)),
        replaced_float_(replaced_float),
        ints_(std::move(ints)),
        replaced_int_(replaced_int) {}
  void plan(PlanContext& ctx) const override {
    check_length(std::max(floats_.size(), ints_.size()), last_dim(ctx.shape(0)), "imputed_value");
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
  }
  void run(RunContext& ctx) const override {
    switch (ctx.in(0).dtype) {
      case DType::kFloat32: return replace<float>(ctx, floats_, replaced_float_);
      case DType::kFloat64: return replace<double>(ctx, floats_, replaced_float_);
      case DType::kInt32: return replace<int32_t>(ctx, ints_, replaced_int_);
      default: return replace<int64_t>(ctx, ints_, replaced_int_);
    }
  }

 private:
  template <class T, class V>
  static void replace(const RunContext& ctx, const std::vector<V>& values, V missing) {
    const T* x = ctx.in<T>(0);
    T* y = ctx.out<T>(0);
    const bool nan = missing != missing;
    const auto features = static_cast<int64_t>(values.size());
    ctx.parallel(ctx.in(0).count(), kGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const bool is_missing = nan ? x[i] != x[i] : static_cast<V>(x[i]) == missing;
        y[i] = is_missing ? static_cast<T>(values[static_cast<size_t>(i % features)]) : x[i];
      }
    });
  }

  std::vector<double> floats_;
  double replaced_float_;
  std::vector<int64_t> ints_;
  int64_t replaced_int_;
};

class FeatureVectorizer final : public Op {
 public:
  explicit FeatureVectorizer(std::vector<int64_t> widths) : widths_(std::move(widths)) {}
  void plan(PlanContext& ctx) const override {
    int64_t width = 0;
    for (size_t i = 0; i < widths_.size(); ++i) {
      const int at = static_cast<int>(i);
      require(rows(ctx.shape(at)) == rows(ctx.shape(0)), ErrorCode::kInvalidInput, "input ", at, " of shape ",
              ctx.shape(at), " does not have ", rows(ctx.shape(0)), " rows");
      const auto sum = checked_add(width, widths_[i]);
      require(sum.has_value(), ErrorCode::kLimit, "inputdimensions is too large");
      width = *sum;
    }
    ctx.output(0, {rows(ctx.shape(0)), width});
  }
  // An input that is too narrow is filled up with 0, one that is too wide is cut.
  void run(RunContext& ctx) const override {
    const int64_t n = ctx.out(0).shape[0], width = ctx.out(0).shape[1];
    std::fill_n(ctx.out<float>(0), n * width, 0.0f);
    int64_t at = 0;
    for (size_t i = 0; i < widths_.size(); at += widths_[i++]) {
      const TensorView& x = ctx.in(static_cast<int>(i));
      const int64_t columns = n == 0 ? 0 : x.count() / n, used = std::min(columns, widths_[i]);
      double block[kBlock];
      for (int64_t r = 0; r < n; ++r)
        for (int64_t c = 0; c < used; c += kBlock) {
          const int64_t count = std::min(kBlock, used - c);
          load_features(x, r * columns + c, count, block);
          std::transform(block, block + count, ctx.out<float>(0) + r * width + at + c,
                         [](double v) { return static_cast<float>(v); });
        }
    }
  }

 private:
  static int64_t rows(const Shape& s) {
    require(s.rank() == 1 || s.rank() == 2, ErrorCode::kInvalidInput, "expected shape [N, C] or [C], got ",
            s);
    return s.rank() == 2 ? s[0] : 1;
  }
  std::vector<int64_t> widths_;
};

class ArrayFeatureExtractor final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    Shape out = ctx.shape(0);
    require(out.rank() >= 1, ErrorCode::kInvalidInput, "cannot extract features of a scalar");
    out[out.rank() - 1] = ctx.shape(1).count();
    if (out.rank() == 1) out.insert(0, 1);
    ctx.output(0, out);
    ScratchLayout layout;
    layout.take(ctx.shape(1).count(), sizeof(int64_t));
    ctx.scratch(layout.bytes());
  }
  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    const int64_t features = last_dim(x.shape), n = ctx.in(1).count();
    auto* indices = ctx.scratch_as<int64_t>();
    read_indices(ctx.in(1), features, indices);
    const int64_t rows = n == 0 ? 0 : ctx.out(0).count() / n;
    dispatch<float, double, int32_t, int64_t, std::string>(x.dtype, [&]<class T> {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; ++i) ctx.out<T>(0)[r * n + i] = ctx.in<T>(0)[r * features + indices[i]];
    });
  }
};

class OneHotEncoder final : public Op {
 public:
  OneHotEncoder(const std::vector<int64_t>& ints, const std::vector<std::string>& strings, bool zeros)
      : count_(static_cast<int64_t>(std::max(ints.size(), strings.size()))), zeros_(zeros) {
    for (size_t i = 0; i < ints.size(); ++i) ints_[ints[i]] = static_cast<int64_t>(i);
    for (size_t i = 0; i < strings.size(); ++i) strings_[strings[i]] = static_cast<int64_t>(i);
  }
  void plan(PlanContext& ctx) const override {
    Shape out = ctx.shape(0);
    out.push_back(count_);
    ctx.output(0, out);
  }
  void run(RunContext& ctx) const override {
    const int64_t n = ctx.in(0).count();
    std::fill_n(ctx.out<float>(0), n * count_, 0.0f);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = category(ctx.in(0), i);
      require(at >= 0 || zeros_, ErrorCode::kInvalidInput, "element ", i, " is none of the categories");
      if (at >= 0) ctx.out<float>(0)[i * count_ + at] = 1;
    }
  }

 private:
  // -1: none.
  int64_t category(const TensorView& x, int64_t i) const {
    if (x.dtype == DType::kString) {
      const auto it = strings_.find(x.as<std::string>()[i]);
      return it == strings_.end() ? -1 : it->second;
    }
    int64_t value = 0;
    if (x.dtype == DType::kInt64) {
      value = x.as<int64_t>()[i];
    } else {
      double v;
      load_features(x, i, 1, &v);
      if (!(v > -9e18 && v < 9e18)) return -1;
      value = static_cast<int64_t>(v);
    }
    const auto it = ints_.find(value);
    return it == ints_.end() ? -1 : it->second;
  }

  std::map<int64_t, int64_t> ints_;
  std::map<std::string, int64_t> strings_;
  int64_t count_;
  bool zeros_;
};

void expect_numbers(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, kNumbers);
}

std::unique_ptr<Op> make_scaler(NodeContext& ctx) {
  expect_numbers(ctx);
  ctx.output(0, DType::kFloat32);
  std::vector<float> offset = ctx.attr_floats("offset"), scale = ctx.attr_floats("scale");
  if (offset.empty()) offset = {0};
  if (scale.empty()) scale = {1};
  return std::make_unique<Scaler>(std::move(offset), std::move(scale));
}

std::unique_ptr<Op> make_binarizer(NodeContext& ctx) {
  expect_numbers(ctx);
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Binarizer>(ctx.attr_float("threshold", 0));
}

std::unique_ptr<Op> make_normalizer(NodeContext& ctx) {
  expect_numbers(ctx);
  ctx.output(0, DType::kFloat32);
  const std::string norm = ctx.attr_string("norm", "MAX");
  require(norm == "MAX" || norm == "L1" || norm == "L2", ErrorCode::kInvalidModel, "unknown norm '", norm,
          "'");
  using Norm = Normalizer::Norm;
  return std::make_unique<Normalizer>(norm == "MAX" ? Norm::kMax : norm == "L1" ? Norm::kL1 : Norm::kL2);
}

std::unique_ptr<Op> make_imputer(NodeContext& ctx) {
  expect_numbers(ctx);
  ctx.output(0, ctx.dtype(0));
  const std::vector<float> floats = ctx.attr_floats("imputed_value_floats");
  std::vector<int64_t> ints = ctx.attr_ints("imputed_value_int64s");
  const bool is_float = dtype_is_float(ctx.dtype(0));
  require(is_float ? !floats.empty() && ints.empty() : floats.empty() && !ints.empty(),
          ErrorCode::kInvalidModel, "imputed values must be ", is_float ? "floats" : "integers", " for ",
          ctx.input_type(0));
  for (int64_t v : ints)
    require(ctx.dtype(0) == DType::kInt64 || (v >= INT32_MIN && v <= INT32_MAX), ErrorCode::kInvalidModel,
            "imputed value ", v, " does not fit int32");
  return std::make_unique<Imputer>(std::vector<double>(floats.begin(), floats.end()),
                                   static_cast<double>(ctx.attr_float("replaced_value_float", 0)),
                                   std::move(ints), ctx.attr_int("replaced_value_int64", 0));
}

std::unique_ptr<Op> make_feature_vectorizer(NodeContext& ctx) {
  require(ctx.num_inputs() > 0, ErrorCode::kInvalidModel, "expected at least 1 input");
  ctx.expect_inputs(ctx.num_inputs(), ctx.num_inputs());
  for (int i = 0; i < ctx.num_inputs(); ++i) ctx.expect_dtype(i, kNumbers);
  ctx.output(0, DType::kFloat32);
  std::vector<int64_t> widths = ctx.attr_ints("inputdimensions");
  require(static_cast<int>(widths.size()) == ctx.num_inputs(), ErrorCode::kInvalidModel,
          "inputdimensions has ", widths.size(), " elements for ", ctx.num_inputs(), " inputs");
  for (int64_t w : widths) require(w >= 0, ErrorCode::kInvalidModel, "inputdimensions has element ", w);
  return std::make_unique<FeatureVectorizer>(std::move(widths));
}

std::unique_ptr<Op> make_array_feature_extractor(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kInt32, DType::kInt64, DType::kString});
  ctx.expect_dtype(1, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<ArrayFeatureExtractor>();
}

std::unique_ptr<Op> make_one_hot_encoder(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kString, DType::kInt64, DType::kInt32, DType::kFloat32, DType::kFloat64});
  ctx.output(0, DType::kFloat32);
  const std::vector<int64_t> ints = ctx.attr_ints("cats_int64s");
  const std::vector<std::string> strings = ctx.attr_strings("cats_strings");
  const bool is_string = ctx.dtype(0) == DType::kString;
  require(is_string ? !strings.empty() : !ints.empty(), ErrorCode::kInvalidModel, "no categories for ",
          ctx.input_type(0));
  return std::make_unique<OneHotEncoder>(is_string ? std::vector<int64_t>() : ints,
                                         is_string ? strings : std::vector<std::string>(),
                                         ctx.attr_int("zeros", 1) != 0);
}

}  // namespace

std::span<const OpDef> ml_features_ops() {
  static constexpr OpDef kOps[] = {
      {"ai.onnx.ml", "ArrayFeatureExtractor", 1, make_array_feature_extractor},
      {"ai.onnx.ml", "Binarizer", 1, make_binarizer},
      {"ai.onnx.ml", "FeatureVectorizer", 1, make_feature_vectorizer},
      {"ai.onnx.ml", "Imputer", 1, make_imputer},
      {"ai.onnx.ml", "Normalizer", 1, make_normalizer},
      {"ai.onnx.ml", "OneHotEncoder", 1, make_one_hot_encoder},
      {"ai.onnx.ml", "Scaler", 1, make_scaler},
  };
  return kOps;
}

}  // namespace pyinfer
