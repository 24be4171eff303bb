// UTF-8 text as code points, and their simple case mappings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pyinfer {

// What decode_utf8 gives for a byte that is no part of valid UTF-8. Equal to no code point.
inline constexpr uint32_t kInvalidRune = 0xFFFFFFFF;
inline constexpr uint32_t kMaxRune = 0x10FFFF;

// The code point at `at` < text.size(), which moves behind it; over one byte where that is invalid.
uint32_t decode_utf8(std::string_view text, size_t& at);

// Precondition: rune <= kMaxRune.
void append_utf8(std::string& text, uint32_t rune);

// One code point for one, independent of any locale: the Latin, Greek, Cyrillic and Armenian letters.
uint32_t lower_rune(uint32_t rune);
uint32_t upper_rune(uint32_t rune);

// Maps every code point; invalid bytes stay.
std::string lower_utf8(std::string_view text);
std::string upper_utf8(std::string_view text);

}  // namespace pyinfer
