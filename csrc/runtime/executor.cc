#include "runtime/executor.h"

#include <algorithm>
#include <cstring>

#include "ops/tensor_list.h"
#include "runtime/profile.h"

namespace pyinfer {
namespace {

constexpr size_t kMaxPlansPerSegment = 64;
constexpr size_t kMaxPooledContexts = 16;

void append_shape(Key& key, const Shape& shape) {
  key.push_back(shape.rank());
  key.insert(key.end(), shape.begin(), shape.end());
}

// The contents of a small tensor, as words.
void append_contents(Key& key, const TensorView& view) {
  require(view.dtype != DType::kString, ErrorCode::kUnsupported, "a shape that depends on strings");
  const size_t words = (view.bytes() + 7) / 8, at = key.size();
  key.resize(at + words, 0);
  if (words > 0) std::memcpy(key.data() + at, view.data, view.bytes());
}

int64_t bytes_of(const std::vector<ValueId>& ids, const std::vector<Slot>& slots) {
  int64_t bytes = 0;
  for (ValueId id : ids)
    if (id != kNoValue) bytes += static_cast<int64_t>(slots[static_cast<size_t>(id)].view.bytes());
  return bytes;
}

// What the outputs of a step that has run hold beyond what was counted before.
void count_outputs(const PlannedStep& planned, const std::vector<Slot>& slots, HeldBytes& held) {
  for (ValueId id : planned.step->outputs) {
    if (id == kNoValue) continue;
    const Slot& slot = slots[static_cast<size_t>(id)];
    if (planned.grows)
      held.add(unshared_bytes(slot.object));
    else if (slot.object.kind == Object::Kind::kTensor)
      held.add(slot.view.string_bytes());
  }
}

void fill_in(StepRecord& record, const PlannedStep& planned, const std::vector<Slot>& slots) {
  const ProgramStep& step = *planned.step;
  record.flops = planned.flops;
  record.read_bytes = bytes_of(step.inputs, slots);
  record.written_bytes = bytes_of(step.outputs, slots);
  if (!step.outputs.empty() && step.outputs[0] != kNoValue)
    record.shape = slots[static_cast<size_t>(step.outputs[0])].view.shape;
}

}  // namespace

Executor::Executor(Program program, const Limits& limits, Parallel& parallel)
    : program_(std::move(program)), limits_(limits), parallel_(parallel), root_(root_segment(program_)) {}

std::unique_ptr<Context> Executor::lease() {
  {
    std::lock_guard lock(mutex_);
    if (!pool_.empty()) {
      auto context = std::move(pool_.back());
      pool_.pop_back();
      return context;
    }
  }
  auto context = std::make_unique<Context>();
  context->slots.resize(program_.types.size());
  for (size_t i = 0; i < program_.constants.size(); ++i)
    if (!program_.constants[i].empty()) context->slots[i].set(program_.constants[i]);
  return context;
}

void Executor::give_back(std::unique_ptr<Context> context) {
  std::lock_guard lock(mutex_);
  if (pool_.size() < kMaxPooledContexts) pool_.push_back(std::move(context));
}

std::shared_ptr<const Segment> Executor::find(const Segment& segment, const Key& key) {
  auto& next = segment.next;
  const auto it = std::find_if(next.begin(), next.end(), [&](const auto& e) { return e.first == key; });
  if (it == next.end()) return nullptr;
  if (it != next.begin()) next.splice(next.begin(), next, it);
  return it->second;
}

std::shared_ptr<const Segment> Executor::keep(const Segment& segment, const Key& key,
                                              std::shared_ptr<const Segment> planned) {
  std::shared_ptr<const Segment> evicted;  // with all that follow it: destroyed without the mutex
  const std::lock_guard lock(mutex_);
  if (auto first = find(segment, key)) return first;
  segment.next.emplace_front(key, planned);
  if (segment.next.size() > kMaxPlansPerSegment) {
    evicted = std::move(segment.next.back().second);
    segment.next.pop_back();
  }
  return planned;
}

std::shared_ptr<const Segment> Executor::find_or_plan(const Segment& segment, const Key& key,
                                                      const Slot* slots) {
  {
    const std::lock_guard lock(mutex_);
    if (auto known = find(segment, key)) return known;
  }
  std::vector<PlanValue> facts;
  for (const Need& need : segment.needs) {
    const Slot& slot = slots[need.value];
    PlanValue fact{
        .type = {.dtype = slot.view.dtype}, .shape_known = true, .shape = slot.view.shape, .value = {}};
    if (need.contents) fact.value = Tensor::copy_of(slot.view);
    facts.push_back(std::move(fact));
  }
  // Without the mutex: planning takes its time, runs operators to fold them, and must not hold up a fork.
  // Threads that meet a new signature together each plan it, and all use the plan that is kept first.
  return keep(segment, key, plan_segment(program_, segment, facts, limits_, parallel_.workers()));
}

std::shared_ptr<const Segment> Executor::next_segment(const Segment& segment, Context& context) {
  Key& key = context.key;
  key.clear();
  for (const Need& need : segment.needs) {
    const TensorView& view = context.slots[static_cast<size_t>(need.value)].view;
    require(view.dtype != DType::kUndefined, ErrorCode::kInvalidInput,
            "an optional value is used but holds nothing");
    append_shape(key, view.shape);
    if (need.contents) append_contents(key, view);
  }
  return find_or_plan(segment, key, context.slots.data());
}

std::shared_ptr<const Segment> Executor::plan(const std::vector<Shape>& input_shapes) {
  std::vector<Slot> slots(program_.types.size());
  Key key;
  size_t i = 0;
  for (const Need& need : root_->needs) {
    Slot& slot = slots[static_cast<size_t>(need.value)];
    slot.view = {program_.types[static_cast<size_t>(need.value)].dtype, input_shapes[i++], nullptr};
    append_shape(key, slot.view.shape);
  }
  return find_or_plan(*root_, key, slots.data());
}

std::vector<std::optional<Shape>> Executor::output_shapes(const std::vector<Shape>& input_shapes) {
  const auto segment = plan(input_shapes);
  std::vector<std::optional<Shape>> known(program_.types.size()), shapes;
  for (size_t i = 0; i < known.size(); ++i)
    if (!program_.constants[i].empty()) known[i] = program_.constants[i].shape();
  for (size_t i = 0; i < input_shapes.size(); ++i)
    known[static_cast<size_t>(root_->needs[i].value)] = input_shapes[i];
  for (const auto* bindings : {&segment->fixed, &segment->moving})
    for (const Binding& b : *bindings) known[static_cast<size_t>(b.value)] = b.shape;
  for (ValueId id : program_.outputs) shapes.push_back(known[static_cast<size_t>(id)]);
  return shapes;
}

void Executor::bind(const std::shared_ptr<const Segment>& segment, Context& context,
                    std::vector<Object>& outputs, HeldBytes& held) const {
  const auto depth = static_cast<size_t>(segment->depth);
  if (context.bound.size() <= depth) {
    context.bound.resize(depth + 1);
    context.arenas.resize(depth + 1);
  }
  std::vector<Slot>& slots = context.slots;
  if (context.bound[depth] != segment) {
    AlignedBytes& arena = context.arenas[depth];
    if (arena.size() < static_cast<size_t>(segment->arena_bytes)) {
      RunGuard::current()->keep(segment->arena_bytes - static_cast<int64_t>(arena.size()),
                                limits_.max_total_bytes);
      arena = AlignedBytes();
      arena = AlignedBytes::on_huge_pages(static_cast<size_t>(segment->arena_bytes));
    }
    for (const Binding& b : segment->fixed) {
      Slot& slot = slots[static_cast<size_t>(b.value)];
      if (b.where == Where::kPlanned)
        slot.set(segment->planned[static_cast<size_t>(b.index)]);
      else
        slot.view = {b.dtype, b.shape, arena.data() + b.index, b.row_stride}, slot.object = Object();
    }
    // Deeper segments bind the same slots; what they bound before may be stale now.
    for (size_t d = depth + 1; d < context.bound.size(); ++d) context.bound[d].reset();
    context.bound[depth] = segment;
  }
  for (const Binding& b : segment->moving) {
    Slot& slot = slots[static_cast<size_t>(b.value)];
    if (b.where == Where::kView) {
      std::byte* const whole = slots[static_cast<size_t>(b.index)].view.as<std::byte>();
      slot.view = {b.dtype, b.shape, whole + b.offset, b.row_stride}, slot.object = Object();
      continue;
    }
    const auto it = std::find(program_.outputs.begin(), program_.outputs.end(), b.value);
    const auto o = static_cast<size_t>(it - program_.outputs.begin());
    const bool given = it != program_.outputs.end() && outputs[o].kind == Object::Kind::kTensor &&
                       outputs[o].tensor.dtype() == b.dtype && outputs[o].tensor.shape() == b.shape;
    if (!given) held.add(b.shape.count() * static_cast<int64_t>(dtype_size(b.dtype)));
    slot.set(given ? outputs[o].tensor : Tensor(b.dtype, b.shape));
  }
}

void Executor::run_steps(const Segment& segment, Context& context, HeldBytes& held) {
  std::byte* arena = context.arenas[static_cast<size_t>(segment.depth)].data();
  Profile* const profile = Profile::current();
  for (const PlannedStep& planned : segment.steps) {
    RunGuard::step();
    const ProgramStep& step = *planned.step;
    RunContext run(context.slots.data(), step.inputs, step.outputs, arena + planned.scratch_offset,
                   planned.state.get(), parallel_, limits_);
    const size_t record = profile != nullptr ? profile->begin(step.label) : 0;
    try {
      if (planned.strings) run.expect_strings(planned.longest_string);
      step.op->run(run);
      if (planned.grows || planned.strings) count_outputs(planned, context.slots, held);
    } catch (const Error& e) {
      fail(e.code(), step.label, ": ", e.message());
    } catch (const std::bad_alloc&) {
      fail(ErrorCode::kOutOfMemory, step.label, ": the system refuses more memory");
    }
    if (profile == nullptr) continue;
    if (StepRecord* r = profile->end(record)) fill_in(*r, planned, context.slots);
  }
}

// The arenas of a body stay in memory after it has run, so they count until the run that it is a part of
// ends.
void Executor::count_arenas(Context& context) const {
  RunGuard& guard = *RunGuard::current();
  if (std::exchange(context.run, guard.id()) == guard.id()) return;
  for (const AlignedBytes& arena : context.arenas)
    guard.keep(static_cast<int64_t>(arena.size()), limits_.max_total_bytes);
}

void Executor::run(const std::vector<Object>& inputs, std::vector<Object>& outputs) {
  std::optional<RunGuard> own;
  if (RunGuard::current() == nullptr) own.emplace(nullptr);
  HeldBytes held(limits_.max_total_bytes);
  std::unique_ptr<Context> context = lease();
  count_arenas(*context);
  std::vector<Slot>& slots = context->slots;
  for (size_t i = 0; i < program_.inputs.size(); ++i) {
    Slot& slot = slots[static_cast<size_t>(program_.inputs[i])];
    slot.object = inputs[i];
    slot.view = inputs[i].kind == Object::Kind::kTensor ? inputs[i].tensor.view() : TensorView{};
  }
  outputs.resize(program_.outputs.size());
  std::shared_ptr<const Segment> segment = root_;
  do {
    segment = next_segment(*segment, *context);
    bind(segment, *context, outputs, held);
    run_steps(*segment, *context, held);
  } while (!segment->needs.empty());

  for (size_t i = 0; i < outputs.size(); ++i) {
    const Slot& slot = slots[static_cast<size_t>(program_.outputs[i])];
    const bool whole = slot.object.kind != Object::Kind::kAbsent || slot.view.dtype == DType::kUndefined;
    if (!whole) held.add(static_cast<int64_t>(slot.view.bytes()) + slot.view.string_bytes());
    outputs[i] = whole ? slot.object : Object::of(Tensor::copy_of(slot.view));
  }
  for (const auto& bound : context->bound)
    if (bound)
      for (ValueId id : bound->owned) slots[static_cast<size_t>(id)] = Slot();
  for (ValueId id : program_.inputs) slots[static_cast<size_t>(id)] = Slot();
  give_back(std::move(context));
}

}  // namespace pyinfer
