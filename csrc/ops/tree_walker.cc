#include "ops/tree_walker.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace pyinfer {
namespace {

// The greatest T that is <= v, or < v when `strictly`; NaN when there is none.
template <class T>
T greatest_below(double v, bool strictly) {
  constexpr T kInf = std::numeric_limits<T>::infinity();
  T t = static_cast<T>(v);
  const bool down = strictly ? static_cast<double>(t) >= v : static_cast<double>(t) > v;
  if (!down) return t;
  return t == -kInf ? std::numeric_limits<T>::quiet_NaN() : std::nextafter(t, -kInf);
}

}  // namespace

template <class T>
TreeWalker<T>::TreeWalker(const TreeEnsemble& trees) : trees_(&trees) {
  using Mode = TreeEnsemble::Mode;
  plain_ = std::ranges::none_of(trees.nodes, [](const TreeEnsemble::Node& n) {
    return n.mode == Mode::kEqual || n.mode == Mode::kNotEqual || n.mode == Mode::kMember;
  });
  // A node that several others lead to is copied for each; no ensemble that is a forest grows by that.
  for (size_t i = 0; plain_ && i < trees.roots.size(); ++i) {
    add_tree(trees.roots[i]);
    plain_ = nodes_.size() <= 2 * trees.nodes.size() + trees.roots.size();
  }
}

// x > v is x <= v with its children swapped, and x < v is x <= the number before v. A NaN compares false, so
// it goes right unless kNanLeft says otherwise.
template <class T>
typename TreeWalker<T>::Node TreeWalker<T>::branch(const TreeEnsemble::Node& from, bool& swapped) {
  using Mode = TreeEnsemble::Mode;
  const bool never = std::isnan(from.value);
  swapped = !never && (from.mode == Mode::kGreater || from.mode == Mode::kGreaterOrEqual);
  const bool strictly = from.mode == Mode::kLess || from.mode == Mode::kGreaterOrEqual;
  const T value = never ? std::numeric_limits<T>::quiet_NaN() : greatest_below<T>(from.value, strictly);
  const bool nan_left = swapped != from.missing_is_yes;
  nan_ |= nan_left;
  return {value, static_cast<uint32_t>(from.feature) | (nan_left ? kNanLeft : 0), 0};
}

template <class T>
void TreeWalker<T>::add_tree(int32_t root) {
  struct Item {
    int32_t from;
    uint32_t slot;
    int32_t depth;
  };
  const size_t limit = 2 * trees_->nodes.size() + trees_->roots.size();
  const auto add_slots = [&](int n) {
    const auto first = static_cast<uint32_t>(nodes_.size());
    for (uint32_t slot = first; slot < first + static_cast<uint32_t>(n); ++slot) {
      nodes_.push_back({std::numeric_limits<T>::quiet_NaN(), 0, slot - 1});  // stays: x <= NaN is false
      source_.push_back(0);
    }
    return first;
  };
  std::vector<Item> queue{{root, add_slots(1), 0}};
  roots_.push_back(queue[0].slot);
  int32_t depth = 0;
  for (size_t next = 0; next < queue.size() && nodes_.size() <= limit; ++next) {
    const Item item = queue[next];
    depth = std::max(depth, item.depth);
    source_[item.slot] = item.from;
    const TreeEnsemble::Node& from = trees_->nodes[static_cast<size_t>(item.from)];
    if (from.mode == TreeEnsemble::Mode::kLeaf) continue;
    bool swapped = false;
    Node node = branch(from, swapped);
    node.child = add_slots(2);
    nodes_[item.slot] = node;
    queue.push_back({swapped ? from.no : from.yes, node.child, item.depth + 1});
    queue.push_back({swapped ? from.yes : from.no, node.child + 1, item.depth + 1});
  }
  depths_.push_back(depth);
}

template <class T>
template <bool kNan>
void TreeWalker<T>::walk(uint32_t* at, const T* const* x, int32_t depth) const {
  // Between blocks of steps, a look whether all have arrived: few leaves are as deep as the deepest.
  constexpr int32_t kBlock = 4;
  const Node* nodes = nodes_.data();
  uint32_t now[kWalks];
  std::copy_n(at, kWalks, now);
  for (; depth > 0; depth -= kBlock) {
    uint32_t moved = 0;
    for (int32_t s = std::min(depth, kBlock); s > 0; --s) {
      moved = 0;
#pragma GCC unroll 8
      for (int w = 0; w < kWalks; ++w) {
        const Node& n = nodes[now[w]];
        const T v = x[w][n.feature & ~kNanLeft];
        bool left = v <= n.value;
        if constexpr (kNan) left |= (v != v) & ((n.feature & kNanLeft) != 0);
        const uint32_t next = n.child + static_cast<uint32_t>(!left);
        moved |= next ^ now[w];
        now[w] = next;
      }
    }
    if (moved == 0) break;
  }
  std::copy_n(now, kWalks, at);
}

template class TreeWalker<float>;
template class TreeWalker<double>;

}  // namespace pyinfer
