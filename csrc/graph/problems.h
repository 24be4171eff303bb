// The nodes that cannot be run, for the one error that lists them all.
#pragma once

#include <string>

#include "base/error.h"
#include "graph/graph.h"

namespace pyinfer {

class Problems {
 public:
  // `inputs` is what is known of their types.
  void add(const Node& node, ErrorCode code, const std::string& reason, const std::string& inputs = {}) {
    list(1, code,
         join(node, " (opset ", node.version, inputs.empty() ? "" : ", inputs: ", inputs, "): ", reason));
  }
  // Those in a subgraph of `node`, listed below it: what holds them cannot be judged, but says where they
  // are.
  void add(const Node& node, std::string_view subgraph, const Problems& inner) {
    if (inner.count_ > 0) list(inner.count_, inner.code_, join(node, ", ", subgraph, ":", inner.lines_));
  }
  int count() const { return count_; }
  // Throws when there are any.
  void check() const {
    require(count_ == 0, code_, count_, count_ == 1 ? " node" : " nodes", " cannot be run:", lines_);
  }

 private:
  void list(int count, ErrorCode code, std::string_view text) {
    if (count_ == 0 || code == ErrorCode::kUnsupported) code_ = code;
    count_ += count;
    lines_ += "\n  ";
    for (char c : text) lines_ += c == '\n' ? "\n  " : std::string(1, c);
  }

  ErrorCode code_ = ErrorCode::kUnsupported;
  std::string lines_;
  int count_ = 0;
};

}  // namespace pyinfer
