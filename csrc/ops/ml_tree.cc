// TreeEnsemble, TreeEnsembleRegressor: y = transform(base + the votes of the leaves reached, per target).
// TreeEnsembleClassifier: z = the same per class, y = the best class.
#include <algorithm>
#include <cmath>
#include <set>

#include "base/math.h"
#include "ops/elements.h"
#include "ops/ml_scores.h"
#include "ops/tree_walker.h"

namespace pyinfer {
namespace {

enum class Aggregate { kAverage, kSum, kMin, kMax };

// Rows that one worker walks through one tree before the next, so that the tree stays in its cache.
constexpr int64_t kBlockRows = 128;

// What the rows of a block got, by row and target: a worker's own, in its scratch memory.
struct Votes {
  double* score;
  char* voted;     // whether a leaf named the target
  void* features;  // of the block, in the type in which they are compared
  float* rounded;  // one row of score

  void reset(int64_t n) {
    std::fill_n(score, n, 0.0);
    std::fill_n(voted, n, char{0});
  }
  void add(int64_t at, double weight, Aggregate how) {
    double& s = score[at];
    if (!voted[at]) {
      s = weight;
    } else if (how == Aggregate::kMin) {
      s = std::min(s, weight);
    } else if (how == Aggregate::kMax) {
      s = std::max(s, weight);
    } else {
      s += weight;
    }
    voted[at] = 1;
  }
  float* round(const double* scores, int64_t n) const {
    std::transform(scores, scores + n, rounded, [](double s) { return static_cast<float>(s); });
    return rounded;
  }
};

// Where Votes lie in the scratch memory of a worker.
class VotesLayout {
 public:
  // `converts`: features come in another type than that in which they are compared.
  VotesLayout(const RowShape& s, int64_t targets, bool converts) {
    const int64_t rows = std::min(s.rows, kBlockRows);
    score_ = take(rows, targets, sizeof(double));
    voted_ = take(rows, targets, 1);
    features_ = converts ? take(rows, s.features, sizeof(double)) : 0;
    rounded_ = take(1, targets, sizeof(float));
  }
  int64_t bytes() const { return layout_.bytes(); }
  Votes at(std::byte* memory) const {
    return {reinterpret_cast<double*>(memory + score_), reinterpret_cast<char*>(memory + voted_),
            memory + features_, reinterpret_cast<float*>(memory + rounded_)};
  }

 private:
  int64_t take(int64_t rows, int64_t columns, int64_t size) {
    const auto count = checked_mul(rows, columns);
    require(count.has_value(), ErrorCode::kLimit, "scratch memory would exceed 63 bits");
    return layout_.take(*count, size);
  }
  ScratchLayout layout_;
  int64_t score_, voted_, features_, rounded_;
};

// The trees of an operator, laid out for the type in which its features are compared.
class Trees {
 public:
  Trees(TreeEnsemble ensemble, DType features)
      : ensemble_(std::make_unique<const TreeEnsemble>(std::move(ensemble))),
        single_(features == DType::kFloat32 || features == DType::kFloat16) {
    if (single_)
      floats_ = TreeWalker<float>(*ensemble_);
    else
      doubles_ = TreeWalker<double>(*ensemble_);
  }
  const TreeEnsemble& operator*() const { return *ensemble_; }
  const TreeEnsemble* operator->() const { return ensemble_.get(); }
  bool converts(DType features) const { return features != (single_ ? DType::kFloat32 : DType::kFloat64); }

  // Votes for the rows [begin, end), those of row r at (r - begin) * targets. Trees in ascending order.
  void count_votes(Aggregate how, const TensorView& x, int64_t features, int64_t begin, int64_t end,
                   Votes& votes) const {
    const int64_t scores = (end - begin) * ensemble_->targets;
    votes.reset(scores);
    if (single_)
      count(floats_, how, x, features, begin, end, votes);
    else
      count(doubles_, how, x, features, begin, end, votes);
    if (how != Aggregate::kAverage) return;
    const auto trees = static_cast<double>(std::max<size_t>(ensemble_->roots.size(), 1));
    for (int64_t i = 0; i < scores; ++i) votes.score[i] /= trees;
  }

 private:
  template <class T>
  void count(const TreeWalker<T>& walker, Aggregate how, const TensorView& x, int64_t features, int64_t begin,
             int64_t end, Votes& votes) const {
    const int64_t rows = end - begin;
    auto* const converted = static_cast<T*>(votes.features);
    const T* from = converted;
    if constexpr (std::is_same_v<T, double>) {
      if (x.dtype == DType::kFloat64)
        from = x.as<double>() + begin * features;
      else
        load_features(x, begin * features, rows * features, converted);
    } else {
      from = load_as<T>(x.dtype, x.data, begin * features, rows * features, converted);
    }
    walker.leaves(from, rows, features, [&](int64_t row, const TreeEnsemble::Node& leaf) {
      for (int32_t v = leaf.yes; v < leaf.no; ++v) {
        const TreeEnsemble::Vote& vote = ensemble_->votes[static_cast<size_t>(v)];
        votes.add(row * ensemble_->targets + vote.target, vote.weight, how);
      }
    });
  }

  std::unique_ptr<const TreeEnsemble> ensemble_;  // at a fixed address, for the walkers
  bool single_;
  TreeWalker<float> floats_;
  TreeWalker<double> doubles_;
};

void check_features(const TreeEnsemble& e, const RowShape& s) {
  require(s.features >= e.features, ErrorCode::kInvalidInput, "the trees use ", e.features, " features, got ",
          s.features);
}

void plan_blocks(PlanContext& ctx, const Trees& trees, const RowShape& s) {
  ScratchLayout all;
  // A single block runs on the caller.
  const int64_t workers = s.rows <= kBlockRows ? 1 : ctx.workers();
  all.take(workers, VotesLayout(s, trees->targets, trees.converts(ctx.dtype(0))).bytes());
  ctx.scratch(all.bytes());
}

// Calls f(begin, end, votes) for blocks of rows.
template <class F>
void for_blocks(const RunContext& ctx, const Trees& trees, Aggregate how, F&& f) {
  const RowShape s = row_shape(ctx.in(0).shape);
  const VotesLayout layout(s, trees->targets, trees.converts(ctx.in(0).dtype));
  ctx.parallel(ceil_div(s.rows, kBlockRows), 1, [&](int64_t first, int64_t last, int worker) {
    Votes votes = layout.at(ctx.scratch() + worker * layout.bytes());
    for (int64_t b = first; b < last; ++b) {
      const int64_t begin = b * kBlockRows, end = std::min(s.rows, begin + kBlockRows);
      trees.count_votes(how, ctx.in(0), s.features, begin, end, votes);
      f(begin, end, votes);
    }
  });
}

class Regressor final : public Op {
 public:
  Regressor(Trees trees, Aggregate how, PostTransform transform, std::vector<double> base)
      : trees_(std::move(trees)), how_(how), transform_(transform), base_(std::move(base)) {}

  void plan(PlanContext& ctx) const override {
    const RowShape s = row_shape(ctx.shape(0));
    check_features(*trees_, s);
    ctx.output(0, {s.rows, trees_->targets});
    plan_blocks(ctx, trees_, s);
  }
  void run(RunContext& ctx) const override {
    for_blocks(ctx, trees_, how_, [&](int64_t begin, int64_t end, Votes& votes) {
      const int64_t n = trees_->targets;
      for (int64_t r = begin; r < end; ++r) {
        double* scores = votes.score + (r - begin) * n;
        for (size_t t = 0; t < base_.size(); ++t) scores[t] += base_[t];
        if (ctx.out(0).dtype == DType::kFloat64)
          write(scores, ctx.out(0), r);
        else
          write(votes.round(scores, n), ctx.out(0), r);
      }
    });
  }

 private:
  template <class T>
  void write(T* scores, const TensorView& y, int64_t row) const {
    apply_post_transform(transform_, scores, trees_->targets);
    store_as(y.dtype, y.data, row * trees_->targets, trees_->targets, scores);
  }

  Trees trees_;
  Aggregate how_;
  PostTransform transform_;
  std::vector<double> base_;  // by target, or empty
};

class Classifier final : public Op {
 public:
  Classifier(Trees trees, ClassLabels labels, PostTransform transform, std::vector<double> base)
      : trees_(std::move(trees)), labels_(std::move(labels)), transform_(transform), base_(std::move(base)) {
    std::set<int32_t> named;
    for (const auto& v : trees_->votes) {
      named.insert(v.target);
      all_positive_ = all_positive_ && v.weight >= 0;
    }
    if (trees_->targets == 2 && named.size() == 1) only_ = *named.begin();
    // A lone base value belongs to the class that is voted for.
    if (only_ == 1 && base_.size() == 1) base_.insert(base_.begin(), 0.0);
  }

  void plan(PlanContext& ctx) const override {
    const RowShape s = row_shape(ctx.shape(0));
    check_features(*trees_, s);
    ctx.longest_string(labels_.longest());
    if (ctx.wants(0)) ctx.output(0, {s.rows});
    if (ctx.wants(1)) ctx.output(1, {s.rows, trees_->targets});
    plan_blocks(ctx, trees_, s);
  }
  void run(RunContext& ctx) const override {
    for_blocks(ctx, trees_, Aggregate::kSum, [&](int64_t begin, int64_t end, const Votes& votes) {
      const int64_t n = trees_->targets;
      for (int64_t r = begin; r < end; ++r) {
        double* scores = votes.score + (r - begin) * n;
        for (size_t t = 0; t < base_.size(); ++t) scores[t] += base_[t];
        SecondClass second = SecondClass::kNone;
        if (n == 1)
          label_single(ctx, r, scores);
        else if (only_ >= 0)
          second = label_one_sided(ctx, r, scores);
        else
          label_best(ctx, r, scores, votes.voted + (r - begin) * n);
        if (ctx.wants(1))
          write_scores(votes.round(scores, n), n, transform_, second, ctx.out<float>(1) + r * n);
      }
    });
  }

 private:
  void label_single(const RunContext& ctx, int64_t row, const double* scores) const {
    if (ctx.wants(0)) labels_.write_binary(ctx.out(0), row, scores[0] > 0);
  }

  // The best of the classes that got a vote.
  void label_best(const RunContext& ctx, int64_t row, const double* scores, const char* voted) const {
    int64_t best = -1;
    for (int64_t t = 0; t < trees_->targets; ++t)
      if ((voted[t] || !base_.empty()) && (best < 0 || scores[t] > scores[best])) best = t;
    if (ctx.wants(0)) labels_.write(ctx.out(0), row, static_cast<size_t>(std::max<int64_t>(best, 0)));
  }

  // With two classes the leaves may vote for one of them only. When that is the first, its score speaks for
  // the second: as a probability when no weight is negative, else by its sign.
  SecondClass label_one_sided(const RunContext& ctx, int64_t row, const double* scores) const {
    const bool plain = transform_ == PostTransform::kNone || transform_ == PostTransform::kProbit;
    const bool probability = plain && (all_positive_ || transform_ == PostTransform::kProbit);
    const auto s = static_cast<float>(scores[only_]);
    if (ctx.wants(0)) labels_.write_binary(ctx.out(0), row, s > (probability ? 0.5f : 0.0f));
    if (only_ != 0) return SecondClass::kNone;
    return probability ? SecondClass::kComplement : SecondClass::kOpposite;
  }

  Trees trees_;
  ClassLabels labels_;
  PostTransform transform_;
  std::vector<double> base_;
  bool all_positive_ = true;
  int32_t only_ = -1;  // of two classes, the one that all votes are for
};

Aggregate read_aggregate(const NodeContext& ctx) {
  const std::string name = ctx.attr_string("aggregate_function", "SUM");
  if (name == "AVERAGE") return Aggregate::kAverage;
  if (name == "SUM") return Aggregate::kSum;
  if (name == "MIN") return Aggregate::kMin;
  if (name == "MAX") return Aggregate::kMax;
  fail(ErrorCode::kInvalidModel, "unknown aggregate_function '", name, "'");
}

constexpr auto kNumbers = {DType::kFloat32, DType::kFloat64, DType::kInt32, DType::kInt64};

std::unique_ptr<Op> make_regressor(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, kNumbers);
  ctx.output(0, DType::kFloat32);
  const int64_t targets = ctx.attr_int("n_targets", 1);
  require(targets >= 1, ErrorCode::kInvalidModel, "n_targets = ", targets);
  std::vector<double> base = attr_numbers(ctx, "base_values");
  require(base.empty() || static_cast<int64_t>(base.size()) == targets, ErrorCode::kInvalidModel,
          "base_values has ", base.size(), " elements for ", targets, " targets");
  return std::make_unique<Regressor>(Trees(read_tree_ensemble(ctx, "target", targets), ctx.dtype(0)),
                                     read_aggregate(ctx), read_post_transform(ctx), std::move(base));
}

std::unique_ptr<Op> make_classifier(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, kNumbers);
  ClassLabels labels(ctx, "classlabels_int64s", "classlabels_strings");
  require(labels.size() > 0, ErrorCode::kInvalidModel,
          "attribute 'classlabels_int64s' or 'classlabels_strings' is required");
  ctx.output(0, labels.dtype());
  ctx.output(1, DType::kFloat32);
  const auto classes = static_cast<int64_t>(labels.size());
  std::vector<double> base = attr_numbers(ctx, "base_values");
  require(base.empty() || static_cast<int64_t>(base.size()) == classes || (classes == 2 && base.size() == 1),
          ErrorCode::kInvalidModel, "base_values has ", base.size(), " elements for ", classes, " classes");
  return std::make_unique<Classifier>(Trees(read_tree_ensemble(ctx, "class", classes), ctx.dtype(0)),
                                      std::move(labels), read_post_transform(ctx), std::move(base));
}

std::unique_ptr<Op> make_ensemble(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16});
  ctx.output(0, ctx.dtype(0));
  const int64_t how = ctx.attr_int("aggregate_function", 1), transform = ctx.attr_int("post_transform", 0);
  require(how >= 0 && how <= 3, ErrorCode::kInvalidModel, "aggregate_function = ", how);
  require(transform >= 0 && transform <= 4, ErrorCode::kInvalidModel, "post_transform = ", transform);
  return std::make_unique<Regressor>(Trees(read_tree_ensemble_v5(ctx), ctx.dtype(0)),
                                     static_cast<Aggregate>(how), static_cast<PostTransform>(transform),
                                     std::vector<double>());
}

}  // namespace

std::span<const OpDef> ml_tree_ops() {
  static constexpr OpDef kOps[] = {
      {"ai.onnx.ml", "TreeEnsemble", 1, make_ensemble},
      {"ai.onnx.ml", "TreeEnsembleClassifier", 1, make_classifier},
      {"ai.onnx.ml", "TreeEnsembleRegressor", 1, make_regressor},
  };
  return kOps;
}

}  // namespace pyinfer
