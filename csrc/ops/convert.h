// Conversion of elements between any two numeric types, by the rules of ONNX Cast.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace pyinfer {

enum class RoundMode : uint8_t { kUp, kDown, kNearest };

// How values beyond the target's range and, for float8e8m0, between its powers of two are treated.
struct ConvertOptions {
  bool saturate = true;  // float8 targets only: the largest finite value instead of infinity or NaN
  RoundMode e8m0_round = RoundMode::kUp;
};

// y[i] = x[i] as the type `to`; both types numeric or bool. To bool: x != 0. Integer to integer: the low
// bits. Float to integer: toward zero, NaN as 0, saturated to 32 bits (to 64 where the target is wider, or
// uint32) and then the low bits, the same on every CPU. To a floating type: nearest, ties to even. y may be x
// when the elements have one size; else they must not overlap.
void convert(DType from, const void* x, DType to, void* y, int64_t n, const ConvertOptions& options = {});

// The number that `s` spells. Throws Error(kInvalidInput) when it spells none.
double number_from_string(const std::string& s);
// Elements as text: integers in decimal, floats in the fewest digits that give them back.
void convert_to_strings(DType from, const void* x, std::string* y, int64_t n);
// Throws Error(kInvalidInput) for text that is no number.
void convert_from_strings(const std::string* x, DType to, void* y, int64_t n,
                          const ConvertOptions& options = {});

}  // namespace pyinfer
