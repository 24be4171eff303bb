// A plan: for one signature of input shapes, a flat list of steps and a place for each value.
//
// A plan is a chain of segments. The first is found by the shapes of the inputs. Where a later step needs
// a shape, or a value that decides a shape, which is known only after earlier steps have run, the segment
// ends; the next one is found by those shapes and values, and planned when they are new. A model whose
// shapes follow from its inputs is one segment.
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <vector>

#include "plan/program.h"

namespace pyinfer {

struct PlannedStep {
  const ProgramStep* step;
  std::unique_ptr<StepState> state;
  int64_t scratch_offset = 0;  // in the arena
  int64_t flops = 0;           // as the operator counts them
  int64_t longest_string = 0;  // PlanContext::longest_string
  bool grows = false;          // the size of an output is known only when it has run
  bool strings = false;        // an output of known size holds strings
};

// Where the bytes of a value lie.
enum class Where : uint8_t {
  kArena,    // index = offset in this segment's arena
  kPlanned,  // known while planning; index into Segment::planned
  kView,     // bytes of another value; index = its ValueId
  kHeap,     // owned by the slot, allocated when the segment starts: strings, and outputs of the program
};

struct Binding {
  ValueId value;
  Where where;
  int64_t index;
  DType dtype;
  Shape shape;
  int64_t offset = 0;      // kView: bytes from where the other value begins
  int64_t row_stride = 0;  // as TensorView's
};

// What the next segment depends on.
struct Need {
  ValueId value;
  bool contents;  // else only the shape
};

using Key = std::vector<int64_t>;

struct Segment {
  int depth = 0;         // number of cuts before it; each depth has an arena of its own
  size_t next_step = 0;  // first step of the program that is not in this or an earlier segment
  std::vector<PlannedStep> steps;
  std::vector<Binding> fixed;   // kArena and kPlanned: the same addresses in every run of one context
  std::vector<Binding> moving;  // the others, owners before their views
  std::vector<Tensor> planned;
  int64_t arena_bytes = 0;
  int64_t flops = 0;           // as the operators count them
  std::vector<ValueId> owned;  // slots that own storage after this segment has run
  std::vector<Need> needs;     // empty: the program is done
  // The segment before it, which whoever plans what follows holds as well; nullptr for the root.
  const Segment* previous = nullptr;
  // What it adds to what the segments before it know of the values (the root: all that is known at load);
  // kept only while there are needs.
  std::deque<std::pair<ValueId, PlanValue>> known;

  // The segments that followed, most recent first; the executor's mutex guards them.
  mutable std::list<std::pair<Key, std::shared_ptr<const Segment>>> next;
};

// The segment from which every run starts: no steps, needs the shape of every input tensor.
std::shared_ptr<const Segment> root_segment(const Program& program);

// Plans what follows `previous`. `facts[i]` answers previous.needs[i]: a shape, and the contents where asked.
// Errors name the step.
std::shared_ptr<const Segment> plan_segment(const Program& program, const Segment& previous,
                                            const std::vector<PlanValue>& facts, const Limits& limits,
                                            int workers);

}  // namespace pyinfer
