// Support vector machines. SVMRegressor: y = transform(rho + sum_j c_j k(x, v_j)).  SVMClassifier: the same
// for each pair of classes, from which the classes get votes and probabilities; or one linear score per
// class. k(x, v) is x.v, (gamma x.v + coef0)^degree, exp(-gamma |x - v|^2) or tanh(gamma x.v + coef0).
#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "ops/ml_scores.h"

namespace pyinfer {
namespace {

enum class Kernel { kLinear, kPoly, kRbf, kSigmoid };

constexpr auto kNumbers = {DType::kFloat32, DType::kFloat64, DType::kInt32, DType::kInt64};

double power(double x, int64_t n) {
  double y = 1;
  for (int64_t left = n < 0 ? -n : n; left > 0; left >>= 1, x *= x)
    if (left & 1) y *= x;
  return n < 0 ? 1 / y : y;
}

double dot(const double* x, const float* v, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * static_cast<double>(v[i]);
  return sum;
}

class KernelFunction {
 public:
  explicit KernelFunction(const NodeContext& ctx) {
    const std::string type = ctx.attr_string("kernel_type", "LINEAR");
    if (type == "POLY")
      kind_ = Kernel::kPoly;
    else if (type == "RBF")
      kind_ = Kernel::kRbf;
    else if (type == "SIGMOID")
      kind_ = Kernel::kSigmoid;
    else
      require(type == "LINEAR", ErrorCode::kInvalidModel, "unknown kernel_type '", type, "'");
    const std::vector<float> params = ctx.attr_floats("kernel_params");
    require(params.empty() || params.size() == 3, ErrorCode::kInvalidModel, "kernel_params has ",
            params.size(), " elements, expected 3");
    if (params.empty()) return;
    gamma_ = static_cast<double>(params[0]);
    coef0_ = static_cast<double>(params[1]);
    require(params[2] == std::floor(params[2]) && std::abs(params[2]) < 1e6f, ErrorCode::kUnsupported,
            "the degree of a kernel is ", params[2]);
    degree_ = static_cast<int64_t>(params[2]);
  }

  // Sums run over the features in ascending order, in double.
  double operator()(const double* x, const float* v, int64_t n) const {
    switch (kind_) {
      case Kernel::kLinear: return dot(x, v, n);
      case Kernel::kPoly: return power(gamma_ * dot(x, v, n) + coef0_, degree_);
      case Kernel::kSigmoid:
        return static_cast<double>(tanh_f32(static_cast<float>(gamma_ * dot(x, v, n) + coef0_)));
      case Kernel::kRbf: {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          const double d = x[i] - static_cast<double>(v[i]);
          sum += d * d;
        }
        return static_cast<double>(exp_f32(static_cast<float>(-gamma_ * sum)));
      }
    }
    return 0;
  }

 private:
  Kernel kind_ = Kernel::kLinear;
  double gamma_ = 0, coef0_ = 0;
  int64_t degree_ = 0;
};

class SvmRegressor final : public Op {
 public:
  explicit SvmRegressor(const NodeContext& ctx)
      : kernel_(ctx),
        vectors_(ctx.attr_floats("support_vectors")),
        coefficients_(ctx.attr_floats("coefficients")),
        count_(ctx.attr_int("n_supports", 0)),
        one_class_(ctx.attr_int("one_class", 0) != 0),
        transform_(read_post_transform(ctx)) {
    const std::vector<float> rho = ctx.attr_floats("rho");
    require(rho.size() == 1, ErrorCode::kInvalidModel, "rho has ", rho.size(), " elements, expected 1");
    rho_ = static_cast<double>(rho[0]);
    require(count_ >= 0 && (count_ == 0 || static_cast<int64_t>(coefficients_.size()) == count_),
            ErrorCode::kInvalidModel, "coefficients has ", coefficients_.size(), " elements for ", count_,
            " support vectors");
    // Without support vectors the coefficients are the weights of the features.
    if (count_ == 0) vectors_ = coefficients_;
  }

  void plan(PlanContext& ctx) const override {
    const RowShape s = row_shape(ctx.shape(0));
    const auto expected = checked_mul(s.features, std::max<int64_t>(count_, 1));
    require(expected && static_cast<int64_t>(vectors_.size()) == *expected, ErrorCode::kInvalidInput,
            "the vectors have ", vectors_.size(), " elements, which do not fit ", s.features, " features");
    ctx.output(0, {s.rows, 1});
    plan_rows(ctx, s);
  }
  void run(RunContext& ctx) const override {
    const RowShape s = row_shape(ctx.in(0).shape);
    for_rows(ctx, s, 0, static_cast<int64_t>(vectors_.size()), [&](int64_t row, const double* x, std::byte*) {
      double sum = 0;
      if (count_ == 0) sum = dot(x, vectors_.data(), s.features);
      for (int64_t j = 0; j < count_; ++j)
        sum += static_cast<double>(coefficients_[static_cast<size_t>(j)]) *
               kernel_(x, vectors_.data() + j * s.features, s.features);
      auto score = static_cast<float>(sum + rho_);
      if (one_class_)
        score = score > 0 ? 1.0f : -1.0f;
      else
        apply_post_transform(transform_, &score, 1);
      ctx.out<float>(0)[row] = score;
    });
  }

 private:
  KernelFunction kernel_;
  std::vector<float> vectors_, coefficients_;
  int64_t count_;
  bool one_class_;
  PostTransform transform_;
  double rho_;
};

// The probabilities p of n classes from those of all pairs, r[i, j] = P(i | i or j). The second method of Wu,
// Lin and Weng, "Probability Estimates for Multi-class Classification by Pairwise Coupling" (2004). q[n, n]
// and qp[n] are scratch memory.
void couple_probabilities(int64_t n, const double* r, double* p, double* q, double* qp) {
  std::fill_n(p, n, 1.0 / static_cast<double>(n));
  for (int64_t t = 0; t < n; ++t) {
    q[t * n + t] = 0;
    for (int64_t j = 0; j < n; ++j) {
      if (j == t) continue;
      q[t * n + t] += r[j * n + t] * r[j * n + t];
      q[t * n + j] = -r[j * n + t] * r[t * n + j];
    }
  }
  const double precision = 0.005 / static_cast<double>(n);
  const int64_t most = std::max<int64_t>(100, n);
  for (int64_t round = 0; round < most; ++round) {
    double pqp = 0, error = 0;
    for (int64_t t = 0; t < n; ++t) {
      qp[t] = 0;
      for (int64_t j = 0; j < n; ++j) qp[t] += q[t * n + j] * p[j];
      pqp += p[t] * qp[t];
    }
    for (int64_t t = 0; t < n; ++t) error = std::max(error, std::abs(qp[t] - pqp));
    if (error < precision) return;
    for (int64_t t = 0; t < n; ++t) {
      const double diff = (pqp - qp[t]) / q[t * n + t];
      p[t] += diff;
      pqp = (pqp + diff * (diff * q[t * n + t] + 2 * qp[t])) / (1 + diff) / (1 + diff);
      for (int64_t j = 0; j < n; ++j) {
        qp[j] = (qp[j] + diff * q[t * n + j]) / (1 + diff);
        p[j] /= 1 + diff;
      }
    }
  }
}

class SvmClassifier final : public Op {
 public:
  explicit SvmClassifier(const NodeContext& ctx)
      : kernel_(ctx),
        labels_(ctx, "classlabels_ints", "classlabels_strings"),
        vectors_(ctx.attr_floats("support_vectors")),
        coefficients_(ctx.attr_floats("coefficients")),
        rho_(ctx.attr_floats("rho")),
        prob_a_(ctx.attr_floats("prob_a")),
        prob_b_(ctx.attr_floats("prob_b")),
        transform_(read_post_transform(ctx)) {
    for (int64_t n : ctx.attr_ints("vectors_per_class")) {
      require(n >= 0 && n <= INT32_MAX && count_ <= INT32_MAX, ErrorCode::kInvalidModel,
              "vectors_per_class has element ", n);
      starts_.push_back(count_);
      count_ += n;
    }
    starts_.push_back(count_);
    classes_ = std::max<int64_t>(static_cast<int64_t>(labels_.size()), 1);
    require(!coefficients_.empty(), ErrorCode::kInvalidModel, "attribute 'coefficients' is required");
    if (count_ > 0)
      check_vectors();
    else
      require(!rho_.empty(), ErrorCode::kInvalidModel, "attribute 'rho' is required");
  }

  const ClassLabels& labels() const { return labels_; }

  void plan(PlanContext& ctx) const override {
    const RowShape s = row_shape(ctx.shape(0));
    const auto expected = checked_mul(s.features, count_ > 0 ? count_ : classes_);
    const std::vector<float>& rows = count_ > 0 ? vectors_ : coefficients_;
    require(expected && static_cast<int64_t>(rows.size()) == *expected, ErrorCode::kInvalidInput,
            "the vectors have ", rows.size(), " elements, which do not fit ", s.features, " features");
    ctx.longest_string(labels_.longest());
    if (ctx.wants(0)) ctx.output(0, {s.rows});
    if (ctx.wants(1)) ctx.output(1, {s.rows, columns()});
    plan_rows(ctx, s, Room(*this).layout.bytes());
  }

  void run(RunContext& ctx) const override {
    const RowShape s = row_shape(ctx.in(0).shape);
    Room room(*this);
    for_rows(ctx, s, room.layout.bytes(), static_cast<int64_t>(vectors_.size() + coefficients_.size()),
             [&](int64_t row, const double* x, std::byte* memory) {
               const Pieces at = room.pieces(memory);
               if (count_ == 0)
                 linear_scores(x, s.features, at.scores);
               else
                 pair_scores(x, s.features, at);
               if (has_probabilities()) probabilities(at);
               finish(ctx, row, has_probabilities() ? at.p : at.scores, at);
             });
  }

 private:
  // What a worker needs to score a row.
  struct Pieces {
    double* kernels;         // of each support vector
    double* scores;          // of each pair of classes; of each class without support vectors
    int64_t* votes;          // for each class
    float* rounded;          // scores
    double *r, *q, *qp, *p;  // of couple_probabilities
  };
  struct Room {
    explicit Room(const SvmClassifier& op)
        : kernels(layout.take(op.count_, sizeof(double))),
          scores(layout.take(op.raw_scores(), sizeof(double))),
          votes(layout.take(op.classes_, sizeof(int64_t))),
          rounded(layout.take(op.scores(), sizeof(float))) {
      if (!op.has_probabilities()) return;
      const int64_t n = op.classes_;
      r = layout.take(n * n, sizeof(double));
      q = layout.take(n * n, sizeof(double));
      qp = layout.take(n, sizeof(double));
      p = layout.take(n, sizeof(double));
    }
    Pieces pieces(std::byte* memory) const {
      const auto at = [&](int64_t offset) { return reinterpret_cast<double*>(memory + offset); };
      return {at(kernels),
              at(scores),
              reinterpret_cast<int64_t*>(memory + votes),
              reinterpret_cast<float*>(memory + rounded),
              at(r),
              at(q),
              at(qp),
              at(p)};
    }
    ScratchLayout layout;
    int64_t kernels, scores, votes, rounded, r = 0, q = 0, qp = 0, p = 0;
  };

  bool has_probabilities() const { return count_ > 0 && !prob_a_.empty(); }
  int64_t pairs() const { return classes_ * (classes_ - 1) / 2; }
  int64_t raw_scores() const { return count_ == 0 ? classes_ : pairs(); }
  int64_t scores() const { return count_ == 0 || has_probabilities() ? classes_ : pairs(); }
  // A lone score of two classes becomes two.
  int64_t columns() const { return scores() == 1 && classes_ == 2 ? 2 : scores(); }

  void check_vectors() {
    require(static_cast<int64_t>(starts_.size()) - 1 == classes_ && classes_ >= 2 && classes_ <= 10'000,
            ErrorCode::kInvalidModel, "vectors_per_class has ", starts_.size() - 1, " elements for ",
            classes_, " classes");
    const auto expected = checked_mul(classes_ - 1, count_);
    require(expected && static_cast<int64_t>(coefficients_.size()) == *expected, ErrorCode::kInvalidModel,
            "coefficients has ", coefficients_.size(), " elements, expected ", classes_ - 1, " for each of ",
            count_, " support vectors");
    require(static_cast<int64_t>(rho_.size()) == pairs(), ErrorCode::kInvalidModel, "rho has ", rho_.size(),
            " elements, expected ", pairs());
    require(prob_a_.size() == prob_b_.size() && (prob_a_.empty() || prob_a_.size() == rho_.size()),
            ErrorCode::kInvalidModel, "prob_a has ", prob_a_.size(), " and prob_b ", prob_b_.size(),
            " elements");
  }

  void linear_scores(const double* x, int64_t features, double* scores) const {
    for (int64_t c = 0; c < classes_; ++c)
      scores[c] = dot(x, coefficients_.data() + c * features, features) + static_cast<double>(rho_[0]);
  }

  void pair_scores(const double* x, int64_t features, const Pieces& at) const {
    for (int64_t j = 0; j < count_; ++j) at.kernels[j] = kernel_(x, vectors_.data() + j * features, features);
    std::fill_n(at.votes, classes_, 0);
    // The vectors of class `of`, weighted by their coefficients against another class.
    const auto weigh = [&](int64_t row, int64_t of) {
      double sum = 0;
      for (int64_t v = starts_[static_cast<size_t>(of)]; v < starts_[static_cast<size_t>(of) + 1]; ++v)
        sum += static_cast<double>(coefficients_[static_cast<size_t>(row * count_ + v)]) * at.kernels[v];
      return sum;
    };
    size_t pair = 0;
    for (int64_t i = 0; i < classes_; ++i)
      for (int64_t j = i + 1; j < classes_; ++j, ++pair) {
        const double s = weigh(j - 1, i) + weigh(i, j) + static_cast<double>(rho_[pair]);
        at.scores[pair] = s;
        ++at.votes[s > 0 ? i : j];
      }
  }

  void probabilities(const Pieces& at) const {
    size_t pair = 0;
    for (int64_t i = 0; i < classes_; ++i)
      for (int64_t j = i + 1; j < classes_; ++j, ++pair) {
        const double z =
            at.scores[pair] * static_cast<double>(prob_a_[pair]) + static_cast<double>(prob_b_[pair]);
        const auto share = static_cast<double>(sigmoid_f32(static_cast<float>(-z)));
        at.r[i * classes_ + j] = std::clamp(share, 1e-7, 1 - 1e-7);
        at.r[j * classes_ + i] = 1 - at.r[i * classes_ + j];
      }
    couple_probabilities(classes_, at.r, at.p, at.q, at.qp);
  }

  void finish(RunContext& ctx, int64_t row, const double* scores, const Pieces& at) const {
    if (ctx.wants(0) && classes_ == 1) labels_.write_binary(ctx.out(0), row, scores[0] > 0);
    if (ctx.wants(0) && classes_ > 1) {
      const auto best = count_ == 0 ? std::max_element(scores, scores + classes_) - scores
                                    : std::max_element(at.votes, at.votes + classes_) - at.votes;
      labels_.write(ctx.out(0), row, static_cast<size_t>(best));
    }
    if (!ctx.wants(1)) return;
    const int64_t n = this->scores();
    std::transform(scores, scores + n, at.rounded, [](double s) { return static_cast<float>(s); });
    write_scores(at.rounded, n, transform_, n != columns() ? SecondClass::kOpposite : SecondClass::kNone,
                 ctx.out<float>(1) + row * columns());
  }

  KernelFunction kernel_;
  ClassLabels labels_;
  std::vector<float> vectors_, coefficients_, rho_, prob_a_, prob_b_;
  PostTransform transform_;
  int64_t count_ = 0, classes_ = 0;
  std::vector<int64_t> starts_;  // the first vector of each class, and the end
};

std::unique_ptr<Op> make_regressor(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, kNumbers);
  ctx.output(0, DType::kFloat32);
  return std::make_unique<SvmRegressor>(ctx);
}

std::unique_ptr<Op> make_classifier(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, kNumbers);
  auto op = std::make_unique<SvmClassifier>(ctx);
  ctx.output(0, op->labels().dtype());
  ctx.output(1, DType::kFloat32);
  return op;
}

}  // namespace

std::span<const OpDef> ml_svm_ops() {
  static constexpr OpDef kOps[] = {
      {"ai.onnx.ml", "SVMClassifier", 1, make_classifier},
      {"ai.onnx.ml", "SVMRegressor", 1, make_regressor},
  };
  return kOps;
}

}  // namespace pyinfer
