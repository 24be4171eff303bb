// JPEG (ITU-T T.81), sequential with Huffman codes, of 8 bits. ImageDecoder asks for the results of
// libjpeg-turbo: hence the fixed-point cosine transform of 13-bit constants, the triangular upsampling of
// chroma by two with alternating rounding, and the 16-bit colour matrix.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "ops/image_formats.h"

namespace pyinfer {
namespace {

constexpr uint8_t kZigZag[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,
                                 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
                                 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
                                 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

uint8_t clamp_byte(int64_t v) {
  return static_cast<uint8_t>(std::clamp<int64_t>(v, 0, 255));
}

// One dimension of the inverse cosine transform on eight values `step` apart (Loeffler, Ligtenberg and
// Moschytz, eleven multiplications), rounded off by `shift` bits.
void inverse_cosine(int64_t* v, int step, int shift) {
  const auto at = [&](int i) -> int64_t& { return v[i * step]; };
  // Constants are multiples of 2^-13.
  const int64_t even = (at(2) + at(6)) * 4433;
  const int64_t e2 = even - at(6) * 15137, e3 = even + at(2) * 6270;
  const int64_t e0 = (at(0) + at(4)) * 8192, e1 = (at(0) - at(4)) * 8192;
  const int64_t t0 = e0 + e3, t3 = e0 - e3, t1 = e1 + e2, t2 = e1 - e2;

  const int64_t a = at(7), b = at(5), c = at(3), d = at(1);
  const int64_t z5 = (a + c + b + d) * 9633;
  const int64_t z1 = (a + d) * -7373, z2 = (b + c) * -20995;
  const int64_t z3 = (a + c) * -16069 + z5, z4 = (b + d) * -3196 + z5;
  const int64_t o0 = a * 2446 + z1 + z3, o1 = b * 16819 + z2 + z4;
  const int64_t o2 = c * 25172 + z2 + z3, o3 = d * 12299 + z1 + z4;

  const int64_t half = int64_t{1} << (shift - 1);
  at(0) = (t0 + o3 + half) >> shift;
  at(7) = (t0 - o3 + half) >> shift;
  at(1) = (t1 + o2 + half) >> shift;
  at(6) = (t1 - o2 + half) >> shift;
  at(2) = (t2 + o1 + half) >> shift;
  at(5) = (t2 - o1 + half) >> shift;
  at(3) = (t3 + o0 + half) >> shift;
  at(4) = (t3 - o0 + half) >> shift;
}

// A plane of samples, whole blocks of eight.
struct Plane {
  int64_t width = 0, height = 0;  // samples that count
  int64_t stride = 0;
  std::vector<uint8_t> samples;
  uint8_t at(int64_t y, int64_t x) const { return samples[static_cast<size_t>(y * stride + x)]; }
};

struct HuffmanTable {
  std::array<uint8_t, 16> counts{};
  std::vector<uint8_t> symbols;
};

struct Component {
  int id = 0, h = 1, v = 1, quantizer = 0;
  int dc = 0, ac = 0;
  int64_t previous = 0;  // DC
  Plane plane;
};

class JpegDecoder {
 public:
  JpegDecoder(Bytes file, int64_t max_bytes) : file_(file), max_bytes_(max_bytes) {}

  // False when the file is damaged.
  bool run() {
    for (size_t at = 2; at + 4 <= file_.size();) {
      if (file_[at] != 0xff) return false;
      const int marker = file_[at + 1];
      if (marker == 0xff) {
        ++at;
        continue;
      }
      const size_t length = size_t{file_[at + 2]} << 8 | file_[at + 3];
      if (length < 2 || length > file_.size() - at - 2) return false;
      const Bytes segment = file_.subspan(at + 4, length - 2);
      at += 2 + length;
      if (marker == 0xda) {
        if (!read_scan_header(segment) || !decode_scan(at)) return false;
        if (scanned_ >= components_.size()) return true;
        continue;
      }
      if (!read_segment(marker, segment)) return false;
    }
    return false;
  }

  RgbImage image() const;

 private:
  bool read_segment(int marker, Bytes s) {
    switch (marker) {
      case 0xdb: return read_quantizers(s);
      case 0xc4: return read_codes(s);
      case 0xc0:
      case 0xc1: return read_frame(s);
      case 0xc2: fail(ErrorCode::kUnsupported, "progressive JPEG images are not supported");
      case 0xc3:
      case 0xc5:
      case 0xc6:
      case 0xc7:
      case 0xc9:
      case 0xca:
      case 0xcb:
      case 0xcd:
      case 0xce:
      case 0xcf:
        fail(ErrorCode::kUnsupported, "JPEG images of process ", marker - 0xc0, " are not supported");
      case 0xdd:
        if (s.size() < 2) return false;
        restart_ = s[0] * 256 + s[1];
        return true;
      case 0xee:  // Adobe: says whether three components are red, green and blue
        if (s.size() >= 12 && s[0] == 'A' && s[1] == 'd' && s[2] == 'o') rgb_ = s[11] == 0;
        return true;
      default: return true;
    }
  }

  bool read_quantizers(Bytes s) {
    while (!s.empty()) {
      const bool wide = s[0] >> 4 != 0;
      const size_t table = s[0] & 15, size = wide ? 128 : 64;
      if (table > 3 || s.size() < 1 + size) return false;
      for (size_t i = 0; i < 64; ++i)
        quantizers_[table][kZigZag[i]] = wide ? s[1 + 2 * i] * 256 + s[2 + 2 * i] : s[1 + i];
      s = s.subspan(1 + size);
    }
    return true;
  }

  bool read_codes(Bytes s) {
    while (!s.empty()) {
      if (s.size() < 17 || (s[0] & 15) > 3 || s[0] >> 4 > 1) return false;
      HuffmanTable& table = codes_[s[0] >> 4][s[0] & 15];
      size_t total = 0;
      int left = 1;
      for (size_t i = 0; i < 16; ++i) {
        table.counts[i] = s[1 + i];
        total += s[1 + i];
        left = left * 2 - s[1 + i];
        if (left < 0) return false;
      }
      if (s.size() < 17 + total) return false;
      table.symbols.assign(s.begin() + 17, s.begin() + 17 + static_cast<std::ptrdiff_t>(total));
      s = s.subspan(17 + total);
    }
    return true;
  }

  bool read_frame(Bytes s) {
    if (s.size() < 6 || !components_.empty()) return false;
    if (s[0] != 8) fail(ErrorCode::kUnsupported, "JPEG images of ", int{s[0]}, " bits are not supported");
    height_ = s[1] * 256 + s[2];
    width_ = s[3] * 256 + s[4];
    const size_t count = s[5];
    if (height_ == 0 || width_ == 0 || s.size() < 6 + 3 * count) return false;
    if (count != 1 && count != 3)
      fail(ErrorCode::kUnsupported, "JPEG images of ", count, " components are not supported");
    for (size_t i = 0; i < count; ++i) {
      const Bytes c = s.subspan(6 + 3 * i, 3);
      Component component;
      component.id = c[0];
      component.h = c[1] >> 4;
      component.v = c[1] & 15;
      component.quantizer = c[2];
      if (component.h < 1 || component.h > 4 || component.v < 1 || component.v > 4 || component.quantizer > 3)
        return false;
      max_h_ = std::max(max_h_, component.h);
      max_v_ = std::max(max_v_, component.v);
      components_.push_back(std::move(component));
    }
    // A block takes two bits or more.
    if (width_ * height_ / 256 > static_cast<int64_t>(file_.size())) return false;
    require(width_ <= max_bytes_ / 3 / height_, ErrorCode::kLimit, "an image of ", height_, " x ", width_,
            " pixels would exceed max_tensor_bytes=", max_bytes_);
    columns_ = (width_ + 8 * max_h_ - 1) / (8 * max_h_);
    rows_ = (height_ + 8 * max_v_ - 1) / (8 * max_v_);
    for (Component& c : components_) {
      if (max_h_ % c.h != 0 || max_v_ % c.v != 0)
        fail(ErrorCode::kUnsupported, "JPEG images with fractional subsampling are not supported");
      c.plane.width = (width_ * c.h + max_h_ - 1) / max_h_;
      c.plane.height = (height_ * c.v + max_v_ - 1) / max_v_;
      c.plane.stride = columns_ * c.h * 8;
      c.plane.samples.resize(static_cast<size_t>(c.plane.stride * rows_ * c.v * 8));
    }
    return true;
  }

  bool read_scan_header(Bytes s) {
    scan_.clear();
    if (s.empty() || s.size() < 1 + 2 * size_t{s[0]}) return false;
    for (size_t i = 0; i < s[0]; ++i) {
      for (Component& c : components_) {
        if (c.id != s[1 + 2 * i]) continue;
        c.dc = s[2 + 2 * i] >> 4;
        c.ac = s[2 + 2 * i] & 15;
        if (c.dc > 3 || c.ac > 3) return false;
        scan_.push_back(&c);
        break;
      }
    }
    scanned_ += scan_.size();
    return !scan_.empty() && scan_.size() == s[0];
  }

  // Decodes the blocks from `at` on; leaves `at` at the next marker.
  bool decode_scan(size_t& at) {
    at_ = at;
    held_ = 0;
    buffer_ = 0;
    // A scan of one component has no padding blocks.
    const bool single = scan_.size() == 1;
    const Plane& first = scan_[0]->plane;
    const int64_t columns = single ? (first.width + 7) / 8 : columns_;
    const int64_t rows = single ? (first.height + 7) / 8 : rows_;
    for (Component* c : scan_) c->previous = 0;
    for (int64_t unit = 0; unit < columns * rows; ++unit) {
      if (restart_ > 0 && unit > 0 && unit % restart_ == 0 && !pass_restart()) return false;
      for (Component* c : scan_) {
        const int h = single ? 1 : c->h, v = single ? 1 : c->v;
        for (int b = 0; b < h * v; ++b)
          if (!decode_block(*c, unit / columns * v + b / h, unit % columns * h + b % h)) return false;
      }
    }
    while (at_ + 1 < file_.size() && (file_[at_] != 0xff || file_[at_ + 1] == 0)) ++at_;
    at = at_;
    return true;
  }

  bool pass_restart() {
    held_ = 0;
    buffer_ = 0;
    while (at_ + 1 < file_.size() && (file_[at_] != 0xff || file_[at_ + 1] == 0 || file_[at_ + 1] == 0xff))
      ++at_;
    if (at_ + 1 >= file_.size() || file_[at_ + 1] < 0xd0 || file_[at_ + 1] > 0xd7) return false;
    at_ += 2;
    for (Component* c : scan_) c->previous = 0;
    return true;
  }

  // The next n <= 16 bits; zeros from the next marker on.
  uint32_t bits(int n) {
    while (held_ < n) {
      uint8_t byte = 0;
      if (at_ < file_.size() && (file_[at_] != 0xff || (at_ + 1 < file_.size() && file_[at_ + 1] == 0))) {
        byte = file_[at_];
        at_ += byte == 0xff ? 2 : 1;
      } else {
        missing_ += 8;
      }
      buffer_ = buffer_ << 8 | byte;
      held_ += 8;
    }
    held_ -= n;
    return static_cast<uint32_t>(buffer_ >> held_) & ((1u << n) - 1);
  }

  int read_symbol(const HuffmanTable& table) {
    int code = 0, first = 0, index = 0;
    for (int count : table.counts) {
      code |= static_cast<int>(bits(1));
      if (code - first < count) return table.symbols[static_cast<size_t>(index + code - first)];
      index += count;
      first = (first + count) * 2;
      code *= 2;
    }
    return -1;
  }

  // A number of n bits; those with a leading zero are negative.
  int64_t read_signed(int n) {
    if (n == 0) return 0;
    const auto v = static_cast<int64_t>(bits(n));
    return v < int64_t{1} << (n - 1) ? v - (int64_t{1} << n) + 1 : v;
  }

  bool decode_block(Component& c, int64_t row, int64_t column) {
    int64_t block[64] = {};
    const auto& quantizer = quantizers_[static_cast<size_t>(c.quantizer)];
    const int dc = read_symbol(codes_[0][static_cast<size_t>(c.dc)]);
    if (dc < 0 || dc > 11) return false;
    // Wraps as a 16-bit coefficient would, so that a long damaged file cannot overflow.
    c.previous = static_cast<int16_t>(c.previous + read_signed(dc));
    block[0] = c.previous * quantizer[0];
    for (int k = 1; k < 64; ++k) {
      const int symbol = read_symbol(codes_[1][static_cast<size_t>(c.ac)]);
      if (symbol < 0) return false;
      const int zeros = symbol >> 4, size = symbol & 15;
      if (size == 0 && zeros != 15) break;
      k += zeros;
      if (k > 63) return false;
      if (size == 0) continue;
      const size_t at = kZigZag[k];
      block[at] = read_signed(size) * quantizer[at];
    }
    if (missing_ > 64) return false;
    for (int i = 0; i < 8; ++i) inverse_cosine(block + i, 8, 11);
    for (int i = 0; i < 8; ++i) inverse_cosine(block + 8 * i, 1, 18);
    uint8_t* to = c.plane.samples.data() + row * 8 * c.plane.stride + column * 8;
    for (int i = 0; i < 64; ++i) to[i / 8 * c.plane.stride + i % 8] = clamp_byte(block[i] + 128);
    return true;
  }

  Bytes file_;
  int64_t max_bytes_;
  int64_t width_ = 0, height_ = 0, columns_ = 0, rows_ = 0;
  int max_h_ = 1, max_v_ = 1, restart_ = 0;
  bool rgb_ = false;
  size_t scanned_ = 0;
  std::array<std::array<int32_t, 64>, 4> quantizers_{};
  std::array<std::array<HuffmanTable, 4>, 2> codes_;
  std::vector<Component> components_;
  std::vector<Component*> scan_;
  size_t at_ = 0;
  uint64_t buffer_ = 0;
  int held_ = 0;
  int64_t missing_ = 0;  // bits read beyond the data
};

// Doubles a line: each sample is three quarters itself and one quarter its neighbour. `one` is the weight of
// a whole sample; the two halves round differently, so that errors cancel.
void double_line(const std::vector<int>& line, int one, std::vector<int>& out) {
  const size_t n = line.size();
  const int shift = one == 1 ? 2 : 4, down = one == 1 ? 1 : 8, up = one == 1 ? 2 : 7;
  for (size_t i = 0; i < n; ++i) {
    const int left = i > 0 ? line[i - 1] : line[i], right = i + 1 < n ? line[i + 1] : line[i];
    out[2 * i] = (line[i] * 3 + left + down) >> shift;
    out[2 * i + 1] = (line[i] * 3 + right + up) >> shift;
  }
}

// Row `y` of a plane at full size, its samples repeated or interpolated `h` and `v` times.
void upsample_row(const Plane& plane, int h, int v, int64_t y, std::vector<int>& line,
                  std::vector<int>& out) {
  const int64_t row = y / v;
  const bool smooth = plane.width > 2;
  const bool between = smooth && v == 2 && h <= 2;  // vertically interpolated
  const int64_t other = std::clamp<int64_t>(row + (y % 2 == 0 ? -1 : 1), 0, plane.height - 1);
  line.resize(static_cast<size_t>(plane.width));
  out.resize(line.size() * static_cast<size_t>(h));
  for (int64_t x = 0; x < plane.width; ++x)
    line[static_cast<size_t>(x)] = between ? plane.at(row, x) * 3 + plane.at(other, x) : plane.at(row, x);
  if (h == 2 && smooth && (v == 1 || between)) {
    double_line(line, between ? 4 : 1, out);
  } else {
    const int up = y % 2 == 0 ? 1 : 2;
    for (size_t i = 0; i < out.size(); ++i) {
      const int value = line[i / static_cast<size_t>(h)];
      out[i] = between ? (value + up) >> 2 : value;
    }
  }
}

RgbImage JpegDecoder::image() const {
  RgbImage image(height_, width_, max_bytes_);
  std::array<std::vector<int>, 3> rows;
  std::vector<int> line;
  for (int64_t y = 0; y < height_; ++y) {
    for (size_t i = 0; i < components_.size(); ++i) {
      const Component& c = components_[i];
      upsample_row(c.plane, max_h_ / c.h, max_v_ / c.v, y, line, rows[i]);
    }
    for (int64_t x = 0; x < width_; ++x) {
      const auto k = static_cast<size_t>(x);
      const int first = rows[0][k];
      if (components_.size() == 1) {
        image.set(y, x, clamp_byte(first), clamp_byte(first), clamp_byte(first));
      } else if (rgb_) {
        image.set(y, x, clamp_byte(first), clamp_byte(rows[1][k]), clamp_byte(rows[2][k]));
      } else {
        const int cb = rows[1][k] - 128, cr = rows[2][k] - 128;
        image.set(y, x, clamp_byte(first + ((91881 * cr + 32768) >> 16)),
                  clamp_byte(first + ((-22554 * cb - 46802 * cr + 32768) >> 16)),
                  clamp_byte(first + ((116130 * cb + 32768) >> 16)));
      }
    }
  }
  return image;
}

}  // namespace

RgbImage decode_jpeg(Bytes file, int64_t max_bytes) {
  JpegDecoder decoder(file, max_bytes);
  return decoder.run() ? decoder.image() : RgbImage();
}

}  // namespace pyinfer
