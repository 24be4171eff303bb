// TopK: the k largest (or smallest) elements along an axis and their indices, best first; of equals, the one
// with the lower index. NaN counts as the largest.
#include <bit>

#include "ops/dispatch.h"
#include "ops/lines.h"

namespace pyinfer {
namespace {

struct Item {
  uint64_t key;  // orders like the value: smaller is better
  int64_t index;
  bool operator<(const Item& other) const { return key != other.key ? key < other.key : index < other.index; }
};

// Ascending in the value; all NaNs are one, and so are both zeros.
template <class T>
uint64_t key_of(T v) {
  constexpr uint64_t kTop = uint64_t{1} << 63;
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16> || std::is_floating_point_v<T>) {
    const auto d =
        static_cast<double>(static_cast<std::conditional_t<std::is_same_v<T, double>, double, float>>(v));
    if (d != d) return ~uint64_t{0};
    const auto bits = std::bit_cast<uint64_t>(d + 0.0);
    return bits & kTop ? ~bits : bits | kTop;
  } else if constexpr (std::is_unsigned_v<T>) {
    return v;
  } else {
    return static_cast<uint64_t>(static_cast<int64_t>(v)) ^ kTop;
  }
}

// Leaves the k best of n items, sorted, in front.
void select(Item* items, int64_t n, int64_t k) {
  if (k < n) std::nth_element(items, items + k, items + n);
  std::sort(items, items + k);
}

// Reads a line of n values `step` apart. Items that cannot be among the k best are dropped on the way:
// whenever 2k are held, the worse half goes. Gives the number of items held, at least min(k, n).
template <class T>
int64_t read_items(const T* x, int64_t n, int64_t step, int64_t k, bool largest, Item* items) {
  const uint64_t flip = largest ? ~uint64_t{0} : 0;
  uint64_t worst = ~uint64_t{0};  // of the k best so far
  int64_t held = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t key = key_of(x[i * step]) ^ flip;
    if (key > worst) continue;
    items[held++] = {key, i};
    if (held < 2 * k) continue;
    std::nth_element(items, items + k - 1, items + held);
    worst = items[k - 1].key;
    held = k;
  }
  return held;
}

class TopK final : public Op {
 public:
  TopK(int64_t axis, bool largest) : axis_(axis), largest_(largest) {}

  void plan(PlanContext& ctx) const override {
    Shape out = ctx.shape(0);
    const int axis = normalize_axis(axis_, out.rank());
    const std::vector<int64_t> k = ctx.require_int64s(1);
    require(k.size() == 1 && k[0] >= 0 && k[0] <= out[axis], ErrorCode::kInvalidInput, "K is ",
            k.empty() ? int64_t{-1} : k[0], " for axis ", axis, " of ", out);
    ctx.scratch(ctx.workers() * items_per_worker(out[axis], k[0]) * static_cast<int64_t>(sizeof(Item)));
    out[axis] = k[0];
    ctx.output(0, out);
    ctx.output(1, out);
  }

  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &y = ctx.wants(0) ? ctx.out(0) : ctx.out(1);
    const int axis = normalize_axis(axis_, x.shape.rank());
    const Lines lines(x.shape, axis);
    const int64_t k = y.shape[axis];
    if (k == 0 || lines.count() == 0) return;
    const int64_t grain = std::max<int64_t>(1, 50'000 / (2 * lines.length));
    dispatch<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t,
             uint64_t>(x.dtype, [&]<class T>() {
      ctx.parallel(lines.count(), grain, [&](int64_t begin, int64_t end, int worker) {
        Item* items = ctx.scratch_as<Item>() + worker * items_per_worker(lines.length, k);
        for (int64_t line = begin; line < end; ++line) {
          const int64_t o = line / lines.inner, j = line % lines.inner;
          const T* from = x.as<T>() + o * lines.length * lines.inner + j;
          select(items, read_items(from, lines.length, lines.inner, k, largest_, items), k);
          const int64_t to = o * k * lines.inner + j;
          for (int64_t i = 0; i < k; ++i) {
            if (ctx.wants(0)) ctx.out<T>(0)[to + i * lines.inner] = from[items[i].index * lines.inner];
            if (ctx.wants(1)) ctx.out<int64_t>(1)[to + i * lines.inner] = items[i].index;
          }
        }
      });
    });
  }

 private:
  static int64_t items_per_worker(int64_t length, int64_t k) { return std::min(length, 2 * k) + 1; }

  int64_t axis_;
  bool largest_;
};

std::unique_ptr<Op> make_top_k(NodeContext& ctx) {
  ctx.expect_inputs(2, 2);
  ctx.expect_dtype(
      0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt8, DType::kUInt8,
          DType::kInt16, DType::kUInt16, DType::kInt32, DType::kUInt32, DType::kInt64, DType::kUInt64});
  ctx.expect_dtype(1, {DType::kInt64});
  ctx.output(0, ctx.dtype(0));
  if (ctx.num_outputs() > 1) ctx.output(1, DType::kInt64);
  return std::make_unique<TopK>(ctx.attr_int("axis", -1), ctx.attr_int("largest", 1) != 0);
}

}  // namespace

std::span<const OpDef> top_k_ops() {
  static constexpr OpDef kOps[] = {{"", "TopK", 1, make_top_k}};
  return kOps;
}

}  // namespace pyinfer
