#include "ops/regex_parser.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace pyinfer {
namespace {

constexpr int kMaxDepth = 200;
constexpr int kMaxRepeat = 1000;        // as in RE2
constexpr size_t kMaxFolded = 1 << 20;  // other cases of the letters of all classes
constexpr uint32_t kEnd = kInvalidRune;

using Range = Regex::Range;
using Class = Regex::Class;
using Kind = RegexNode::Kind;

Class normalized(Class ranges) {
  std::ranges::sort(ranges, {}, &Range::first);
  Class out;
  for (const Range& r : ranges) {
    if (!out.empty() && r.first <= out.back().last + 1)
      out.back().last = std::max(out.back().last, r.last);
    else
      out.push_back(r);
  }
  return out;
}

Class negated(const Class& ranges) {
  Class out;
  uint32_t next = 0;
  for (const Range& r : normalized(ranges)) {
    if (r.first > next) out.push_back({next, r.first - 1});
    next = r.last + 1;
  }
  if (next <= kMaxRune) out.push_back({next, kMaxRune});
  return out;
}

constexpr Range kDigits[] = {{'0', '9'}};
constexpr Range kSpaces[] = {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}};
constexpr Range kWords[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};

// The class of \d, \s or \w; nothing for another letter.
Class perl_class(uint32_t letter) {
  switch (letter) {
    case 'd': return {std::begin(kDigits), std::end(kDigits)};
    case 's': return {std::begin(kSpaces), std::end(kSpaces)};
    case 'w': return {std::begin(kWords), std::end(kWords)};
    default: return {};
  }
}

Class posix_class(std::string_view name) {
  if (name == "alnum") return {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}};
  if (name == "alpha") return {{'A', 'Z'}, {'a', 'z'}};
  if (name == "ascii") return {{0, 0x7F}};
  if (name == "blank") return {{'\t', '\t'}, {' ', ' '}};
  if (name == "cntrl") return {{0, 0x1F}, {0x7F, 0x7F}};
  if (name == "digit") return {{'0', '9'}};
  if (name == "graph") return {{'!', '~'}};
  if (name == "lower") return {{'a', 'z'}};
  if (name == "print") return {{' ', '~'}};
  if (name == "punct") return {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}};
  if (name == "space") return {{'\t', '\r'}, {' ', ' '}};
  if (name == "upper") return {{'A', 'Z'}};
  if (name == "word") return perl_class('w');
  if (name == "xdigit") return {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
  fail(ErrorCode::kInvalidModel, "pattern: unknown class [:", name, ":]");
}

struct OtherCase {
  uint32_t rune, other;
};

// Of all letters that base/utf8 knows in two cases, in order.
const std::vector<OtherCase>& other_cases() {
  static const std::vector<OtherCase> all = [] {
    std::vector<OtherCase> found;
    for (uint32_t rune = 0; rune <= 0xFFFF; ++rune)
      for (uint32_t other : {lower_rune(rune), upper_rune(rune)})
        if (other != rune) found.push_back({rune, other});
    return found;
  }();
  return all;
}

struct Flags {
  bool ignore_case = false, multi_line = false, dot_newline = false;
};

class Parser {
 public:
  explicit Parser(std::string_view pattern) : text_(pattern) {}

  RegexNode parse() {
    RegexNode node = choice(0);
    if (at_ < text_.size()) bad("unexpected )");
    return node;
  }

 private:
  template <class... Args>
  [[noreturn]] void bad(const Args&... args) const {
    fail(ErrorCode::kInvalidModel, "pattern at byte ", at_, ": ", args...);
  }

  uint32_t peek() const {
    size_t at = at_;
    return at < text_.size() ? decode_utf8(text_, at) : kEnd;
  }
  uint32_t next() {
    if (at_ >= text_.size()) bad("unexpected end");
    const uint32_t rune = decode_utf8(text_, at_);
    if (rune == kInvalidRune) bad("not valid UTF-8");
    return rune;
  }
  bool take(std::string_view prefix) {
    if (!text_.substr(at_).starts_with(prefix)) return false;
    at_ += prefix.size();
    return true;
  }

  RegexNode choice(int depth) {
    if (depth > kMaxDepth) fail(ErrorCode::kUnsupported, "pattern: groups nested deeper than ", kMaxDepth);
    RegexNode node;
    node.kind = Kind::kChoice;
    do node.children.push_back(sequence(depth));
    while (take("|"));
    return node.children.size() == 1 ? std::move(node.children[0]) : std::move(node);
  }

  RegexNode sequence(int depth) {
    RegexNode node;
    node.kind = Kind::kSequence;
    while (at_ < text_.size() && peek() != '|' && peek() != ')') {
      if (take("\\Q")) {
        while (at_ < text_.size() && !take("\\E")) node.children.push_back(repeated(of(literal(next()))));
        continue;
      }
      const size_t before = at_;
      RegexNode part;
      if (!atom(depth, part)) continue;
      if (at_ == before) bad("unexpected character");
      node.children.push_back(repeated(std::move(part)));
    }
    return node;
  }

  // False for a group that only sets flags.
  bool atom(int depth, RegexNode& out) {
    const uint32_t c = next();
    switch (c) {
      case '(': return group(depth, out);
      case '[': out = of(bracket()); return true;
      case '.': out = of(flags_.dot_newline ? Class{{0, kMaxRune}} : negated({{'\n', '\n'}})); return true;
      case '^':
        out = of(flags_.multi_line ? Regex::Assertion::kLineBegin : Regex::Assertion::kTextBegin);
        return true;
      case '$':
        out = of(flags_.multi_line ? Regex::Assertion::kLineEnd : Regex::Assertion::kTextEnd);
        return true;
      case '\\': out = escape(); return true;
      case '*':
      case '+':
      case '?': bad("nothing to repeat");
      default: out = of(literal(c)); return true;
    }
  }

  bool group(int depth, RegexNode& out) {
    const Flags outside = flags_;
    if (take("?")) {
      if (take("P<") || take("<")) {
        const size_t end = text_.find('>', at_);
        if (end == std::string_view::npos || end == at_) bad("a group's name does not end");
        at_ = end + 1;
      } else if (!flag_list()) {
        return false;  // (?i): for the rest of the enclosing group
      }
    }
    out = choice(depth + 1);
    if (!take(")")) bad("missing )");
    flags_ = outside;
    return true;
  }

  // What follows (? up to : or ); whether a group follows.
  bool flag_list() {
    bool value = true;
    while (true) {
      switch (next()) {
        case 'i': flags_.ignore_case = value; break;
        case 'm': flags_.multi_line = value; break;
        case 's': flags_.dot_newline = value; break;
        case 'U': break;  // which of several matches is preferred does not matter for a full one
        case '-': value = false; break;
        case ':': return true;
        case ')': return false;
        default: bad("unknown group syntax");
      }
    }
  }

  RegexNode escape() {
    const uint32_t c = peek();
    switch (c) {
      case 'A': next(); return of(Regex::Assertion::kTextBegin);
      case 'z': next(); return of(Regex::Assertion::kTextEnd);
      case 'b': next(); return of(Regex::Assertion::kWordBoundary);
      case 'B': next(); return of(Regex::Assertion::kNoWordBoundary);
      default: break;
    }
    Class ranges;
    if (escaped_class(ranges)) return of(std::move(ranges));
    return of(literal(escaped_rune()));
  }

  // \d and its kin, behind the backslash.
  bool escaped_class(Class& out) {
    const uint32_t c = peek();
    if (c == 'p' || c == 'P' || c == 'C')
      fail(ErrorCode::kUnsupported, "pattern: \\", static_cast<char>(c), " is not supported");
    const bool negative = c >= 'A' && c <= 'Z';
    Class ranges = perl_class(negative ? c + 32 : c);
    if (ranges.empty()) return false;
    next();
    out = negative ? negated(ranges) : std::move(ranges);
    return true;
  }

  uint32_t escaped_rune() {
    const uint32_t c = next();
    switch (c) {
      case 'a': return '\a';
      case 'f': return '\f';
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'v': return '\v';
      case 'x': {
        if (take("{")) return hex_until_brace();
        const uint32_t high = hex_digit();
        return high << 4 | hex_digit();
      }
      default: break;
    }
    if (c >= '0' && c <= '7') {
      // \0 to \7 need another octal digit: alone, all but \0 would be a back-reference.
      uint32_t value = c - '0';
      if (c != '0' && (peek() < '0' || peek() > '7')) bad("back-references are not regular");
      for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i) value = value * 8 + (next() - '0');
      return value;
    }
    const bool letter =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
    if (letter) bad("unknown escape");
    return c;
  }

  uint32_t hex_digit() {
    const uint32_t c = next();
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    bad("not a hexadecimal digit");
  }
  uint32_t hex_until_brace() {
    uint32_t value = 0;
    do {
      value = value << 4 | hex_digit();
      if (value > kMaxRune) bad("beyond the last code point");
    } while (!take("}"));
    return value;
  }

  Class bracket() {
    const bool negative = take("^");
    Class ranges;
    for (bool first = true; first || peek() != ']'; first = false) {
      if (take("[:")) {
        const bool not_in = take("^");
        const size_t end = text_.find(":]", at_);
        if (end == std::string_view::npos) bad("missing :]");
        const Class named = posix_class(text_.substr(at_, end - at_));
        at_ = end + 2;
        append(ranges, not_in ? negated(named) : named);
        continue;
      }
      Class escaped;
      uint32_t low = next();
      if (low == '\\') {
        if (escaped_class(escaped)) {
          append(ranges, escaped);
          continue;
        }
        low = escaped_rune();
      }
      uint32_t high = low;
      if (text_.substr(at_).starts_with("-") && !text_.substr(at_).starts_with("-]")) {
        next();
        high = next();
        if (high == '\\') high = escaped_rune();
        if (high < low) bad("a range is reversed");
      }
      append(ranges, folded({{low, high}}));
    }
    next();
    return negative ? negated(ranges) : normalized(std::move(ranges));
  }

  static void append(Class& to, const Class& from) { to.insert(to.end(), from.begin(), from.end()); }

  // With the other cases of each letter when case is ignored.
  Class folded(Class ranges) {
    if (!flags_.ignore_case) return ranges;
    Class all = ranges;
    for (const Range& r : ranges) {
      auto it = std::ranges::lower_bound(other_cases(), r.first, {}, &OtherCase::rune);
      for (; it != other_cases().end() && it->rune <= r.last; ++it) {
        if (++folded_ > kMaxFolded) fail(ErrorCode::kUnsupported, "pattern: too large");
        all.push_back({it->other, it->other});
      }
    }
    return normalized(std::move(all));
  }
  Class literal(uint32_t rune) { return folded({{rune, rune}}); }

  static RegexNode of(Class ranges) {
    RegexNode node;
    node.kind = Kind::kClass;
    node.ranges = std::move(ranges);
    return node;
  }
  static RegexNode of(Regex::Assertion assertion) {
    RegexNode node;
    node.kind = Kind::kAssert;
    node.assertion = assertion;
    return node;
  }

  // node with the repetition that follows it, if one does. A ? behind it only changes preferences.
  RegexNode repeated(RegexNode node) {
    for (int count = 0;; ++count) {
      int least = 0, most = -1;
      if (take("*")) {
      } else if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (!bounds(least, most)) {
        return node;
      }
      if (count > 0) bad("a repetition of a repetition");
      take("?");
      RegexNode repeat;
      repeat.kind = Kind::kRepeat;
      repeat.least = least;
      repeat.most = most;
      repeat.children.push_back(std::move(node));
      node = std::move(repeat);
    }
  }

  // {n}, {n,} or {n,m}; any other { is a literal.
  bool bounds(int& least, int& most) {
    const size_t before = at_;
    const auto number = [&](int& value) {
      const size_t begin = at_;
      int64_t n = 0;
      for (; peek() >= '0' && peek() <= '9'; next())
        n = std::min<int64_t>(n * 10 + (peek() - '0'), kMaxRepeat + 1);
      value = static_cast<int>(n);
      return at_ > begin;
    };
    if (take("{") && number(least)) {
      most = least;
      if (take(",") && !number(most)) most = -1;
      if (take("}")) {
        if (least > kMaxRepeat || most > kMaxRepeat || (most >= 0 && most < least))
          bad("invalid repetition count");
        return true;
      }
    }
    at_ = before;
    return false;
  }

  std::string_view text_;
  size_t at_ = 0;
  Flags flags_;
  size_t folded_ = 0;
};

}  // namespace

RegexNode parse_regex(std::string_view pattern) {
  return Parser(pattern).parse();
}

}  // namespace pyinfer
