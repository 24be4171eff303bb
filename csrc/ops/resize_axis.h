// How one axis of Resize reads its input: the coordinates, and the weights of the elements around them.
#pragma once

#include <string>
#include <vector>

#include "tensor/shape.h"

namespace pyinfer {

enum class ResizeMode { kNearest, kLinear, kCubic };
enum class Coordinates {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kCropAndResize,
};
enum class NearestMode { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };

// The attributes of Resize.
struct ResizeRule {
  ResizeMode mode = ResizeMode::kNearest;
  Coordinates coordinates = Coordinates::kHalfPixel;
  NearestMode nearest = NearestMode::kRoundPreferFloor;
  bool antialias = false;
  bool exclude_outside = false;
  double cubic_a = -0.75;
};

// One axis: `in` elements become `out`.
struct ResizeAxis {
  int64_t in, out;
  double scale;  // out / in, or as the model gives it
  double roi_start = 0, roi_end = 1;
};

// Output index i is the sum over t of weight[t * out + i] * input[index[t * out + i]]. For kNearest there is
// one tap and no weight.
struct ResizeTaps {
  int64_t taps = 1;
  std::vector<int64_t> index;
  std::vector<double> weight;
  std::vector<bool> outside;  // by output index: takes the extrapolation value; empty when none does
};

// Precondition: in > 0, out > 0, scale > 0, everything finite.
ResizeTaps resize_taps(const ResizeRule& rule, const ResizeAxis& axis);

// Number of taps that resize_taps will give.
int64_t count_taps(const ResizeRule& rule, double scale);

}  // namespace pyinfer
