// Col2Im: y[n, c, p..] = the sum of x[n, (c, k..), l..] over the blocks l.. whose element k.. lies on pixel
// p..: p = l * stride + k * dilation - pad on each axis.
#include <algorithm>

#include "base/math.h"
#include "ops/dispatch.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

constexpr auto kBad = ErrorCode::kInvalidInput;

template <class T>
struct Sum {
  using Type = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;  // wraps; of bool, whether any is true
};
template <>
struct Sum<Float16> {
  using Type = float;
};
template <>
struct Sum<BFloat16> {
  using Type = float;
};

struct Axis {
  int64_t image, block, blocks;
  std::vector<int64_t> from;  // [image, block]: which block has its element k on pixel p, or -1
};

struct Col2ImState final : StepState {
  std::vector<Axis> axes;
  int64_t channels, block_elements, blocks;
};

class Col2Im final : public Op {
 public:
  Col2Im(std::vector<int64_t> strides, std::vector<int64_t> dilations, std::vector<int64_t> pads)
      : strides_(std::move(strides)), dilations_(std::move(dilations)), pads_(std::move(pads)) {}

  void plan(PlanContext& ctx) const override {
    const Shape& x = ctx.shape(0);
    const std::vector<int64_t> image = ctx.require_int64s(1), block = ctx.require_int64s(2);
    const size_t axes = image.size();
    require(x.rank() == 3, kBad, "expected an input of rank 3, got ", x);
    require(axes >= 1 && block.size() == axes, kBad, "image_shape and block_shape have ", axes, " and ",
            block.size(), " elements");
    require((strides_.empty() || strides_.size() == axes) &&
                (dilations_.empty() || dilations_.size() == axes) &&
                (pads_.empty() || pads_.size() == 2 * axes),
            ErrorCode::kInvalidModel, "strides, dilations or pads do not fit ", axes, " axes");
    auto state = std::make_unique<Col2ImState>();
    Shape blocks_shape, block_shape;
    for (size_t i = 0; i < axes; ++i) {
      require(image[i] >= 0 && block[i] > 0 && block[i] <= std::max<int64_t>(x[1], 1), kBad,
              "image_shape has ", image[i], " and block_shape ", block[i]);
      state->axes.push_back(plan_axis(i, image[i], block[i], axes));
      blocks_shape.push_back(state->axes.back().blocks);
      block_shape.push_back(block[i]);
    }
    state->block_elements = block_shape.count();
    state->blocks = blocks_shape.count();
    require(x[1] % state->block_elements == 0, kBad, "an input of shape ", x, " for blocks of ",
            state->block_elements, " elements");
    require(x[2] == state->blocks, kBad, "an input of shape ", x, " for ", state->blocks, " blocks");
    state->channels = x[1] / state->block_elements;
    Shape out{x[0], state->channels};
    for (int64_t d : image) out.push_back(d);
    ctx.output(0, out);
    for (size_t i = 0; i < axes; ++i) {
      const auto n = checked_mul(image[i], block[i]);
      require(n && *n <= ctx.limits().max_tensor_bytes / 8, ErrorCode::kLimit, "an axis of ", image[i],
              " pixels and blocks of ", block[i]);
      fill_axis(i, state->axes[i]);
    }
    ctx.flops(out.count());
    ctx.state(std::move(state));
  }

  void run(RunContext& ctx) const override {
    if (ctx.out(0).count() == 0) return;
    dispatch<float, double, Float16, BFloat16, bool, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
             int64_t, uint64_t>(ctx.in(0).dtype, [&]<class T>() { sum_pixels<T>(ctx); });
  }

 private:
  int64_t stride(size_t i) const { return strides_.empty() ? 1 : strides_[i]; }
  int64_t dilation(size_t i) const { return dilations_.empty() ? 1 : dilations_[i]; }

  Axis plan_axis(size_t i, int64_t image, int64_t block, size_t axes) const {
    const int64_t pads = pads_.empty() ? 0 : pads_[i] + pads_[axes + i];
    const auto reach = checked_mul(dilation(i), block - 1);
    const auto padded = checked_add(image, pads);
    require(reach && padded, ErrorCode::kLimit, "a block of ", block, " elements dilated by ", dilation(i));
    const int64_t room = *padded - *reach - 1;
    require(room >= 0, kBad, "blocks of ", block, " elements dilated by ", dilation(i), " on an axis of ",
            image, " pixels padded by ", pads);
    return {image, block, room / stride(i) + 1, {}};
  }

  void fill_axis(size_t i, Axis& axis) const {
    const int64_t pad = pads_.empty() ? 0 : pads_[i];
    for (int64_t p = 0; p < axis.image; ++p) {
      for (int64_t k = 0; k < axis.block; ++k) {
        const int64_t at = p + pad - k * dilation(i);
        axis.from.push_back(at >= 0 && at % stride(i) == 0 && at / stride(i) < axis.blocks ? at / stride(i)
                                                                                           : -1);
      }
    }
  }

  // Adds the block elements of the axes from `d` on; `element` and `block` number those of the axes before.
  template <class T, class S>
  static void add(const Col2ImState& state, const int64_t* pixel, size_t d, int64_t element, int64_t block,
                  const T* x, S& sum) {
    if (d == state.axes.size()) {
      sum += static_cast<S>(x[element * state.blocks + block]);
      return;
    }
    const Axis& axis = state.axes[d];
    for (int64_t k = 0; k < axis.block; ++k) {
      const int64_t from = axis.from[static_cast<size_t>(pixel[d] * axis.block + k)];
      if (from >= 0) add(state, pixel, d + 1, element * axis.block + k, block * axis.blocks + from, x, sum);
    }
  }

  template <class T>
  static void sum_pixels(const RunContext& ctx) {
    const auto& state = ctx.state<Col2ImState>();
    const TensorView& y = ctx.out(0);
    const int64_t pixels = y.shape.count(2, y.shape.rank());
    const int64_t grain = std::max<int64_t>(1, 8192 / state.block_elements);
    ctx.parallel(y.count(), grain, [&](int64_t begin, int64_t end, int) {
      int64_t pixel[Shape::kMaxRank];
      for (int64_t i = begin; i < end; ++i) {
        int64_t rest = i % pixels;
        for (size_t d = state.axes.size(); d-- > 0;) {
          pixel[d] = rest % state.axes[d].image;
          rest /= state.axes[d].image;
        }
        typename Sum<T>::Type sum = 0;
        add(state, pixel, 0, 0, 0, ctx.in<T>(0) + i / pixels * state.block_elements * state.blocks, sum);
        y.as<T>()[i] = static_cast<T>(sum);
      }
    });
  }

  std::vector<int64_t> strides_, dilations_, pads_;
};

std::unique_ptr<Op> make_col2im(NodeContext& ctx) {
  ctx.expect_inputs(3, 3);
  ctx.expect_dtype(0, {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kBool,
                       DType::kInt8, DType::kUInt8, DType::kInt16, DType::kUInt16, DType::kInt32,
                       DType::kUInt32, DType::kInt64, DType::kUInt64});
  ctx.output(0, ctx.dtype(0));
  std::vector<int64_t> strides = ctx.attr_ints("strides"), dilations = ctx.attr_ints("dilations"),
                       pads = ctx.attr_ints("pads");
  constexpr int64_t kMost = int64_t{1} << 31;
  for (int64_t v : strides) require(v > 0 && v <= kMost, ErrorCode::kInvalidModel, "strides has ", v);
  for (int64_t v : dilations) require(v > 0 && v <= kMost, ErrorCode::kInvalidModel, "dilations has ", v);
  for (int64_t v : pads) require(v >= 0 && v <= kMost, ErrorCode::kInvalidModel, "pads has ", v);
  return std::make_unique<Col2Im>(std::move(strides), std::move(dilations), std::move(pads));
}

}  // namespace

std::span<const OpDef> col2im_ops() {
  static constexpr OpDef kOps[] = {{"", "Col2Im", 1, make_col2im}};
  return kOps;
}

}  // namespace pyinfer
