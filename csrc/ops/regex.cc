#include "ops/regex.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/run_guard.h"
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
  explicit States(size_t program) : seen(program, 0), ends(program) {}
  void clear() {
    list.clear();
    ++round;
  }
  bool has(uint32_t at) const { return seen[at] == round; }
  bool add(uint32_t at) {
    if (has(at)) return false;
    seen[at] = round;
    return true;
  }
  std::vector<uint32_t>
      list;  // full_match: those that wait for a code point, and the match; RegexSearch: all
  std::vector<uint64_t> seen;
  std::vector<uint32_t> ends;  // RegexSearch: where the longest match that goes on from each ends
  std::vector<uint32_t> pending;
  uint64_t round = 1;
};

Regex::Regex(std::string_view pattern) {
  require(pattern.size() <= kMaxPattern, ErrorCode::kUnsupported, "pattern: too large");
  const RegexNode tree = parse_regex(pattern);
  Compiler compiler(program_, classes_);
  compiler.compile(tree);
  compiler.finish();
  link();
}

void Regex::link() {
  const auto visit = [&](auto edge) {
    for (uint32_t i = 0; i < program_.size(); ++i) {
      const Kind kind = program_[i].kind;
      if (kind == Kind::kFork || kind == Kind::kAssert) edge(i, i + 1);
      if (kind == Kind::kFork || kind == Kind::kJump) edge(i, program_[i].argument);
    }
  };
  source_begin_.assign(program_.size() + 1, 0);
  visit([&](uint32_t, uint32_t to) { ++source_begin_[to + 1]; });
  for (size_t i = 0; i < program_.size(); ++i) source_begin_[i + 1] += source_begin_[i];
  sources_.resize(source_begin_.back());
  std::vector<uint32_t> next(source_begin_);
  visit([&](uint32_t from, uint32_t to) { sources_[next[to]++] = from; });
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

RegexSearch::RegexSearch(const Regex& regex)
    : regex_(&regex),
      now_(std::make_unique<Regex::States>(regex.size())),
      next_(std::make_unique<Regex::States>(regex.size())) {}
RegexSearch::~RegexSearch() = default;
RegexSearch::RegexSearch(RegexSearch&&) noexcept = default;

// Adds to next_ all from which `at` can be reached without reading; a match through them ends at `end`.
void RegexSearch::precede(uint32_t at, uint32_t end, uint32_t before, uint32_t after) {
  const Regex& r = *regex_;
  Regex::States& states = *next_;
  states.pending.assign(1, at);
  while (!states.pending.empty()) {
    const uint32_t to = states.pending.back();
    states.pending.pop_back();
    if (!states.add(to)) continue;
    states.list.push_back(to);
    states.ends[to] = end;
    for (uint32_t s = r.source_begin_[to]; s < r.source_begin_[to + 1]; ++s) {
      const Instruction& source = r.program_[r.sources_[s]];
      if (source.kind != Kind::kAssert ||
          r.holds(static_cast<Regex::Assertion>(source.argument), before, after))
        states.pending.push_back(r.sources_[s]);
    }
  }
}

// The automaton runs backwards, from all places at which a match may end. Where several lead to one
// instruction, the last of them counts: the list is in descending order of its ends, so that one comes first.
void RegexSearch::longest_matches(std::span<const uint32_t> text, std::vector<uint32_t>& ends) {
  const auto& program = regex_->program_;
  ends.resize(text.size() + 1);
  now_->clear();
  uint32_t after = kOutside;
  for (size_t i = text.size() + 1; i-- > 0;) {
    if (i % 32 == 0) RunGuard::step();
    const uint32_t before = i > 0 ? text[i - 1] : kOutside;
    next_->clear();
    for (uint32_t at : now_->list)
      if (at > 0 && program[at - 1].kind == Kind::kClass &&
          contains(regex_->classes_[program[at - 1].argument], after))
        precede(at - 1, now_->ends[at], before, after);
    precede(static_cast<uint32_t>(program.size()) - 1, static_cast<uint32_t>(i), before, after);
    ends[i] = next_->has(0) ? next_->ends[0] : kNone;
    std::swap(now_, next_);
    after = before;
  }
}

}  // namespace pyinfer
