#include "ops/regex.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/utf8.h"
#include "ops/regex_parser.h"

namespace pyinfer {
namespace {

using Instruction = Regex::Instruction;
using Kind = Instruction::Kind;

constexpr uint32_t kOutside = kMaxRune + 1;  // in place of a code point before and behind the text
constexpr size_t kMaxPattern = 100'000;      // bytes; each takes a hundred and more in the tree
constexpr size_t kMaxInstructions = 20'000;
constexpr int kMaxVisits = 200'000;  // of nodes; counted repetition compiles its child again and again

class Compiler {
 public:
  Compiler(std::vector<Instruction>& program, std::vector<Regex::Class>& classes)
      : program_(program), classes_(classes) {}

  void compile(const RegexNode& node) {
    require(++visits_ < kMaxVisits, ErrorCode::kUnsupported, "pattern: too large");
    switch (node.kind) {
      case RegexNode::Kind::kEmpty: return;
      case RegexNode::Kind::kClass: return emit_class(node);
      case RegexNode::Kind::kAssert: emit(Kind::kAssert, static_cast<uint32_t>(node.assertion)); return;
      case RegexNode::Kind::kSequence:
        for (const RegexNode& child : node.children) compile(child);
        return;
      case RegexNode::Kind::kChoice: return choice(node.children);
      case RegexNode::Kind::kRepeat: return repeat(node);
    }
  }
  void finish() { emit(Kind::kMatch, 0); }

 private:
  uint32_t here() const { return static_cast<uint32_t>(program_.size()); }
  uint32_t emit(Kind kind, uint32_t argument) {
    require(program_.size() < kMaxInstructions, ErrorCode::kUnsupported, "pattern: too large");
    program_.push_back({kind, argument});
    return here() - 1;
  }
  void patch(uint32_t at) { program_[at].argument = here(); }

  // All copies of a repeated node have one class: it may be a long one.
  void emit_class(const RegexNode& node) {
    const auto [it, fresh] = known_.emplace(&node, static_cast<uint32_t>(classes_.size()));
    if (fresh) classes_.push_back(node.ranges);
    emit(Kind::kClass, it->second);
  }

  void choice(const std::vector<RegexNode>& children) {
    std::vector<uint32_t> ends;
    for (size_t i = 0; i < children.size(); ++i) {
      const bool last = i + 1 == children.size();
      const uint32_t fork = last ? 0 : emit(Kind::kFork, 0);
      compile(children[i]);
      if (last) break;
      ends.push_back(emit(Kind::kJump, 0));
      patch(fork);
    }
    for (uint32_t end : ends) patch(end);
  }

  void repeat(const RegexNode& node) {
    const RegexNode& child = node.children[0];
    for (int i = 0; i < node.least; ++i) compile(child);
    if (node.most < 0) {
      const uint32_t fork = emit(Kind::kFork, 0);
      compile(child);
      emit(Kind::kJump, fork);
      patch(fork);
      return;
    }
    std::vector<uint32_t> forks;
    for (int i = node.least; i < node.most; ++i) {
      forks.push_back(emit(Kind::kFork, 0));
      compile(child);
    }
    for (uint32_t fork : forks) patch(fork);
  }

  std::vector<Instruction>& program_;
  std::vector<Regex::Class>& classes_;
  std::unordered_map<const RegexNode*, uint32_t> known_;  // indices into classes_
  int visits_ = 0;
};

bool contains(const Regex::Class& ranges, uint32_t rune) {
  const auto it = std::ranges::upper_bound(ranges, rune, {}, &Regex::Range::first);
  return it != ranges.begin() && rune <= std::prev(it)->last;
}

bool is_word(uint32_t rune) {
  return (rune >= '0' && rune <= '9') || (rune >= 'A' && rune <= 'Z') || rune == '_' ||
         (rune >= 'a' && rune <= 'z');
}

}  // namespace

// The instructions at which the automaton stands, each once.
struct Regex::States {
  explicit States(size_t program) : seen(program, 0) {}
  void clear() {
    list.clear();
    ++round;
  }
  bool add(uint32_t at) {
    if (seen[at] == round) return false;
    seen[at] = round;
    return true;
  }
  std::vector<uint32_t> list;  // those that wait for a code point, and the match
  std::vector<uint64_t> seen;
  std::vector<uint32_t> pending;
  uint64_t round = 1;
};

Regex::Regex(std::string_view pattern) {
  require(pattern.size() <= kMaxPattern, ErrorCode::kUnsupported, "pattern: too large");
  const RegexNode tree = parse_regex(pattern);
  Compiler compiler(program_, classes_);
  compiler.compile(tree);
  compiler.finish();
}

// `before` and `after` are the code points around the current place, or kOutside.
bool Regex::holds(Assertion assertion, uint32_t before, uint32_t after) const {
  switch (assertion) {
    case Assertion::kTextBegin: return before == kOutside;
    case Assertion::kTextEnd: return after == kOutside;
    case Assertion::kLineBegin: return before == kOutside || before == '\n';
    case Assertion::kLineEnd: return after == kOutside || after == '\n';
    case Assertion::kWordBoundary: return is_word(before) != is_word(after);
    case Assertion::kNoWordBoundary: return is_word(before) == is_word(after);
  }
  return false;
}

// Adds to `states` all that can be reached from `start` without reading.
void Regex::follow(uint32_t start, uint32_t before, uint32_t after, States& states) const {
  states.pending.assign(1, start);
  while (!states.pending.empty()) {
    const uint32_t at = states.pending.back();
    states.pending.pop_back();
    if (!states.add(at)) continue;
    const Instruction& i = program_[at];
    switch (i.kind) {
      case Kind::kClass:
      case Kind::kMatch: states.list.push_back(at); break;
      case Kind::kJump: states.pending.push_back(i.argument); break;
      case Kind::kFork:
        states.pending.push_back(i.argument);
        states.pending.push_back(at + 1);
        break;
      case Kind::kAssert:
        if (holds(static_cast<Assertion>(i.argument), before, after)) states.pending.push_back(at + 1);
        break;
    }
  }
}

bool Regex::full_match(std::string_view text) const {
  States now(program_.size()), next(program_.size());
  size_t at = 0;
  const auto read = [&] { return at < text.size() ? decode_utf8(text, at) : kOutside; };
  uint32_t rune = read();
  follow(0, kOutside, rune, now);
  while (rune != kOutside && !now.list.empty()) {
    const uint32_t after = read();
    next.clear();
    for (uint32_t i : now.list)
      if (program_[i].kind == Kind::kClass && contains(classes_[program_[i].argument], rune))
        follow(i + 1, rune, after, next);
    std::swap(now, next);
    rune = after;
  }
  return std::ranges::any_of(now.list, [&](uint32_t i) { return program_[i].kind == Kind::kMatch; });
}

}  // namespace pyinfer
