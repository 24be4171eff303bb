// Sequences of tensors: s = (x0, x1, ...), built, changed, read, mapped, split and joined.
#include <algorithm>

#include "base/math.h"
#include "ops/op.h"
#include "ops/tensor_list.h"

namespace pyinfer {
namespace {

ValueType sequence_of(ValueType element) {
  element.sequence = true;
  return element;
}

ValueType element_of(ValueType sequence) {
  sequence.sequence = sequence.optional = false;
  return sequence;
}

// A sequence takes room even where its tensors have no elements.
void check_length(int64_t length, const Limits& limits) {
  require(length <= limits.max_tensor_bytes / static_cast<int64_t>(sizeof(Object)), ErrorCode::kLimit,
          "a sequence of ", length, " elements would exceed max_tensor_bytes=", limits.max_tensor_bytes);
}

const std::vector<Object>& items(const RunContext& ctx, int i) {
  const Object& o = ctx.object_ref(i);
  require(o.kind == Object::Kind::kSequence, ErrorCode::kInvalidInput, "input ", i, " holds no sequence");
  return o.items;
}

// The position that input i gives, of 0 to `last`; negative ones count back from n.
size_t position(const RunContext& ctx, int i, size_t n, int64_t last) {
  const std::vector<int64_t> given = to_int64s(ctx.in(i));
  require(given.size() == 1, ErrorCode::kInvalidInput, "the position must have one element, got ",
          given.size());
  const auto length = static_cast<int64_t>(n);
  require(given[0] >= -length && given[0] <= last, ErrorCode::kInvalidInput, "position ", given[0],
          " is outside of a sequence of ", n);
  return static_cast<size_t>(given[0] < 0 ? given[0] + length : given[0]);
}

// An operator whose results have sizes that only the run knows.
class SequenceOp final : public Op {
 public:
  using Run = void (*)(RunContext&);
  explicit SequenceOp(Run run) : run_(run) {}
  void plan(PlanContext& ctx) const override { ctx.output_dynamic(0); }
  void run(RunContext& ctx) const override { run_(ctx); }

 private:
  Run run_;
};

std::unique_ptr<Op> sequence_op(SequenceOp::Run run) {
  return std::make_unique<SequenceOp>(run);
}

void expect_sequence(const NodeContext& ctx, int i) {
  const ValueType& type = ctx.input_type(i);
  require(type.sequence && !type.optional, ErrorCode::kInvalidModel, "input ", i, " must be a sequence, got ",
          type);
}

void expect_position(const NodeContext& ctx, int i) {
  if (ctx.has_input(i)) ctx.expect_dtype(i, {DType::kInt32, DType::kInt64});
}

std::unique_ptr<Op> make_sequence_empty(NodeContext& ctx) {
  ctx.expect_inputs(0, 0);
  ctx.output(0, {.dtype = ctx.attr_dtype("dtype", DType::kFloat32), .sequence = true});
  return sequence_op([](RunContext& run) { run.set(0, Object::sequence({})); });
}

std::unique_ptr<Op> make_sequence_construct(NodeContext& ctx) {
  ctx.expect_inputs(std::max(1, ctx.num_inputs()), ctx.num_inputs());
  require(ctx.num_inputs() > 0 && ctx.input_type(0).is_tensor(), ErrorCode::kInvalidModel,
          "expected tensors");
  for (int i = 1; i < ctx.num_inputs(); ++i) ctx.expect_same_dtype(0, i);
  ctx.output(0, sequence_of(ctx.input_type(0)));
  return sequence_op([](RunContext& run) {
    HeldBytes held(run.limits().max_total_bytes);
    std::vector<Object> list;
    for (int i = 0; i < run.num_inputs(); ++i) list.push_back(run.object(i, held));
    run.set(0, Object::sequence(std::move(list)));
  });
}

// y = s[:p] + (x) + s[p:]
std::unique_ptr<Op> make_sequence_insert(NodeContext& ctx) {
  ctx.expect_inputs(2, 3);
  expect_sequence(ctx, 0);
  expect_position(ctx, 2);
  require(ctx.input_type(1) == element_of(ctx.input_type(0)), ErrorCode::kInvalidModel, "cannot insert ",
          ctx.input_type(1), " into ", ctx.input_type(0));
  ctx.output(0, ctx.input_type(0));
  return sequence_op([](RunContext& run) {
    std::vector<Object> list = items(run, 0);
    check_length(static_cast<int64_t>(list.size()) + 1, run.limits());
    const size_t n = list.size(), at = run.has(2) ? position(run, 2, n, static_cast<int64_t>(n)) : n;
    list.insert(list.begin() + static_cast<std::ptrdiff_t>(at), run.object(1));
    run.set(0, Object::sequence(std::move(list)));
  });
}

// y = s[:p] + s[p+1:]
std::unique_ptr<Op> make_sequence_erase(NodeContext& ctx) {
  ctx.expect_inputs(1, 2);
  expect_sequence(ctx, 0);
  expect_position(ctx, 1);
  ctx.output(0, ctx.input_type(0));
  return sequence_op([](RunContext& run) {
    std::vector<Object> list = items(run, 0);
    const size_t n = list.size();
    require(n > 0, ErrorCode::kInvalidInput, "cannot erase from an empty sequence");
    const size_t at = run.has(1) ? position(run, 1, n, static_cast<int64_t>(n) - 1) : n - 1;
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
    run.set(0, Object::sequence(std::move(list)));
  });
}

// y = s[p]
std::unique_ptr<Op> make_sequence_at(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  expect_sequence(ctx, 0);
  expect_position(ctx, 1);
  ctx.output(0, element_of(ctx.input_type(0)));
  return sequence_op([](RunContext& run) {
    const std::vector<Object>& list = items(run, 0);
    run.set(0, list[position(run, 1, list.size(), static_cast<int64_t>(list.size()) - 1)]);
  });
}

class SequenceLength final : public Op {
 public:
  void plan(PlanContext& ctx) const override { ctx.output(0, {}); }
  void run(RunContext& ctx) const override {
    *ctx.out<int64_t>(0) = static_cast<int64_t>(items(ctx, 0).size());
  }
};

std::unique_ptr<Op> make_sequence_length(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  expect_sequence(ctx, 0);
  ctx.output(0, DType::kInt64);
  return std::make_unique<SequenceLength>();
}

// y_j[i] = body_j(s[i], t[i] or t, ...)
class SequenceMap final : public Op {
 public:
  SequenceMap(std::unique_ptr<Body> body, int inputs, std::vector<bool> mapped)
      : body_(std::move(body)), inputs_(inputs), mapped_(std::move(mapped)) {}

  bool pure() const override { return false; }
  void plan(PlanContext& ctx) const override {
    for (int i = 0; i < ctx.num_outputs(); ++i)
      if (ctx.wants(i)) ctx.output_dynamic(i);
  }
  void run(RunContext& ctx) const override {
    const size_t n = items(ctx, 0).size();
    HeldBytes held(ctx.limits().max_total_bytes);
    std::vector<Object> values(static_cast<size_t>(inputs_)), outputs;
    for (int i = 0; i < inputs_; ++i) {
      if (!mapped_[static_cast<size_t>(i)]) {
        values[static_cast<size_t>(i)] = ctx.object(i, held);
        continue;
      }
      require(items(ctx, i).size() == n, ErrorCode::kInvalidInput, "sequences of ", n, " and ",
              items(ctx, i).size(), " elements");
    }
    std::vector<std::vector<Object>> results(static_cast<size_t>(ctx.num_outputs()));
    for (size_t at = 0; at < n; ++at) {
      RunGuard::trip(ctx.limits().max_loop_trips);
      for (int i = 0; i < inputs_; ++i)
        if (mapped_[static_cast<size_t>(i)]) values[static_cast<size_t>(i)] = items(ctx, i)[at];
      outputs.clear();
      body_->run(ctx, values, outputs);
      for (size_t o = 0; o < results.size(); ++o) {
        results[o].push_back(std::move(outputs[o]));
        held.add(static_cast<int64_t>(sizeof(Object)) + unshared_bytes(results[o].back()));
      }
    }
    for (int o = 0; o < ctx.num_outputs(); ++o)
      if (ctx.wants(o)) ctx.set(o, Object::sequence(std::move(results[static_cast<size_t>(o)])));
  }

 private:
  std::unique_ptr<Body> body_;
  int inputs_;  // captured values follow them
  std::vector<bool> mapped_;
};

std::unique_ptr<Op> make_sequence_map(NodeContext& ctx) {
  ctx.expect_inputs(std::max(1, ctx.num_inputs()), ctx.num_inputs());
  expect_sequence(ctx, 0);
  std::vector<ValueType> types;
  std::vector<bool> mapped;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    mapped.push_back(ctx.input_type(i).sequence);
    types.push_back(mapped.back() ? element_of(ctx.input_type(i)) : ctx.input_type(i));
  }
  auto body = ctx.body("body", types);
  const std::vector<ValueType>& results = body->output_types();
  require(static_cast<int>(results.size()) == ctx.num_outputs(), ErrorCode::kInvalidModel, "the body has ",
          results.size(), " outputs, expected ", ctx.num_outputs());
  for (int i = 0; i < ctx.num_outputs(); ++i) {
    const ValueType& type = results[static_cast<size_t>(i)];
    require(type.is_tensor(), ErrorCode::kInvalidModel, "output ", i, " of the body must be a tensor, got ",
            type);
    ctx.output(i, sequence_of(type));
  }
  return std::make_unique<SequenceMap>(std::move(body), ctx.num_inputs(), std::move(mapped));
}

// s = (x[..., 0:k, ...], x[..., k:2k, ...], ...) along an axis
class SplitToSequence final : public Op {
 public:
  SplitToSequence(int64_t axis, bool keep) : axis_(axis), keep_(keep) {}

  void plan(PlanContext& ctx) const override {
    normalize_axis(axis_, ctx.shape(0).rank());
    ctx.output_dynamic(0);
  }
  void run(RunContext& ctx) const override {
    const TensorView& x = ctx.in(0);
    const int axis = normalize_axis(axis_, x.shape.rank());
    const int64_t length = x.shape[axis];
    std::vector<Object> list;
    const auto cut = [&](int64_t begin, int64_t end) {
      Tensor part = copy_slice(x, axis, begin, end);
      if (!keep_) {
        Shape shape = part.shape();
        shape.erase(axis);
        part = part.reshaped(shape);
      }
      list.push_back(Object::of(std::move(part)));
    };
    if (ctx.has(1) && ctx.in(1).shape.rank() > 0) {
      int64_t at = 0;
      for (int64_t size : to_int64s(ctx.in(1))) {
        require(size >= 0 && size <= length - at, ErrorCode::kInvalidInput, "split asks for ", size,
                " elements after ", at, " of ", length);
        cut(at, at + size);
        at += size;
      }
      require(at == length, ErrorCode::kInvalidInput, "split covers ", at, " of ", length, " elements");
    } else {
      const int64_t size = ctx.has(1) ? to_int64s(ctx.in(1))[0] : 1;
      require(size > 0, ErrorCode::kInvalidInput, "split must be positive, got ", size);
      check_length(ceil_div(length, size), ctx.limits());
      for (int64_t at = 0; at < length; at += std::min(size, length - at))
        cut(at, at + std::min(size, length - at));
    }
    ctx.set(0, Object::sequence(std::move(list)));
  }

 private:
  int64_t axis_;
  bool keep_;
};

std::unique_ptr<Op> make_split_to_sequence(NodeContext& ctx) {
  ctx.expect_inputs(1, 2);
  require(ctx.input_type(0).is_tensor(), ErrorCode::kInvalidModel, "input 0 must be a tensor");
  expect_position(ctx, 1);
  const bool keep = ctx.has_input(1) || ctx.attr_int("keepdims", 1) != 0;
  ctx.output(0, sequence_of(ctx.input_type(0)));
  return std::make_unique<SplitToSequence>(ctx.attr_int("axis", 0), keep);
}

class ConcatFromSequence final : public Op {
 public:
  ConcatFromSequence(int64_t axis, bool stack) : axis_(axis), stack_(stack) {}
  void plan(PlanContext& ctx) const override { ctx.output_dynamic(0); }
  void run(RunContext& ctx) const override {
    std::vector<Tensor> parts;
    for (const Object& o : items(ctx, 0)) parts.push_back(o.tensor);
    ctx.set(0, join_tensors(parts, axis_, stack_, ctx.limits(), "elements of the sequence"));
  }

 private:
  int64_t axis_;
  bool stack_;
};

std::unique_ptr<Op> make_concat_from_sequence(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  expect_sequence(ctx, 0);
  ctx.output(0, element_of(ctx.input_type(0)));
  return std::make_unique<ConcatFromSequence>(ctx.attr_int("axis"), ctx.attr_int("new_axis", 0) != 0);
}

}  // namespace

std::span<const OpDef> sequence_ops() {
  static constexpr OpDef kOps[] = {
      {"", "ConcatFromSequence", 1, make_concat_from_sequence},
      {"", "SequenceAt", 1, make_sequence_at},
      {"", "SequenceConstruct", 1, make_sequence_construct},
      {"", "SequenceEmpty", 1, make_sequence_empty},
      {"", "SequenceErase", 1, make_sequence_erase},
      {"", "SequenceInsert", 1, make_sequence_insert},
      {"", "SequenceLength", 1, make_sequence_length},
      {"", "SequenceMap", 1, make_sequence_map},
      {"", "SplitToSequence", 1, make_split_to_sequence},
  };
  return kOps;
}

}  // namespace pyinfer
