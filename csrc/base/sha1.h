// SHA-1 (RFC 3174), for the checksums that ONNX files carry. Guards against accidents, not attackers.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace pyinfer {

std::array<unsigned char, 20> sha1(std::span<const std::byte> bytes);

// The digest as 40 lower-case hexadecimal digits.
std::string sha1_hex(std::span<const std::byte> bytes);

}  // namespace pyinfer
