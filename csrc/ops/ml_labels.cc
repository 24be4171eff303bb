// LabelEncoder, CategoryMapper: y = values[i] where keys[i] = x, else a default.
#include <cmath>
#include <map>
#include <unordered_map>
#include <variant>

#include "ops/elements.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

// Every element type as one of three: integers, floats as their bits (all NaNs alike), strings.
struct FloatKey {
  double value;
  bool operator==(const FloatKey& o) const {
    return value == o.value || (value != value && o.value != o.value);
  }
};
struct FloatKeyHash {
  size_t operator()(const FloatKey& k) const {
    // 0 and -0 are equal.
    return k.value != k.value ? 1 : std::hash<double>()(k.value == 0 ? 0.0 : k.value);
  }
};

bool is_float_key(DType d) {
  return d == DType::kFloat32 || d == DType::kFloat64;
}

int64_t int_at(const TensorView& x, int64_t i) {
  int64_t buffer;
  return *load_as<int64_t>(x.dtype, x.data, i, 1, &buffer);
}
double double_at(const TensorView& x, int64_t i) {
  double buffer;
  return *load_as<double>(x.dtype, x.data, i, 1, &buffer);
}

class Encoder final : public Op {
 public:
  // keys and values have as many elements; otherwise has one, of the type of the values.
  Encoder(const Tensor& keys, Tensor values, Tensor otherwise)
      : values_(std::move(values)), otherwise_(std::move(otherwise)) {
    // A key that comes again takes the last value.
    const TensorView& k = keys.view();
    for (int64_t i = 0; i < keys.count(); ++i) {
      if (k.dtype == DType::kString)
        strings_[k.as<std::string>()[i]] = i;
      else if (is_float_key(k.dtype))
        floats_[{double_at(k, i)}] = i;
      else
        ints_[int_at(k, i)] = i;
    }
  }

  void plan(PlanContext& ctx) const override {
    ctx.output(0, ctx.shape(0));
    ctx.longest_string(std::max(values_.view().longest_string(), otherwise_.view().longest_string()));
  }
  void run(RunContext& ctx) const override {
    const TensorView &x = ctx.in(0), &y = ctx.out(0);
    const size_t size = dtype_size(y.dtype);
    ctx.parallel(x.count(), 4096, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = find(x, i);
        const TensorView& from = at < 0 ? otherwise_.view() : values_.view();
        const auto element = static_cast<size_t>(std::max<int64_t>(at, 0));
        if (y.dtype == DType::kString)
          y.as<std::string>()[i] = from.as<std::string>()[element];
        else
          std::memcpy(y.as<std::byte>() + static_cast<size_t>(i) * size,
                      from.as<std::byte>() + element * size, size);
      }
    });
  }

 private:
  int64_t find(const TensorView& x, int64_t i) const {
    const auto look = [](const auto& map, const auto& key) {
      const auto it = map.find(key);
      return it == map.end() ? int64_t{-1} : it->second;
    };
    if (x.dtype == DType::kString) return look(strings_, x.as<std::string>()[i]);
    if (is_float_key(x.dtype)) return look(floats_, FloatKey{double_at(x, i)});
    return look(ints_, int_at(x, i));
  }

  std::unordered_map<int64_t, int64_t> ints_;
  std::unordered_map<FloatKey, int64_t, FloatKeyHash> floats_;
  std::unordered_map<std::string, int64_t> strings_;
  Tensor values_, otherwise_;
};

template <class T>
Tensor list_tensor(const std::vector<T>& values) {
  return Tensor::from<T>({static_cast<int64_t>(values.size())}, values);
}

// The one of `what`_tensor, _strings, _int64s and _floats that is given.
Tensor read_list(const NodeContext& ctx, const std::string& what) {
  std::vector<Tensor> given;
  if (const Tensor* t = ctx.attr_tensor(what + "_tensor")) given.push_back(*t);
  if (ctx.has_attr(what + "_strings")) given.push_back(list_tensor(ctx.attr_strings(what + "_strings")));
  if (ctx.has_attr(what + "_int64s")) given.push_back(list_tensor(ctx.attr_ints(what + "_int64s")));
  if (ctx.has_attr(what + "_floats")) given.push_back(list_tensor(ctx.attr_floats(what + "_floats")));
  require(given.size() == 1, ErrorCode::kInvalidModel, given.size(), " of the attributes ", what,
          "_* are given, expected one");
  return given[0];
}

template <class T>
Tensor one_of(const T& value) {
  return Tensor::from<T>({1}, std::span(&value, 1));
}

Tensor read_default(const NodeContext& ctx, DType dtype) {
  if (const Tensor* t = ctx.attr_tensor("default_tensor")) {
    require(t->count() == 1 && t->dtype() == dtype, ErrorCode::kInvalidModel,
            "default_tensor must have one element of ", dtype_name(dtype));
    return *t;
  }
  const int64_t i = ctx.attr_int("default_int64", -1);
  switch (dtype) {
    case DType::kString: return one_of<std::string>(ctx.attr_string("default_string", "_Unused"));
    case DType::kInt64: return one_of<int64_t>(i);
    case DType::kInt32: return one_of<int32_t>(static_cast<int32_t>(i));
    case DType::kInt16: return one_of<int16_t>(static_cast<int16_t>(i));
    case DType::kFloat32: return one_of<float>(ctx.attr_float("default_float", -0.0f));
    case DType::kFloat64: return one_of<double>(static_cast<double>(ctx.attr_float("default_float", -0.0f)));
    default: ctx.unsupported("values of type ", dtype_name(dtype));
  }
}

std::unique_ptr<Op> make_encoder(NodeContext& ctx, const Tensor& keys, Tensor values, Tensor otherwise) {
  require(keys.count() == values.count(), ErrorCode::kInvalidModel, keys.count(), " keys for ",
          values.count(), " values");
  require(keys.dtype() == ctx.dtype(0), ErrorCode::kInvalidModel, "the keys are ", dtype_name(keys.dtype()),
          ", the input is ", ctx.input_type(0));
  ctx.output(0, values.dtype());
  return std::make_unique<Encoder>(keys, std::move(values), std::move(otherwise));
}

// The first version counts the classes: strings become their places, and the other way round.
std::unique_ptr<Op> make_label_encoder_v1(NodeContext& ctx) {
  const std::vector<std::string> classes = ctx.attr_strings("classes_strings");
  std::vector<int64_t> places;
  for (size_t i = 0; i < classes.size(); ++i) places.push_back(static_cast<int64_t>(i));
  if (ctx.dtype(0) == DType::kString)
    return make_encoder(ctx, list_tensor(classes), list_tensor(places), read_default(ctx, DType::kInt64));
  return make_encoder(ctx, list_tensor(places), list_tensor(classes), read_default(ctx, DType::kString));
}

std::unique_ptr<Op> make_label_encoder(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(
      0, {DType::kString, DType::kInt64, DType::kInt32, DType::kInt16, DType::kFloat32, DType::kFloat64});
  if (ctx.version() < 2) return make_label_encoder_v1(ctx);
  const Tensor keys = read_list(ctx, "keys");
  Tensor values = read_list(ctx, "values");
  Tensor otherwise = read_default(ctx, values.dtype());
  return make_encoder(ctx, keys, std::move(values), std::move(otherwise));
}

std::unique_ptr<Op> make_category_mapper(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kString, DType::kInt64});
  const Tensor strings = list_tensor(ctx.attr_strings("cats_strings")),
               ints = list_tensor(ctx.attr_ints("cats_int64s"));
  if (ctx.dtype(0) == DType::kString)
    return make_encoder(ctx, strings, ints, read_default(ctx, DType::kInt64));
  return make_encoder(ctx, ints, strings, read_default(ctx, DType::kString));
}

}  // namespace

std::span<const OpDef> ml_labels_ops() {
  static constexpr OpDef kOps[] = {
      {"ai.onnx.ml", "CategoryMapper", 1, make_category_mapper},
      {"ai.onnx.ml", "LabelEncoder", 1, make_label_encoder},
  };
  return kOps;
}

}  // namespace pyinfer
