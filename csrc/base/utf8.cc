#include "base/utf8.h"

namespace pyinfer {
namespace {

// Capitals of [first, last]: each `delta` below its small letter, or, with delta 1, every second one.
struct CaseRange {
  uint32_t first, last, delta;
};

// From the simple mappings of the Unicode Character Database.
constexpr CaseRange kCases[] = {
    {0x41, 0x5A, 32},   {0xC0, 0xD6, 32},    {0xD8, 0xDE, 32},    {0x100, 0x12E, 1},    {0x132, 0x136, 1},
    {0x139, 0x147, 1},  {0x14A, 0x176, 1},   {0x179, 0x17D, 1},   {0x1A0, 0x1A4, 1},    {0x1AF, 0x1AF, 1},
    {0x1CD, 0x1DB, 1},  {0x1DE, 0x1EE, 1},   {0x1F8, 0x21E, 1},   {0x222, 0x232, 1},    {0x246, 0x24E, 1},
    {0x370, 0x372, 1},  {0x386, 0x386, 38},  {0x388, 0x38A, 37},  {0x38C, 0x38C, 64},   {0x38E, 0x38F, 63},
    {0x391, 0x3A1, 32}, {0x3A3, 0x3AB, 32},  {0x3D8, 0x3EE, 1},   {0x400, 0x40F, 80},   {0x410, 0x42F, 32},
    {0x460, 0x480, 1},  {0x48A, 0x4BE, 1},   {0x4C0, 0x4C0, 15},  {0x4C1, 0x4CD, 1},    {0x4D0, 0x52E, 1},
    {0x531, 0x556, 48}, {0x1E00, 0x1E94, 1}, {0x1EA0, 0x1EFE, 1}, {0xFF21, 0xFF3A, 32},
};

template <class Map>
std::string mapped(std::string_view text, Map map) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const uint32_t rune = decode_utf8(text, at);
    if (rune == kInvalidRune)
      out += text[begin];
    else
      append_utf8(out, map(rune));
  }
  return out;
}

}  // namespace

uint32_t decode_utf8(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(at++);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - at < static_cast<size_t>(more)) return kInvalidRune;
  uint32_t rune = lead & (0x3Fu >> more);
  for (int i = 0; i < more; ++i) {
    const uint8_t next = byte(at + static_cast<size_t>(i));
    if ((next & 0xC0) != 0x80) return kInvalidRune;
    rune = rune << 6 | (next & 0x3Fu);
  }
  constexpr uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
  if (rune < kLeast[more] || rune > kMaxRune || (rune >= 0xD800 && rune < 0xE000)) return kInvalidRune;
  at += static_cast<size_t>(more);
  return rune;
}

void append_utf8(std::string& text, uint32_t rune) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (rune >> shift & 0x3F)); };
  if (rune < 0x80) {
    text += static_cast<char>(rune);
  } else if (rune < 0x800) {
    text += static_cast<char>(0xC0 | rune >> 6);
    tail(0);
  } else if (rune < 0x10000) {
    text += static_cast<char>(0xE0 | rune >> 12);
    tail(6), tail(0);
  } else {
    text += static_cast<char>(0xF0 | rune >> 18);
    tail(12), tail(6), tail(0);
  }
}

uint32_t lower_rune(uint32_t rune) {
  if (rune == 0x178) return 0xFF;
  for (const CaseRange& r : kCases)
    if (rune >= r.first && rune <= r.last && (r.delta != 1 || (rune - r.first) % 2 == 0))
      return rune + r.delta;
  return rune;
}

uint32_t upper_rune(uint32_t rune) {
  if (rune == 0xFF) return 0x178;
  if (rune == 0xB5) return 0x39C;   // micro sign
  if (rune == 0x3C2) return 0x3A3;  // final sigma
  if (rune == 0x131) return 0x49;   // dotless i
  if (rune == 0x17F) return 0x53;   // long s
  for (const CaseRange& r : kCases) {
    const uint32_t capital = rune - r.delta;
    if (rune >= r.delta && capital >= r.first && capital <= r.last &&
        (r.delta != 1 || (capital - r.first) % 2 == 0))
      return capital;
  }
  return rune;
}

std::string lower_utf8(std::string_view text) {
  return mapped(text, lower_rune);
}
std::string upper_utf8(std::string_view text) {
  return mapped(text, upper_rune);
}

}  // namespace pyinfer
