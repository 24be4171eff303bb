// If: y = cond ? then_branch() : else_branch().
// Loop: for (i = 0; i < M && cond; ++i) cond, v, s_i = body(i, cond, v);  gives v and stacked s.
#include <algorithm>

#include "base/run_guard.h"
#include "ops/op.h"
#include "ops/tensor_list.h"

namespace pyinfer {
namespace {

void plan_all_dynamic(PlanContext& ctx) {
  for (int i = 0; i < ctx.num_outputs(); ++i)
    if (ctx.wants(i)) ctx.output_dynamic(i);
}

bool read_condition(const TensorView& cond) {
  require(cond.count() == 1, ErrorCode::kInvalidInput, "the condition must have one element, got shape ",
          cond.shape);
  return *cond.as<bool>();
}

// The type of a value that is one of two: an optional where only one of them is.
ValueType common_type(const ValueType& a, const ValueType& b, int i) {
  ValueType plain_a = a, plain_b = b;
  plain_a.optional = plain_b.optional = false;
  require(plain_a == plain_b, ErrorCode::kInvalidModel, "output ", i, " is ", a, " or ", b);
  plain_a.optional = a.optional || b.optional;
  return plain_a;
}

// Which outputs of an If have a place in the plan.
struct PlannedOutputs final : StepState {
  std::vector<bool> planned;
};

class If final : public Op {
 public:
  If(std::unique_ptr<Body> then_branch, std::unique_ptr<Body> else_branch)
      : then_(std::move(then_branch)), else_(std::move(else_branch)) {}

  bool pure() const override { return then_->pure() && else_->pure(); }

  // An output has a planned shape where the branch that will run, or both, give the same.
  void plan(PlanContext& ctx) const override {
    const Tensor* condition = ctx.value(0);
    const bool known = condition != nullptr && condition->count() == 1;
    const Body& likely = !known || *condition->as<bool>() ? *then_ : *else_;
    const auto shapes = likely.output_shapes(ctx);
    const auto others = known ? shapes : else_->output_shapes(ctx);
    auto state = std::make_unique<PlannedOutputs>();
    for (int i = 0; i < ctx.num_outputs(); ++i) {
      const auto at = static_cast<size_t>(i);
      const bool planned = shapes[at] && shapes[at] == others[at];
      state->planned.push_back(planned);
      if (!ctx.wants(i)) continue;
      if (planned)
        ctx.output(i, *shapes[at]);
      else
        ctx.output_dynamic(i);
    }
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const Body& branch = read_condition(ctx.in(0)) ? *then_ : *else_;
    const std::vector<bool>& planned = ctx.state<PlannedOutputs>().planned;
    std::vector<Object> outputs(branch.output_types().size());
    for (int i = 0; i < ctx.num_outputs(); ++i)
      if (ctx.wants(i) && planned[static_cast<size_t>(i)])
        outputs[static_cast<size_t>(i)] =
            Object::of(Tensor(ctx.out(i).dtype, ctx.out(i).shape, ctx.out(i).data, nullptr));
    branch.run(ctx, {}, outputs);
    for (int i = 0; i < ctx.num_outputs(); ++i) {
      if (!ctx.wants(i)) continue;
      Object& output = outputs[static_cast<size_t>(i)];
      if (!planned[static_cast<size_t>(i)]) {
        ctx.set(i, std::move(output));
        continue;
      }
      const TensorView& from = output.tensor.view();
      require(from.shape == ctx.out(i).shape, ErrorCode::kInternal, "output ", i, " was planned as ",
              ctx.out(i).shape, " and is ", from.shape);
      if (from.data != ctx.out(i).data) copy_elements(from, ctx.out(i).data);
    }
  }

 private:
  std::unique_ptr<Body> then_, else_;
};

class Loop final : public Op {
 public:
  Loop(std::unique_ptr<Body> body, bool counted, bool conditional, size_t carried,
       std::vector<Tensor> empty_outputs)
      : body_(std::move(body)),
        counted_(counted),
        conditional_(conditional),
        carried_(carried),
        empty_outputs_(std::move(empty_outputs)) {}

  // Not computed while planning, which must be quick.
  bool pure() const override { return false; }
  void plan(PlanContext& ctx) const override { plan_all_dynamic(ctx); }

  void run(RunContext& ctx) const override {
    const int64_t trips = counted_ ? read_trips(ctx.in(0)) : INT64_MAX;
    bool go_on = !conditional_ || read_condition(ctx.in(1));
    std::vector<Object> values(2 + carried_), outputs;
    HeldBytes held(ctx.limits().max_total_bytes);
    for (size_t i = 0; i < carried_; ++i) values[2 + i] = ctx.object(static_cast<int>(2 + i), held);
    std::vector<TripOutput> scans(empty_outputs_.size(), TripOutput(0, false));
    for (int64_t trip = 0; trip < trips && go_on; ++trip) {
      RunGuard::trip(ctx.limits().max_loop_trips);
      values[0] = Object::of(Tensor::scalar_i64(trip));
      values[1] = Object::of(Tensor::from<bool>({}, std::span(&go_on, 1)));
      outputs.clear();
      body_->run(ctx, values, outputs);
      require(outputs[0].kind == Object::Kind::kTensor, ErrorCode::kInvalidModel,
              "the condition is no tensor");
      if (conditional_) go_on = read_condition(outputs[0].tensor.view());
      int64_t bytes = 0;
      for (size_t i = 0; i < carried_; ++i) {
        values[2 + i] = std::move(outputs[1 + i]);
        bytes += unshared_bytes(values[2 + i]);
      }
      for (size_t i = 0; i < scans.size(); ++i)
        if (ctx.wants(static_cast<int>(carried_ + i)))
          bytes += scans[i].append(outputs[1 + carried_ + i], ctx.limits());
      held.set(bytes);
    }
    for (size_t i = 0; i < carried_; ++i)
      if (ctx.wants(static_cast<int>(i))) ctx.set(static_cast<int>(i), std::move(values[2 + i]));
    for (size_t i = 0; i < scans.size(); ++i)
      if (const int o = static_cast<int>(carried_ + i); ctx.wants(o))
        ctx.set(o, scans[i].join(empty_outputs_[i], ctx.limits()));
  }

 private:
  static int64_t read_trips(const TensorView& m) {
    require(m.count() == 1, ErrorCode::kInvalidInput, "the trip count must have one element, got shape ",
            m.shape);
    return *m.as<int64_t>();
  }

  std::unique_ptr<Body> body_;
  bool counted_, conditional_;  // captured values follow the inputs, so a run cannot tell which are given
  size_t carried_;
  std::vector<Tensor> empty_outputs_;
};

std::unique_ptr<Op> make_if(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kBool});
  auto then_branch = ctx.body("then_branch", {}), else_branch = ctx.body("else_branch", {});
  const auto &a = then_branch->output_types(), &b = else_branch->output_types();
  require(a.size() == b.size() && static_cast<int>(a.size()) >= ctx.num_outputs(), ErrorCode::kInvalidModel,
          "the branches have ", a.size(), " and ", b.size(), " outputs, expected ", ctx.num_outputs());
  for (int i = 0; i < ctx.num_outputs(); ++i)
    ctx.output(i, common_type(a[static_cast<size_t>(i)], b[static_cast<size_t>(i)], i));
  return std::make_unique<If>(std::move(then_branch), std::move(else_branch));
}

std::unique_ptr<Op> make_loop(NodeContext& ctx) {
  if (ctx.has_input(0)) ctx.expect_dtype(0, {DType::kInt64});
  if (ctx.has_input(1)) ctx.expect_dtype(1, {DType::kBool});
  const Graph* graph = ctx.attr_graph("body");
  require(graph != nullptr, ErrorCode::kInvalidModel, "attribute 'body' is required");
  const auto carried = static_cast<size_t>(std::max(ctx.num_inputs() - 2, 0));
  require(graph->inputs.size() == 2 + carried, ErrorCode::kInvalidModel, "the body has ",
          graph->inputs.size(), " inputs, expected ", 2 + carried);
  std::vector<ValueType> types = {{.dtype = DType::kInt64}, {.dtype = DType::kBool}};
  for (size_t i = 0; i < carried; ++i) {
    ValueType type = ctx.input_type(static_cast<int>(2 + i));
    require(type.known(), ErrorCode::kInvalidModel, "input ", 2 + i, " is missing");
    // A value that later trips may leave out.
    type.optional = type.optional || graph->value(graph->inputs[2 + i]).type.optional;
    types.push_back(type);
  }
  auto body = ctx.body("body", types);
  const std::vector<ValueType>& results = body->output_types();
  require(results.size() >= 1 + carried && results.size() - 1 >= static_cast<size_t>(ctx.num_outputs()),
          ErrorCode::kInvalidModel, "the body has ", results.size(), " outputs, expected ",
          1 + ctx.num_outputs());
  require(results[0] == types[1], ErrorCode::kInvalidModel, "the condition that the body gives is ",
          results[0]);
  for (size_t i = 0; i < carried; ++i) {
    const ValueType type = common_type(types[2 + i], results[1 + i], static_cast<int>(i));
    require(type == types[2 + i], ErrorCode::kInvalidModel, "the body takes ", types[2 + i], " and gives ",
            results[1 + i], " as value ", i);
    ctx.output(static_cast<int>(i), type);
  }
  std::vector<Tensor> empty;
  for (size_t i = 1 + carried; i < results.size(); ++i) {
    require(results[i].is_tensor(), ErrorCode::kInvalidModel, "output ", i - 1, " must be a tensor, got ",
            results[i]);
    ctx.output(static_cast<int>(i - 1), results[i]);
    empty.push_back(no_trips(*graph, i, results[i].dtype, 0));
  }
  return std::make_unique<Loop>(std::move(body), ctx.has_input(0), ctx.has_input(1), carried,
                                std::move(empty));
}

}  // namespace

std::span<const OpDef> control_flow_ops() {
  static constexpr OpDef kOps[] = {{"", "If", 1, make_if}, {"", "Loop", 1, make_loop}};
  return kOps;
}

}  // namespace pyinfer
