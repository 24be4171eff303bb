// What an operator says while it is planned.
#include "check.h"
#include "ops/plan_context.h"

using namespace pyinfer;

TEST(each_of_many_outputs_is_declared_on_its_own) {
  const std::vector<ValueType> types(70, ValueType{.dtype = DType::kFloat32});
  Limits limits;
  PlanContext ctx({}, types, limits, 1);
  ctx.output(0, {});
  CHECK(ctx.declared(0));
  CHECK(!ctx.declared(64));
  ctx.output_dynamic(69);
  CHECK(ctx.declared(69));
}
