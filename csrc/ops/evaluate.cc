#include "ops/evaluate.h"

#include <algorithm>

#include "base/aligned.h"
#include "base/math.h"

namespace pyinfer {
namespace {

bool is_string(const PlanValue& v) {
  return v.type.dtype == DType::kString;
}

}  // namespace

std::optional<std::vector<Tensor>> evaluate(const Op& op, std::span<const PlanValue* const> inputs,
                                            std::span<const ValueType> output_types, const Limits& limits,
                                            int64_t max_bytes) {
  if (!op.pure()) return std::nullopt;
  PlanContext plan(inputs, output_types, limits, 1);
  op.plan(plan);
  int64_t bytes = plan.scratch_bytes(), strings = plan.longest_string();
  for (const PlanValue* in : inputs)
    if (in != nullptr) strings += in->value.view().longest_string();
  for (int i = 0; i < plan.num_outputs(); ++i) {
    const PlanValue& out = plan.outputs()[static_cast<size_t>(i)];
    if (plan.wants(i) && !out.type.is_tensor()) return std::nullopt;
    const int64_t each = static_cast<int64_t>(dtype_size(out.type.dtype)) + (is_string(out) ? strings : 0);
    const auto size = checked_mul(out.shape_known ? out.shape.count() : 0, each);
    if (!size || *size > max_bytes - bytes) return std::nullopt;
    bytes += *size;
  }

  std::vector<Slot> slots(inputs.size() + output_types.size());
  std::vector<ValueId> in, out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    in.push_back(inputs[i] ? static_cast<ValueId>(i) : kNoValue);
    if (inputs[i]) slots[i].set(inputs[i]->value);
  }
  const auto output_slot = [&](int i) -> Slot& { return slots[inputs.size() + static_cast<size_t>(i)]; };
  bool must_run = false;
  for (int i = 0; i < plan.num_outputs(); ++i) {
    out.push_back(plan.wants(i) ? static_cast<ValueId>(inputs.size()) + i : kNoValue);
    if (!plan.wants(i)) continue;
    const PlanValue& v = plan.outputs()[static_cast<size_t>(i)];
    if (!v.value.empty()) {
      output_slot(i).set(v.value);
      continue;
    }
    const bool view = std::any_of(plan.shares().begin(), plan.shares().end(),
                                  [&](const PlanContext::Share& s) { return s.view && s.output == i; });
    if (view) continue;
    must_run = true;
    if (v.shape_known) output_slot(i).set(Tensor(v.type.dtype, v.shape));
  }
  for (const PlanContext::Share& share : plan.shares())
    if (share.view && plan.wants(share.output)) {
      const Tensor& from = inputs[static_cast<size_t>(share.input)]->value;
      output_slot(share.output).set(from.reshaped(plan.outputs()[static_cast<size_t>(share.output)].shape));
    }
  if (must_run) {
    Serial serial;
    const AlignedBytes scratch(static_cast<size_t>(plan.scratch_bytes()));
    const std::unique_ptr<StepState> state = plan.take_state();
    RunContext run(slots.data(), in, out, scratch.data(), state.get(), serial, limits);
    op.run(run);
  }
  std::vector<Tensor> results;
  for (int i = 0; i < plan.num_outputs(); ++i)
    results.push_back(plan.wants(i) ? output_slot(i).object.tensor : Tensor());
  return results;
}

}  // namespace pyinfer
