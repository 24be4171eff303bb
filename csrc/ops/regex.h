// Regular expressions in RE2's syntax, matched in time linear in the text: the states of a nondeterministic
// automaton are advanced together, one code point at a time, so no text and no pattern can make it explode.
// https://github.com/google/re2/wiki/Syntax, https://swtch.com/~rsc/regexp/regexp2.html
#pragma once

#include <cstdint>
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
  struct States;
  void follow(uint32_t start, uint32_t before, uint32_t after, States& states) const;
  bool holds(Assertion assertion, uint32_t before, uint32_t after) const;

  std::vector<Instruction> program_;
  std::vector<Class> classes_;
};

}  // namespace pyinfer
