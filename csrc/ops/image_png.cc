// PNG (ISO/IEC 15948) and the deflate compression within it (RFC 1950, RFC 1951).
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "ops/image_formats.h"

namespace pyinfer {
namespace {

// Bits of a deflate stream, least significant first.
class BitReader {
 public:
  explicit BitReader(Bytes data) : data_(data) {}
  uint32_t bits(int n) {
    while (held_ < n) {
      if (at_ == data_.size()) bad_ = true;
      buffer_ |= uint64_t{at_ < data_.size() ? data_[at_++] : uint8_t{0}} << held_;
      held_ += 8;
    }
    const auto v = static_cast<uint32_t>(buffer_ & ((uint64_t{1} << n) - 1));
    buffer_ >>= n;
    held_ -= n;
    return v;
  }
  void align() { bits(held_ % 8); }
  bool bad() const { return bad_; }

 private:
  Bytes data_;
  size_t at_ = 0;
  uint64_t buffer_ = 0;
  int held_ = 0;
  bool bad_ = false;
};

// A canonical Huffman code: symbols sorted by code length.
class HuffmanCode {
 public:
  // False when the lengths make no code.
  bool build(std::span<const uint8_t> lengths) {
    counts_.fill(0);
    for (uint8_t n : lengths) ++counts_[n];
    counts_[0] = 0;
    int left = 1;
    for (int n = 1; n < 16; ++n) {
      left = left * 2 - counts_[static_cast<size_t>(n)];
      if (left < 0) return false;
    }
    symbols_.clear();
    for (uint8_t n = 1; n < 16; ++n)
      for (size_t s = 0; s < lengths.size(); ++s)
        if (lengths[s] == n) symbols_.push_back(static_cast<uint16_t>(s));
    return true;
  }
  // The next symbol, or -1.
  int read(BitReader& in) const {
    int code = 0, first = 0, index = 0;
    for (size_t n = 1; n < 16 && !in.bad(); ++n) {
      code |= static_cast<int>(in.bits(1));
      if (code - first < counts_[n]) return symbols_[static_cast<size_t>(index + code - first)];
      index += counts_[n];
      first = (first + counts_[n]) * 2;
      code *= 2;
    }
    return -1;
  }

 private:
  std::array<int, 16> counts_{};
  std::vector<uint16_t> symbols_;
};

class Inflater {
 public:
  Inflater(Bytes stream, size_t size) : in_(stream), size_(size) {}

  bool run() {
    if (in_.bits(4) != 8) return false;
    in_.bits(4);
    const uint32_t flags = in_.bits(8);
    if (flags & 0x20) return false;  // a preset dictionary
    for (bool last = false; !last;) {
      last = in_.bits(1) != 0;
      const uint32_t kind = in_.bits(2);
      const bool ok = kind == 0 ? stored() : kind == 1 ? fixed() : kind == 2 && dynamic();
      if (!ok || in_.bad()) return false;
    }
    in_.align();
    uint32_t checksum = 0;
    for (int i = 0; i < 4; ++i) checksum = checksum << 8 | in_.bits(8);
    return checksum == adler32();
  }
  std::vector<uint8_t> take() { return std::move(out_); }

 private:
  bool stored() {
    in_.align();
    const uint32_t n = in_.bits(16);
    if ((n ^ in_.bits(16)) != 0xffff || n > size_ - out_.size()) return false;
    for (uint32_t i = 0; i < n && !in_.bad(); ++i) out_.push_back(static_cast<uint8_t>(in_.bits(8)));
    return true;
  }

  bool fixed() {
    std::array<uint8_t, 288> lengths;
    for (size_t s = 0; s < lengths.size(); ++s) lengths[s] = s < 144 ? 8 : s < 256 ? 9 : s < 280 ? 7 : 8;
    std::array<uint8_t, 30> distances;
    distances.fill(5);
    return literals_.build(lengths) && distances_.build(distances) && compressed();
  }

  bool dynamic() {
    static constexpr uint8_t kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    const uint32_t literals = in_.bits(5) + 257, distances = in_.bits(5) + 1, codes = in_.bits(4) + 4;
    if (literals > 286 || distances > 30) return false;
    std::array<uint8_t, 320> lengths{};
    for (uint32_t i = 0; i < codes; ++i) lengths[kOrder[i]] = static_cast<uint8_t>(in_.bits(3));
    HuffmanCode code;
    if (!code.build(std::span(lengths).first(19))) return false;
    lengths.fill(0);
    for (uint32_t i = 0; i < literals + distances;) {
      const int symbol = code.read(in_);
      if (symbol < 0 || (symbol == 16 && i == 0)) return false;
      if (symbol < 16) {
        lengths[i++] = static_cast<uint8_t>(symbol);
        continue;
      }
      const uint8_t value = symbol == 16 ? lengths[i - 1] : uint8_t{0};
      uint32_t times = symbol == 16 ? 3 + in_.bits(2) : symbol == 17 ? 3 + in_.bits(3) : 11 + in_.bits(7);
      if (times > literals + distances - i) return false;
      while (times-- > 0) lengths[i++] = value;
    }
    return literals_.build(std::span(lengths).first(literals)) &&
           distances_.build(std::span(lengths).subspan(literals, distances)) && compressed();
  }

  bool compressed() {
    for (;;) {
      const int symbol = literals_.read(in_);
      if (symbol < 0) return false;
      if (symbol == 256) return true;
      if (symbol < 256) {
        if (out_.size() == size_) return false;
        out_.push_back(static_cast<uint8_t>(symbol));
        continue;
      }
      const int length_code = symbol - 257;
      if (length_code > 28) return false;
      const uint32_t length = length_code == 28 ? 258 : base_of(length_code, 4, 3);
      const int distance_code = distances_.read(in_);
      if (distance_code < 0 || distance_code > 29) return false;
      const uint32_t distance = base_of(distance_code, 2, 1);
      if (distance > out_.size() || length > size_ - out_.size()) return false;
      for (uint32_t i = 0; i < length; ++i) out_.push_back(out_[out_.size() - distance]);
    }
  }

  // Codes come in groups of `group` that share a number of extra bits; the first two groups have none.
  uint32_t base_of(int code, int group, uint32_t first) {
    if (code < 2 * group) return first + static_cast<uint32_t>(code);
    const int extra = code / group - 1;
    return first + (static_cast<uint32_t>(group + code % group) << extra) + in_.bits(extra);
  }

  uint32_t adler32() const {
    uint32_t a = 1, b = 0;
    for (uint8_t v : out_) {
      a = (a + v) % 65521;
      b = (b + a) % 65521;
    }
    return b << 16 | a;
  }

  BitReader in_;
  size_t size_;
  std::vector<uint8_t> out_;
  HuffmanCode literals_, distances_;
};

uint32_t big_endian(Bytes file, size_t at) {
  return uint32_t{file[at]} << 24 | uint32_t{file[at + 1]} << 16 | uint32_t{file[at + 2]} << 8 | file[at + 3];
}

struct PngHeader {
  int64_t width, height;
  int depth, color;
  bool interlaced;
  int samples() const { return color == 2 ? 3 : color == 4 ? 2 : color == 6 ? 4 : 1; }
  int64_t row_bytes(int64_t pixels) const { return (pixels * samples() * depth + 7) / 8; }
};

// One of the seven interleaved images of Adam7, or the whole image.
struct Pass {
  int64_t x, y, dx, dy;
};
constexpr Pass kAdam7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                           {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
constexpr Pass kWhole[] = {{0, 0, 1, 1}};

int64_t pass_size(int64_t n, int64_t start, int64_t step) {
  return n > start ? (n - start + step - 1) / step : 0;
}

// Undoes the prediction of a row from the bytes to its left and above. False for an unknown filter.
bool unfilter(int filter, uint8_t* row, const uint8_t* above, int64_t n, int64_t pixel) {
  if (filter > 4) return false;
  for (int64_t i = 0; i < n; ++i) {
    const int a = i >= pixel ? row[i - pixel] : 0, b = above ? above[i] : 0;
    const int c = above && i >= pixel ? above[i - pixel] : 0;
    int guess = 0;
    if (filter == 1) guess = a;
    if (filter == 2) guess = b;
    if (filter == 3) guess = (a + b) / 2;
    if (filter == 4) {
      const int pa = std::abs(b - c), pb = std::abs(a - c), pc = std::abs(a + b - 2 * c);
      guess = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
    }
    row[i] = static_cast<uint8_t>(row[i] + guess);
  }
  return true;
}

// Sample `i` of a row in 8 bits; palette indices as they are.
int sample(const PngHeader& h, const uint8_t* row, int64_t i) {
  if (h.depth == 8) return row[i];
  if (h.depth == 16) return row[2 * i];
  const int64_t bit = i * h.depth;
  const int v = row[bit / 8] >> (8 - h.depth - bit % 8) & ((1 << h.depth) - 1);
  return h.color == 3 ? v : v * 255 / ((1 << h.depth) - 1);
}

bool draw_pass(const PngHeader& h, const Pass& pass, Bytes palette, std::span<uint8_t>& data,
               RgbImage& image) {
  const int64_t width = pass_size(h.width, pass.x, pass.dx), height = pass_size(h.height, pass.y, pass.dy);
  if (width == 0) return true;
  const int64_t bytes = h.row_bytes(width), pixel = std::max(1, h.samples() * h.depth / 8);
  const uint8_t* above = nullptr;
  for (int64_t j = 0; j < height; ++j) {
    uint8_t* row = data.data() + 1;
    if (!unfilter(data[0], row, above, bytes, pixel)) return false;
    for (int64_t i = 0; i < width; ++i) {
      const int64_t s = i * h.samples(), y = pass.y + j * pass.dy, x = pass.x + i * pass.dx;
      const int v = sample(h, row, s);
      if (h.color == 3) {
        const auto p = static_cast<size_t>(v) * 3;
        if (p + 3 > palette.size()) return false;
        image.set(y, x, palette[p], palette[p + 1], palette[p + 2]);
      } else {
        const bool gray = h.samples() < 3;
        image.set(y, x, static_cast<uint8_t>(v), static_cast<uint8_t>(gray ? v : sample(h, row, s + 1)),
                  static_cast<uint8_t>(gray ? v : sample(h, row, s + 2)));
      }
    }
    above = row;
    data = data.subspan(static_cast<size_t>(bytes) + 1);
  }
  return true;
}

bool valid(const PngHeader& h) {
  const int d = h.depth;
  if (h.width <= 0 || h.height <= 0 || h.width > INT32_MAX || h.height > INT32_MAX) return false;
  if (h.color == 0) return d == 1 || d == 2 || d == 4 || d == 8 || d == 16;
  if (h.color == 3) return d == 1 || d == 2 || d == 4 || d == 8;
  return (h.color == 2 || h.color == 4 || h.color == 6) && (d == 8 || d == 16);
}

}  // namespace

std::vector<uint8_t> inflate(Bytes stream, size_t size) {
  Inflater inflater(stream, size);
  return inflater.run() ? inflater.take() : std::vector<uint8_t>();
}

RgbImage decode_png(Bytes file, int64_t max_bytes) {
  if (file.size() < 33 || std::memcmp(file.data() + 12, "IHDR", 4) != 0) return {};
  const PngHeader h{big_endian(file, 16), big_endian(file, 20), file[24], file[25], file[28] == 1};
  if (!valid(h)) return {};
  std::vector<uint8_t> stream;
  Bytes palette;
  for (size_t at = 33; at + 12 <= file.size();) {
    const size_t length = big_endian(file, at);
    if (length > file.size() - at - 12) return {};
    const Bytes chunk = file.subspan(at + 8, length);
    if (std::memcmp(file.data() + at + 4, "IDAT", 4) == 0)
      stream.insert(stream.end(), chunk.begin(), chunk.end());
    if (std::memcmp(file.data() + at + 4, "PLTE", 4) == 0) palette = chunk;
    at += length + 12;
  }
  const std::span<const Pass> passes =
      h.interlaced ? std::span<const Pass>(kAdam7) : std::span<const Pass>(kWhole);
  int64_t size = 0;
  for (const Pass& pass : passes) {
    const int64_t width = pass_size(h.width, pass.x, pass.dx), height = pass_size(h.height, pass.y, pass.dy);
    const int64_t row = width > 0 ? h.row_bytes(width) + 1 : 0;
    // Deflate makes at most 1032 bytes of one.
    if (height > 0 && row > (static_cast<int64_t>(stream.size()) + 64) * 1032 / height) return {};
    size += row * height;
  }
  RgbImage image(h.height, h.width, max_bytes);
  std::vector<uint8_t> raw = inflate(stream, static_cast<size_t>(size));
  if (static_cast<int64_t>(raw.size()) != size) return {};
  std::span<uint8_t> data(raw);
  for (const Pass& pass : passes)
    if (!draw_pass(h, pass, palette, data, image)) return {};
  return image;
}

}  // namespace pyinfer
