// Which operators exist. Every family file ops/<family>.cc defines `<family>_ops()` and is named once
// in ops/families.inc; there are no static initialisers.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "ops/op.h"

namespace pyinfer {

// The definition for `name` at `version` of its domain's operator set, or nullptr.
const OpDef* find_op(std::string_view domain, std::string_view name, int64_t version);

// All definitions, sorted by domain, name and version.
const std::vector<OpDef>& all_ops();

}  // namespace pyinfer
