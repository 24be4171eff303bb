// Optional: o = x or nothing.  OptionalHasElement: whether o holds something.  OptionalGetElement: x = what o
// holds.
#include "ops/op.h"

namespace pyinfer {
namespace {

class MakeOptional final : public Op {
 public:
  void plan(PlanContext& ctx) const override { ctx.output_dynamic(0); }
  void run(RunContext& ctx) const override { ctx.set(0, ctx.has(0) ? ctx.object(0) : Object()); }
};

class HasElement final : public Op {
 public:
  explicit HasElement(bool optional) : optional_(optional) {}
  void plan(PlanContext& ctx) const override {
    const bool given = ctx.has(0);
    if (optional_)
      ctx.output(0, {});
    else
      ctx.output_value(0, Tensor::from<bool>({}, std::span(&given, 1)));
  }
  void run(RunContext& ctx) const override {
    *ctx.out<bool>(0) =
        ctx.object_ref(0).kind != Object::Kind::kAbsent || ctx.in(0).dtype != DType::kUndefined;
  }

 private:
  bool optional_;
};

class GetElement final : public Op {
 public:
  explicit GetElement(bool tensor) : tensor_(tensor) {}
  void plan(PlanContext& ctx) const override {
    if (tensor_)
      ctx.output_view(0, 0, ctx.shape(0));
    else
      ctx.output_dynamic(0);
  }
  void run(RunContext& ctx) const override {
    if (tensor_) return;
    Object element = ctx.object(0);
    require(element.kind != Object::Kind::kAbsent, ErrorCode::kInvalidInput, "the optional holds nothing");
    ctx.set(0, std::move(element));
  }

 private:
  bool tensor_;
};

std::unique_ptr<Op> make_optional(NodeContext& ctx) {
  ctx.expect_inputs(0, 1);
  ValueType type = ctx.input_type(0);
  if (!ctx.has_input(0)) {
    const ValueType* given = ctx.attr_type("type");
    require(given != nullptr, ErrorCode::kInvalidModel, "neither an input nor attribute 'type' is given");
    type = *given;
  }
  require(!type.optional, ErrorCode::kInvalidModel, "an optional of ", type);
  type.optional = true;
  ctx.output(0, type);
  return std::make_unique<MakeOptional>();
}

std::unique_ptr<Op> make_has_element(NodeContext& ctx) {
  ctx.expect_inputs(0, 1);
  ctx.output(0, DType::kBool);
  return std::make_unique<HasElement>(ctx.input_type(0).optional);
}

std::unique_ptr<Op> make_get_element(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ValueType type = ctx.input_type(0);
  const bool tensor = type.is_tensor();
  type.optional = false;
  ctx.output(0, type);
  return std::make_unique<GetElement>(tensor);
}

}  // namespace

std::span<const OpDef> optional_ops() {
  static constexpr OpDef kOps[] = {
      {"", "Optional", 1, make_optional},
      {"", "OptionalGetElement", 1, make_get_element},
      {"", "OptionalHasElement", 1, make_has_element},
  };
  return kOps;
}

}  // namespace pyinfer
