// Identity: y = x, for a value of any type.
#include "ops/op.h"

namespace pyinfer {
namespace {

class Identity final : public Op {
 public:
  explicit Identity(bool tensor) : tensor_(tensor) {}
  void plan(PlanContext& ctx) const override {
    if (tensor_)
      ctx.output_view(0, 0, ctx.shape(0));
    else
      ctx.output_dynamic(0);
  }
  void run(RunContext& ctx) const override {
    if (!tensor_) ctx.set(0, ctx.object(0));
  }

 private:
  bool tensor_;
};

std::unique_ptr<Op> make_identity(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.output(0, ctx.input_type(0));
  return std::make_unique<Identity>(ctx.input_type(0).is_tensor());
}

}  // namespace

std::span<const OpDef> identity_ops() {
  static constexpr OpDef kOps[] = {{"", "Identity", 1, make_identity}};
  return kOps;
}

}  // namespace pyinfer
