#include "onnx/tensor_decode.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/math.h"
#include "onnx/wire.h"

namespace pyinfer::onnx {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they lie");

using Bytes = std::span<const std::byte>;

DType to_dtype(const TensorProto& proto) {
  require(proto.data_type > 0, ErrorCode::kInvalidModel, "tensor '", proto.name,
          "' has no element type (data_type ", proto.data_type, ")");
  require(proto.data_type < kDTypeCount, ErrorCode::kUnsupported, "tensor '", proto.name,
          "' has unsupported element type ", proto.data_type);
  return static_cast<DType>(proto.data_type);
}

// The shape, whose product fits in 63 bits even without its zeros, so that strides do too.
Shape to_shape(std::span<const int64_t> dims, std::string_view name, DType dtype, const Limits& limits) {
  require(dims.size() <= static_cast<size_t>(Shape::kMaxRank), ErrorCode::kUnsupported, "tensor '", name,
          "' has ", dims.size(), " dimensions; at most ", Shape::kMaxRank, " are supported");
  int64_t product = static_cast<int64_t>(dtype_size(dtype));
  bool empty = false;
  for (const int64_t d : dims) {
    require(d >= 0, ErrorCode::kInvalidModel, "tensor '", name, "' has a negative dimension: ", d);
    empty |= d == 0;
    const auto next = checked_mul(product, std::max<int64_t>(d, 1));
    require(next.has_value(), ErrorCode::kLimit, "tensor '", name,
            "': the product of its dimensions overflows");
    product = *next;
  }
  require(empty || product <= limits.max_tensor_bytes, ErrorCode::kLimit, "tensor '", name, "' takes ",
          product, " bytes, more than max_tensor_bytes = ", limits.max_tensor_bytes);
  return Shape(dims);
}

// Bytes of `count` elements in a file. Does not overflow: the elements fit in memory.
size_t file_bytes(DType dtype, int64_t count) {
  const auto bits = static_cast<size_t>(dtype_file_bits(dtype));
  const auto n = static_cast<size_t>(count);
  return bits < 8 ? (n * bits + 7) / 8 : n * (bits / 8);
}

size_t alignment_of(DType dtype) {
  if (dtype == DType::kComplex64) return alignof(float);
  if (dtype == DType::kComplex128) return alignof(double);
  return dtype_size(dtype);
}

// Elements of 2, 4 or 6 bits to a byte each, from a stream of bits, the low ones first; signed integers are
// sign-extended.
void unpack(DType dtype, Bytes packed, std::span<uint8_t> out) {
  const auto bits = static_cast<unsigned>(dtype_file_bits(dtype));
  const unsigned mask = (1u << bits) - 1;
  const bool is_signed = dtype == DType::kInt4 || dtype == DType::kInt2;
  const unsigned sign = is_signed ? 1u << (bits - 1) : 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t at = i * bits / 8, next = std::min(at + 1, packed.size() - 1);
    const unsigned two = std::to_integer<unsigned>(packed[at]) | std::to_integer<unsigned>(packed[next]) << 8;
    const unsigned code = two >> (i * bits % 8) & mask;
    out[i] = static_cast<uint8_t>((code ^ sign) - sign);
  }
}

// Reading a bool of another value is undefined.
void check_bools(Bytes bytes, std::string_view name) {
  const auto bad = std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; });
  require(bad == bytes.end(), ErrorCode::kInvalidModel, "tensor '", name,
          "' of type bool holds a value other than 0 and 1");
}

// Exactly the bytes of the elements, as a file holds them.
Tensor from_file_bytes(const TensorProto& proto, DType dtype, const Shape& shape, Bytes bytes,
                       const std::shared_ptr<const void>& keep_alive, const DataSource& source) {
  if (dtype == DType::kBool) check_bools(bytes, proto.name);
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % alignment_of(dtype) == 0;
  const bool packed = dtype_file_bits(dtype) < 8;
  if (keep_alive != nullptr && aligned && !packed && !bytes.empty())
    return Tensor(dtype, shape, bytes.data(), keep_alive);
  Tensor out(dtype, shape);
  if (packed)
    unpack(dtype, bytes, out.span<uint8_t>());
  else if (!bytes.empty())
    std::memcpy(out.as<std::byte>(), bytes.data(), bytes.size());
  source.release(bytes);
  return out;
}

void check_count(const TensorProto& proto, DType dtype, std::string_view field, size_t got, size_t expected) {
  require(got == expected, ErrorCode::kInvalidModel, "tensor '", proto.name, "' of type ", dtype_name(dtype),
          " has ", got, " values in ", field, ", expected ", expected);
}

// Every varint ends in its only byte below 128.
size_t count_varints(Bytes bytes) {
  return static_cast<size_t>(
      std::count_if(bytes.begin(), bytes.end(), [](std::byte b) { return b < std::byte{0x80}; }));
}

// Precondition: `bytes` holds `count` varints. Truncates each to T; those `fits` rejects are errors.
template <class T, class Fits>
void read_varints(Bytes bytes, size_t count, T* out, std::string_view name, Fits fits) {
  const std::byte* p = bytes.data();
  const std::byte* end = p + bytes.size();
  for (size_t i = 0; i < count; ++i) {
    const auto value = decode_varint(p, end);
    require(value.has_value(), ErrorCode::kInvalidModel, "tensor '", name,
            "': a variable-length integer does not end");
    require(fits(*value), ErrorCode::kInvalidModel, "tensor '", name, "': value ",
            static_cast<int64_t>(*value), " is out of the range of its type");
    out[i] = static_cast<T>(*value);
  }
}

constexpr auto kAnyValue = [](uint64_t) { return true; };

// int32_data holds integers, and the bits of floats, of up to 16 bits; of types of 2 and 4 bits, packed
// bytes. Writers differ in whether they extend the sign.
template <int bits>
bool fits_bits(uint64_t value) {
  const auto v = static_cast<int32_t>(value);
  return v >= -(1 << (bits - 1)) && v < (1 << bits);
}

Tensor from_int32_data(const TensorProto& proto, DType dtype, const Shape& shape) {
  const Bytes bytes = proto.int32_data.bytes();
  const int file_bits = dtype_file_bits(dtype);
  const auto elements = static_cast<size_t>(shape.count());
  const size_t count = file_bits < 6 ? file_bytes(dtype, shape.count()) : elements;
  check_count(proto, dtype, "int32_data", count_varints(bytes), count);
  Tensor out(dtype, shape);
  if (file_bits == 32) {
    read_varints(bytes, count, out.as<int32_t>(), proto.name, kAnyValue);
  } else if (file_bits == 16) {
    read_varints(bytes, count, out.as<uint16_t>(), proto.name, fits_bits<16>);
  } else if (file_bits == 8) {
    read_varints(bytes, count, out.as<uint8_t>(), proto.name, fits_bits<8>);
    if (dtype == DType::kBool) check_bools(std::as_bytes(out.span<uint8_t>()), proto.name);
  } else if (file_bits == 6) {
    read_varints(bytes, count, out.as<uint8_t>(), proto.name, [](uint64_t v) { return v < 64; });
  } else {
    std::vector<uint8_t> packed(count);
    read_varints(bytes, count, packed.data(), proto.name, fits_bits<8>);
    unpack(dtype, std::as_bytes(std::span(packed)), out.span<uint8_t>());
  }
  return out;
}

Tensor from_fixed_data(const TensorProto& proto, DType dtype, const Shape& shape, const PackedField& field,
                       std::string_view field_name, size_t value_size) {
  const Bytes bytes = field.bytes();
  const size_t expected = static_cast<size_t>(shape.count()) * dtype_size(dtype) / value_size;
  check_count(proto, dtype, field_name, bytes.size() / value_size, expected);
  Tensor out(dtype, shape);
  if (!bytes.empty()) std::memcpy(out.as<std::byte>(), bytes.data(), bytes.size());
  return out;
}

Tensor from_string_data(const TensorProto& proto, const Shape& shape, const Limits& limits) {
  const auto count = static_cast<size_t>(shape.count());
  check_count(proto, DType::kString, "string_data", proto.string_data.size(), count);
  size_t total = count * sizeof(std::string);
  for (const std::string_view s : proto.string_data) total += s.size();  // views of one file: no overflow
  require(total <= static_cast<uint64_t>(limits.max_tensor_bytes), ErrorCode::kLimit, "tensor '", proto.name,
          "' takes ", total, " bytes, more than max_tensor_bytes = ", limits.max_tensor_bytes);
  Tensor out(DType::kString, shape);
  std::copy(proto.string_data.begin(), proto.string_data.end(), out.as<std::string>());
  return out;
}

Tensor from_typed_data(const TensorProto& proto, DType dtype, const Shape& shape, const Limits& limits) {
  const auto count = static_cast<size_t>(shape.count());
  switch (dtype) {
    case DType::kString: return from_string_data(proto, shape, limits);
    case DType::kFloat32:
    case DType::kComplex64: return from_fixed_data(proto, dtype, shape, proto.float_data, "float_data", 4);
    case DType::kFloat64:
    case DType::kComplex128: return from_fixed_data(proto, dtype, shape, proto.double_data, "double_data", 8);
    case DType::kInt64: {
      check_count(proto, dtype, "int64_data", count_varints(proto.int64_data.bytes()), count);
      Tensor out(dtype, shape);
      read_varints(proto.int64_data.bytes(), count, out.as<int64_t>(), proto.name, kAnyValue);
      return out;
    }
    case DType::kUInt32:
    case DType::kUInt64: {
      check_count(proto, dtype, "uint64_data", count_varints(proto.uint64_data.bytes()), count);
      Tensor out(dtype, shape);
      if (dtype == DType::kUInt64)
        read_varints(proto.uint64_data.bytes(), count, out.as<uint64_t>(), proto.name, kAnyValue);
      else
        read_varints(proto.uint64_data.bytes(), count, out.as<uint32_t>(), proto.name,
                     [](uint64_t v) { return v <= UINT32_MAX; });
      return out;
    }
    default: return from_int32_data(proto, dtype, shape);
  }
}

// A tensor with its data in two places reads differently in different engines.
void check_one_storage(const TensorProto& proto) {
  const int used = static_cast<int>(proto.external) + !proto.raw_data.empty() + !proto.float_data.empty() +
                   !proto.double_data.empty() + !proto.int32_data.empty() + !proto.int64_data.empty() +
                   !proto.uint64_data.empty() + !proto.string_data.empty();
  require(used <= 1, ErrorCode::kInvalidModel, "tensor '", proto.name, "' holds data in ", used,
          " places, expected one");
  require(!proto.has_segment, ErrorCode::kUnsupported, "tensor '", proto.name,
          "' is one segment of a tensor");
}

}  // namespace

Tensor decode_tensor(const TensorProto& proto, const DataSource& source) {
  check_one_storage(proto);
  const DType dtype = to_dtype(proto);
  const Shape shape = to_shape(proto.dims, proto.name, dtype, source.limits);
  const bool raw = !proto.raw_data.empty();
  if (!raw && !proto.external) return from_typed_data(proto, dtype, shape, source.limits);

  require(dtype != DType::kString, ErrorCode::kInvalidModel, "tensor '", proto.name,
          "' of type string has its data outside of string_data");
  const size_t size = file_bytes(dtype, shape.count());
  if (raw) {
    require(proto.raw_data.size() == size, ErrorCode::kInvalidModel, "tensor '", proto.name, "' of type ",
            dtype_name(dtype), " and shape ", shape, " has ", proto.raw_data.size(),
            " bytes of raw_data, expected ", size);
    return from_file_bytes(proto, dtype, shape, proto.raw_data, source.keep_alive, source);
  }
  require(source.external != nullptr, ErrorCode::kInvalidModel, "tensor '", proto.name,
          "' may not have external data here");
  const ExternalData::Slice slice = source.external->read(proto, size);
  return from_file_bytes(proto, dtype, shape, slice.bytes, slice.keep_alive, source);
}

namespace {

// The offsets of the elements in the flattened dense tensor, checked against its shape.
std::vector<int64_t> dense_offsets(const Tensor& indices, const Shape& shape, int64_t nonzeros,
                                   std::string_view name) {
  require(indices.dtype() == DType::kInt64, ErrorCode::kInvalidModel, "sparse tensor '", name,
          "' has indices of type ", dtype_name(indices.dtype()), ", expected int64");
  const Shape& s = indices.shape();
  const bool linear = s.rank() == 1 && s[0] == nonzeros;
  const bool coordinates = s.rank() == 2 && s[0] == nonzeros && s[1] == shape.rank();
  require(linear || coordinates, ErrorCode::kInvalidModel, "sparse tensor '", name, "' has indices of shape ",
          s, ", expected [", nonzeros, "] or [", nonzeros, ", ", shape.rank(), "]");

  const auto check = [&](int64_t index, int64_t size) {
    require(index >= 0 && index < size, ErrorCode::kInvalidModel, "sparse tensor '", name, "' has index ",
            index, ", expected 0 to ", size - 1);
  };
  const int64_t total = shape.count();
  const int rank = linear ? 1 : shape.rank();
  const int64_t* p = indices.as<const int64_t>();
  std::vector<int64_t> offsets(static_cast<size_t>(nonzeros));
  for (int64_t& offset : offsets) {
    offset = 0;
    for (int axis = 0; axis < rank; ++axis, ++p) {
      const int64_t size = linear ? total : shape[axis];
      check(*p, size);
      offset = offset * size + *p;
    }
  }
  return offsets;
}

void check_distinct(std::vector<int64_t> offsets, std::string_view name) {
  if (!std::is_sorted(offsets.begin(), offsets.end())) std::sort(offsets.begin(), offsets.end());
  const auto twice = std::adjacent_find(offsets.begin(), offsets.end());
  require(twice == offsets.end(), ErrorCode::kInvalidModel, "sparse tensor '", name,
          "' has an element twice");
}

}  // namespace

Tensor decode_sparse_tensor(const SparseTensorProto& proto, const DataSource& source) {
  const std::string_view name = proto.values.name;
  const DType dtype = to_dtype(proto.values);
  const Shape shape = to_shape(proto.dims, name, dtype, source.limits);
  require(shape.rank() > 0, ErrorCode::kInvalidModel, "sparse tensor '", name, "' has no dimensions");
  const Tensor values = decode_tensor(proto.values, source);
  require(values.shape().rank() == 1, ErrorCode::kInvalidModel, "sparse tensor '", name,
          "' has values of shape ", values.shape(), ", expected one dimension");
  const Tensor indices = decode_tensor(proto.indices, source);
  const std::vector<int64_t> offsets = dense_offsets(indices, shape, values.count(), name);
  check_distinct(offsets, name);

  Tensor out(dtype, shape);
  if (dtype == DType::kString) {
    for (size_t i = 0; i < offsets.size(); ++i)
      out.as<std::string>()[offsets[i]] = values.as<std::string>()[i];
    return out;
  }
  const size_t size = dtype_size(dtype);
  std::memset(out.as<std::byte>(), 0, out.bytes());
  for (size_t i = 0; i < offsets.size(); ++i)
    std::memcpy(out.as<std::byte>() + static_cast<size_t>(offsets[i]) * size,
                values.as<std::byte>() + i * size, size);
  return out;
}

}  // namespace pyinfer::onnx
