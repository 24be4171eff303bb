#include "onnx/operator_attributes.h"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "graph/graph.h"

namespace pyinfer::onnx {
namespace {

struct Row {
  std::string_view domain, op, attributes;
};

constexpr Row kRows[] = {
#include "onnx/operator_attributes.inc"
};

struct Domain {
  std::string_view name;
  int64_t newest;
};

constexpr Domain kDomains[] = {{"", kNewestOpset},
                               {"ai.onnx.ml", 5},
                               {"ai.onnx.preview", 1},
                               {"ai.onnx.preview.training", 1},
                               {"com.microsoft", 1}};

const Row* find_row(std::string_view domain, std::string_view op) {
  const auto key = [](const Row& r) { return std::tie(r.domain, r.op); };
  const auto* it = std::ranges::lower_bound(kRows, std::tie(domain, op), {}, key);
  return it != std::end(kRows) && it->domain == domain && it->op == op ? it : nullptr;
}

// One word of a row: a name, its type, and the versions of the operator set that know it so; or the most
// outputs of an operator, as the name of the type `outputs`.
struct Entry {
  std::string_view name, type;
  int64_t first = 0, end = INT64_MAX;

  bool holds(int64_t version) const { return version >= first && version < end; }
  bool is_attribute() const { return type != "outputs"; }
};

Entry parse(std::string_view word) {
  const size_t colon = word.find(':');
  Entry e{word.substr(0, colon), word.substr(colon + 1, word.find_first_of("<>") - colon - 1)};
  const auto number = [&](std::string_view mark, int64_t& value) {
    if (const size_t at = word.find(mark); at != word.npos)
      std::from_chars(word.data() + at + mark.size(), word.data() + word.size(), value);
  };
  number(">=", e.first);
  number("<", e.end);
  return e;
}

template <class F>
void each_entry(std::string_view attributes, F&& visit) {
  while (!attributes.empty()) {
    const size_t space = std::min(attributes.find(' '), attributes.size());
    visit(parse(attributes.substr(0, space)));
    attributes.remove_prefix(std::min(space + 1, attributes.size()));
  }
}

// "axes", or, where other versions have it, "axes (an attribute up to version 12)".
std::string described(const Row& row, std::string_view name) {
  std::string text = join("'", name, "'");
  each_entry(row.attributes, [&](const Entry& e) {
    if (e.name != name || !e.is_attribute()) return;
    if (e.first > 0) text += join(" (an attribute from version ", e.first, " on)");
    if (e.end != INT64_MAX) text += join(" (an attribute up to version ", e.end - 1, ")");
  });
  return text;
}

// Why a node has more outputs than the operator.
std::optional<Error> check_outputs(const Row& row, int64_t version, int64_t given) {
  std::optional<Error> error;
  each_entry(row.attributes, [&](const Entry& e) {
    int64_t most = 0;
    if (e.is_attribute() || !e.holds(version)) return;
    std::from_chars(e.name.data(), e.name.data() + e.name.size(), most);
    if (given > most)
      error = Error(ErrorCode::kInvalidModel,
                    join("it has ", most, most == 1 ? " output" : " outputs", ", the node names ", given));
  });
  return error;
}

}  // namespace

std::optional<Error> check_operator(std::string_view domain, std::string_view op_type, int64_t version,
                                    std::span<const std::string_view> given, int64_t outputs) {
  for (const Domain& d : kDomains)
    if (d.name == domain && version > d.newest)
      return Error(ErrorCode::kUnsupported,
                   join("operator set ", version, " of '", domain.empty() ? "ai.onnx" : domain,
                        "' is newer than what this version of pyinfer knows, which is ", d.newest,
                        "; export the model for that one, or convert it with onnx.version_converter"));
  const Row* row = find_row(domain, op_type);
  if (row == nullptr) return std::nullopt;
  if (auto error = check_outputs(*row, version, outputs)) return error;
  std::string unknown, known;
  for (std::string_view name : given) {
    // Names that begin so are notes of tools to themselves, which the ONNX checker lets pass, too.
    bool found = name.starts_with("__");
    each_entry(row->attributes, [&](const Entry& e) {
      found = found || (e.name == name && e.is_attribute() && e.holds(version));
    });
    if (!found) unknown += join(unknown.empty() ? "" : ", ", described(*row, name));
  }
  if (unknown.empty()) return std::nullopt;
  each_entry(row->attributes, [&](const Entry& e) {
    if (e.is_attribute() && e.holds(version))
      known += join(known.empty() ? "" : ", ", e.name, " (", e.type, ")");
  });
  // Microsoft's operators grow without a new version.
  const ErrorCode code = domain == "com.microsoft" ? ErrorCode::kUnsupported : ErrorCode::kInvalidModel;
  return Error(
      code, join("it has no attribute ", unknown, "; its attributes are: ", known.empty() ? "none" : known));
}

}  // namespace pyinfer::onnx
