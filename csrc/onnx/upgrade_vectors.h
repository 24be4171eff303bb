// Short ways to write shape arithmetic and heads of attention in rewriting rules.
#pragma once

#include "onnx/upgrade_node.h"

namespace pyinfer::onnx {

// Dimension `axis` of x, as a vector of one element.
inline ValueId dim(NodeUpgrade& n, ValueId x, int64_t axis) {
  return n.add("Slice", {n.add("Shape", {x}), n.ints({axis}), n.ints({axis + 1})});
}

// Elements [begin, end) of a vector.
inline ValueId slice(NodeUpgrade& n, ValueId x, ValueId begin, ValueId end) {
  return n.add("Slice", {x, begin, end, n.ints({0})});
}

// 0, 1 ... below the one element of `count`.
inline ValueId range(NodeUpgrade& n, ValueId count) {
  return n.add("Range", {n.scalar(int64_t{0}), n.add("Squeeze", {count}), n.scalar(int64_t{1})});
}

inline ValueId to_int64(NodeUpgrade& n, ValueId x) {
  return n.add("Cast", {x}, {{"to", {static_cast<int64_t>(DType::kInt64)}}});
}

inline ValueId unsqueeze(NodeUpgrade& n, ValueId x, std::initializer_list<int64_t> axes) {
  return n.add("Unsqueeze", {x, n.ints(axes)});
}

inline ValueId transpose(NodeUpgrade& n, ValueId x, std::vector<int64_t> perm) {
  return n.add("Transpose", {x}, {{"perm", {std::move(perm)}}});
}

// [batch, rows, heads * size] as [batch, heads, rows, size].
inline ValueId heads_first(NodeUpgrade& n, ValueId x, int64_t heads) {
  return transpose(n, n.add("Reshape", {x, n.ints({0, 0, heads, -1})}), {0, 2, 1, 3});
}

// The other way, for an output of the node.
inline void join_heads(NodeUpgrade& n, size_t output) {
  n.then(output, "Reshape", {n.ints({0, 0, -1})});
  n.then(output, "Transpose", {}, {{"perm", {std::vector<int64_t>{0, 2, 1, 3}}}});
}

}  // namespace pyinfer::onnx
