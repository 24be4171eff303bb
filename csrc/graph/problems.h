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
    if (count_++ == 0 || code == ErrorCode::kUnsupported) code_ = code;
    lines_ += join("\n  ", node.str(), " (opset ", node.version, inputs.empty() ? "" : ", inputs: ", inputs,
                   "): ", reason);
  }
  int count() const { return count_; }
  // Throws when there are any.
  void check() const {
    require(count_ == 0, code_, count_, count_ == 1 ? " node" : " nodes", " cannot be run:", lines_);
  }

 private:
  ErrorCode code_ = ErrorCode::kUnsupported;
  std::string lines_;
  int count_ = 0;
};

}  // namespace pyinfer
