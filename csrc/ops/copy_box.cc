#include "ops/copy_box.h"

#include <algorithm>

namespace pyinfer {
namespace {

constexpr int64_t kGrainBytes = 128 << 10;

// Strings own memory: they are assigned one at a time, by the dimensions of the plan.
void copy_strings(const CopyPlan& plan, int d, const std::byte* src, std::byte* dst) {
  if (d == plan.rank) {
    std::copy_n(reinterpret_cast<const std::string*>(src), plan.run / plan.element_bytes,
                reinterpret_cast<std::string*>(dst));
    return;
  }
  for (int64_t i = 0; i < plan.dims[d]; ++i)
    copy_strings(plan, d + 1, src + i * plan.src_strides[d], dst + i * plan.dst_strides[d]);
}

}  // namespace

void copy_box(const RunContext& ctx, const CopyPlan& plan, DType dtype, const void* src, void* dst) {
  if (plan.units == 0) return;
  const auto* from = static_cast<const std::byte*>(src);
  auto* to = static_cast<std::byte*>(dst);
  if (dtype == DType::kString) {
    if (plan.mode == CopyPlan::Mode::kBytes) {
      CopyPlan whole = plan;  // one run, as the last dimension counts bytes
      whole.run = plan.dims[--whole.rank];
      return copy_strings(whole, 0, from, to);
    }
    return copy_strings(plan, 0, from, to);
  }
  const auto copy = kernels().movement.copy;
  ctx.parallel(plan.units, plan.grain,
               [&](int64_t begin, int64_t end, int) { copy(plan, from, to, begin, end); });
}

void copy_boxes(const RunContext& ctx) {
  for (const BoxCopy& box : ctx.state<BoxCopies>().boxes) {
    if (box.plan.units == 0) continue;
    const TensorView& in = ctx.in(box.input);
    const auto size = static_cast<int64_t>(dtype_size(in.dtype));
    copy_box(ctx, box.plan, in.dtype, in.as<std::byte>() + box.src_offset * size,
             ctx.out<std::byte>(box.output) + box.dst_offset * size);
  }
}

CopyPlan plan_box(DType dtype, std::span<const int64_t> dims, std::span<const int64_t> src_strides,
                  std::span<const int64_t> dst_strides) {
  return plan_copy(static_cast<int64_t>(dtype_size(dtype)), dims, src_strides, dst_strides);
}

void plan_strided_output(PlanContext& ctx, const Shape& shape, std::span<const int64_t> src_strides,
                         int64_t offset) {
  ctx.output(0, shape);
  const auto rank = static_cast<size_t>(shape.rank());
  const auto dst_strides = shape.strides();
  BoxCopy box{.plan = plan_box(ctx.dtype(0), shape.dims(), src_strides.first(rank),
                               std::span(dst_strides).first(rank)),
              .src_offset = offset};
  const bool same = shape.count() == ctx.shape(0).count();
  if (same && (box.plan.units == 0 || box.plan.contiguous())) return ctx.output_view(0, 0, shape);
  auto state = std::make_unique<BoxCopies>();
  state->boxes.push_back(box);
  ctx.state(std::move(state));
}

void fill_output(const RunContext& ctx, const TensorView& out, const void* value) {
  const int64_t n = out.count();
  if (out.dtype == DType::kString) {
    std::fill_n(out.as<std::string>(), n, *static_cast<const std::string*>(value));
    return;
  }
  const auto size = static_cast<int64_t>(dtype_size(out.dtype));
  ctx.parallel(n, kGrainBytes / size, [&](int64_t begin, int64_t end, int) {
    kernels().movement.fill(out.as<std::byte>() + begin * size, end - begin,
                            static_cast<const std::byte*>(value), size);
  });
}

}  // namespace pyinfer
