// Elementwise: Y = r[k - 1], where r[j] = ops[j](operands of j), j = 0 .. k - 1, elementwise on float32, and
// each r[j] has the shape of Y.
//   ops: operators as unary_kind() and binary_kind() name them.
//   operands: two of each. i < inputs is input i, which broadcasts; inputs + i is r[i], i < j; -1 is
//     params[2 j], or nothing where the operator has one operand.
//   params: two of each, a number that is an operand, or what attributes give the kernel.
// The program runs on one tile after the other, so that what lies between the operators stays in the first
// caches. The kernels are those of the operators, and so are the bits.
#include <algorithm>

#include "kernels/kernel_table.h"
#include "ops/elementwise.h"
#include "ops/elementwise_kinds.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

// Elements of a tile, and of all buffers together: with what the program reads and writes, they fill the
// first cache. Smaller tiles cost more in calls of kernels than they save.
constexpr int64_t kLeastTile = 1024, kMostTile = 2048, kBufferElements = 4096;
constexpr size_t kMostInstructions = 1024;  // that a file may ask for
constexpr int64_t kNumber = -1;             // an operand
constexpr int64_t kFloat = sizeof(float);

struct Instruction {
  std::optional<UnaryKind> unary{};
  BinaryFns binary{};  // where it is no unary one
  bool slope;          // PRelu, whose second operand alone may broadcast
  std::array<int64_t, 2> operands;
  UnaryParams params;
  int64_t buffer = 0;  // which takes the result; the last one's is Y
};

struct ElementwiseState final : StepState {
  std::vector<BroadcastWalk<2>> walks;  // by instruction; of unary ones empty
  int64_t tile = 0;
};

// Gives each result a buffer: one that an operand leaves, where no later instruction reads that. Returns how
// many there are.
int64_t assign_buffers(std::vector<Instruction>& program, int64_t inputs) {
  std::vector<size_t> last_reader(program.size(), 0);
  for (size_t j = 0; j < program.size(); ++j)
    for (int64_t at : program[j].operands)
      if (at >= inputs) last_reader[static_cast<size_t>(at - inputs)] = j;
  std::vector<int64_t> idle;
  int64_t count = 0;
  for (size_t j = 0; j + 1 < program.size(); ++j) {
    const auto& [a, b] = program[j].operands;
    for (int64_t at : {a, b == a ? kNumber : b})
      if (at >= inputs && last_reader[static_cast<size_t>(at - inputs)] == j)
        idle.push_back(program[static_cast<size_t>(at - inputs)].buffer);
    if (idle.empty()) idle.push_back(count++);
    program[j].buffer = idle.back();
    idle.pop_back();
  }
  return count;
}

class FusedElementwise final : public Op {
 public:
  FusedElementwise(std::vector<Instruction> program, int64_t inputs, int64_t cost)
      : program_(std::move(program)), inputs_(inputs), cost_(cost) {
    buffers_ = assign_buffers(program_, inputs_);
    for (const Instruction& i : program_) flops_ += i.unary == UnaryKind::kClip ? 2 : 1;
  }

  void plan(PlanContext& ctx) const override {
    const Shape y = shape_of(ctx, program_.front());
    auto state = std::make_unique<ElementwiseState>();
    for (size_t j = 0; j < program_.size(); ++j) {
      const Instruction& i = program_[j];
      const Shape shape = j == 0 ? y : shape_of(ctx, i, &y);
      require(shape == y && (!i.slope || operand_shape(ctx, i.operands[0], &y) == y),
              ErrorCode::kInvalidInput, "the result of instruction ", j, " has shape ", shape,
              ", that of the first has ", y);
      state->walks.emplace_back();
      if (!i.unary)
        state->walks[j] = {y,
                           {&operand_shape(ctx, i.operands[0], &y), &operand_shape(ctx, i.operands[1], &y)}};
    }
    ctx.output(0, y);
    for (int i = 0; i < ctx.num_inputs(); ++i)
      if (ctx.shape(i) == y) ctx.reuse(0, i);
    ctx.flops(y.count() * flops_);
    state->tile = tile_of(state->walks, y.count());
    ScratchLayout layout;
    layout.take(ctx.workers() * buffers_ * state->tile, kFloat);
    ctx.scratch(layout.bytes());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    const auto& state = ctx.state<ElementwiseState>();
    const int64_t grain = round_up(std::max(kElementwiseGrain / cost_, kHeavyGrain), state.tile);
    ctx.parallel(ctx.out(0).count(), grain, [&](int64_t begin, int64_t end, int worker) {
      float* const buffers = ctx.scratch_as<float>() + worker * buffers_ * state.tile;
      for (int64_t t = begin; t < end; t += state.tile)
        run_tile(ctx, state, buffers, t, std::min(end, t + state.tile));
    });
  }

 private:
  // `y` is that of results; of the first instruction, which reads none, it may be absent.
  const Shape& operand_shape(const PlanContext& ctx, int64_t at, const Shape* y) const {
    static const Shape kScalar;
    return at == kNumber ? kScalar : at < inputs_ ? ctx.shape(static_cast<int>(at)) : *y;
  }
  Shape shape_of(const PlanContext& ctx, const Instruction& i, const Shape* y = nullptr) const {
    const Shape& a = operand_shape(ctx, i.operands[0], y);
    return i.unary ? a : broadcast_shapes(a, operand_shape(ctx, i.operands[1], y));
  }

  // Buffers share what the caches have. Tiles end where rows do when some rows fit.
  int64_t tile_of(const std::vector<BroadcastWalk<2>>& walks, int64_t count) const {
    const int64_t most =
        std::clamp<int64_t>(kBufferElements / std::max<int64_t>(buffers_, 1), kLeastTile, kMostTile);
    int64_t rows = 1;
    for (size_t j = 0; j < walks.size(); ++j)
      if (!program_[j].unary && walks[j].run() <= most && walks[j].run() < count)
        rows = std::max(rows, walks[j].run());
    return std::min(most / rows * rows, round_up(std::max<int64_t>(count, 1), int64_t{16}));
  }

  void run_tile(const RunContext& ctx, const ElementwiseState& state, float* buffers, int64_t begin,
                int64_t end) const {
    const auto buffer = [&](const Instruction& i) {
      return ElementRange(buffers + i.buffer * state.tile, kFloat, begin);
    };
    const auto operand = [&](const Instruction& i, size_t k) {
      const int64_t at = i.operands[k];
      if (at == kNumber) return ElementRange(&i.params.a, kFloat, 0);
      return at < inputs_ ? ElementRange(ctx.in(static_cast<int>(at)))
                          : buffer(program_[static_cast<size_t>(at - inputs_)]);
    };
    for (size_t j = 0; j < program_.size(); ++j) {
      const Instruction& i = program_[j];
      const ElementRange y = j + 1 == program_.size() ? ElementRange(ctx.out(0)) : buffer(i);
      if (i.unary)
        unary(*i.unary, DType::kFloat32, operand(i, 0).at(begin), y.at(begin), end - begin, i.params);
      else
        binary_range(state.walks[j], i.binary, operand(i, 0), operand(i, 1), y, begin, end);
    }
  }

  std::vector<Instruction> program_;
  int64_t inputs_, buffers_, cost_, flops_ = 0;
};

// Instruction j of the node; adds to `cost` what an element takes, in cheap operations.
Instruction instruction(const NodeContext& ctx, size_t j, const std::string& op,
                        const std::vector<int64_t>& operands, const std::vector<float>& params,
                        int64_t& cost) {
  constexpr int64_t kHeavy = kElementwiseGrain / kHeavyGrain;
  Instruction i{.slope = op == "PRelu",
                .operands = {operands[2 * j], operands[2 * j + 1]},
                .params = {params[2 * j], params[2 * j + 1]}};
  const auto binary = binary_kind(op);
  i.unary = binary ? std::nullopt : unary_kind(op, i.params);
  if (!binary && (!i.unary || !unary_supported(*i.unary, DType::kFloat32)))
    ctx.unsupported("operator '", op, "' of instruction ", j);
  if (binary) i.binary = kernels().elementwise.binary(*binary, DType::kFloat32);
  cost += (binary ? is_cheap(*binary) : is_cheap(*i.unary)) ? 1 : kHeavy;
  const int64_t results = ctx.num_inputs() + static_cast<int64_t>(j);
  const auto [a, b] = i.operands;
  const bool given = binary ? std::max(a, b) >= 0 && std::min(a, b) >= kNumber : a >= 0 && b == kNumber;
  require(given && std::max(a, b) < results, ErrorCode::kInvalidModel, "operands ", a, " and ", b,
          " of instruction ", j, ", expected less than ", results);
  return i;
}

std::unique_ptr<Op> make_fused_elementwise(NodeContext& ctx) {
  ctx.expect_inputs(std::max(ctx.num_inputs(), 1), ctx.num_inputs());
  for (int i = 0; i < ctx.num_inputs(); ++i) ctx.expect_dtype(i, {DType::kFloat32});
  const std::vector<std::string> ops = ctx.attr_strings("ops");
  const std::vector<int64_t> operands = ctx.attr_ints("operands");
  const std::vector<float> params = ctx.attr_floats("params");
  require(!ops.empty() && ops.size() <= kMostInstructions && operands.size() == 2 * ops.size() &&
              params.size() == 2 * ops.size(),
          ErrorCode::kInvalidModel, ops.size(), " operators with ", operands.size(), " operands and ",
          params.size(), " parameters, expected two of each");
  int64_t cost = 0;
  std::vector<Instruction> program;
  for (size_t j = 0; j < ops.size(); ++j)
    program.push_back(instruction(ctx, j, ops[j], operands, params, cost));
  ctx.output(0, DType::kFloat32);
  return std::make_unique<FusedElementwise>(std::move(program), ctx.num_inputs(), cost);
}

}  // namespace

std::span<const OpDef> fused_elementwise_ops() {
  static constexpr OpDef kOps[] = {{"pyinfer", "Elementwise", 1, make_fused_elementwise}};
  return kOps;
}

}  // namespace pyinfer
