// The graph after the passes, lowered: immutable, shared by threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/op.h"

namespace pyinfer {

struct ProgramStep {
  std::unique_ptr<Op> op;
  std::string label;            // "Conv 'conv1'", for messages and profiles
  std::vector<ValueId> inputs;  // those of the node, then what its subgraphs capture
  std::vector<ValueId> outputs;
};

struct Program {
  std::vector<ValueType> types;    // of every value
  std::vector<Tensor> constants;   // of every value; empty where it is none
  std::vector<ProgramStep> steps;  // producers first
  std::vector<ValueId> inputs;     // explicit inputs, then captures
  std::vector<ValueId> outputs;
};

}  // namespace pyinfer
