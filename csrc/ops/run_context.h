// What an Op sees while running: views of its inputs and outputs, scratch, and the workers.
#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <vector>

#include "base/limits.h"
#include "base/parallel.h"
#include "base/run_guard.h"
#include "graph/graph.h"
#include "ops/plan_context.h"
#include "tensor/object.h"

namespace pyinfer {

// Where one value of a run lies. `view` is valid for every tensor; `object` owns values whose size is
// known only at run time, strings, sequences, maps and optionals.
struct Slot {
  TensorView view;
  Object object;
  void set(Tensor tensor) {
    view = tensor.view();
    object.kind = Object::Kind::kTensor;
    object.tensor = std::move(tensor);
  }
};

class RunContext {
 public:
  // `inputs` and `outputs` index `slots`; kNoValue stands for an omitted one.
  RunContext(Slot* slots, std::span<const ValueId> inputs, std::span<const ValueId> outputs,
             std::byte* scratch, const StepState* state, Parallel& parallel, const Limits& limits)
      : slots_(slots),
        inputs_(inputs),
        outputs_(outputs),
        scratch_(scratch),
        state_(state),
        parallel_(parallel),
        limits_(limits) {}

  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  int num_outputs() const { return static_cast<int>(outputs_.size()); }
  bool has(int i) const { return i < num_inputs() && inputs_[static_cast<size_t>(i)] != kNoValue; }
  bool wants(int i) const { return i < num_outputs() && outputs_[static_cast<size_t>(i)] != kNoValue; }

  const TensorView& in(int i) const { return input_slot(i).view; }
  // An output whose shape plan() declared.
  const TensorView& out(int i) const { return output_slot(i).view; }
  template <class T>
  const T* in(int i) const {
    return static_cast<const T*>(in(i).data);
  }
  template <class T>
  T* out(int i) const {
    return static_cast<T*>(out(i).data);
  }

  // Allocates an output that plan() declared dynamic. Throws Error(kLimit) over max_tensor_bytes, and where
  // its strings, which take `string_bytes` or else what expect_strings says, could exceed max_total_bytes.
  TensorView allocate(int i, DType dtype, const Shape& shape, std::optional<int64_t> string_bytes = {});
  // Throws Error(kLimit) where the strings of planned outputs could exceed max_total_bytes: each may be as
  // long as the longest strings of all inputs, and `extra`, together. A model repeats a long string at no
  // cost.
  void expect_strings(int64_t extra) const;
  // Sets an output that plan() declared dynamic.
  void set(int i, Tensor tensor) { output_slot(i).set(std::move(tensor)); }
  // Any value as an Object. A tensor that the arena holds is copied unless the slot owns it.
  Object object(int i) const;
  // Likewise; a copy is counted first.
  Object object(int i, HeldBytes& held) const;
  // The object of an input that is a sequence, map or optional, without a copy.
  const Object& object_ref(int i) const { return input_slot(i).object; }
  // Sets an output of any type that plan() declared dynamic.
  void set(int i, Object object);

  std::byte* scratch() const { return scratch_; }
  template <class T>
  T* scratch_as() const {
    return reinterpret_cast<T*>(scratch_);
  }
  // What plan() left with PlanContext::state.
  template <class T>
  const T& state() const {
    return static_cast<const T&>(*state_);
  }
  bool has_state() const { return state_ != nullptr; }

  // Runs body(begin, end, worker) over [0, n) in ranges of at most `grain`; see Parallel::run. Use a grain
  // worth at least some ten microseconds.
  void parallel(int64_t n, int64_t grain, Parallel::Body body) const {
    if (n <= 0) return;
    if (n <= grain || parallel_.workers() == 1) {
      Serial().run(n, grain, body);
    } else {
      parallel_.run(n, grain, body);
    }
  }
  int workers() const { return parallel_.workers(); }
  Parallel& pool() const { return parallel_; }
  const Limits& limits() const { return limits_; }

 private:
  int64_t longest_strings() const;  // of each input, together
  void check_strings(int64_t count, std::optional<int64_t> bytes) const;
  // Whether input i is a tensor whose storage may be gone or overwritten after this step.
  bool borrowed(int i) const;
  Slot& input_slot(int i) const { return slots_[inputs_[static_cast<size_t>(i)]]; }
  Slot& output_slot(int i) const { return slots_[outputs_[static_cast<size_t>(i)]]; }

  Slot* slots_;
  std::span<const ValueId> inputs_;
  std::span<const ValueId> outputs_;
  std::byte* scratch_;
  const StepState* state_;
  Parallel& parallel_;
  const Limits& limits_;
};

}  // namespace pyinfer
