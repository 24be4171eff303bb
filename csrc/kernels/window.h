// Geometry shared by convolutions and pools: windows that slide over the spatial axes of an image.
#pragma once

#include <cstdint>

namespace pyinfer {

inline constexpr int kMaxSpatialRank = 8;

// Along axis d, tap k of output position o reads input position o * stride - pad + k * dilation;
// outside [0, input) it reads padding. Sizes are at least 1, except that outputs may be 0.
struct Window {
  int rank = 2;
  int64_t input[kMaxSpatialRank] = {};
  int64_t kernel[kMaxSpatialRank] = {};
  int64_t output[kMaxSpatialRank] = {};
  int64_t stride[kMaxSpatialRank] = {};
  int64_t dilation[kMaxSpatialRank] = {};
  int64_t pad[kMaxSpatialRank] = {};  // at the beginning; the end follows from `output`
};

constexpr int64_t spatial_size(const int64_t* dims, int rank) {
  int64_t size = 1;
  for (int d = 0; d < rank; ++d) size *= dims[d];
  return size;
}

}  // namespace pyinfer
