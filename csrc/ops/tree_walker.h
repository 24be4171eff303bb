// Decision trees laid out for walking: many walks take their steps together, without branches.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/tree_ensemble.h"

namespace pyinfer {

// T is float or double, the type of the features.
template <class T>
class TreeWalker {
 public:
  TreeWalker() = default;
  // `trees` has been checked and outlives the walker.
  explicit TreeWalker(const TreeEnsemble& trees);

  // Calls leaf(row, node) for `rows` rows of `stride` features: for each row, the leaves that it reaches in
  // the order of the trees, whatever the number of rows.
  template <class F>
  void leaves(const T* x, int64_t rows, int64_t stride, F&& leaf) const;

 private:
  // Walks at a time: enough to hide the two dependent loads of a step.
  static constexpr int kWalks = 8;
  static constexpr uint32_t kNanLeft = 1u << 31;

  // Children lie side by side: `child` where x[feature] <= value, else child + 1. A leaf leads to itself.
  struct alignas(16) Node {
    T value;
    uint32_t feature;  // with kNanLeft where a NaN goes to `child`
    uint32_t child;
  };

  void add_tree(int32_t root);
  Node branch(const TreeEnsemble::Node& from, bool& swapped);
  template <bool kNan>
  void walk(uint32_t* at, const T* const* x, int32_t depth) const;
  void walk(uint32_t* at, const T* const* x, int32_t depth) const {
    nan_ ? walk<true>(at, x, depth) : walk<false>(at, x, depth);
  }
  const TreeEnsemble::Node& node(uint32_t at) const {
    return trees_->nodes[static_cast<size_t>(source_[at])];
  }

  const TreeEnsemble* trees_ = nullptr;
  bool plain_ = true;  // false: a test that `<=` cannot express; then the trees are walked as they are
  bool nan_ = false;
  std::vector<Node> nodes_;      // breadth first, tree after tree
  std::vector<int32_t> source_;  // by node: the one in trees_
  std::vector<uint32_t> roots_;
  std::vector<int32_t> depths_;  // of the deepest leaf, by tree
};

template <class T>
template <class F>
void TreeWalker<T>::leaves(const T* x, int64_t rows, int64_t stride, F&& leaf) const {
  if (!plain_) {
    for (int32_t root : trees_->roots)
      for (int64_t r = 0; r < rows; ++r) leaf(r, trees_->walk(root, x + r * stride));
    return;
  }
  uint32_t at[kWalks];
  const T* from[kWalks];
  const int64_t grouped = rows / kWalks * kWalks;
  // One tree stays in the innermost cache while all rows pass it.
  for (size_t t = 0; t < roots_.size(); ++t)
    for (int64_t r = 0; r < grouped; r += kWalks) {
      for (int w = 0; w < kWalks; ++w) {
        at[w] = roots_[t];
        from[w] = x + (r + w) * stride;
      }
      walk(at, from, depths_[t]);
      for (int w = 0; w < kWalks; ++w) leaf(r + w, node(at[w]));
    }
  // Too few rows for a group: groups of trees.
  for (int64_t r = grouped; r < rows; ++r) {
    for (int w = 0; w < kWalks; ++w) from[w] = x + r * stride;
    for (size_t t = 0; t < roots_.size(); t += kWalks) {
      const size_t n = roots_.size() - t < kWalks ? roots_.size() - t : kWalks;
      int32_t depth = 0;
      for (size_t w = 0; w < kWalks; ++w) {
        const size_t tree = t + (w < n ? w : n - 1);
        at[w] = roots_[tree];
        if (depths_[tree] > depth) depth = depths_[tree];
      }
      walk(at, from, depth);
      for (size_t w = 0; w < n; ++w) leaf(r, node(at[w]));
    }
  }
}

extern template class TreeWalker<float>;
extern template class TreeWalker<double>;

}  // namespace pyinfer
