// Regular expressions in RE2's syntax, matched in time linear in the text: the states of a nondeterministic
// automaton are advanced together, one code point at a time, so no text and no pattern can make it explode.
// https://github.com/google/re2/wiki/Syntax, https://swtch.com/~rsc/regexp/regexp2.html
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace pyinfer {

class Regex {
 public:
  // Throws Error(kInvalidModel) for a malformed pattern, Error(kUnsupported) for syntax that is not known
  // here (Unicode classes such as \p{Greek}, and \C) and for patterns that are too large.
  explicit Regex(std::string_view pattern);

  // Whether the whole of `text` matches. Bytes that are no UTF-8 match nothing.
  bool full_match(std::string_view text) const;

  // Instructions: a match costs at most that many steps for each code point.
  size_t size() const { return program_.size(); }

  // One instruction of the automaton; the next one follows unless said otherwise.
  struct Instruction {
    enum class Kind : uint8_t { kClass, kAssert, kJump, kFork, kMatch };
    Kind kind;
    uint32_t argument = 0;  // kClass: index into classes_; kAssert: Assertion; kJump, kFork: another next one
  };
  enum class Assertion : uint32_t {
    kTextBegin,
    kTextEnd,
    kLineBegin,
    kLineEnd,
    kWordBoundary,
    kNoWordBoundary
  };
  struct Range {
    uint32_t first, last;
  };
  using Class = std::vector<Range>;  // sorted, apart

 private:
  friend class RegexSearch;
  struct States;
  void link();
  void follow(uint32_t start, uint32_t before, uint32_t after, States& states) const;
  bool holds(Assertion assertion, uint32_t before, uint32_t after) const;

  std::vector<Instruction> program_;
  std::vector<Class> classes_;
  // The instructions from which i is reached without reading: sources_ from source_begin_[i] to the next
  // one's.
  std::vector<uint32_t> sources_, source_begin_;
};

// Finds the matches that begin at every place of a text, all in one pass, which the owner of the run may
// stop. Keeps its memory, which does not depend on the text, from one to the next; of one thread. Borrows the
// expression.
class RegexSearch {
 public:
  explicit RegexSearch(const Regex& regex);
  ~RegexSearch();
  RegexSearch(RegexSearch&&) noexcept;

  static constexpr uint32_t kNone = 0xFFFFFFFF;
  // ends[i], for each place of `text` from 0 to its size: where the longest match that begins there ends, or
  // kNone. Precondition: fewer than kNone code points.
  void longest_matches(std::span<const uint32_t> text, std::vector<uint32_t>& ends);

 private:
  void precede(uint32_t at, uint32_t end, uint32_t before, uint32_t after);

  const Regex* regex_;
  std::unique_ptr<Regex::States> now_, next_;
};

}  // namespace pyinfer
