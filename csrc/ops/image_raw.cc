// The image formats that hold their pixels as they are: BMP, PNM, uncompressed TIFF.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "ops/image_formats.h"

namespace pyinfer {
namespace {

[[noreturn]] void unknown(const char* format, const char* what, int64_t value) {
  fail(ErrorCode::kUnsupported, format, " images with ", what, " ", value, " are not supported");
}

// Little- or big-endian numbers at any place of a file; zero beyond its end.
struct Reader {
  Bytes file;
  bool big = false;
  uint64_t number(int64_t at, int bytes) const {
    uint64_t v = 0;
    for (int i = 0; i < bytes; ++i) v |= uint64_t{byte(at + i)} << 8 * (big ? bytes - 1 - i : i);
    return v;
  }
  uint8_t byte(int64_t at) const {
    return at >= 0 && at < static_cast<int64_t>(file.size()) ? file[static_cast<size_t>(at)] : uint8_t{0};
  }
  int64_t u16(int64_t at) const { return static_cast<int64_t>(number(at, 2)); }
  int64_t u32(int64_t at) const { return static_cast<int64_t>(number(at, 4)); }
  int64_t i32(int64_t at) const { return static_cast<int32_t>(number(at, 4)); }
  bool holds(int64_t at, int64_t bytes) const {
    return at >= 0 && bytes >= 0 && at <= static_cast<int64_t>(file.size()) &&
           bytes <= static_cast<int64_t>(file.size()) - at;
  }
};

uint8_t to_byte(int64_t v, int64_t max) {
  return static_cast<uint8_t>(max == 255 ? v : (v * 255 + max / 2) / max);
}

}  // namespace

RgbImage::RgbImage(int64_t h, int64_t w, int64_t max_bytes) : height(h), width(w) {
  require(h > 0 && w > 0 && w <= max_bytes / 3 / h, ErrorCode::kLimit, "an image of ", h, " x ", w,
          " pixels would exceed max_tensor_bytes=", max_bytes);
  pixels.resize(static_cast<size_t>(h * w * 3));
}

RgbImage decode_bmp(Bytes file, int64_t max_bytes) {
  const Reader r{file};
  const int64_t header = r.u32(14), width = r.i32(18), rows = r.i32(22), bits = r.u16(28), start = r.u32(10);
  if (header < 40 || !r.holds(0, 14 + header) || width <= 0 || rows == 0 || rows < -INT32_MAX) return {};
  if (r.u32(30) != 0) unknown("BMP", "compression", r.u32(30));
  if (bits != 1 && bits != 4 && bits != 8 && bits != 24 && bits != 32) unknown("BMP", "bits per pixel", bits);
  const int64_t height = rows < 0 ? -rows : rows, stride = (width * bits + 31) / 32 * 4;
  if (height > max_bytes / stride || !r.holds(start, stride * height)) return {};
  RgbImage image(height, width, max_bytes);
  const int64_t palette = 14 + header;
  for (int64_t y = 0; y < height; ++y) {
    const int64_t row = start + stride * (rows < 0 ? y : height - 1 - y);
    for (int64_t x = 0; x < width; ++x) {
      int64_t at = row + x * bits / 8;
      if (bits <= 8) {
        const int shift = static_cast<int>(8 - bits - x * bits % 8);
        at = palette + 4 * (r.byte(at) >> shift & ((1 << bits) - 1));
      }
      image.set(y, x, r.byte(at + 2), r.byte(at + 1), r.byte(at));
    }
  }
  return image;
}

namespace {

// The numbers of a PNM file: decimal, with white space and comments between.
class PnmText {
 public:
  explicit PnmText(Bytes file) : file_(file) {}
  std::optional<int64_t> number() {
    skip_space();
    int64_t v = 0;
    size_t digits = 0;
    for (; at_ < file_.size() && is_digit(file_[at_]) && digits < 10; ++at_, ++digits)
      v = v * 10 + (file_[at_] - '0');
    return digits > 0 ? std::optional(v) : std::nullopt;
  }
  // A bit of a PBM file in text, which needs no space around it.
  std::optional<int64_t> bit() {
    skip_space();
    if (at_ == file_.size() || (file_[at_] != '0' && file_[at_] != '1')) return std::nullopt;
    return file_[at_++] - '0';
  }
  // The bytes that follow one white space.
  Bytes rest() const { return file_.subspan(std::min(at_ + 1, file_.size())); }

 private:
  static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
  void skip_space() {
    for (; at_ < file_.size(); ++at_) {
      if (file_[at_] == '#')
        while (at_ + 1 < file_.size() && file_[at_] != '\n') ++at_;
      else if (!(file_[at_] == ' ' || (file_[at_] >= '\t' && file_[at_] <= '\r')))
        return;
    }
  }
  Bytes file_;
  size_t at_ = 2;
};

}  // namespace

RgbImage decode_pnm(Bytes file, int64_t max_bytes) {
  const int kind = (file[1] - '1') % 3;  // bits, gray, colour
  const bool text = file[1] < '4';
  PnmText in(file);
  const auto width = in.number(), height = in.number(),
             max = kind == 0 ? std::optional<int64_t>(1) : in.number();
  if (!width || !height || !max || *width <= 0 || *height <= 0 || *max <= 0 || *max > 65535) return {};
  const int64_t samples = kind == 2 ? 3 : 1, size = *max > 255 ? 2 : 1;
  const Reader bytes{in.rest(), true};
  const int64_t stride = kind == 0 ? (*width + 7) / 8 : *width * samples * size;
  // In text a bit takes a character, and a number one with a space.
  const auto held = static_cast<int64_t>(file.size());
  if (*height > (text ? held / *width : held / stride)) return {};
  if (!text && !bytes.holds(0, stride * *height)) return {};
  RgbImage image(*height, *width, max_bytes);
  for (int64_t y = 0; y < *height; ++y) {
    for (int64_t x = 0; x < *width; ++x) {
      uint8_t v[3];
      for (int64_t s = 0; s < samples; ++s) {
        std::optional<int64_t> sample;
        if (text)
          sample = kind == 0 ? in.bit() : in.number();
        else if (kind == 0)
          sample = bytes.byte(y * stride + x / 8) >> (7 - x % 8) & 1;
        else
          sample = static_cast<int64_t>(
              bytes.number(y * stride + (x * samples + s) * size, static_cast<int>(size)));
        if (!sample || *sample > *max) return {};
        v[s] = to_byte(kind == 0 ? 1 - *sample : *sample, *max);  // a set bit is black
      }
      image.set(y, x, v[0], v[samples == 3 ? 1 : 0], v[samples == 3 ? 2 : 0]);
    }
  }
  return image;
}

RgbImage decode_tiff(Bytes file, int64_t max_bytes) {
  const Reader r{file, file[0] == 'M'};
  const int64_t directory = r.u32(4), entries = r.u16(directory);
  if (!r.holds(directory, 2 + 12 * entries)) return {};
  // The first value of a tag, or the one at `i`.
  const auto value = [&](int64_t tag, int64_t otherwise, int64_t i = 0) {
    for (int64_t e = directory + 2; e < directory + 2 + 12 * entries; e += 12) {
      if (r.u16(e) != tag) continue;
      const int64_t size = r.u16(e + 2) == 3 ? 2 : 4, count = r.u32(e + 4);
      if (i >= count) return int64_t{-1};
      const int64_t at = (count * size <= 4 ? e + 8 : r.u32(e + 8)) + i * size;
      return size == 2 ? r.u16(at) : r.u32(at);
    }
    return otherwise;
  };
  const int64_t width = value(256, 0), height = value(257, 0), bits = value(258, 1), samples = value(277, 1);
  const int64_t photometric = value(262, -1), rows_per_strip = std::min(value(278, height), height);
  if (width <= 0 || height <= 0 || rows_per_strip <= 0) return {};
  if (value(259, 1) != 1) unknown("TIFF", "compression", value(259, 1));
  if (bits != 8) unknown("TIFF", "bits per sample", bits);
  if (value(284, 1) != 1) unknown("TIFF", "planar configuration", value(284, 1));
  if (photometric < 0 || photometric > 2) unknown("TIFF", "photometric interpretation", photometric);
  if (samples < (photometric == 2 ? 3 : 1) || samples > 16) unknown("TIFF", "samples per pixel", samples);
  if (height > static_cast<int64_t>(file.size()) / width / samples) return {};
  RgbImage image(height, width, max_bytes);
  for (int64_t y = 0; y < height; ++y) {
    const int64_t row = value(273, -1, y / rows_per_strip) + y % rows_per_strip * width * samples;
    if (!r.holds(row, width * samples)) return {};
    for (int64_t x = 0; x < width; ++x) {
      const int64_t at = row + x * samples;
      const auto gray = static_cast<uint8_t>(photometric == 0 ? 255 - r.byte(at) : r.byte(at));
      if (photometric == 2)
        image.set(y, x, r.byte(at), r.byte(at + 1), r.byte(at + 2));
      else
        image.set(y, x, gray, gray, gray);
    }
  }
  return image;
}

}  // namespace pyinfer
