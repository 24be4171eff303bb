// The pattern of a Regex as a tree.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "ops/regex.h"

namespace pyinfer {

struct RegexNode {
  enum class Kind : uint8_t { kEmpty, kClass, kAssert, kSequence, kChoice, kRepeat };
  Kind kind = Kind::kEmpty;
  Regex::Class ranges;              // kClass
  Regex::Assertion assertion{};     // kAssert
  std::vector<RegexNode> children;  // kSequence, kChoice; the one of kRepeat
  int least = 0, most = -1;         // kRepeat; -1: any number
};

// Throws as Regex's constructor does.
RegexNode parse_regex(std::string_view pattern);

}  // namespace pyinfer
