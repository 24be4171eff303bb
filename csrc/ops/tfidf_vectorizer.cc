// TfIdfVectorizer: y[b, index(g)] = weighted count of the n-gram g in row b, whose items lie 1 + s apart for
// every s of 0 to max_skip_count.
#include <algorithm>
#include <map>
#include <variant>

#include "ops/op.h"

namespace pyinfer {
namespace {

enum class Mode { kTf, kIdf, kTfIdf };

// The n-grams that count, as a tree by their items. Node 0 is the root.
template <class T>
class Grams {
 public:
  struct Node {
    std::map<T, size_t> children;
    int64_t column = -1;  // of the output; -1: no n-gram ends here
  };

  Grams() : nodes_(1) {}
  void add(std::span<const T> gram, int64_t column) {
    size_t at = 0;
    for (const T& item : gram) {
      const auto [it, fresh] = nodes_[at].children.emplace(item, nodes_.size());
      at = it->second;
      if (fresh) nodes_.emplace_back();
    }
    nodes_[at].column = column;
  }
  // The node below `at`, or 0.
  size_t child(size_t at, const T& item) const {
    const auto it = nodes_[at].children.find(item);
    return it == nodes_[at].children.end() ? 0 : it->second;
  }
  int64_t column(size_t at) const { return nodes_[at].column; }

 private:
  std::vector<Node> nodes_;
};

struct Settings {
  Mode mode;
  int64_t least, most, skips;  // lengths of n-grams; items left out between two
  int64_t columns;
  std::vector<float> weights;  // by column; empty: 1
};

class TfIdfVectorizer final : public Op {
 public:
  using Pool = std::variant<Grams<int64_t>, Grams<std::string>>;
  TfIdfVectorizer(Settings settings, Pool pool) : s_(std::move(settings)), pool_(std::move(pool)) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(x.rank() <= 2, ErrorCode::kInvalidInput, "expected shape [C] or [N, C], got ", x);
    Shape y;
    if (x.rank() == 2) y.push_back(x[0]);
    y.push_back(s_.columns);
    ctx.output(0, y);
  }
  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    const int64_t rows = x.shape.rank() == 2 ? x.shape[0] : 1;
    const int64_t length = x.shape.rank() == 0 ? 1 : x.shape[x.shape.rank() - 1];
    ctx.parallel(rows, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        float* y = ctx.out<float>(0) + r * s_.columns;
        std::fill_n(y, s_.columns, 0.0f);
        if (const auto* strings = std::get_if<Grams<std::string>>(&pool_))
          count(*strings, x.as<std::string>() + r * length, length, y);
        else if (x.dtype == DType::kInt32)
          count(std::get<Grams<int64_t>>(pool_), x.as<int32_t>() + r * length, length, y);
        else
          count(std::get<Grams<int64_t>>(pool_), x.as<int64_t>() + r * length, length, y);
        weigh(y);
      }
    });
  }

 private:
  template <class T, class X>
  void count(const Grams<T>& grams, const X* x, int64_t length, float* y) const {
    // Single items do not depend on the distance: only the first one counts them.
    for (int64_t distance = 1; distance <= std::min(s_.skips + 1, std::max<int64_t>(length, 1)); ++distance) {
      const int64_t least = distance == 1 ? s_.least : std::max<int64_t>(s_.least, 2);
      for (int64_t start = 0; start < length; ++start) {
        size_t at = 0;
        int64_t n = 0;
        for (int64_t i = start; i < length && n < s_.most; i += distance) {
          at = grams.child(at, x[i]);
          if (at == 0) break;
          if (++n >= least && grams.column(at) >= 0) y[grams.column(at)] += 1;
        }
      }
    }
  }

  void weigh(float* y) const {
    for (int64_t i = 0; i < s_.columns; ++i) {
      const float weight = s_.weights.empty() ? 1 : s_.weights[static_cast<size_t>(i)];
      if (s_.mode == Mode::kIdf) y[i] = y[i] > 0 ? weight : 0;
      if (s_.mode == Mode::kTfIdf) y[i] *= weight;
    }
  }

  Settings s_;
  Pool pool_;
};

template <class T>
Grams<T> read_pool(const std::vector<T>& pool, const std::vector<int64_t>& starts,
                   const std::vector<int64_t>& columns, const Settings& s) {
  Grams<T> grams;
  const auto total = static_cast<int64_t>(pool.size());
  size_t gram = 0;
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t begin = starts[i], end = i + 1 < starts.size() ? starts[i + 1] : total;
    require(begin >= 0 && begin <= end && end <= total, ErrorCode::kInvalidModel, "ngram_counts has element ",
            begin, " for a pool of ", total);
    const auto length = static_cast<int64_t>(i) + 1;
    require((end - begin) % length == 0, ErrorCode::kInvalidModel, "the pool's ", length, "-grams have ",
            end - begin, " items");
    for (int64_t at = begin; at < end; at += length, ++gram) {
      require(gram < columns.size(), ErrorCode::kInvalidModel, "ngram_indexes has ", columns.size(),
              " elements, fewer than the pool has n-grams");
      if (length >= s.least && length <= s.most)
        grams.add(std::span(pool).subspan(static_cast<size_t>(at), static_cast<size_t>(length)),
                  columns[gram]);
    }
  }
  return grams;
}

std::unique_ptr<Op> make_tfidf_vectorizer(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kString, DType::kInt32, DType::kInt64});
  ctx.output(0, DType::kFloat32);
  const std::string mode = ctx.attr_string("mode");
  require(mode == "TF" || mode == "IDF" || mode == "TFIDF", ErrorCode::kInvalidModel, "mode = '", mode,
          "', expected TF, IDF or TFIDF");
  Settings s{.mode = mode == "TF"    ? Mode::kTf
                     : mode == "IDF" ? Mode::kIdf
                                     : Mode::kTfIdf,
             .least = ctx.attr_int("min_gram_length"),
             .most = ctx.attr_int("max_gram_length"),
             .skips = ctx.attr_int("max_skip_count"),
             .columns = 0,
             .weights = ctx.attr_floats("weights")};
  require(s.least >= 1 && s.most >= s.least && s.skips >= 0, ErrorCode::kInvalidModel,
          "min_gram_length = ", s.least, ", max_gram_length = ", s.most, ", max_skip_count = ", s.skips);
  s.skips = std::min<int64_t>(s.skips, INT32_MAX);
  const std::vector<int64_t> columns = ctx.attr_ints("ngram_indexes"), starts = ctx.attr_ints("ngram_counts");
  for (int64_t c : columns) {
    require(c >= 0 && c < INT32_MAX, ErrorCode::kInvalidModel, "ngram_indexes has element ", c);
    s.columns = std::max(s.columns, c + 1);
  }
  require(s.weights.empty() || static_cast<int64_t>(s.weights.size()) >= s.columns, ErrorCode::kInvalidModel,
          "weights has ", s.weights.size(), " elements, expected ", s.columns);
  const bool strings = ctx.has_attr("pool_strings");
  require(strings != ctx.has_attr("pool_int64s"), ErrorCode::kInvalidModel,
          "expected one of the attributes pool_strings and pool_int64s");
  require(strings == (ctx.dtype(0) == DType::kString), ErrorCode::kInvalidModel, "the input is ",
          ctx.input_type(0), ", unlike the pool");
  TfIdfVectorizer::Pool pool;
  if (strings)
    pool = read_pool(ctx.attr_strings("pool_strings"), starts, columns, s);
  else
    pool = read_pool(ctx.attr_ints("pool_int64s"), starts, columns, s);
  return std::make_unique<TfIdfVectorizer>(std::move(s), std::move(pool));
}

}  // namespace

std::span<const OpDef> tfidf_vectorizer_ops() {
  static constexpr OpDef kOps[] = {{"", "TfIdfVectorizer", 1, make_tfidf_vectorizer}};
  return kOps;
}

}  // namespace pyinfer
