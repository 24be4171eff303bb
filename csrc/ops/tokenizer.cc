// Tokenizer of com.microsoft: y[..., t] = token t of the text x[...], padded to the longest row. Tokens are
// the characters of a text, the matches of one regular expression, or what stands between those of several.
// Longest matches count, and a token has at least `mincharnum` characters.
#include <algorithm>
#include <optional>

#include "base/math.h"
#include "base/run_guard.h"
#include "base/utf8.h"
#include "ops/op.h"
#include "ops/regex.h"

namespace pyinfer {
namespace {

constexpr size_t kMaxSeparators = 1000;
constexpr size_t kMaxSeparatorBytes = 100'000, kMaxSeparatorSteps = 20'000;  // of all together

// From one code point of a text to another.
struct Piece {
  uint32_t begin, end;
};
using Pieces = std::vector<Piece>;

// A text as code points.
class Text {
 public:
  void read(std::string_view text) {
    text_ = text;
    runes_.clear();
    begins_.clear();
    for (size_t at = 0; at < text.size();) {
      begins_.push_back(static_cast<uint32_t>(at));
      runes_.push_back(decode_utf8(text, at));
      require(runes_.back() != kInvalidRune, ErrorCode::kInvalidInput,
              "expected strings in UTF-8, got one that is not at byte ", begins_.back());
    }
    begins_.push_back(static_cast<uint32_t>(text.size()));
  }
  Piece whole() const { return {0, static_cast<uint32_t>(runes_.size())}; }
  std::span<const uint32_t> runes(Piece p) const {
    return std::span(runes_).subspan(p.begin, p.end - p.begin);
  }
  std::string_view bytes(Piece p) const {
    return text_.substr(begins_[p.begin], begins_[p.end] - begins_[p.begin]);
  }
  // Of memory for each byte of a text, its pieces before and after a separator included.
  static constexpr int64_t kBytesEach = 2 * sizeof(uint32_t) + 2 * sizeof(Piece) + sizeof(uint32_t);

 private:
  std::string_view text_;
  std::vector<uint32_t> runes_, begins_;
};

struct Settings {
  bool mark;  // whether each row stands between two tokens of one control character
  std::string pad;
  int64_t least;               // characters of a token
  std::optional<Regex> token;  // absent, and no separators either: each character is one
  std::vector<Regex> separators;
};

class Tokenizer final : public Op {
 public:
  explicit Tokenizer(Settings settings) : s_(std::move(settings)) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    require(x.rank() == 1 || x.rank() == 2, ErrorCode::kInvalidInput, "expected shape [C] or [N, C], got ",
            x);
    ctx.longest_string(std::max<int64_t>(static_cast<int64_t>(s_.pad.size()), s_.mark));
    ctx.output_dynamic(0);
  }

  void run(RunContext& ctx) const override {
    const auto x = ctx.in(0).span<const std::string>();
    Shape shape = ctx.in(0).shape;
    if (x.empty()) {
      shape[shape.rank() - 1] = 0;  // as ONNX Runtime has it: no axis of tokens
      ctx.allocate(0, DType::kString, shape, 0);
      return;
    }
    HeldBytes held(ctx.limits().max_total_bytes);
    const Rows rows = tokenize(x, held);
    // Without any token there are no marks either.
    const int64_t width = rows.longest > 0 ? rows.longest + 2 * s_.mark : 0;
    shape.push_back(width);
    write(rows, width, ctx.allocate(0, DType::kString, shape, string_bytes(rows)).as<std::string>());
  }

 private:
  struct Rows {
    std::vector<std::string_view> tokens;  // of all rows
    std::vector<int64_t> ends;             // of each row
    int64_t longest = 0, bytes = 0;
  };

  Rows tokenize(std::span<const std::string> x, HeldBytes& held) const {
    Rows rows;
    Text text;
    Pieces pieces, scratch;
    std::vector<uint32_t> ends;  // of the matches of one search
    std::vector<RegexSearch> searches;
    if (s_.token) searches.emplace_back(*s_.token);
    for (const Regex& separator : s_.separators) searches.emplace_back(separator);
    size_t longest = 0;
    for (const std::string& string : x) {
      require(string.size() < RegexSearch::kNone, ErrorCode::kLimit, "a string of ", string.size(), " bytes");
      longest = std::max(longest, string.size());
      held.set(static_cast<int64_t>(longest) * Text::kBytesEach +
               static_cast<int64_t>((rows.tokens.size() + string.size()) * sizeof(std::string_view)));
      text.read(string);
      pieces.clear();
      if (s_.token)
        find(searches[0], text, ends, pieces);
      else if (s_.separators.empty())
        for (uint32_t i = 0; i < text.whole().end; ++i) pieces.push_back({i, i + 1});
      else
        split(searches, text, ends, pieces, scratch);
      for (const Piece& p : pieces) {
        rows.tokens.push_back(text.bytes(p));
        rows.bytes += static_cast<int64_t>(rows.tokens.back().size());
      }
      rows.ends.push_back(static_cast<int64_t>(rows.tokens.size()));
      rows.longest = std::max(rows.longest, static_cast<int64_t>(pieces.size()));
    }
    return rows;
  }

  // The first match, then the first one behind it, and so on. Of one that is too short, only the first
  // character is passed over.
  void find(RegexSearch& search, const Text& text, std::vector<uint32_t>& ends, Pieces& out) const {
    search.longest_matches(text.runes(text.whole()), ends);
    for (uint32_t at = 0; at < ends.size();) {
      if (ends[at] != RegexSearch::kNone && int64_t{ends[at]} - at >= s_.least) {
        out.push_back({at, ends[at]});
        at = ends[at];
      } else {
        ++at;
      }
    }
  }

  // The separators one after the other, each on what the one before has left, as on texts of their own.
  void split(std::vector<RegexSearch>& searches, const Text& text, std::vector<uint32_t>& ends,
             Pieces& pieces, Pieces& scratch) const {
    pieces.assign(1, text.whole());
    for (RegexSearch& search : searches) {
      scratch.clear();
      for (const Piece& p : pieces) {
        search.longest_matches(text.runes(p), ends);
        const auto size = static_cast<uint32_t>(ends.size()) - 1;
        uint32_t begin = 0;
        const auto keep = [&](uint32_t end) {
          if (int64_t{end} - begin >= s_.least) scratch.push_back({p.begin + begin, p.begin + end});
        };
        for (uint32_t at = 0; at <= size;) {
          if (ends[at] == RegexSearch::kNone) {
            ++at;
            continue;
          }
          keep(at);
          begin = at = std::max(ends[at], at + 1);  // a match of nothing takes the character behind it along
        }
        keep(size);
      }
      std::swap(pieces, scratch);
    }
  }

  // Of the output; nothing when they are more than can be counted.
  std::optional<int64_t> string_bytes(const Rows& rows) const {
    const auto count = static_cast<int64_t>(rows.ends.size());
    const auto cells = checked_mul(count, rows.longest);
    if (!cells) return std::nullopt;
    const auto pads =
        checked_mul(*cells - static_cast<int64_t>(rows.tokens.size()), static_cast<int64_t>(s_.pad.size()));
    return pads ? checked_add(*pads, rows.bytes + 2 * s_.mark * count) : std::nullopt;
  }

  void write(const Rows& rows, int64_t width, std::string* out) const {
    if (width == 0) return;
    int64_t begin = 0;
    for (const int64_t end : rows.ends) {
      std::string* const next = out + width;
      if (s_.mark) *out++ = "\x02";
      for (; begin < end; ++begin) *out++ = rows.tokens[static_cast<size_t>(begin)];
      if (s_.mark) *out++ = "\x03";
      std::fill(out, next, s_.pad);
      out = next;
    }
  }

  Settings s_;
};

std::vector<Regex> read_separators(const std::vector<std::string>& patterns) {
  std::vector<Regex> separators;
  size_t bytes = 0, steps = 0;
  for (const std::string& pattern : patterns) {
    bytes += pattern.size();
    require(separators.size() < kMaxSeparators, ErrorCode::kUnsupported, "more than ", kMaxSeparators,
            " separators");
    require(bytes <= kMaxSeparatorBytes, ErrorCode::kUnsupported, "separators of more than ",
            kMaxSeparatorBytes, " bytes together");
    steps += separators.emplace_back(pattern).size();
    require(steps <= kMaxSeparatorSteps, ErrorCode::kUnsupported, "separators that take more than ",
            kMaxSeparatorSteps, " instructions together");
  }
  return separators;
}

std::unique_ptr<Op> make_tokenizer(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kString});
  ctx.output(0, DType::kString);
  const int64_t least = ctx.attr_int("mincharnum");
  require(least > 0, ErrorCode::kInvalidModel, "mincharnum = ", least, ", expected a positive number");
  Settings s{.mark = ctx.attr_int("mark") != 0,
             .pad = ctx.attr_string("pad_value"),
             .least = least,
             .token = {},
             .separators = {}};
  bool characters = false;
  if (ctx.has_attr("separators")) {
    const std::vector<std::string> patterns = ctx.attr_strings("separators");
    require(!patterns.empty(), ErrorCode::kInvalidModel, "separators is empty");
    characters = patterns.size() == 1 && patterns[0].empty();
    if (!characters) s.separators = read_separators(patterns);
  } else {
    require(ctx.has_attr("tokenexp"), ErrorCode::kInvalidModel,
            "expected one of the attributes separators and tokenexp");
    const std::string pattern = ctx.attr_string("tokenexp");
    require(!pattern.empty(), ErrorCode::kInvalidModel, "tokenexp is empty");
    characters = pattern == ".";
    if (!characters) s.token.emplace(pattern);
  }
  require(!characters || least == 1, ErrorCode::kInvalidModel, "mincharnum = ", least,
          ", expected 1 where each character is a token");
  return std::make_unique<Tokenizer>(std::move(s));
}

}  // namespace

std::span<const OpDef> tokenizer_ops() {
  static constexpr OpDef kOps[] = {{"com.microsoft", "Tokenizer", 1, make_tokenizer}};
  return kOps;
}

}  // namespace pyinfer
