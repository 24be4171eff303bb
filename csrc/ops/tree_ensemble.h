// Decision trees as the operators of ai.onnx.ml hold them, checked: every index is in range, and every walk
// ends at a leaf.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/op.h"

namespace pyinfer {

struct TreeEnsemble {
  enum class Mode : uint8_t {
    kLess,
    kLessOrEqual,
    kGreater,
    kGreaterOrEqual,
    kEqual,
    kNotEqual,
    kMember,
    kLeaf
  };
  struct Node {
    double value = 0;  // to compare with; kMember: the index of a set
    int32_t feature = 0;
    int32_t yes = 0, no = 0;  // nodes that follow; of a leaf: its votes [yes, no)
    Mode mode = Mode::kLeaf;
    bool missing_is_yes = false;  // where a NaN goes
  };
  struct Vote {
    int32_t target;
    double weight;
  };

  std::vector<Node> nodes;
  std::vector<Vote> votes;
  std::vector<std::vector<double>> sets;  // sorted
  std::vector<int32_t> roots;             // one for each tree
  int64_t targets = 0;
  int64_t features = 0;  // that inputs need at least

  // Throws Error(kInvalidModel) when an index is out of range or a walk would not end.
  void check();

  // The leaf that a row of features reaches.
  template <class T>
  const Node& walk(int32_t root, const T* x) const {
    const Node* n = &nodes[static_cast<size_t>(root)];
    while (n->mode != Mode::kLeaf) n = &nodes[static_cast<size_t>(goes_yes(*n, x) ? n->yes : n->no)];
    return *n;
  }

 private:
  template <class T>
  bool goes_yes(const Node& n, const T* x) const {
    const auto v = static_cast<double>(x[n.feature]);
    switch (n.mode) {
      case Mode::kLess: return v < n.value || (n.missing_is_yes && v != v);
      case Mode::kLessOrEqual: return v <= n.value || (n.missing_is_yes && v != v);
      case Mode::kGreater: return v > n.value || (n.missing_is_yes && v != v);
      case Mode::kGreaterOrEqual: return v >= n.value || (n.missing_is_yes && v != v);
      case Mode::kEqual: return v == n.value || (n.missing_is_yes && v != v);
      case Mode::kNotEqual: return v != v ? n.missing_is_yes : v != n.value;
      case Mode::kMember: return is_member(n, v) || (n.missing_is_yes && v != v);
      case Mode::kLeaf: break;
    }
    return false;
  }
  bool is_member(const Node& n, double v) const;
};

// From the attributes of TreeEnsembleClassifier (votes = "class") and TreeEnsembleRegressor ("target").
TreeEnsemble read_tree_ensemble(const NodeContext& ctx, const std::string& votes, int64_t targets);
// From the attributes of TreeEnsemble-5.
TreeEnsemble read_tree_ensemble_v5(const NodeContext& ctx);

}  // namespace pyinfer
