#include "ops/einsum_equation.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace pyinfer {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

EinsumEquation::EinsumEquation(std::string_view text, int operands) {
  const auto bad = [&](bool ok, const char* why) {
    require(ok, ErrorCode::kInvalidModel, "equation '", text, "' ", why);
  };
  std::string compact;
  for (char c : text)
    if (c != ' ') compact += c;
  const size_t arrow = compact.find("->");
  const std::string_view left = std::string_view(compact).substr(0, arrow);
  // One term: letters with at most one "...".
  const auto parse = [&](std::string_view term) {
    std::string out;
    for (size_t i = 0; i < term.size(); ++i) {
      if (is_letter(term[i])) {
        out += term[i];
        continue;
      }
      bad(term.substr(i, 3) == "...", "holds a character that is no letter, comma, '...' or '->'");
      bad(out.find(kEllipsis) == std::string::npos, "has a term with two '...'");
      out += kEllipsis;
      i += 2;
    }
    return out;
  };
  for (size_t begin = 0;;) {
    const size_t comma = left.find(',', begin);
    terms_.push_back(parse(left.substr(begin, comma - begin)));
    if (comma == std::string_view::npos) break;
    begin = comma + 1;
  }
  require(static_cast<int>(terms_.size()) == operands, ErrorCode::kInvalidModel, "equation '", text, "' has ",
          terms_.size(), " terms for ", operands, " inputs");
  std::array<int, 256> uses{};
  for (const std::string& term : terms_)
    for (char c : term) ++uses[static_cast<unsigned char>(c)];
  if (arrow == std::string::npos) {
    if (uses[kEllipsis] > 0) output_ += kEllipsis;
    for (char c = 'A'; c <= 'z'; ++c)
      if (is_letter(c) && uses[static_cast<unsigned char>(c)] == 1) output_ += c;
    return;
  }
  output_ = parse(std::string_view(compact).substr(arrow + 2));
  for (char c : output_) {
    bad(c == kEllipsis || uses[static_cast<unsigned char>(c)] > 0, "has an output label that no term has");
    bad(std::count(output_.begin(), output_.end(), c) == 1, "has an output label twice");
  }
}

EinsumEquation::Binding EinsumEquation::bind(std::span<const Shape> shapes) const {
  Binding b;
  std::array<int, 256> label_of;
  label_of.fill(-1);
  const auto letter = [&](char c) {
    int& label = label_of[static_cast<unsigned char>(c)];
    if (label < 0) {
      label = static_cast<int>(b.sizes.size());
      b.sizes.push_back(1);
    }
    return label;
  };
  // The dimensions of "..." are aligned to the right, like those of shapes that broadcast.
  int ellipsis_rank = 0;
  for (size_t i = 0; i < terms_.size(); ++i) {
    const bool has = terms_[i].find(kEllipsis) != std::string::npos;
    const int letters = static_cast<int>(terms_[i].size()) - (has ? 1 : 0), rank = shapes[i].rank();
    require(has ? rank >= letters : rank == letters, ErrorCode::kInvalidInput, "input ", i, " of shape ",
            shapes[i], " for the term '", terms_[i], "'");
    if (has) ellipsis_rank = std::max(ellipsis_rank, rank - letters);
  }
  // They are the first labels.
  b.sizes.assign(static_cast<size_t>(ellipsis_rank), 1);
  for (size_t i = 0; i < terms_.size(); ++i) {
    std::vector<int>& labels = b.operands.emplace_back();
    const int hidden = shapes[i].rank() - static_cast<int>(terms_[i].size()) + 1;
    for (char c : terms_[i]) {
      if (c != kEllipsis) {
        labels.push_back(letter(c));
        continue;
      }
      for (int d = 0; d < hidden; ++d) labels.push_back(ellipsis_rank - hidden + d);
    }
    for (size_t d = 0; d < labels.size(); ++d) {
      int64_t& size = b.sizes[static_cast<size_t>(labels[d])];
      const int64_t own = shapes[i][static_cast<int>(d)];
      require(own == size || own == 1 || size == 1, ErrorCode::kInvalidInput, "input ", i, " of shape ",
              shapes[i], ": dimension ", d, " is ", own, ", expected ", size);
      if (own != 1) size = own;
    }
  }
  for (char c : output_) {
    if (c != kEllipsis)
      b.output.push_back(letter(c));
    else
      for (int d = 0; d < ellipsis_rank; ++d) b.output.push_back(d);
  }
  return b;
}

}  // namespace pyinfer
