// Strings. StringConcat: z = x + y, broadcast.  StringSplit: y = the parts of each x, n = how many.
// StringNormalizer: y = x without stop words, in another case.  RegexFullMatch: y = whether all of x matches.
#include <algorithm>
#include <memory>
#include <set>

#include "base/utf8.h"
#include "kernels/broadcast.h"
#include "ops/op.h"
#include "ops/regex.h"

namespace pyinfer {
namespace {

class StringConcat final : public Op {
 public:
  void plan(PlanContext& ctx) const override { ctx.output(0, broadcast_shapes(ctx.shape(0), ctx.shape(1))); }
  void run(RunContext& ctx) const override {
    const auto *x = ctx.in<std::string>(0), *y = ctx.in<std::string>(1);
    auto* z = ctx.out<std::string>(0);
    const BroadcastWalk<2> walk(ctx.out(0).shape, {&ctx.in(0).shape, &ctx.in(1).shape});
    walk.walk(0, walk.count(), [&](const std::array<int64_t, 2>& at, int64_t out, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        const std::string &a = x[at[0] + i * walk.step(0)], &b = y[at[1] + i * walk.step(1)];
        require(static_cast<int64_t>(a.size() + b.size()) <= ctx.limits().max_string_bytes, ErrorCode::kLimit,
                "a string would exceed max_string_bytes=", ctx.limits().max_string_bytes);
        z[out + i] = a + b;
      }
    });
  }
};

constexpr std::string_view kWhitespace = " \t\n\v\f\r";

using Parts = std::vector<std::string_view>;

Parts split_whitespace(std::string_view text, int64_t most) {
  Parts parts;
  for (size_t at = text.find_first_not_of(kWhitespace); at != std::string_view::npos;) {
    const size_t end = text.find_first_of(kWhitespace, at);
    if (static_cast<int64_t>(parts.size()) == most || end == std::string_view::npos) {
      // The rest goes on to the last character that is not white.
      parts.push_back(text.substr(at, text.find_last_not_of(kWhitespace) + 1 - at));
      break;
    }
    parts.push_back(text.substr(at, end - at));
    at = text.find_first_not_of(kWhitespace, end);
  }
  return parts;
}

Parts split_on(std::string_view text, std::string_view delimiter, int64_t most) {
  Parts parts;
  while (static_cast<int64_t>(parts.size()) != most) {
    const size_t end = text.find(delimiter);
    if (end == std::string_view::npos) break;
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + delimiter.size());
  }
  parts.push_back(text);
  return parts;
}

class StringSplit final : public Op {
 public:
  StringSplit(std::string delimiter, int64_t most) : delimiter_(std::move(delimiter)), most_(most) {}

  void plan(PlanContext& ctx) const override {
    if (ctx.wants(0)) ctx.output_dynamic(0);
    if (ctx.wants(1)) ctx.output(1, ctx.shape(0));
  }
  void run(RunContext& ctx) const override {
    std::vector<Parts> all;
    size_t width = 0, bytes = 0;
    for (const std::string& text : ctx.in(0).span<const std::string>()) {
      all.push_back(delimiter_.empty() ? split_whitespace(text, most_) : split_on(text, delimiter_, most_));
      width = std::max(width, all.back().size());
      bytes += text.size();
    }
    if (ctx.wants(1))
      for (size_t i = 0; i < all.size(); ++i) ctx.out<int64_t>(1)[i] = static_cast<int64_t>(all[i].size());
    if (!ctx.wants(0)) return;
    Shape shape = ctx.in(0).shape;
    require(shape.rank() < Shape::kMaxRank, ErrorCode::kLimit, "rank ", shape.rank() + 1, " is too high");
    shape.push_back(static_cast<int64_t>(width));
    auto* out = ctx.allocate(0, DType::kString, shape, static_cast<int64_t>(bytes)).as<std::string>();
    for (const Parts& parts : all) {
      std::ranges::copy(parts, out);
      out += width;
    }
  }

 private:
  std::string delimiter_;  // empty: white space
  int64_t most_;           // splits; negative: no bound
};

class StringNormalizer final : public Op {
 public:
  enum class Case { kNone, kLower, kUpper };
  StringNormalizer(Case change, bool exact, const std::vector<std::string>& stop_words)
      : case_(change), exact_(exact) {
    for (const std::string& w : stop_words) stop_words_.insert(exact ? w : lower_utf8(w));
  }

  void plan(PlanContext& ctx) const override {
    const Shape& s = ctx.shape(0);
    require(s.rank() == 1 || (s.rank() == 2 && s[0] == 1), ErrorCode::kInvalidInput,
            "expected shape [C] or [1, C], got ", s);
    ctx.output_dynamic(0);
  }
  void run(RunContext& ctx) const override {
    std::vector<std::string> kept;
    for (const std::string& text : ctx.in(0).span<const std::string>())
      if (!stop_words_.contains(exact_ ? text : lower_utf8(text)))
        kept.push_back(case_ == Case::kLower   ? lower_utf8(text)
                       : case_ == Case::kUpper ? upper_utf8(text)
                                               : text);
    if (kept.empty()) kept.emplace_back();
    constexpr int64_t kMoved = 0;  // what is kept takes its room already
    Shape shape = ctx.in(0).shape;
    shape[shape.rank() - 1] = static_cast<int64_t>(kept.size());
    std::ranges::move(kept, ctx.allocate(0, DType::kString, shape, kMoved).as<std::string>());
  }

 private:
  Case case_;
  bool exact_;
  std::set<std::string, std::less<>> stop_words_;
};

class RegexFullMatch final : public Op {
 public:
  explicit RegexFullMatch(Regex regex) : regex_(std::move(regex)) {}
  void plan(PlanContext& ctx) const override { ctx.output(0, ctx.shape(0)); }
  void run(RunContext& ctx) const override {
    const auto* x = ctx.in<std::string>(0);
    auto* y = ctx.out<bool>(0);
    ctx.parallel(ctx.in(0).count(), 64, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) y[i] = regex_.full_match(x[i]);
    });
  }

 private:
  Regex regex_;
};

std::unique_ptr<Op> make_concat(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  for (int i : {0, 1}) ctx.expect_dtype(i, {DType::kString});
  ctx.output(0, DType::kString);
  return std::make_unique<StringConcat>();
}

std::unique_ptr<Op> make_split(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kString});
  ctx.output(0, DType::kString);
  ctx.output(1, DType::kInt64);
  return std::make_unique<StringSplit>(ctx.attr_string("delimiter", ""), ctx.attr_int("maxsplit", -1));
}

std::unique_ptr<Op> make_normalizer(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kString});
  ctx.output(0, DType::kString);
  const std::string change = ctx.attr_string("case_change_action", "NONE");
  require(change == "NONE" || change == "LOWER" || change == "UPPER", ErrorCode::kInvalidModel,
          "case_change_action = '", change, "', expected NONE, LOWER or UPPER");
  using Case = StringNormalizer::Case;
  return std::make_unique<StringNormalizer>(change == "LOWER"   ? Case::kLower
                                            : change == "UPPER" ? Case::kUpper
                                                                : Case::kNone,
                                            ctx.attr_int("is_case_sensitive", 0) != 0,
                                            ctx.attr_strings("stopwords"));
}

std::unique_ptr<Op> make_regex(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kString});
  ctx.output(0, DType::kBool);
  return std::make_unique<RegexFullMatch>(Regex(ctx.attr_string("pattern")));
}

}  // namespace

std::span<const OpDef> string_ops() {
  static constexpr OpDef kOps[] = {
      {"", "RegexFullMatch", 1, make_regex},
      {"", "StringConcat", 1, make_concat},
      {"", "StringNormalizer", 1, make_normalizer},
      {"", "StringSplit", 1, make_split},
  };
  return kOps;
}

}  // namespace pyinfer
