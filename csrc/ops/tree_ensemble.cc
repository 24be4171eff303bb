#include "ops/tree_ensemble.h"

#include <algorithm>
#include <map>

#include "ops/ml_scores.h"

namespace pyinfer {
namespace {

using Mode = TreeEnsemble::Mode;
using TreeStep = TreeEnsemble::Node;

Mode parse_mode(const std::string& name) {
  if (name == "BRANCH_LEQ") return Mode::kLessOrEqual;
  if (name == "BRANCH_LT") return Mode::kLess;
  if (name == "BRANCH_GTE") return Mode::kGreaterOrEqual;
  if (name == "BRANCH_GT") return Mode::kGreater;
  if (name == "BRANCH_EQ") return Mode::kEqual;
  if (name == "BRANCH_NEQ") return Mode::kNotEqual;
  if (name == "LEAF") return Mode::kLeaf;
  fail(ErrorCode::kInvalidModel, "nodes_modes has unknown element '", name, "'");
}

// An attribute of `count` integers that fit 32 bits.
std::vector<int32_t> ids(const NodeContext& ctx, const std::string& name, size_t count) {
  const std::vector<int64_t> given = ctx.attr_ints(name);
  require(given.size() == count, ErrorCode::kInvalidModel, "attribute '", name, "' has ", given.size(),
          " elements, expected ", count);
  std::vector<int32_t> out;
  for (int64_t v : given) {
    require(v >= 0 && v < INT32_MAX, ErrorCode::kInvalidModel, "attribute '", name, "' has element ", v);
    out.push_back(static_cast<int32_t>(v));
  }
  return out;
}

// Zeros when it is absent.
std::vector<int64_t> flags(const NodeContext& ctx, const std::string& name, size_t count) {
  std::vector<int64_t> given = ctx.attr_ints(name);
  if (given.empty()) given.resize(count, 0);
  require(given.size() == count, ErrorCode::kInvalidModel, "attribute '", name, "' has ", given.size(),
          " elements, expected ", count);
  return given;
}

std::vector<double> numbers(const NodeContext& ctx, const std::string& name, size_t count) {
  std::vector<double> given = attr_numbers(ctx, name);
  require(given.size() == count, ErrorCode::kInvalidModel, "attribute '", name, "' has ", given.size(),
          " elements, expected ", count);
  return given;
}

using TreeNode = std::pair<int32_t, int32_t>;  // ids of a tree and of a node in it

}  // namespace

bool TreeEnsemble::is_member(const Node& n, double v) const {
  const std::vector<double>& set = sets[static_cast<size_t>(n.value)];
  return std::ranges::binary_search(set, v);
}

void TreeEnsemble::check() {
  const auto count = static_cast<int32_t>(nodes.size());
  for (const Vote& v : votes)
    require(v.target < targets, ErrorCode::kInvalidModel, "target ", v.target, " of ", targets);
  for (const Node& n : nodes) {
    if (n.mode == Mode::kLeaf) continue;
    require(n.yes >= 0 && n.yes < count && n.no >= 0 && n.no < count, ErrorCode::kInvalidModel,
            "a node goes on to one that does not exist");
    features = std::max<int64_t>(features, n.feature + int64_t{1});
  }
  // Depth first from every root: a node that is open when it is met again closes a cycle.
  enum : char { kNew, kOpen, kDone };
  std::vector<char> state(nodes.size(), kNew);
  std::vector<int32_t> stack;
  for (int32_t root : roots) {
    require(root >= 0 && root < count, ErrorCode::kInvalidModel, "root ", root, " does not exist");
    stack.push_back(root);
    while (!stack.empty()) {
      const Node& n = nodes[static_cast<size_t>(stack.back())];
      char& mark = state[static_cast<size_t>(stack.back())];
      if (mark != kNew || n.mode == Mode::kLeaf) {
        mark = kDone;
        stack.pop_back();
        continue;
      }
      mark = kOpen;
      for (int32_t next : {n.yes, n.no}) {
        require(state[static_cast<size_t>(next)] != kOpen, ErrorCode::kInvalidModel,
                "the nodes of a tree form a cycle");
        if (state[static_cast<size_t>(next)] == kNew) stack.push_back(next);
      }
    }
  }
}

TreeEnsemble read_tree_ensemble(const NodeContext& ctx, const std::string& votes, int64_t targets) {
  TreeEnsemble e;
  e.targets = targets;
  const std::vector<std::string> modes = ctx.attr_strings("nodes_modes");
  const size_t count = modes.size();
  const auto trees = ids(ctx, "nodes_treeids", count), nodes = ids(ctx, "nodes_nodeids", count);
  const auto features = ids(ctx, "nodes_featureids", count);
  const auto yes = ids(ctx, "nodes_truenodeids", count), no = ids(ctx, "nodes_falsenodeids", count);
  const auto missing = flags(ctx, "nodes_missing_value_tracks_true", count);
  const auto values = numbers(ctx, "nodes_values", count);

  std::map<TreeNode, int32_t> index;
  std::map<int32_t, int32_t> first;  // node of each tree
  for (size_t i = 0; i < count; ++i) {
    const bool fresh = index.emplace(TreeNode{trees[i], nodes[i]}, static_cast<int32_t>(i)).second;
    require(fresh, ErrorCode::kInvalidModel, "tree ", trees[i], " has two nodes ", nodes[i]);
    first.emplace(trees[i], static_cast<int32_t>(i));
  }
  for (const auto& [tree, root] : first) e.roots.push_back(root);

  const size_t vote_count = ctx.attr_ints(votes + "_treeids").size();
  const auto vote_trees = ids(ctx, votes + "_treeids", vote_count),
             vote_nodes = ids(ctx, votes + "_nodeids", vote_count);
  const auto vote_targets = ids(ctx, votes + "_ids", vote_count);
  const auto weights = numbers(ctx, votes + "_weights", vote_count);
  std::map<TreeNode, std::vector<TreeEnsemble::Vote>> by_leaf;
  for (size_t i = 0; i < vote_count; ++i)
    by_leaf[{vote_trees[i], vote_nodes[i]}].push_back({vote_targets[i], weights[i]});

  const auto child = [&](size_t i, int32_t id) {
    const auto it = index.find({trees[i], id});
    require(it != index.end(), ErrorCode::kInvalidModel, "tree ", trees[i], " has no node ", id);
    return it->second;
  };
  for (size_t i = 0; i < count; ++i) {
    TreeStep n{.value = values[i],
               .feature = features[i],
               .mode = parse_mode(modes[i]),
               .missing_is_yes = missing[i] != 0};
    if (n.mode == Mode::kLeaf) {
      n.yes = static_cast<int32_t>(e.votes.size());
      if (const auto it = by_leaf.find({trees[i], nodes[i]}); it != by_leaf.end())
        e.votes.insert(e.votes.end(), it->second.begin(), it->second.end());
      n.no = static_cast<int32_t>(e.votes.size());
    } else {
      n.yes = child(i, yes[i]);
      n.no = child(i, no[i]);
    }
    e.nodes.push_back(n);
  }
  e.check();
  return e;
}

namespace {

// Sets delimited by NaN.
std::vector<std::vector<double>> read_sets(const NodeContext& ctx) {
  std::vector<std::vector<double>> sets;
  const Tensor* values = ctx.attr_tensor("membership_values");
  if (values == nullptr) return sets;
  std::vector<double> set;
  for (double v : to_doubles(values->view())) {
    if (v == v) {
      set.push_back(v);
      continue;
    }
    std::ranges::sort(set);
    sets.push_back(std::move(set));
    set.clear();
  }
  require(set.empty(), ErrorCode::kInvalidModel, "membership_values does not end with NaN");
  return sets;
}

}  // namespace

TreeEnsemble read_tree_ensemble_v5(const NodeContext& ctx) {
  constexpr Mode kModes[] = {Mode::kLessOrEqual, Mode::kLess,     Mode::kGreaterOrEqual, Mode::kGreater,
                             Mode::kEqual,       Mode::kNotEqual, Mode::kMember};
  TreeEnsemble e;
  const Tensor *modes = ctx.attr_tensor("nodes_modes"), *splits = ctx.attr_tensor("nodes_splits"),
               *weights = ctx.attr_tensor("leaf_weights");
  require(modes && splits && weights && modes->dtype() == DType::kUInt8, ErrorCode::kInvalidModel,
          "attributes nodes_modes (uint8), nodes_splits and leaf_weights are required");
  const auto count = static_cast<size_t>(modes->count()), leaves = static_cast<size_t>(weights->count());
  require(count + leaves < INT32_MAX, ErrorCode::kLimit, "too many nodes");
  const std::vector<double> values = to_doubles(splits->view()), leaf_weights = to_doubles(weights->view());
  require(values.size() == count, ErrorCode::kInvalidModel, "nodes_splits has ", values.size(),
          " elements, expected ", count);
  const auto features = ids(ctx, "nodes_featureids", count);
  const auto yes = ids(ctx, "nodes_truenodeids", count), no = ids(ctx, "nodes_falsenodeids", count);
  const auto yes_leaf = flags(ctx, "nodes_trueleafs", count), no_leaf = flags(ctx, "nodes_falseleafs", count);
  const auto missing = flags(ctx, "nodes_missing_value_tracks_true", count);
  const auto leaf_targets = ids(ctx, "leaf_targetids", leaves);
  e.targets = ctx.attr_int("n_targets", 1);
  require(e.targets >= 1, ErrorCode::kInvalidModel, "n_targets = ", e.targets);
  e.sets = read_sets(ctx);

  // Leaves become nodes behind the others.
  const auto child = [&](int32_t id, bool leaf) {
    require(id < static_cast<int32_t>(leaf ? leaves : count), ErrorCode::kInvalidModel,
            leaf ? "leaf " : "node ", id, " does not exist");
    return leaf ? static_cast<int32_t>(count) + id : id;
  };
  size_t sets = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t mode = modes->as<uint8_t>()[i];
    require(mode < std::size(kModes), ErrorCode::kInvalidModel, "nodes_modes has element ",
            static_cast<int>(mode));
    TreeStep n{
        .value = values[i], .feature = features[i], .mode = kModes[mode], .missing_is_yes = missing[i] != 0};
    if (n.mode == Mode::kMember) n.value = static_cast<double>(sets++);
    n.yes = child(yes[i], yes_leaf[i] != 0);
    n.no = child(no[i], no_leaf[i] != 0);
    e.nodes.push_back(n);
  }
  require(sets == e.sets.size(), ErrorCode::kInvalidModel, "membership_values has ", e.sets.size(),
          " sets for ", sets, " nodes");
  for (size_t i = 0; i < leaves; ++i) {
    const auto at = static_cast<int32_t>(i);
    e.nodes.push_back({.yes = at, .no = at + 1});
    e.votes.push_back({leaf_targets[i], leaf_weights[i]});
  }
  for (int64_t root : ctx.attr_ints("tree_roots")) {
    require(root >= 0 && root < static_cast<int64_t>(count), ErrorCode::kInvalidModel,
            "tree_roots has element ", root);
    e.roots.push_back(static_cast<int32_t>(root));
  }
  e.check();
  return e;
}

}  // namespace pyinfer
