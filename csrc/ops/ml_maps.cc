// Maps. ZipMap: one map {class: score} for each row.  DictVectorizer: y[i] = map[vocabulary[i]] or 0.
// CastMap: the values of a map, in the order of its keys.
#include <algorithm>
#include <map>
#include <numeric>

#include "ops/dispatch.h"
#include "ops/ml_scores.h"
#include "ops/tensor_list.h"

namespace pyinfer {
namespace {

// Keys and values of a map, as 1-D tensors.
struct MapView {
  const Tensor &keys, &values;
};

MapView map_view(const RunContext& ctx, int i) {
  const Object& o = ctx.object_ref(i);
  require(o.kind == Object::Kind::kMap && o.items.size() == 2, ErrorCode::kInvalidInput, "input ", i,
          " holds no map");
  return {o.items[0].tensor, o.items[1].tensor};
}

void expect_map(const NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  const ValueType& type = ctx.input_type(0);
  require(type.map_key != DType::kUndefined && !type.sequence && !type.optional, ErrorCode::kInvalidModel,
          "expected a map, got ", type);
}

class ZipMap final : public Op {
 public:
  explicit ZipMap(Tensor keys) : keys_(std::move(keys)) {}
  void plan(PlanContext& ctx) const override {
    const RowShape s = row_shape(ctx.shape(0));
    require(s.features == keys_.count(), ErrorCode::kInvalidInput, "expected ", keys_.count(),
            " columns, got ", s.features);
    ctx.output_dynamic(0);
  }
  void run(RunContext& ctx) const override {
    const RowShape s = row_shape(ctx.in(0).shape);
    HeldBytes held(ctx.limits().max_total_bytes);
    held.add(s.rows * static_cast<int64_t>(3 * sizeof(Object)));  // a row is a map of two tensors
    std::vector<Object> maps;
    for (int64_t r = 0; r < s.rows; ++r) {
      Object map;
      map.kind = Object::Kind::kMap;
      const std::span<const float> row(ctx.in<float>(0) + r * s.features, static_cast<size_t>(s.features));
      map.items = {Object::of(keys_), Object::of(Tensor::from<float>({s.features}, row))};
      maps.push_back(std::move(map));
    }
    ctx.set(0, Object::sequence(std::move(maps)));
  }

 private:
  Tensor keys_;
};

// y[at[key]] = value for every entry of a map.
template <class K>
class DictVectorizer final : public Op {
 public:
  explicit DictVectorizer(const std::vector<K>& vocabulary)
      : count_(static_cast<int64_t>(vocabulary.size())) {
    for (size_t i = 0; i < vocabulary.size(); ++i) at_[vocabulary[i]] = static_cast<int64_t>(i);
  }
  void plan(PlanContext& ctx) const override { ctx.output(0, {1, count_}); }
  void run(RunContext& ctx) const override {
    const MapView map = map_view(ctx, 0);
    dispatch<int64_t, float, double, std::string>(map.values.dtype(), [&]<class V> {
      V* y = ctx.out<V>(0);
      std::fill_n(y, count_, V());
      for (int64_t i = 0; i < map.keys.count(); ++i) {
        const auto it = at_.find(map.keys.template as<K>()[i]);
        // An entry that the vocabulary does not know has no place.
        if (it != at_.end()) y[it->second] = map.values.template as<V>()[i];
      }
    });
  }

 private:
  std::map<K, int64_t> at_;
  int64_t count_;
};

class CastMap final : public Op {
 public:
  CastMap(DType to, int64_t length) : to_(to), length_(length) {}
  void plan(PlanContext& ctx) const override { ctx.output_dynamic(0); }
  void run(RunContext& ctx) const override {
    const MapView map = map_view(ctx, 0);
    const auto keys = map.keys.span<const int64_t>();
    std::vector<size_t> order(keys.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, {}, [&](size_t i) { return keys[i]; });
    const int64_t length = length_ < 0 ? static_cast<int64_t>(keys.size()) : length_;
    Tensor y = new_tensor(to_, {1, length}, ctx.limits());
    for (size_t n = 0; n < order.size(); ++n) {
      const int64_t at = length_ < 0 ? static_cast<int64_t>(n) : keys[order[n]];
      require(at >= 0 && at < length, ErrorCode::kInvalidInput, "key ", at,
              " is outside of max_map=", length);
      write(map.values.view(), static_cast<int64_t>(order[n]), y.view(), at);
    }
    ctx.set(0, std::move(y));
  }

 private:
  void write(const TensorView& from, int64_t i, const TensorView& y, int64_t at) const {
    if (from.dtype == DType::kFloat32) {
      const float v = from.as<float>()[i];
      if (to_ == DType::kFloat32) y.as<float>()[at] = v;
      if (to_ == DType::kString) y.as<std::string>()[at] = std::to_string(v);
      if (to_ == DType::kInt64) {
        require(v > -9e18f && v < 9e18f, ErrorCode::kInvalidInput, "value ", v, " does not fit int64");
        y.as<int64_t>()[at] = static_cast<int64_t>(v);
      }
      return;
    }
    const std::string& v = from.as<std::string>()[i];
    if (to_ == DType::kString) y.as<std::string>()[at] = v;
    try {
      if (to_ == DType::kFloat32) y.as<float>()[at] = std::stof(v);
      if (to_ == DType::kInt64) y.as<int64_t>()[at] = std::stoll(v);
    } catch (const std::exception&) {
      fail(ErrorCode::kInvalidInput, "'", v, "' is no number");
    }
  }

  DType to_;
  int64_t length_;  // -1: dense
};

std::unique_ptr<Op> make_zip_map(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kFloat32});
  const std::vector<int64_t> ints = ctx.attr_ints("classlabels_int64s");
  const std::vector<std::string> strings = ctx.attr_strings("classlabels_strings");
  require(ints.empty() != strings.empty(), ErrorCode::kInvalidModel,
          "expected one of the attributes classlabels_int64s and classlabels_strings");
  const DType key = ints.empty() ? DType::kString : DType::kInt64;
  ctx.output(0, {.dtype = DType::kFloat32, .sequence = true, .map_key = key});
  return std::make_unique<ZipMap>(
      ints.empty() ? Tensor::from<std::string>({static_cast<int64_t>(strings.size())}, strings)
                   : Tensor::vector_i64(ints));
}

std::unique_ptr<Op> make_dict_vectorizer(NodeContext& ctx) {
  expect_map(ctx);
  const ValueType& type = ctx.input_type(0);
  const std::vector<int64_t> ints = ctx.attr_ints("int64_vocabulary");
  const std::vector<std::string> strings = ctx.attr_strings("string_vocabulary");
  require(type.map_key == DType::kString ? !strings.empty() : type.map_key == DType::kInt64 && !ints.empty(),
          ErrorCode::kInvalidModel, "no vocabulary for ", type);
  const DType v = type.dtype;
  if (v != DType::kInt64 && v != DType::kFloat32 && v != DType::kFloat64 && v != DType::kString)
    ctx.unsupported("maps to ", dtype_name(v));
  ctx.output(0, v);
  if (type.map_key == DType::kString) return std::make_unique<DictVectorizer<std::string>>(strings);
  return std::make_unique<DictVectorizer<int64_t>>(ints);
}

std::unique_ptr<Op> make_cast_map(NodeContext& ctx) {
  expect_map(ctx);
  const ValueType& type = ctx.input_type(0);
  if (type.map_key != DType::kInt64 || (type.dtype != DType::kFloat32 && type.dtype != DType::kString))
    ctx.unsupported("maps of type ", type);
  const std::string to = ctx.attr_string("cast_to", "TO_FLOAT"), form = ctx.attr_string("map_form", "DENSE");
  require(to == "TO_FLOAT" || to == "TO_STRING" || to == "TO_INT64", ErrorCode::kInvalidModel,
          "unknown cast_to '", to, "'");
  require(form == "DENSE" || form == "SPARSE", ErrorCode::kInvalidModel, "unknown map_form '", form, "'");
  const int64_t length = ctx.attr_int("max_map", 1);
  require(form == "DENSE" || length >= 0, ErrorCode::kInvalidModel, "max_map = ", length);
  const DType dtype = to == "TO_FLOAT" ? DType::kFloat32 : to == "TO_INT64" ? DType::kInt64 : DType::kString;
  ctx.output(0, dtype);
  return std::make_unique<CastMap>(dtype, form == "DENSE" ? -1 : length);
}

}  // namespace

std::span<const OpDef> ml_maps_ops() {
  static constexpr OpDef kOps[] = {
      {"ai.onnx.ml", "CastMap", 1, make_cast_map},
      {"ai.onnx.ml", "DictVectorizer", 1, make_dict_vectorizer},
      {"ai.onnx.ml", "ZipMap", 1, make_zip_map},
  };
  return kOps;
}

}  // namespace pyinfer
