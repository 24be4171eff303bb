// Scan: for t: state, y_j[t] = body(state, x_i[t]), along one axis of each x_i and y_j.
#include <algorithm>

#include "base/run_guard.h"
#include "ops/op.h"
#include "ops/tensor_list.h"

namespace pyinfer {
namespace {

struct ScanAxis {
  int64_t axis = 0;
  bool reverse = false;
};

// The body and how its values map to those of the node.
struct ScanLoop {
  std::unique_ptr<Body> body;
  size_t states = 0;
  std::vector<ScanAxis> inputs, outputs;
  std::vector<Tensor> empty_outputs;  // of no trips

  // What one pass over `length` elements gives: the states, then the outputs.
  std::vector<Object> run(RunContext& ctx, std::vector<Object> values, const std::vector<TensorView>& xs,
                          int64_t length) const {
    values.resize(states + inputs.size());
    std::vector<TripOutput> ys;
    for (const ScanAxis& a : outputs) ys.emplace_back(a.axis, a.reverse);
    HeldBytes held(ctx.limits().max_total_bytes);
    std::vector<Object> results;
    for (int64_t t = 0; t < length; ++t) {
      RunGuard::trip(ctx.limits().max_loop_trips);
      for (size_t i = 0; i < inputs.size(); ++i) {
        const int axis = normalize_axis(inputs[i].axis, xs[i].shape.rank());
        // A pass may cover less than the axis; a reverse one then starts at its own end.
        values[states + i] = Object::of(element(xs[i], axis, inputs[i].reverse ? length - 1 - t : t));
      }
      results.clear();
      body->run(ctx, values, results);
      int64_t bytes = 0;
      for (size_t i = 0; i < states; ++i) {
        values[i] = std::move(results[i]);
        bytes += unshared_bytes(values[i]);
      }
      for (size_t i = 0; i < ys.size(); ++i) bytes += ys[i].append(results[states + i], ctx.limits());
      held.set(bytes);
    }
    values.resize(states);
    for (size_t i = 0; i < ys.size(); ++i)
      values.push_back(Object::of(ys[i].join(empty_outputs[i], ctx.limits())));
    return values;
  }

  static Tensor element(const TensorView& x, int axis, int64_t at) {
    Shape shape = x.shape;
    shape.erase(axis);
    if (axis > 0) return copy_slice(x, axis, at, at + 1).reshaped(shape);
    // Borrowed: `x` outlives the trip, and a body copies what it keeps.
    const auto offset = static_cast<size_t>(at * shape.count()) * dtype_size(x.dtype);
    return {x.dtype, shape, x.as<std::byte>() + offset, nullptr};
  }
};

int64_t common_length(const std::vector<TensorView>& xs, const std::vector<ScanAxis>& axes) {
  int64_t length = -1;
  for (size_t i = 0; i < xs.size(); ++i) {
    require(xs[i].shape.rank() > 0, ErrorCode::kInvalidInput, "cannot scan a scalar");
    const int64_t n = xs[i].shape[normalize_axis(axes[i].axis, xs[i].shape.rank())];
    require(length < 0 || n == length, ErrorCode::kInvalidInput, "cannot scan ", length, " and ", n,
            " elements together");
    length = n;
  }
  return std::max<int64_t>(length, 0);
}

class Scan : public Op {
 public:
  explicit Scan(ScanLoop loop) : loop_(std::move(loop)) {}

  // Not computed while planning, which must be quick.
  bool pure() const override { return false; }
  void plan(PlanContext& ctx) const override {
    for (int i = 0; i < ctx.num_outputs(); ++i)
      if (ctx.wants(i)) ctx.output_dynamic(i);
  }
  void run(RunContext& ctx) const override {
    HeldBytes held(ctx.limits().max_total_bytes);
    std::vector<Object> states;
    for (size_t i = 0; i < loop_.states; ++i) states.push_back(ctx.object(static_cast<int>(i), held));
    std::vector<TensorView> xs;
    for (size_t i = 0; i < loop_.inputs.size(); ++i) xs.push_back(ctx.in(static_cast<int>(loop_.states + i)));
    give(ctx, loop_.run(ctx, std::move(states), xs, common_length(xs, loop_.inputs)));
  }

 protected:
  static void give(RunContext& ctx, std::vector<Object> results) {
    for (int i = 0; i < ctx.num_outputs(); ++i)
      if (ctx.wants(i)) ctx.set(i, std::move(results[static_cast<size_t>(i)]));
  }
  ScanLoop loop_;
};

// Operator set 8: input 0 may give the lengths of the sequences of a batch, which axis 0 of all others
// counts; the scan goes along axis 1, and is repeated for each sequence.
class BatchedScan final : public Scan {
 public:
  using Scan::Scan;
  void run(RunContext& ctx) const override {
    const size_t count = loop_.states + loop_.inputs.size();
    require(ctx.in(static_cast<int>(count)).shape.rank() >= 2, ErrorCode::kInvalidInput,
            "a scan input needs a batch and a sequence axis");
    const int64_t batch = ctx.in(static_cast<int>(count)).shape[0];
    const int64_t longest = ctx.in(static_cast<int>(count)).shape[1];
    require(batch > 0, ErrorCode::kInvalidInput, "cannot scan a batch of no sequences");
    HeldBytes held(ctx.limits().max_total_bytes);
    std::vector<std::vector<Tensor>> parts(loop_.states + loop_.outputs.size());
    for (int64_t b = 0; b < batch; ++b) {
      std::vector<Object> states;
      std::vector<TensorView> xs;
      for (size_t i = 0; i < count; ++i) {
        const TensorView& all = ctx.in(static_cast<int>(1 + i));
        require(all.shape.rank() > 0 && all.shape[0] == batch, ErrorCode::kInvalidInput, "input ", 1 + i,
                " must have batch size ", batch, ", got shape ", all.shape);
        const Tensor one = ScanLoop::element(all, 0, b);
        if (i < loop_.states)
          states.push_back(Object::of(Tensor::copy_of(one.view())));
        else
          xs.push_back(one.view());
      }
      require(common_length(xs, loop_.inputs) == longest, ErrorCode::kInvalidInput,
              "scan inputs of different lengths");
      std::vector<Object> results = loop_.run(ctx, std::move(states), xs, length_of(ctx, b, longest));
      for (size_t i = 0; i < parts.size(); ++i) {
        held.add(static_cast<int64_t>(results[i].tensor.bytes() + sizeof(Tensor)));
        parts[i].push_back(std::move(results[i].tensor));
      }
    }
    std::vector<Object> outputs;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i >= loop_.states) pad(parts[i], longest, ctx.limits());
      outputs.push_back(Object::of(join_tensors(parts[i], 0, true, ctx.limits(), "results of a batch")));
    }
    give(ctx, std::move(outputs));
  }

 private:
  static int64_t length_of(const RunContext& ctx, int64_t b, int64_t longest) {
    if (!ctx.has(0)) return longest;
    const std::vector<int64_t> lengths = to_int64s(ctx.in(0));
    require(b < static_cast<int64_t>(lengths.size()), ErrorCode::kInvalidInput, "sequence_lens has ",
            lengths.size(), " elements");
    const int64_t n = lengths[static_cast<size_t>(b)];
    require(n >= 0 && n <= longest, ErrorCode::kInvalidInput, "sequence_lens gives ", n, " of ", longest);
    return n;
  }

  // The elements behind a short sequence have no defined value; here they are zero. Those of an empty one
  // have the shape of the others.
  static void pad(std::vector<Tensor>& ys, int64_t length, const Limits& limits) {
    const auto some = std::ranges::find_if(ys, [](const Tensor& y) { return y.shape()[0] > 0; });
    const Shape element = (some == ys.end() ? ys[0] : *some).shape();
    for (Tensor& y : ys) {
      Shape rest = y.shape()[0] > 0 ? y.shape() : element;
      rest[0] = length - y.shape()[0];
      const Tensor zeros = new_tensor(y.dtype(), rest, limits);
      const Tensor both[] = {y, zeros};
      y = y.shape()[0] > 0 ? join_tensors(both, 0, false, limits, "results of a sequence") : zeros;
    }
  }
};

// The attribute, or zeros when it is absent.
std::vector<int64_t> flags(const NodeContext& ctx, const char* name, size_t count) {
  std::vector<int64_t> values = ctx.attr_ints(name);
  if (values.empty()) values.resize(count, 0);
  require(values.size() == count, ErrorCode::kInvalidModel, "attribute '", name, "' has ", values.size(),
          " elements, expected ", count);
  return values;
}

std::vector<ScanAxis> scan_axes(const NodeContext& ctx, const char* axes, const char* directions,
                                size_t count) {
  const std::vector<int64_t> axis = flags(ctx, axes, count), direction = flags(ctx, directions, count);
  std::vector<ScanAxis> list;
  for (size_t i = 0; i < count; ++i) {
    require(direction[i] == 0 || direction[i] == 1, ErrorCode::kInvalidModel, "attribute '", directions,
            "' has element ", direction[i]);
    list.push_back({axis[i], direction[i] == 1});
  }
  return list;
}

std::unique_ptr<Op> make_scan(NodeContext& ctx) {
  const bool batched = ctx.version() < 9;
  const int first = batched ? 1 : 0;
  if (batched && ctx.has_input(0)) ctx.expect_dtype(0, {DType::kInt64});
  const Graph* graph = ctx.attr_graph("body");
  require(graph != nullptr, ErrorCode::kInvalidModel, "attribute 'body' is required");
  const int64_t scanned = ctx.attr_int("num_scan_inputs");
  const int given = ctx.num_inputs() - first;
  require(scanned >= 1 && scanned <= given, ErrorCode::kInvalidModel, "num_scan_inputs = ", scanned, " with ",
          given, " inputs");
  std::vector<ValueType> types;
  for (int i = first; i < ctx.num_inputs(); ++i) {
    types.push_back(ctx.input_type(i));
    require(types.back().known() && types.back().is_tensor(), ErrorCode::kInvalidModel, "input ", i,
            " must be a tensor, got ", types.back());
  }
  ScanLoop loop;
  loop.body = ctx.body("body", types);
  loop.states = static_cast<size_t>(given - scanned);
  const std::vector<ValueType>& results = loop.body->output_types();
  require(results.size() >= loop.states && static_cast<int>(results.size()) >= ctx.num_outputs(),
          ErrorCode::kInvalidModel, "the body has ", results.size(), " outputs, expected ",
          ctx.num_outputs());
  const size_t outputs = results.size() - loop.states;
  loop.inputs = scan_axes(ctx, "scan_input_axes", batched ? "directions" : "scan_input_directions",
                          static_cast<size_t>(scanned));
  loop.outputs = scan_axes(ctx, "scan_output_axes", "scan_output_directions", outputs);
  for (size_t i = 0; i < results.size(); ++i) {
    require(results[i].is_tensor() && (i >= loop.states || results[i] == types[i]), ErrorCode::kInvalidModel,
            "output ", i, " of the body is ", results[i]);
    ctx.output(static_cast<int>(i), results[i]);
    if (i >= loop.states)
      loop.empty_outputs.push_back(no_trips(*graph, i, results[i].dtype, loop.outputs[i - loop.states].axis));
  }
  if (batched) return std::make_unique<BatchedScan>(std::move(loop));
  return std::make_unique<Scan>(std::move(loop));
}

}  // namespace

std::span<const OpDef> scan_ops() {
  static constexpr OpDef kOps[] = {{"", "Scan", 1, make_scan}};
  return kOps;
}

}  // namespace pyinfer
