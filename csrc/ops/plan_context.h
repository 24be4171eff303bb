// What an Op sees while planning: the shapes of its inputs, and values where they are known.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/limits.h"
#include "tensor/object.h"

namespace pyinfer {

// What an Op computes once per plan and reads in every run (index tables, chosen algorithm).
struct StepState {
  virtual ~StepState() = default;
};

// What planning knows of one value.
struct PlanValue {
  ValueType type;
  bool shape_known = false;
  Shape shape;
  Tensor value;  // when known: constants, and what is computed from shapes
};

// Thrown by PlanContext, caught by the planner: the plan must be cut before this op, because the shape
// (or the value) of its input is known only once the steps before it have run.
struct Cut {
  int input;
  bool value;
};

class PlanContext {
 public:
  struct Share {
    int output, input;
    bool view;  // true: the same bytes; false: may be overwritten in place
  };
  // A value that may lie inside another: an input of a Concat in its output, an output of a Split in its
  // input.
  struct Part {
    int input, output;
    bool joins;          // the input is the part
    int64_t offset;      // of its first element in the whole, in elements
    int64_t row_stride;  // as TensorView's
  };

  PlanContext(std::span<const PlanValue* const> inputs, std::span<const ValueType> outputs,
              const Limits& limits, int workers);

  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  int num_outputs() const { return static_cast<int>(outputs_.size()); }
  bool has(int i) const { return i < num_inputs() && inputs_[static_cast<size_t>(i)] != nullptr; }
  DType dtype(int i) const { return has(i) ? at(i).type.dtype : DType::kUndefined; }
  const ValueType& type(int i) const { return at(i).type; }
  // The shape of an input tensor. When it depends on data, the plan is cut here and this op is planned
  // again once it is known.
  const Shape& shape(int i) const {
    if (!at(i).shape_known) throw Cut{i, false};
    return at(i).shape;
  }
  // Whether shape(i) is known now (never cuts).
  bool shape_known(int i) const { return at(i).shape_known; }
  // The value of an input when it is known while planning, else nullptr. Never cuts.
  const Tensor* value(int i) const { return has(i) && !at(i).value.empty() ? &at(i).value : nullptr; }
  // The value of a (small) input on which an output's shape depends. Cuts when it is not known yet.
  const Tensor& require_value(int i) const {
    if (at(i).value.empty()) throw Cut{i, true};
    return at(i).value;
  }
  std::vector<int64_t> require_int64s(int i) const;

  bool wants(int i) const { return i < num_outputs() && outputs_[static_cast<size_t>(i)].type.known(); }
  // Output i has this shape. Every output is declared by exactly one of the next four.
  void output(int i, const Shape& shape);
  // The shape of output i (or its length, for a sequence) is known only after run, which allocates it.
  void output_dynamic(int i) { declare(i); }
  // Output i's value is known already; run is not asked for it.
  void output_value(int i, Tensor value);
  // Output i is input `input` under another shape: no copy is made, and run need not write it.
  void output_view(int i, int input, const Shape& shape);

  // Output i may overwrite input `input` where nobody else reads that. Same number of bytes.
  void reuse(int i, int input);
  // Input or output i may have rows that lie apart (TensorView::row_stride).
  void rows_apart_in(int i) { rows_apart_in_ |= bit(i); }
  void rows_apart_out(int i) { rows_apart_out_ |= bit(i); }
  // One value may lie inside another, and then needs no copying; run sees by the addresses whether it does.
  void part(const Part& part) { parts_.push_back(part); }
  // Bytes of scratch memory that run gets, aligned to a cache line.
  void scratch(int64_t bytes) { scratch_ = bytes; }
  // Floating-point operations of one run, for reports; a fused multiply-add is two.
  void flops(int64_t count) { flops_ = count; }
  // An output may hold a string of that many bytes which is no element of an input.
  void longest_string(int64_t bytes) { longest_string_ = bytes; }
  void state(std::unique_ptr<StepState> state) { state_ = std::move(state); }
  // Upper bound of the worker number that a parallel body sees; sizes per-worker scratch.
  int workers() const { return workers_; }
  const Limits& limits() const { return limits_; }

  // For the planner.
  std::span<const PlanValue> outputs() const { return outputs_; }
  std::span<const Share> shares() const { return shares_; }
  std::span<const Part> parts() const { return parts_; }
  bool takes_rows_apart_in(size_t i) const { return (rows_apart_in_ & bit(static_cast<int>(i))) != 0; }
  bool takes_rows_apart_out(size_t i) const { return (rows_apart_out_ & bit(static_cast<int>(i))) != 0; }
  int64_t scratch_bytes() const { return scratch_; }
  int64_t flops() const { return flops_; }
  int64_t longest_string() const { return longest_string_; }
  std::unique_ptr<StepState> take_state() { return std::move(state_); }
  bool declared(int i) const { return declared_[static_cast<size_t>(i)]; }

 private:
  const PlanValue& at(int i) const {
    require(has(i), ErrorCode::kInvalidModel, "input ", i, " is missing");
    return *inputs_[static_cast<size_t>(i)];
  }
  static uint64_t bit(int i) { return i < 64 ? uint64_t{1} << i : 0; }
  void declare(int i) {
    if (i < num_outputs()) declared_[static_cast<size_t>(i)] = true;
  }

  std::span<const PlanValue* const> inputs_;
  std::vector<PlanValue> outputs_;
  std::vector<bool> declared_;  // by output
  std::vector<Share> shares_;
  std::vector<Part> parts_;
  uint64_t rows_apart_in_ = 0, rows_apart_out_ = 0;  // by input, by output; from the 65th on none
  const Limits& limits_;
  int64_t scratch_ = 0;
  int64_t flops_ = 0;
  int64_t longest_string_ = 0;
  std::unique_ptr<StepState> state_;
  int workers_;
};

}  // namespace pyinfer
