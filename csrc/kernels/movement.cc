#include "kernels/movement.h"

#include <algorithm>

#include "base/math.h"

namespace pyinfer {
namespace {

constexpr int64_t kUnitBytes = 16 << 10;
constexpr int64_t kGrainBytes = 128 << 10;
constexpr int64_t kTile = 64;  // bytes of a cache line

void erase_dim(CopyPlan& p, int d) {
  for (int i = d; i + 1 < p.rank; ++i) {
    p.dims[i] = p.dims[i + 1];
    p.src_strides[i] = p.src_strides[i + 1];
    p.dst_strides[i] = p.dst_strides[i + 1];
  }
  --p.rank;
}

// Joins neighbours that are one dimension on both sides.
void join_dims(CopyPlan& p) {
  for (int d = p.rank - 1; d >= 0; --d)
    if (p.dims[d] == 1) erase_dim(p, d);
  for (int d = p.rank - 2; d >= 0; --d) {
    const int64_t n = p.dims[d + 1];
    if (p.src_strides[d] != n * p.src_strides[d + 1] || p.dst_strides[d] != n * p.dst_strides[d + 1])
      continue;
    p.dims[d + 1] *= p.dims[d];
    erase_dim(p, d);
  }
}

void append_dim(CopyPlan& p, int64_t n, int64_t stride) {
  p.dims[p.rank] = n;
  p.src_strides[p.rank] = p.dst_strides[p.rank] = stride;
  ++p.rank;
}

bool is_element(int64_t bytes) {
  return bytes <= 16 && (bytes & (bytes - 1)) == 0;
}

// Makes dimension `d` number `to`, which comes after it.
void move_dim(CopyPlan& p, int d, int to) {
  std::rotate(p.dims + d, p.dims + d + 1, p.dims + to + 1);
  std::rotate(p.src_strides + d, p.src_strides + d + 1, p.src_strides + to + 1);
  std::rotate(p.dst_strides + d, p.dst_strides + d + 1, p.dst_strides + to + 1);
}

// Moves the dimension that is contiguous in src next to the last one. False when there is none.
bool find_tiles(CopyPlan& p) {
  const int last = p.rank - 1;
  if (last < 1 || !is_element(p.run) || p.dst_strides[last] != p.run) return false;
  int d = last - 1;
  while (d >= 0 && p.src_strides[d] != p.run) --d;
  if (d < 0) return false;
  move_dim(p, d, last - 1);
  return true;
}

// A short last dimension costs more to enter than to copy: a longer one takes its place.
void lengthen_last(CopyPlan& p) {
  const int last = p.rank - 1;
  if (p.dims[last] >= 8) return;
  const auto longest = std::max_element(p.dims, p.dims + p.rank);
  if (*longest > p.dims[last]) move_dim(p, static_cast<int>(longest - p.dims), last);
}

}  // namespace

CopyPlan plan_copy(int64_t element_bytes, std::span<const int64_t> dims, std::span<const int64_t> src_strides,
                   std::span<const int64_t> dst_strides) {
  CopyPlan p;
  p.element_bytes = p.run = element_bytes;
  p.rank = static_cast<int>(dims.size());
  if (std::find(dims.begin(), dims.end(), 0) != dims.end()) return p;
  for (int d = 0; d < p.rank; ++d) {
    const auto i = static_cast<size_t>(d);
    p.dims[d] = dims[i];
    p.src_strides[d] = src_strides[i] * element_bytes;
    p.dst_strides[d] = dst_strides[i] * element_bytes;
  }
  join_dims(p);
  const int last = p.rank - 1;
  if (p.rank > 0 && p.src_strides[last] == p.run && p.dst_strides[last] == p.run) {
    p.run *= p.dims[last];
    --p.rank;
  }
  if (p.rank == 0 || p.run >= kUnitBytes) {
    append_dim(p, p.run, 1);
    p.run = 1;
    p.mode = CopyPlan::Mode::kBytes;
  } else {
    p.mode = find_tiles(p) ? CopyPlan::Mode::kTiles : CopyPlan::Mode::kRuns;
    if (p.mode == CopyPlan::Mode::kRuns) lengthen_last(p);
  }

  const int inner = p.rank - 1;
  p.chunk = std::max<int64_t>(1, kUnitBytes / p.run);
  if (p.mode == CopyPlan::Mode::kTiles) {
    p.chunk = 512;
    const int64_t row = std::min(p.chunk, p.dims[inner]) * p.run;
    p.tile_chunk = round_up(std::max(kUnitBytes / row, kTile / p.run), 16);
  }
  p.units = ceil_div(p.dims[inner], p.chunk);
  int64_t bytes = std::min(p.chunk, p.dims[inner]) * p.run;
  if (p.mode == CopyPlan::Mode::kTiles) {
    p.units *= ceil_div(p.dims[inner - 1], p.tile_chunk);
    bytes *= std::min(p.tile_chunk, p.dims[inner - 1]);
  }
  for (int d = 0; d < inner - (p.mode == CopyPlan::Mode::kTiles); ++d) p.units *= p.dims[d];
  p.grain = std::max<int64_t>(1, kGrainBytes / bytes);
  return p;
}

}  // namespace pyinfer
