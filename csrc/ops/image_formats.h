// Decoders of image files, for ImageDecoder. Bytes come from outside: every read is bounded, and what a file
// claims is checked before memory is spent on it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pyinfer {

using Bytes = std::span<const uint8_t>;

// Rows of pixels of three bytes: red, green, blue. No pixels: the file is damaged.
struct RgbImage {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels;

  // Makes room, all black. Throws Error(kLimit) for over max_bytes.
  RgbImage(int64_t height, int64_t width, int64_t max_bytes);
  RgbImage() = default;
  void set(int64_t y, int64_t x, uint8_t r, uint8_t g, uint8_t b) {
    uint8_t* p = pixels.data() + (y * width + x) * 3;
    p[0] = r;
    p[1] = g;
    p[2] = b;
  }
};

// Each decodes its format, whose signature the caller has seen. Throws Error(kUnsupported) for a variant that
// it does not know.
RgbImage decode_bmp(Bytes file, int64_t max_bytes);
RgbImage decode_pnm(Bytes file, int64_t max_bytes);   // PBM, PGM and PPM, as text or bytes
RgbImage decode_tiff(Bytes file, int64_t max_bytes);  // uncompressed
RgbImage decode_png(Bytes file, int64_t max_bytes);   // transparency is dropped
RgbImage decode_jpeg(Bytes file, int64_t max_bytes);  // baseline and extended sequential, of 8 bits

// Decompresses a zlib stream of at most `size` bytes. Empty when it is damaged or longer.
std::vector<uint8_t> inflate(Bytes stream, size_t size);

}  // namespace pyinfer
