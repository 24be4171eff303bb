#include <algorithm>
#include <limits>
#include <optional>

#include "base/math.h"
#include "ops/evaluate.h"
#include "plan/memory.h"
#include "plan/plan.h"

namespace pyinfer {
namespace {

// Shape arithmetic beyond this is left to the run: planning must stay quick.
constexpr int64_t kMaxFoldedBytes = 64 << 10;
// Planning what follows a cut takes time in proportion to the whole program, and a chain of segments is
// destroyed recursively.
constexpr int kMaxCuts = 4096;
constexpr int32_t kForever = std::numeric_limits<int32_t>::max();

// Values that share bytes, by views or in place. The root is the first of them to be written.
struct Group {
  ValueId root;
  int32_t first, last;  // steps during which the bytes are needed
  bool here;            // written in this segment, at a place that the planner chooses
  int32_t last_write;   // the last step that writes in place
  int32_t members = 0;
};

// A value that may lie inside another (PlanContext::Part).
struct PartRequest {
  int32_t step;
  ValueId part, whole;
  bool joins;
  int64_t offset;  // bytes
  int64_t row_stride;
};

class Planner {
 public:
  Planner(const Program& program, const Segment& previous, const std::vector<PlanValue>& facts,
          const Limits& limits, int workers)
      : program_(program),
        limits_(limits),
        workers_(workers),
        segment_(std::make_shared<Segment>()),
        known_(program.types.size()),
        group_of_(program.types.size(), -1),
        last_use_(program.types.size(), -1),
        places_(program.types.size()),
        gapless_(program.types.size()) {
    segment_->depth = previous.depth + 1;
    segment_->next_step = previous.next_step;
    segment_->previous = &previous;
    recall(previous);
    for (size_t i = 0; i < facts.size(); ++i) {
      const ValueId id = previous.needs[i].value;
      PlanValue v = known(id);
      v.shape = facts[i].shape;
      v.shape_known = true;
      if (previous.needs[i].contents) v.value = facts[i].value;
      learn(id, std::move(v));
    }
    for (size_t s = previous.next_step; s < program.steps.size(); ++s)
      for (ValueId id : program.steps[s].inputs)
        if (id != kNoValue) last_use_[static_cast<size_t>(id)] = static_cast<int32_t>(s);
    for (ValueId id : program.outputs) last_use_[static_cast<size_t>(id)] = kForever;
  }

  std::shared_ptr<const Segment> plan() {
    while (segment_->next_step < program_.steps.size() && plan_step(program_.steps[segment_->next_step]))
      ++segment_->next_step;
    place();
    if (segment_->needs.empty()) segment_->known.clear();
    return segment_;
  }

 private:
  const PlanValue& known(ValueId id) const { return *known_[static_cast<size_t>(id)]; }
  void learn(ValueId id, PlanValue v) {
    known_[static_cast<size_t>(id)] = &segment_->known.emplace_back(id, std::move(v)).second;
  }
  // Fills known_ with what the segments up to `last` have learned, the latest word on each value.
  void recall(const Segment& last) {
    std::vector<const Segment*> chain;
    for (const Segment* s = &last; s != nullptr; s = s->previous) chain.push_back(s);
    for (auto s = chain.rbegin(); s != chain.rend(); ++s)
      for (const auto& [id, v] : (*s)->known) known_[static_cast<size_t>(id)] = &v;
  }
  int32_t now() const { return static_cast<int32_t>(segment_->next_step); }

  // False when the segment must end before this step.
  bool plan_step(const ProgramStep& step) {
    std::vector<const PlanValue*> inputs;
    bool all_known = true;
    for (ValueId id : step.inputs) {
      inputs.push_back(id == kNoValue ? nullptr : &known(id));
      all_known &= id == kNoValue || !known(id).value.empty();
    }
    std::vector<ValueType> types;
    for (ValueId id : step.outputs)
      types.push_back(id == kNoValue ? ValueType{} : program_.types[static_cast<size_t>(id)]);
    try {
      if (all_known && fold(step, inputs, types)) return true;
      PlanContext ctx(inputs, types, limits_, workers_);
      step.op->plan(ctx);
      record(step, ctx);
      return true;
    } catch (const Cut& cut) {
      need(step, cut);
      return false;
    } catch (const Error& e) {
      fail(e.code(), step.label, ": ", e.message());
    }
  }

  bool fold(const ProgramStep& step, std::span<const PlanValue* const> inputs,
            std::span<const ValueType> types) {
    auto values = evaluate(*step.op, inputs, types, limits_, kMaxFoldedBytes);
    if (!values) return false;
    for (size_t i = 0; i < step.outputs.size(); ++i)
      if (step.outputs[i] != kNoValue) set_value(step.outputs[i], std::move((*values)[i]));
    return true;
  }

  void set_value(ValueId id, Tensor value) {
    PlanValue v = known(id);
    v.shape = value.shape();
    v.shape_known = true;
    segment_->fixed.push_back(
        {id, Where::kPlanned, static_cast<int64_t>(segment_->planned.size()), value.dtype(), value.shape()});
    segment_->planned.push_back(value);
    v.value = std::move(value);
    learn(id, std::move(v));
  }

  void need(const ProgramStep& step, const Cut& cut) {
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const ValueId id = step.inputs[i];
      if (id == kNoValue) continue;
      const bool asked = static_cast<int>(i) == cut.input;
      const bool unknown = !known(id).shape_known && program_.types[static_cast<size_t>(id)].is_tensor();
      if (asked || unknown) segment_->needs.push_back({id, asked && cut.value});
    }
  }

  void record(const ProgramStep& step, PlanContext& ctx) {
    PlannedStep planned{&step, ctx.take_state()};
    bool runs = false;
    for (int i = 0; i < ctx.num_outputs(); ++i) {
      if (!ctx.wants(i)) continue;
      require(ctx.declared(i), ErrorCode::kInternal, "output ", i, " was not planned");
      const ValueId id = step.outputs[static_cast<size_t>(i)];
      const PlanValue& out = ctx.outputs()[static_cast<size_t>(i)];
      if (!out.value.empty()) {
        set_value(id, out.value);
        continue;
      }
      learn(id, out);
      if (!out.shape_known) {
        segment_->owned.push_back(id);
        planned.grows = runs = true;
      } else if (!join_view(step, ctx, i, id)) {
        runs = true;
        planned.strings = planned.strings || out.type.dtype == DType::kString;
        if (!join_in_place(step, ctx, i, id)) new_group(id);
      }
    }
    if (!runs) return;
    planned.flops = ctx.flops();
    planned.longest_string = ctx.longest_string();
    segment_->flops += planned.flops;
    const int64_t bytes = ctx.scratch_bytes();
    require(bytes >= 0 && bytes <= limits_.max_tensor_bytes, ErrorCode::kLimit, "scratch memory of ", bytes,
            " bytes would exceed max_tensor_bytes=", limits_.max_tensor_bytes);
    note_parts(step, ctx);
    if (bytes > 0) scratch_.push_back({segment_->steps.size(), {bytes, now(), now()}});
    segment_->steps.push_back(std::move(planned));
  }

  bool join_view(const ProgramStep& step, const PlanContext& ctx, int output, ValueId id) {
    for (const PlanContext::Share& share : ctx.shares()) {
      if (share.output != output || !share.view) continue;
      const ValueId from = step.inputs[static_cast<size_t>(share.input)];
      int32_t& group = group_of_[static_cast<size_t>(from)];
      if (group < 0) {  // a constant, an input, or a value of an earlier segment
        group = static_cast<int32_t>(groups_.size());
        groups_.push_back({from, now(), kForever, false, now()});
      }
      join(id, group);
      return true;
    }
    return false;
  }

  bool join_in_place(const ProgramStep& step, const PlanContext& ctx, int output, ValueId id) {
    for (const PlanContext::Share& share : ctx.shares()) {
      if (share.output != output || share.view) continue;
      const ValueId from = step.inputs[static_cast<size_t>(share.input)];
      const int32_t group = group_of_[static_cast<size_t>(from)];
      if (group < 0) continue;
      const Group& g = groups_[static_cast<size_t>(group)];
      const bool same_size = bytes_of(g.root) == bytes_of(id);
      if (!g.here || g.last > now() || !same_size || owns_storage(id)) continue;
      const bool read_otherwise = std::any_of(step.inputs.begin(), step.inputs.end(), [&](ValueId other) {
        return other != kNoValue && other != from && group_of_[static_cast<size_t>(other)] == group;
      });
      if (read_otherwise) continue;
      join(id, group);
      groups_[static_cast<size_t>(group)].last_write = now();
      return true;
    }
    return false;
  }

  void join(ValueId id, int32_t group) {
    group_of_[static_cast<size_t>(id)] = group;
    Group& g = groups_[static_cast<size_t>(group)];
    g.last = std::max(g.last, last_use_[static_cast<size_t>(id)]);
    ++g.members;
    members_.push_back(id);
  }

  void new_group(ValueId id) {
    groups_.push_back({id, now(), std::max(now(), last_use_[static_cast<size_t>(id)]), true, now(), 1});
    group_of_[static_cast<size_t>(id)] = static_cast<int32_t>(groups_.size() - 1);
    members_.push_back(id);
  }

  int64_t bytes_of(ValueId id) const {
    return known(id).shape.count() * static_cast<int64_t>(dtype_size(known(id).type.dtype));
  }
  bool owns_storage(ValueId id) const {
    return program_.types[static_cast<size_t>(id)].dtype == DType::kString;
  }

  // Who owns the storage of each group that is not in the arena, else kNoValue: an output of the program, so
  // that it is written where the caller will read it; or a tensor of strings.
  std::vector<ValueId> owners() {
    std::vector<ValueId> owner(groups_.size(), kNoValue);
    for (size_t g = 0; g < groups_.size(); ++g)
      if (groups_[g].here && owns_storage(groups_[g].root)) owner[g] = groups_[g].root;
    for (ValueId id : program_.outputs) {
      const int32_t g = group_of_[static_cast<size_t>(id)];
      if (g >= 0 && groups_[static_cast<size_t>(g)].here && owner[static_cast<size_t>(g)] == kNoValue)
        owner[static_cast<size_t>(g)] = id;
    }
    return owner;
  }

  // What a step that runs says of rows that lie apart, and of values inside others.
  void note_parts(const ProgramStep& step, const PlanContext& ctx) {
    for (size_t i = 0; i < step.inputs.size(); ++i)
      if (const ValueId id = step.inputs[i]; id != kNoValue && !ctx.takes_rows_apart_in(i))
        gapless_[static_cast<size_t>(id)] = true;
    for (size_t i = 0; i < step.outputs.size(); ++i)
      if (const ValueId id = step.outputs[i]; id != kNoValue && !ctx.takes_rows_apart_out(i))
        gapless_[static_cast<size_t>(id)] = true;
    for (const PlanContext::Part& p : ctx.parts()) {
      const ValueId in = step.inputs[static_cast<size_t>(p.input)],
                    out = step.outputs[static_cast<size_t>(p.output)];
      const auto size = static_cast<int64_t>(dtype_size(known(out).type.dtype));
      parts_.push_back(
          {now(), p.joins ? in : out, p.joins ? out : in, p.joins, p.offset * size, p.row_stride});
    }
  }

  // Whether the part may lie in the whole: it has its bytes for itself, what reads and writes it copes with
  // the rows of the whole, and nothing writes over the whole while it is needed.
  bool fits_inside(const PartRequest& p) const {
    const int32_t from = group_of_[static_cast<size_t>(p.part)], to = group_of_[static_cast<size_t>(p.whole)];
    if (from < 0 || to < 0 || from == to) return false;
    const Group &part = groups_[static_cast<size_t>(from)], &whole = groups_[static_cast<size_t>(to)];
    const int32_t last = last_use_[static_cast<size_t>(p.part)];
    const bool safe = p.joins ? last <= p.step || whole.last_write <= p.step : whole.last_write < p.step;
    return safe && part.here && whole.here && part.members == 1 && last < now() && !owns_storage(p.part) &&
           (p.row_stride == 0 || !gapless_[static_cast<size_t>(p.part)]);
  }

  // (A whole has no gaps itself: Concat and Split take none there.)
  void put_inside(const PartRequest& p) {
    const auto part = static_cast<size_t>(p.part);
    const int32_t to = group_of_[static_cast<size_t>(p.whole)];
    Group &from = groups_[static_cast<size_t>(group_of_[part])], &whole = groups_[static_cast<size_t>(to)];
    from.here = false;  // empty from now on
    whole.first = std::min(whole.first, from.first);
    whole.last = std::max(whole.last, from.last);
    ++whole.members;
    group_of_[part] = to;
    places_[part] = {places_[static_cast<size_t>(p.whole)].offset + p.offset, p.row_stride};
  }

  // Offsets of everything that lies in the arena.
  struct Arena {
    std::vector<ValueId> owner;  // by group
    std::vector<Lifetime> lifetimes;
    std::vector<size_t> piece;  // by group
    size_t first_scratch = 0;
    int64_t bytes = 0;
  };
  Arena lay_out() {
    Arena a{.owner = owners(), .lifetimes = {}, .piece = std::vector<size_t>(groups_.size())};
    const int32_t end = now();
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (!groups_[g].here || a.owner[g] != kNoValue) continue;
      a.piece[g] = a.lifetimes.size();
      a.lifetimes.push_back(
          {bytes_of(groups_[g].root), groups_[g].first, groups_[g].last >= end ? kForever : groups_[g].last});
    }
    a.first_scratch = a.lifetimes.size();
    for (const auto& [step, lifetime] : scratch_) a.lifetimes.push_back(lifetime);
    a.bytes = assign_offsets(a.lifetimes);
    return a;
  }

  // Parts go where their wholes are, unless that takes more memory: a whole is needed from its first part on.
  Arena lay_out_parts() {
    Arena apart = lay_out();
    const auto groups = groups_;
    const auto group_of = group_of_;
    bool any = false;
    for (const PartRequest& p : parts_) {
      if (!fits_inside(p)) continue;
      put_inside(p);
      any = true;
    }
    if (!any) return apart;
    Arena inside = lay_out();
    if (inside.bytes <= apart.bytes) return inside;
    groups_ = groups;
    group_of_ = group_of;
    std::fill(places_.begin(), places_.end(), PlaceInGroup{});
    return apart;
  }

  // Gives every group and scratch a place, then every member a binding.
  void place() {
    const Arena arena = parts_.empty() ? lay_out() : lay_out_parts();
    segment_->arena_bytes = arena.bytes;
    require(arena.bytes <= limits_.max_total_bytes, ErrorCode::kLimit, "activations need ", arena.bytes,
            " bytes, over max_total_bytes=", limits_.max_total_bytes);
    for (size_t i = 0; i < scratch_.size(); ++i)
      segment_->steps[scratch_[i].first].scratch_offset = arena.lifetimes[arena.first_scratch + i].offset;

    for (ValueId id : arena.owner) {
      if (id == kNoValue) continue;
      segment_->moving.push_back({id, Where::kHeap, 0, known(id).type.dtype, known(id).shape});
      segment_->owned.push_back(id);
    }
    for (ValueId id : members_) {
      const auto g = static_cast<size_t>(group_of_[static_cast<size_t>(id)]);
      const ValueId owner = arena.owner[g];
      if (id == owner) continue;
      const PlaceInGroup& in = places_[static_cast<size_t>(id)];
      Binding b{id, Where::kArena, 0, known(id).type.dtype, known(id).shape, in.offset, in.row_stride};
      if (groups_[g].here && owner == kNoValue) {
        b.index = arena.lifetimes[arena.piece[g]].offset + in.offset;
        segment_->fixed.push_back(b);
      } else {
        b.where = Where::kView;
        b.index = owner == kNoValue ? groups_[g].root : owner;
        segment_->moving.push_back(b);
      }
    }
  }

  struct PlaceInGroup {
    int64_t offset = 0;      // bytes
    int64_t row_stride = 0;  // as TensorView's
  };

  const Program& program_;
  const Limits& limits_;
  int workers_;
  std::shared_ptr<Segment> segment_;
  std::vector<const PlanValue*> known_;  // by value; in the `known` of this or an earlier segment
  std::vector<Group> groups_;
  std::vector<int32_t> group_of_;     // by value; -1: none
  std::vector<int32_t> last_use_;     // by value: the last step that reads it
  std::vector<ValueId> members_;      // in order of production
  std::vector<PlaceInGroup> places_;  // by value
  std::vector<bool> gapless_;         // by value: a step takes no rows that lie apart
  std::vector<PartRequest> parts_;
  std::vector<std::pair<size_t, Lifetime>> scratch_;  // by step of the segment
};

}  // namespace

std::shared_ptr<const Segment> root_segment(const Program& program) {
  auto root = std::make_shared<Segment>();
  root->depth = -1;
  for (size_t i = 0; i < program.types.size(); ++i) {
    PlanValue& v = root->known.emplace_back(static_cast<ValueId>(i), PlanValue{}).second;
    v.type = program.types[i];
    if (const Tensor& t = program.constants[i]; !t.empty()) {
      if (t.has_data()) v.value = t;
      v.shape = t.shape();
      v.shape_known = true;
    }
  }
  for (ValueId id : program.inputs)
    if (program.types[static_cast<size_t>(id)].is_tensor()) root->needs.push_back({id, false});
  // With nothing to ask, the one segment that follows is found by the empty key.
  return root;
}

std::shared_ptr<const Segment> plan_segment(const Program& program, const Segment& previous,
                                            const std::vector<PlanValue>& facts, const Limits& limits,
                                            int workers) {
  require(previous.depth < kMaxCuts, ErrorCode::kLimit, "shapes depend on data at more than ", kMaxCuts,
          " steps of one graph; split the model");
  return Planner(program, previous, facts, limits, workers).plan();
}

}  // namespace pyinfer
