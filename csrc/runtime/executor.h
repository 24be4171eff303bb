// Runs programs.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/aligned.h"
#include "base/fork.h"
#include "base/run_guard.h"
#include "plan/plan.h"

namespace pyinfer {

// The memory of one run at a time: slots for all values, one arena per cut.
struct Context {
  std::vector<Slot> slots;
  std::vector<AlignedBytes> arenas;                   // by depth
  std::vector<std::shared_ptr<const Segment>> bound;  // by depth: whose fixed bindings the slots hold
  Key key;
  uint64_t run = 0;  // the guard that counts the arenas
};

// A program with its plans and its contexts. Thread-safe.
class Executor {
 public:
  Executor(Program program, const Limits& limits, Parallel& parallel);

  const Program& program() const { return program_; }

  // `inputs` follow program().inputs. An element of `outputs` that holds a tensor of the right type and
  // shape is written in place; the others are replaced.
  void run(const std::vector<Object>& inputs, std::vector<Object>& outputs);

  // The segments for these input shapes, as far as shapes alone decide them.
  std::shared_ptr<const Segment> plan(const std::vector<Shape>& input_shapes);
  // The shapes of the outputs, as far as those of the inputs decide them.
  std::vector<std::optional<Shape>> output_shapes(const std::vector<Shape>& input_shapes);

 private:
  std::unique_ptr<Context> lease();
  void give_back(std::unique_ptr<Context> context);
  std::shared_ptr<const Segment> next_segment(const Segment& segment, Context& context);
  // The segment kept after `segment` under `key`, or nullptr. Needs the mutex.
  static std::shared_ptr<const Segment> find(const Segment& segment, const Key& key);
  std::shared_ptr<const Segment> keep(const Segment& segment, const Key& key,
                                      std::shared_ptr<const Segment> planned);
  std::shared_ptr<const Segment> find_or_plan(const Segment& segment, const Key& key, const Slot* slots);
  void bind(const std::shared_ptr<const Segment>& segment, Context& context, std::vector<Object>& outputs,
            HeldBytes& held) const;
  void count_arenas(Context& context) const;
  void run_steps(const Segment& segment, Context& context, HeldBytes& held);

  Program program_;
  const Limits& limits_;
  Parallel& parallel_;
  std::shared_ptr<const Segment> root_;
  ForkSafeMutex mutex_;  // of pool_ and of Segment::next
  std::vector<std::unique_ptr<Context>> pool_;
};

}  // namespace pyinfer
