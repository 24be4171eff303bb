// What is certain about shapes before any input is seen. Each dimension is a term: a number, or a name for an
// unknown number; two dimensions with the same term are equal in every run. Only what a run checks is trusted
// (the declared inputs of the main graph, constants), so whatever follows from it holds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "graph/edit.h"

namespace pyinfer {

// >= 0: that number; negative: an unknown one.
using DimTerm = int64_t;
using DimTerms = std::vector<DimTerm>;

class ShapeFacts {
 public:
  // `trust_inputs`: whether a run rejects inputs of other dimensions than those declared.
  ShapeFacts(const GraphEdit& edit, bool trust_inputs);

  // The dimensions of a value, or nullptr where not even the rank is certain.
  const DimTerms* dims(ValueId id) const;
  // -1 where it is not certain.
  int rank(ValueId id) const;
  // Whether both have the same shape in every run.
  bool same(ValueId a, ValueId b) const;
  // Says the dimensions of a value that an edit has added.
  void set(ValueId id, DimTerms dims);

  // For the rules of operators: a new unknown, and the one for a function of terms.
  DimTerm unknown() { return --last_; }
  DimTerm derived(const std::vector<int64_t>& key);

 private:
  std::vector<std::optional<DimTerms>> dims_;  // by value
  std::map<std::vector<int64_t>, DimTerm> derived_;
  DimTerm last_ = 0;
};

}  // namespace pyinfer
