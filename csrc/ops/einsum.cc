// Einsum: y(output labels) = the sum, over all other labels, of the product of the operands.
// Operands are contracted from left to right. A label that only one operand has is summed away first; what
// remains of a pair is a stack of matrix products, C(b, m, n) = sum over k of A(b, m, k) B(b, k, n).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/convert.h"
#include "ops/copy_box.h"
#include "ops/dispatch.h"
#include "ops/einsum_equation.h"
#include "ops/half.h"
#include "ops/lanes.h"
#include "ops/product.h"

namespace pyinfer {
namespace {

using LabelSet = uint64_t;
constexpr int kMaxLabels = 64;

constexpr LabelSet bit(int label) {
  return LabelSet{1} << label;
}

// A tensor by its labels: elements lie at sum of stride * index. Labels of size 1 do not appear.
struct Operand {
  int source = 0;  // its number among the operands, intermediates included
  LabelSet labels = 0;
  std::vector<int> order;  // of the labels as they lie
  int64_t strides[kMaxLabels] = {};
};

// A copy to the layout that a step wants, or none.
struct Gather {
  bool needed = false;
  CopyPlan plan;
  int64_t offset = 0;  // in scratch
};

struct Step {
  bool pair = false;
  int64_t left = 0, right = 0;  // places: >= 0 offsets in scratch, else ~input
  Gather gather_left, gather_right;
  bool transposed = false;       // B lies as (b, n, k)
  ProductState product;          // of a pair
  int64_t rows = 0, length = 0;  // of a sum: rows of adjacent elements
  int64_t result = 0;            // offset in scratch
};

struct EinsumState : StepState {
  std::vector<Step> steps;
  std::vector<int64_t> widened;  // by input: its offset in scratch, or -1 where it is read as it is
  int64_t last = 0;              // the place of the result
  CopyPlan finish;               // from there to the order of the output
  int64_t finished = 0;          // offset in scratch of the result in order, when it must be narrowed
  bool zero = false;             // some dimension is empty
};

// float32 for halves; integers of fewer than 32 bits, whose sums wrap, in 32 bits.
DType work_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat16:
    case DType::kBFloat16: return DType::kFloat32;
    case DType::kInt8:
    case DType::kUInt8:
    case DType::kInt16:
    case DType::kUInt16:
    case DType::kInt32: return DType::kUInt32;
    case DType::kInt64: return DType::kUInt64;
    default: return dtype;
  }
}

double multiply_add(double a, double b, double c) {
  return std::fma(a, b, c);
}
float multiply_add(float a, float b, float c) {
  return std::fma(a, b, c);
}
uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
  return a * b + c;
}
uint64_t multiply_add(uint64_t a, uint64_t b, uint64_t c) {
  return a * b + c;
}

// Builds the steps while planning.
class Planner {
 public:
  Planner(PlanContext& ctx, const EinsumEquation::Binding& binding, DType work, const MatrixProduct& plain,
          const MatrixProduct& transposed)
      : ctx_(ctx), binding_(binding), work_(work), plain_(plain), transposed_(transposed) {}

  std::unique_ptr<EinsumState> plan(const Shape& output) {
    auto state = std::make_unique<EinsumState>();
    state_ = state.get();
    const auto& sizes = binding_.sizes;
    require(sizes.size() <= kMaxLabels, ErrorCode::kUnsupported, sizes.size(),
            " labels, supported: ", kMaxLabels);
    state->zero = std::count(sizes.begin(), sizes.end(), 0) > 0;
    if (state->zero) return state;
    const size_t count = binding_.operands.size();
    std::vector<LabelSet> later(count + 1, 0);  // labels that the output and operands from i on need
    for (int label : binding_.output) later[count] |= significant(label);
    for (size_t i = count; i-- > 0;) {
      later[i] = later[i + 1];
      for (int label : binding_.operands[i]) later[i] |= significant(label);
    }
    Operand left = input(0);
    left = sum(left, later[1]);
    for (size_t i = 1; i < count; ++i) {
      Operand right = input(static_cast<int>(i));
      right = sum(right, left.labels | later[i + 1]);
      left = sum(left, right.labels | later[i + 1]);
      left = multiply(left, right, later[i + 1]);
    }
    finish(left, output);
    ctx_.scratch(layout_.bytes());
    ctx_.flops(flops_);
    return state;
  }

 private:
  int64_t size(int label) const { return binding_.sizes[static_cast<size_t>(label)]; }
  LabelSet significant(int label) const { return size(label) > 1 ? bit(label) : 0; }
  int64_t volume(const std::vector<int>& labels) const {
    int64_t n = 1;
    for (int label : labels) n = Shape({n, size(label)}).count();
    return n;
  }
  int64_t work_size() const { return static_cast<int64_t>(dtype_size(work_)); }

  // Input i, in the type to work with.
  Operand input(int i) {
    const Shape& shape = ctx_.shape(i);
    const auto& labels = binding_.operands[static_cast<size_t>(i)];
    Operand x;
    x.source = static_cast<int>(place_.size());
    const auto strides = shape.strides();
    for (size_t d = 0; d < labels.size(); ++d) {
      const int label = labels[d];
      if (shape[static_cast<int>(d)] == 1) continue;  // broadcast, or of no significance
      if ((x.labels & bit(label)) == 0) x.order.push_back(label);
      x.labels |= bit(label);
      x.strides[label] += strides[d];
    }
    const bool as_is = dtype_size(ctx_.dtype(i)) == dtype_size(work_);
    state_->widened.push_back(as_is ? -1 : layout_.take(shape.count(), work_size()));
    place_.push_back(as_is ? ~int64_t{i} : state_->widened.back());
    return x;
  }

  // Where x lies.
  int64_t place(const Operand& x) const { return place_[static_cast<size_t>(x.source)]; }

  // The labels of `from` that are in `set`, in the order of `from`.
  static std::vector<int> pick(const std::vector<int>& from, LabelSet set) {
    std::vector<int> out;
    for (int label : from)
      if (set & bit(label)) out.push_back(label);
    return out;
  }
  static std::vector<int> chain(std::initializer_list<std::vector<int>> parts) {
    std::vector<int> out;
    for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
    return out;
  }

  bool lies_as(const Operand& x, const std::vector<int>& order) const {
    int64_t stride = 1;
    for (size_t i = order.size(); i-- > 0;) {
      if (x.strides[order[i]] != stride) return false;
      stride *= size(order[i]);
    }
    return true;
  }

  // The copy that lays x out in `order`, which holds exactly its labels.
  Gather gather(const Operand& x, const std::vector<int>& order) {
    Gather g;
    if (lies_as(x, order)) return g;
    g.needed = true;
    g.offset = layout_.take(volume(order), work_size());
    g.plan = copy_plan(x, order);
    return g;
  }
  CopyPlan copy_plan(const Operand& x, const std::vector<int>& order) const {
    require(order.size() <= static_cast<size_t>(CopyPlan::kMaxRank), ErrorCode::kLimit, "an operand of ",
            order.size(), " dimensions");
    std::vector<int64_t> dims, src, dst(order.size());
    int64_t stride = 1;
    for (size_t i = order.size(); i-- > 0;) {
      dst[i] = stride;
      stride *= size(order[i]);
    }
    for (int label : order) {
      dims.push_back(size(label));
      src.push_back(x.strides[label]);
    }
    return plan_box(work_, dims, src, dst);
  }

  // What a step wrote to scratch: contiguous in `order`.
  Operand result(const std::vector<int>& order, int64_t offset) {
    Operand x;
    x.source = static_cast<int>(place_.size());
    place_.push_back(offset);
    x.order = order;
    int64_t stride = 1;
    for (size_t i = order.size(); i-- > 0;) {
      x.labels |= bit(order[i]);
      x.strides[order[i]] = stride;
      stride *= size(order[i]);
    }
    return x;
  }

  // x summed over its labels that are not in `keep`.
  Operand sum(const Operand& x, LabelSet keep) {
    if ((x.labels & ~keep) == 0) return x;
    const std::vector<int> kept = pick(x.order, keep), summed = pick(x.order, ~keep);
    Step step;
    step.left = place(x);
    step.gather_left = gather(x, chain({kept, summed}));
    step.rows = volume(kept);
    step.length = volume(summed);
    step.result = layout_.take(step.rows, work_size());
    state_->steps.push_back(std::move(step));
    return result(kept, state_->steps.back().result);
  }

  // The product of a and b, summed over the labels that are not in `keep`; both have all of those.
  Operand multiply(const Operand& a, const Operand& b, LabelSet keep) {
    const LabelSet both = a.labels & b.labels;
    const std::vector<int> stack = pick(a.order, both & keep), inner = pick(a.order, both & ~keep);
    const std::vector<int> rows = pick(a.order, ~both), columns = pick(b.order, ~both);
    Step step;
    step.pair = true;
    step.left = place(a);
    step.right = place(b);
    step.gather_left = gather(a, chain({stack, rows, inner}));
    const std::vector<int> nk = chain({stack, columns, inner}), kn = chain({stack, inner, columns});
    const bool inner_last = !b.order.empty() && (both & ~keep & bit(b.order.back())) != 0;
    step.transposed = lies_as(b, nk) || (inner_last && !lies_as(b, kn));
    step.gather_right = gather(b, step.transposed ? nk : kn);
    const std::vector<int> order = chain({stack, rows, columns});
    step.result = layout_.take(volume(order), work_size());
    ProductShape& p = step.product.shape;
    p.m = volume(rows);
    p.n = volume(columns);
    p.k = volume(inner);
    p.a_count = p.b_count = volume(stack);
    flops_ = std::max(flops_, product_flops(volume(order), p.k, 1));
    if (p.m > 1 || p.n > 1) {
      p.a.resize(static_cast<size_t>(p.a_count));
      std::iota(p.a.begin(), p.a.end(), 0);
      p.b = p.a;
      (step.transposed ? transposed_ : plain_).plan(step.product, layout_);
    }
    state_->steps.push_back(std::move(step));
    return result(order, state_->steps.back().result);
  }

  void finish(const Operand& x, const Shape& output) {
    std::vector<int> order;
    for (int label : binding_.output)
      if (significant(label)) order.push_back(label);
    state_->last = place(x);
    state_->finish = copy_plan(x, order);
    if (dtype_size(work_) != dtype_size(ctx_.dtype(0)))
      state_->finished = layout_.take(output.count(), work_size());
  }

  PlanContext& ctx_;
  const EinsumEquation::Binding& binding_;
  DType work_;
  const MatrixProduct &plain_, &transposed_;
  EinsumState* state_ = nullptr;
  ScratchLayout layout_;
  std::vector<int64_t> place_;  // of the operands: offsets in scratch, or ~input
  int64_t flops_ = 0;
};

class Einsum final : public Op {
 public:
  Einsum(EinsumEquation equation, DType dtype)
      : equation_(std::move(equation)),
        dtype_(dtype),
        work_(work_type(dtype)),
        plain_(work_, false, 1.0f),
        transposed_(work_, true, 1.0f) {}

  void plan(PlanContext& ctx) const override {
    std::vector<Shape> shapes;
    for (int i = 0; i < ctx.num_inputs(); ++i) shapes.push_back(ctx.shape(i));
    const EinsumEquation::Binding binding = equation_.bind(shapes);
    Shape output;
    for (int label : binding.output) output.push_back(binding.sizes[static_cast<size_t>(label)]);
    ctx.output(0, output);
    ctx.state(Planner(ctx, binding, work_, plain_, transposed_).plan(output));
  }

  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<EinsumState>();
    const TensorView& y = ctx.out(0);
    if (state.zero) {
      if (y.count() > 0) std::memset(y.data, 0, y.bytes());
      return;
    }
    for (size_t i = 0; i < state.widened.size(); ++i) {
      const TensorView& x = ctx.in(static_cast<int>(i));
      if (state.widened[i] >= 0)
        change_type(ctx, dtype_, x.data, work_, ctx.scratch() + state.widened[i], x.count());
    }
    for (const Step& step : state.steps) {
      if (step.pair)
        run_product(ctx, step);
      else
        run_sum(ctx, step);
    }
    const bool as_is = dtype_size(work_) == dtype_size(dtype_);
    void* finished = as_is ? y.data : ctx.scratch() + state.finished;
    copy_box(ctx, state.finish, work_, at(ctx, state.last), finished);
    if (!as_is) change_type(ctx, work_, finished, dtype_, y.data, y.count());
  }

 private:
  static const void* at(const RunContext& ctx, int64_t place) {
    return place >= 0 ? ctx.scratch() + place : ctx.in(static_cast<int>(~place)).data;
  }

  static void change_type(const RunContext& ctx, DType from, const void* x, DType to, void* y, int64_t n) {
    constexpr int64_t kGrain = 16384;
    const auto from_size = static_cast<int64_t>(dtype_size(from)),
               to_size = static_cast<int64_t>(dtype_size(to));
    ctx.parallel(n, kGrain, [&](int64_t begin, int64_t end, int) {
      convert(from, static_cast<const std::byte*>(x) + begin * from_size, to,
              static_cast<std::byte*>(y) + begin * to_size, end - begin);
    });
  }

  const void* gathered(const RunContext& ctx, const Gather& gather, int64_t place) const {
    const void* x = at(ctx, place);
    if (!gather.needed) return x;
    std::byte* to = ctx.scratch() + gather.offset;
    copy_box(ctx, gather.plan, work_, x, to);
    return to;
  }

  void run_sum(const RunContext& ctx, const Step& step) const {
    const void* x = gathered(ctx, step.gather_left, step.left);
    dispatch<float, double, uint32_t, uint64_t>(work_, [&]<class T>() {
      auto* y = reinterpret_cast<T*>(ctx.scratch() + step.result);
      ctx.parallel(step.rows, grain_for(step.length, 1 << 15), [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i)
          y[i] = lane_sum(static_cast<const T*>(x) + i * step.length, step.length);
      });
    });
  }

  void run_product(const RunContext& ctx, const Step& step) const {
    const void* a = gathered(ctx, step.gather_left, step.left);
    const void* b = gathered(ctx, step.gather_right, step.right);
    std::byte* c = ctx.scratch() + step.result;
    const ProductShape& p = step.product.shape;
    if (p.m > 1 || p.n > 1) {
      (step.transposed ? transposed_ : plain_).run(ctx, step.product, a, b, c, {});
      return;
    }
    // Products of single rows and columns, of which a matrix product would make too little.
    dispatch<float, double, uint32_t, uint64_t>(work_, [&]<class T>() {
      ctx.parallel(p.a_count, grain_for(p.k, 1 << 15), [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const T *x = static_cast<const T*>(a) + i * p.k, *y = static_cast<const T*>(b) + i * p.k;
          T sum{0};
          for (int64_t k = 0; k < p.k; ++k) sum = multiply_add(x[k], y[k], sum);
          reinterpret_cast<T*>(c)[i] = sum;
        }
      });
    });
  }

  EinsumEquation equation_;
  DType dtype_, work_;
  MatrixProduct plain_, transposed_;
};

std::unique_ptr<Op> make_einsum(NodeContext& ctx) {
  const int count = ctx.num_inputs();
  ctx.expect_inputs(std::max(count, 1), std::max(count, 1));
  for (int i = 0; i < count; ++i) {
    ctx.expect_dtype(
        i, {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64, DType::kInt8, DType::kUInt8,
            DType::kInt16, DType::kUInt16, DType::kInt32, DType::kUInt32, DType::kInt64, DType::kUInt64});
    ctx.expect_same_dtype(0, i);
  }
  ctx.output(0, ctx.dtype(0));
  return std::make_unique<Einsum>(EinsumEquation(ctx.attr_string("equation"), count), ctx.dtype(0));
}

}  // namespace

std::span<const OpDef> einsum_ops() {
  static constexpr OpDef kOps[] = {{"", "Einsum", 1, make_einsum}};
  return kOps;
}

}  // namespace pyinfer
