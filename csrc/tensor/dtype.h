// Element types. The numeric values are ONNX's TensorProto.DataType.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pyinfer {

enum class DType : uint8_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kUInt16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUInt32 = 12,
  kUInt64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBFloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUInt4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUInt2 = 25,
  kInt2 = 26,
  kFloat6E2M3 = 27,
  kFloat6E3M2 = 28,
};

inline constexpr int kDTypeCount = 29;

// Bytes of one element in memory. Types of 2, 4 and 6 bits take one byte each here (integers sign-
// or zero-extended, float4 and float6 as their codes in the low bits); only files and MatMulNBits pack them.
// A string element is a std::string.
size_t dtype_size(DType dtype);

// Bits of one element in a file: 2, 4 or 6 for the sub-byte types, else 8 * dtype_size. 0 for strings.
int dtype_file_bits(DType dtype);

// ONNX's name: "float", "int64", "bfloat16", "float8e4m3fn" ...
std::string_view dtype_name(DType dtype);

// kUndefined when no type has that name.
DType dtype_from_name(std::string_view name);

bool dtype_is_integer(DType dtype);  // signed or unsigned, of 2 to 64 bits; not bool
bool dtype_is_float(DType dtype);    // real floating types of 4 to 64 bits

}  // namespace pyinfer
