// Moving elements without looking at them: strided boxes (which is what a transpose, slice, expansion,
// tiling, concatenation and padding are), rows chosen by an index, and fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pyinfer {

// dst[sum_d i_d * dst_stride_d] = src[sum_d i_d * src_stride_d] for every index i of a box, in the form that
// a kernel walks: neighbouring dimensions joined, contiguous runs found, and the box cut into units that
// may be copied in any order. src and dst must not overlap. Source strides may be zero or negative.
struct CopyPlan {
  static constexpr int kMaxRank = 32;
  enum class Mode : uint8_t {
    kBytes,  // the last dimension is contiguous on both sides and long
    kRuns,   // the last dimension steps over runs of `run` bytes
    kTiles,  // the last is contiguous in dst, the one before it in src; elements of 1, 2, 4, 8 or 16 bytes
  };

  Mode mode = Mode::kBytes;
  int64_t element_bytes = 1;
  int64_t run = 1;  // bytes that move together
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  int64_t src_strides[kMaxRank] = {};  // bytes
  int64_t dst_strides[kMaxRank] = {};  // bytes
  // A unit is one index of the outer dimensions, times a stretch of the last one (kTiles: of the last two).
  int64_t chunk = 1;       // of the last dimension
  int64_t tile_chunk = 1;  // kTiles: of the one before
  int64_t units = 0;       // zero: nothing to copy
  int64_t grain = 1;       // units that are worth a thread

  // One contiguous piece at the same place on both sides.
  bool contiguous() const { return mode == Mode::kBytes && rank == 1; }
};

// Strides in elements. Precondition: all spans of one length, at most kMaxRank; the box lies in both arrays.
CopyPlan plan_copy(int64_t element_bytes, std::span<const int64_t> dims, std::span<const int64_t> src_strides,
                   std::span<const int64_t> dst_strides);

struct MovementKernels {
  // Copies the units [begin, end) of `plan`; src and dst are the addresses of index 0.
  void (*copy)(const CopyPlan& plan, const std::byte* src, std::byte* dst, int64_t begin, int64_t end);

  // dst(i) = src(indices(i)) for rows of row_bytes bytes, i in [0, n). Indices are valid; no overlap.
  void (*gather_rows)(const std::byte* src, int64_t row_bytes, const int64_t* indices, int64_t n,
                      std::byte* dst);

  // dst(i) = value for n elements of element_bytes bytes each, a power of two up to 16.
  void (*fill)(std::byte* dst, int64_t n, const std::byte* value, int64_t element_bytes);
};

}  // namespace pyinfer
