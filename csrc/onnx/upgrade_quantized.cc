// Operators of com.microsoft on quantized weights that are read as their float meaning: what they read is
// gathered first where that is little, dequantized, and then goes through the standard operator.
#include "onnx/upgrade_quantized.h"

#include "base/math.h"
#include "onnx/upgrade_vectors.h"
#include "tensor/float_types.h"

namespace pyinfer::onnx {
namespace {

const Attributes kFirstAxis{{"axis", {int64_t{0}}}};

ValueId byte_scalar(NodeUpgrade& n, int64_t value) {
  const auto byte = static_cast<uint8_t>(value);
  return n.constant_value(Tensor::from<uint8_t>({}, std::span(&byte, 1)));
}

// The numbers of `bits` bits that the bytes of x hold, the lowest first, along the last dimension.
ValueId unpack_last(NodeUpgrade& n, ValueId x, int64_t bits) {
  if (bits == 8) return x;
  std::vector<ValueId> parts;
  for (int64_t shift = 0; shift < 8; shift += bits) {
    ValueId part = x;
    if (shift > 0)
      part = n.add("BitShift", {part, byte_scalar(n, shift)}, {{"direction", {std::string("RIGHT")}}});
    if (shift + bits < 8) part = n.add("BitwiseAnd", {part, byte_scalar(n, (1 << bits) - 1)});
    parts.push_back(unsqueeze(n, part, {-1}));
  }
  const ValueId shape = n.add("Shape", {x});
  const ValueId last = n.add("Mul", {slice(n, shape, n.ints({-1}), n.ints({INT64_MAX})), n.ints({8 / bits})});
  const ValueId whole = n.add("Concat", {slice(n, shape, n.ints({0}), n.ints({-1})), last}, kFirstAxis);
  const ValueId stacked = n.add("Concat", std::move(parts), {{"axis", {int64_t{-1}}}});
  return n.add("Reshape", {stacked, whole}, {{"allowzero", {int64_t{1}}}});
}

// (x - zero) * scale along the rows of x, [a, b, c]; scale and zero are [a] or [a, c].
ValueId dequantize_matrices(NodeUpgrade& n, ValueId x, ValueId scale, ValueId zero) {
  const Attributes to_float{{"to", {static_cast<int64_t>(DType::kFloat32)}}};
  const auto by_row = [&](ValueId v) { return n.add("Reshape", {v, n.ints({0, 1, -1})}); };
  x = n.add("Cast", {x}, to_float);
  if (zero != kNoValue) x = n.add("Sub", {x, by_row(n.add("Cast", {zero}, to_float))});
  return n.add("Mul", {x, by_row(scale)});
}

// Values of the 16 codes, of QLoRA: floats of 4 bits with 2 of exponent, relative to the largest; quantiles
// of the normal distribution.
constexpr float kFloat4[16] = {
    0.0f,  5.208333333e-03f,  0.66666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
    -0.0f, -5.208333333e-03f, -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f};
constexpr float kNormal4[16] = {-1.0f,
                                -0.6961928009986877f,
                                -0.5250730514526367f,
                                -0.39491748809814453f,
                                -0.28444138169288635f,
                                -0.18477343022823334f,
                                -0.09105003625154495f,
                                0.0f,
                                0.07958029955625534f,
                                0.16093020141124725f,
                                0.24611230194568634f,
                                0.33791524171829224f,
                                0.44070982933044434f,
                                0.5626170039176941f,
                                0.7229568362236023f,
                                1.0f};

// A weight [n, k] of two codes in a byte, the first in the upper half, and one scale for each `block` of
// them.
struct CodedWeight {
  const float* table;
  int64_t n, k, block;

  Tensor decode(const Tensor& bytes, const Tensor& scales, bool transposed) const {
    Tensor values(DType::kFloat32, transposed ? Shape({k, n}) : Shape({n, k}));
    const bool half = scales.dtype() == DType::kFloat16;
    for (int64_t i = 0; i < n * k; ++i) {
      const uint8_t byte = bytes.as<uint8_t>()[i / 2];
      const float scale =
          half ? static_cast<float>(scales.as<Float16>()[i / block]) : scales.as<float>()[i / block];
      values.as<float>()[transposed ? i % k * n + i / k : i] =
          table[i % 2 == 0 ? byte >> 4 : byte & 15] * scale;
    }
    return values;
  }
};

// How GatherBlockQuantized stores its data.
struct Blocks {
  DType type;
  int64_t bits, block, gather, quantize;
  int rank;

  bool bytes() const { return type == DType::kUInt8; }
  bool floats() const { return dtype_is_float(type); }
};

Blocks read_blocks(NodeUpgrade& n, ValueId data) {
  Blocks f{.type = n.dtype(data),
           .bits = n.take_int("bits").value_or(4),
           .block = n.take_int("block_size").value_or(128),
           .gather = n.take_int("gather_axis").value_or(0),
           .quantize = n.take_int("quantize_axis").value_or(1),
           .rank = n.declared_rank(data)};
  require(f.rank >= 1 && f.type != DType::kUndefined, ErrorCode::kUnsupported,
          "data of a type and rank that are not known at load");
  for (int64_t* axis : {&f.gather, &f.quantize}) {
    require(*axis >= -f.rank && *axis < f.rank, ErrorCode::kInvalidModel, "axis ", *axis, " of data of rank ",
            f.rank);
    if (*axis < 0) *axis += f.rank;
  }
  require(f.bytes() || f.floats() || f.type == DType::kInt4 || f.type == DType::kUInt4,
          ErrorCode::kUnsupported, "data of type ", dtype_name(f.type),
          ", expected int4, uint4, uint8, a float8 type or float4e2m1");
  if (f.floats() && f.block == 0) f.block = int64_t{1} << 30;  // the whole axis
  require(f.block >= 16 && (f.block & (f.block - 1)) == 0, ErrorCode::kInvalidModel, "block_size is ",
          f.block, ", expected a power of two from 16 on");
  if (!f.bytes()) return f;
  require(f.bits == 2 || f.bits == 4 || f.bits == 8, ErrorCode::kInvalidModel, f.bits,
          " bits, expected 2, 4 or 8");
  require(f.gather == 0 && f.quantize == f.rank - 1 && f.rank > 1, ErrorCode::kUnsupported,
          "uint8 data with gather_axis ", f.gather, " and quantize_axis ", f.quantize,
          ", expected the first and the last of two or more dimensions");
  return f;
}

// Scales of float data may have one element along other axes than the quantized one.
ValueId full_scales(NodeUpgrade& n, ValueId scales, ValueId data, const Blocks& f) {
  if (!f.floats()) return scales;
  const ValueId shape = n.add("Shape", {data});
  const ValueId before = slice(n, shape, n.ints({0}), n.ints({f.quantize}));
  const ValueId after = slice(n, shape, n.ints({f.quantize + 1}), n.ints({INT64_MAX}));
  return n.add("Expand", {scales, n.add("Concat", {before, n.ints({1}), after}, kFirstAxis)});
}

}  // namespace

// y = dequantize(gather(data, indices)); scales and zero points hold for blocks along quantize_axis. An index
// out of range gives zeros: its scale is 0.
bool gather_block_quantized(NodeUpgrade& n) {
  const ValueId data = n.required(0), scales = n.required(2), zeros = n.input(3);
  const Blocks f = read_blocks(n, data);
  const ValueId size = dim(n, data, f.gather), given = to_int64(n, n.required(1)), none = n.ints({0});
  const ValueId from_end = n.add("Less", {given, n.scalar(int64_t{0})});
  const ValueId at = n.add("Where", {from_end, n.add("Add", {given, n.add("Squeeze", {size})}), given});
  const ValueId in_range = n.add("And", {n.add("GreaterOrEqual", {at, n.scalar(int64_t{0})}),
                                         n.add("Less", {at, n.add("Squeeze", {size})})});
  const ValueId rows = n.add("Where", {in_range, at, n.scalar(int64_t{0})});
  const bool same_axis = f.gather == f.quantize;
  const ValueId blocks = same_axis ? n.add("Div", {rows, n.scalar(f.block)}) : rows;
  const Attributes along{{"axis", {f.gather}}};
  const auto numbers_of = [&](ValueId x, ValueId which) {
    const ValueId gathered = n.add("Gather", {x, which}, along);
    return f.bytes() ? unpack_last(n, gathered, f.bits) : gathered;
  };
  std::vector<int64_t> behind;
  for (int64_t i = f.gather + 1; i < f.rank; ++i) behind.push_back(f.gather - i);
  const ValueId used = behind.empty() ? in_range : n.add("Unsqueeze", {in_range, n.ints(behind)});
  const ValueId scale = n.add(
      "Where",
      {used, n.add("Gather", {full_scales(n, scales, data, f), blocks}, along), n.scalar_like(scales, 0.0f)});
  ValueId zero = kNoValue;
  if (zeros != kNoValue) {
    zero = numbers_of(zeros, blocks);
    // The last byte of packed ones may be filled up.
    if (f.bytes()) zero = n.add("Slice", {zero, none, dim(n, scales, f.rank - 1), n.ints({-1})});
  } else if (f.bytes()) {
    zero = n.add("Expand", {byte_scalar(n, int64_t{1} << (f.bits - 1)), n.add("Shape", {scale})});
  }
  // Dimensions behind the one that is gathered keep their distance from the end.
  const int64_t axis = f.quantize < f.gather ? f.quantize : f.quantize - f.rank;
  n.become("DequantizeLinear", {numbers_of(data, rows), scale, zero},
           {{"axis", {same_axis ? int64_t{-1} : axis}}, {"block_size", {same_axis ? int64_t{1} : f.block}}});
  return true;
}

// y = A W^T (A W without transB). W becomes floats at load.
bool matmul_bnb4(NodeUpgrade& n) {
  const int64_t type = n.take_int("quant_type").value_or(-1);
  const CodedWeight w{type == 0 ? kFloat4 : kNormal4, n.take_int("N").value_or(0),
                      n.take_int("K").value_or(0), n.take_int("block_size").value_or(0)};
  require(type == 0 || type == 1, ErrorCode::kInvalidModel, "quant_type ", type, ", expected 0 or 1");
  const Tensor *bytes = n.constant(n.required(1)), *scales = n.constant(n.required(2));
  require(bytes != nullptr && scales != nullptr, ErrorCode::kUnsupported,
          "B and absmax that are no constants");
  require(bytes->dtype() == DType::kUInt8 &&
              (scales->dtype() == DType::kFloat32 || scales->dtype() == DType::kFloat16),
          ErrorCode::kUnsupported, "B of type ", dtype_name(bytes->dtype()), " and absmax of type ",
          dtype_name(scales->dtype()), ", expected uint8 and float or float16");
  const std::optional<int64_t> count = w.n > 0 && w.k > 0 ? checked_mul(w.n, w.k) : std::nullopt;
  require(count && w.block > 0 && bytes->count() == ceil_div(*count, 2) &&
              scales->count() == *count / w.block + (*count % w.block != 0),
          ErrorCode::kInvalidModel, "B of ", bytes->count(), " bytes and absmax of ", scales->count(),
          " values for N ", w.n, ", K ", w.k, " and block_size ", w.block);
  const bool half = scales->dtype() == DType::kFloat16;  // what adds values moves those that there are
  ValueId weight = n.constant_value(w.decode(*bytes, *scales, n.take_int("transB").value_or(1) != 0));
  if (half) weight = n.add("CastLike", {weight, n.required(2)});
  n.become("MatMul", {n.required(0), weight});
  return true;
}

// W and R are [directions, inputs, gates]; LSTM has them the other way round.
bool dynamic_quantize_lstm(NodeUpgrade& n) {
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < 8; ++i) inputs.push_back(n.input(i));
  for (size_t i : {1, 2}) {
    const size_t scale = 6 + 2 * i;
    const ValueId w = dequantize_matrices(n, n.required(i), n.required(scale), n.input(scale + 1));
    inputs[i] = transpose(n, w, {0, 2, 1});
  }
  for (size_t i = n.num_inputs(); i > 8; --i) n.set_input(i - 1, kNoValue);
  for (size_t i = 0; i < 8; ++i) n.set_input(i, inputs[i]);
  n.rename("LSTM");
  return true;
}

// y = layer_norm(word(id) + position(s) + segment(id')) of quantized tables and factors. The second output
// counts the ones of the mask.
bool quantized_embed_layer_norm(NodeUpgrade& n) {
  const ValueId ids = n.required(0), segments = n.input(1), mask = n.input(7);
  const auto part = [&](size_t table, size_t scale, ValueId rows) {
    ValueId x = n.required(table);
    if (rows != kNoValue) x = n.add("Gather", {x, rows});
    return n.add("DequantizeLinear", {x, n.required(scale), n.required(scale + 5)});
  };
  const ValueId positions = range(n, dim(n, ids, 1));
  ValueId sum = n.add("Add", {part(2, 8, ids), part(3, 9, positions)});
  if (segments != kNoValue) sum = n.add("Add", {sum, part(4, 10, segments)});
  const ValueId gamma = part(5, 11, kNoValue), beta = part(6, 12, kNoValue), counts = n.output(1);
  const int32_t none = 0;
  n.set_output(1, kNoValue);
  if (counts != kNoValue) {
    const ValueId zero = n.constant_value(Tensor::from<int32_t>({}, std::span(&none, 1)));
    n.pass_on(mask == kNoValue ? n.add("Expand", {zero, dim(n, ids, 0)})
                               : n.add("ReduceSum", {mask, n.ints({1})}, {{"keepdims", {int64_t{0}}}}),
              counts);
  }
  n.become("LayerNormalization", {sum, gamma, beta},
           {{"axis", {int64_t{-1}}}, {"epsilon", {n.take_float("epsilon").value_or(1e-12f)}}});
  return true;
}

}  // namespace pyinfer::onnx
