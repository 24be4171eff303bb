#include "ops/registry.h"

#include <algorithm>
#include <tuple>

namespace pyinfer {

#define PYINFER_FAMILY(name) std::span<const OpDef> name##_ops();
#include "ops/families.inc"
#undef PYINFER_FAMILY

const std::vector<OpDef>& all_ops() {
  static const std::vector<OpDef> all = [] {
    std::vector<OpDef> ops;
#define PYINFER_FAMILY(name) \
  for (const OpDef& def : name##_ops()) ops.push_back(def);
#include "ops/families.inc"
#undef PYINFER_FAMILY
    std::sort(ops.begin(), ops.end(), [](const OpDef& a, const OpDef& b) {
      return std::tie(a.domain, a.name, a.since_version) < std::tie(b.domain, b.name, b.since_version);
    });
    return ops;
  }();
  return all;
}

const OpDef* find_op(std::string_view domain, std::string_view name, int64_t version) {
  const std::vector<OpDef>& ops = all_ops();
  // One past the newest definition that is not newer than `version`.
  auto it = std::upper_bound(ops.begin(), ops.end(), std::make_tuple(domain, name, version),
                             [](const auto& key, const OpDef& def) {
                               return key < std::make_tuple(def.domain, def.name, int64_t{def.since_version});
                             });
  if (it == ops.begin()) return nullptr;
  --it;
  return it->domain == domain && it->name == name ? &*it : nullptr;
}

}  // namespace pyinfer
