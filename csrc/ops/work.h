// How matrix-like operators lay out their scratch memory and cut their work into tiles.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/aligned.h"
#include "base/error.h"
#include "base/math.h"

namespace pyinfer {

// Hands out pieces of a scratch block, each aligned to a cache line.
class ScratchLayout {
 public:
  // The offset of a piece of count * size bytes. Throws Error(kLimit) when the sum does not fit.
  int64_t take(int64_t count, int64_t size) {
    const auto bytes = checked_mul(count, size);
    const auto end = bytes ? checked_add(bytes_, *bytes) : std::nullopt;
    require(end && *end < INT64_MAX - kLine, ErrorCode::kLimit, "scratch memory would exceed 63 bits");
    const int64_t offset = bytes_;
    bytes_ = round_up(*end, kLine);
    return offset;
  }
  int64_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kLine = static_cast<int64_t>(kCacheLine);
  int64_t bytes_ = 0;
};

// 2 * a * b * c, or the largest integer when that does not fit: for reports.
inline int64_t product_flops(int64_t a, int64_t b, int64_t c) {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r) || __builtin_mul_overflow(r, c, &r) ||
      __builtin_mul_overflow(r, 2, &r))
    return INT64_MAX;
  return r;
}

// Items of work to take at once so that a take is worth its cost, given the cost of one item in
// multiply-adds. Never depends on the number of threads.
inline int64_t grain_for(int64_t cost_of_one, int64_t goal = int64_t{1} << 18) {
  return std::max<int64_t>(1, goal / std::max<int64_t>(cost_of_one, 1));
}

// Rows x panels of a matrix product cut into tiles; tile t covers rows of tile t / panel_tiles and panels
// of tile t % panel_tiles.
struct Tiling {
  int64_t rows, panels, row_step, panel_step, row_tiles, panel_tiles;

  // `cost` is that of one panel of one row, in multiply-adds.
  Tiling(int64_t rows_, int64_t panels_, int64_t cost) : rows(rows_), panels(panels_) {
    // Weights pass through the caches once per tile of rows, and a row of A once per tile of panels. Row
    // tiles are even, and a multiple of what the kernels take at once.
    constexpr int64_t kRows = 192, kUnit = 12, kPanels = 4, kGoal = int64_t{1} << 20;
    row_step =
        rows > kRows ? round_up(ceil_div(rows, ceil_div(rows, kRows)), kUnit) : std::max<int64_t>(rows, 1);
    panel_step =
        std::max<int64_t>(kGoal / std::max<int64_t>(row_step * cost, 1), row_step > kRows / 2 ? kPanels : 1);
    panel_step = std::clamp<int64_t>(panel_step, 1, std::max<int64_t>(panels, 1));
    row_tiles = ceil_div(rows, row_step);
    panel_tiles = ceil_div(panels, panel_step);
  }
  int64_t count() const { return row_tiles * panel_tiles; }
  int64_t row_begin(int64_t t) const { return t / panel_tiles * row_step; }
  int64_t row_end(int64_t t) const { return std::min(rows, row_begin(t) + row_step); }
  int64_t panel_begin(int64_t t) const { return t % panel_tiles * panel_step; }
  int64_t panel_end(int64_t t) const { return std::min(panels, panel_begin(t) + panel_step); }
};

}  // namespace pyinfer
