// Convolution by Winograd's minimal filtering F(m, r), fp32, channels last, along one or both axes of an
// image:
//   Y = epilogue(A^T [sum over c of (G g) * (B^T d)])              windows of r = 3 or 5 along one axis
//   Y = epilogue(A^T [sum over c of (G g G^T) * (B^T d B)] A)      windows of 3x3
// An axis is cut into tiles of m outputs, m = 2 or 4, each of which reads T = m + r - 1 inputs d: T matrix
// products of tiles x in_channels by in_channels x out_channels in place of m r, and T^2 in place of (m r)^2.
// The matrices come from the points 0, +-1, infinity (T = 4) and 0, +-5/8, +-3/2, infinity (T = 6), which
// keep rounding errors low and whose coefficients are exact in fp32. Each sum over c is one chain of fused
// multiply-adds over ascending c, starting from +0, and each transform runs in one order, so an output's bits
// depend on neither the batch nor how tiles and panels are cut. Padding takes part as zeros. Infinities and
// NaNs reach all outputs of the tiles that read them, as NaNs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/conv.h"

namespace pyinfer {

enum class ConvAlgorithm : uint8_t {
  kDirect,
  kWinograd2,
  kWinograd4,
  kDisjoint,  // of transposed convolutions whose windows do not overlap
};

// m of F(m, r).
constexpr int64_t winograd_tile(ConvAlgorithm a) {
  return a == ConvAlgorithm::kWinograd4 ? 4 : 2;
}

// Whether tiles of m outputs can compute the shape: windows that move by 1, of 3x3 or along one axis of 3 or,
// where m is 2, 5; all channels in one group. What fits m = 4 fits m = 2.
bool fits_winograd(const ConvShape& s, int64_t m);

// The cheapest way by an estimate over channels and spatial sizes. Looks at nothing else: not the batch.
ConvAlgorithm choose_conv_algorithm(const ConvShape& s);

// One axis of an image, in tiles of F(m, taps); F(1, 1), the identity, where windows are one pixel long.
struct WinogradAxis {
  int64_t taps = 1, m = 1, points = 1, tiles = 1;
  int64_t input = 1, output = 1, pad = 0;
  int64_t input_step = 0, output_step = 0;  // pixels of memory from one position to the next
};

// An image as its tiles see it: they follow each other along x, which moves. Of windows of r x 1 that is the
// image's first axis; an image of one axis has one row. Precondition: fits_winograd(shape, m).
struct WinogradGrid {
  WinogradAxis y, x;
  int64_t points;  // of both

  WinogradGrid(const ConvShape& shape, int64_t m);
};

// Tiles of all images, image after image, rows of tiles in each.
int64_t winograd_tiles(const ConvShape& shape, int64_t m);

// A matrix of in_channels x out_channels for each point, in the panels of kernels/gemm.h.
int64_t packed_winograd_weights_size(const ConvShape& shape, int64_t m);
// `weights` is [out_channels, in_channels, kernel...]; transformed in double precision and rounded once.
void pack_winograd_weights(const ConvShape& shape, int64_t m, const float* weights, float* packed);

// Tiles x panels cut into tasks; those of one block of tiles follow each other. A block's transformed input
// and a task's products stay in the second cache, as far as a block can be that small and still read the
// weights seldom.
struct WinogradTiling {
  int64_t tiles, panels, tile_step, panel_step, panel_tasks;

  WinogradTiling(const ConvShape& shape, int64_t m);
  int64_t count() const { return (tiles + tile_step - 1) / tile_step * panel_tasks; }
  int64_t block(int64_t task) const { return task / panel_tasks; }
  int64_t tile_begin(int64_t task) const { return block(task) * tile_step; }
  int64_t tile_end(int64_t task) const { return least(tiles, tile_begin(task) + tile_step); }
  int64_t panel_begin(int64_t task) const { return task % panel_tasks * panel_step; }
  int64_t panel_end(int64_t task) const { return least(panels, panel_begin(task) + panel_step); }
  // Multiply-adds of one task.
  int64_t task_cost() const { return tile_step * panel_step * cost; }

 private:
  int64_t cost;  // of one panel of one tile
  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
};

struct WinogradKernels {
  // Bytes of scratch for blocks of at most `tiles` tiles and tasks of at most `panels` panels; 64-aligned.
  size_t (*scratch_bytes)(const ConvArgs& args, int64_t m, int64_t tiles, int64_t panels);
  // Transforms the input of tiles [begin, end) into scratch.
  void (*transform)(const ConvArgs& args, int64_t m, int64_t begin, int64_t end, void* scratch);
  // Outputs of tiles [begin, end), which were transformed last in this scratch, under panels
  // [panel_begin, panel_end). args.weights are those of pack_winograd_weights.
  void (*run)(const ConvArgs& args, int64_t m, int64_t begin, int64_t end, int64_t panel_begin,
              int64_t panel_end, void* scratch);
};

}  // namespace pyinfer
