// The random numbers of the operators that ask for some: MT19937 (Matsumoto and Nishimura, 1998), seeded and
// read as NumPy's RandomState does, so that a seeded model gives what the ONNX reference gives.
#pragma once

#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <random>

#include "kernels/math_f64.h"
#include "ops/op.h"

namespace pyinfer {

class MersenneTwister {
 public:
  explicit MersenneTwister(uint32_t seed) {
    for (uint32_t i = 0; i < kWords; ++i) {
      state_[i] = seed;
      seed = 1812433253u * (seed ^ (seed >> 30)) + i + 1;
    }
  }

  // Uniform in [0, 1), of 53 bits.
  double uniform() {
    const uint32_t a = next() >> 5, b = next() >> 6;
    return (a * 67108864.0 + b) / 9007199254740992.0;
  }

  // Standard normal, by the polar method (Marsaglia), which yields two at a time.
  double normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    double x, y, r;
    do {
      x = 2.0 * uniform() - 1.0;
      y = 2.0 * uniform() - 1.0;
      r = x * x + y * y;
    } while (r >= 1.0 || r == 0.0);
    const double f = std::sqrt(-2.0 * f64::log(r) / r);
    spare_ = f * x;
    has_spare_ = true;
    return f * y;
  }

 private:
  static constexpr uint32_t kWords = 624, kShift = 397;

  uint32_t next() {
    if (at_ == kWords) refill();
    uint32_t y = state_[at_++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
  }
  void refill() {
    for (uint32_t i = 0; i < kWords; ++i) {
      const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % kWords] & 0x7fffffffu);
      state_[i] = state_[(i + kShift) % kWords] ^ (y >> 1) ^ (y & 1u ? 0x9908b0dfu : 0u);
    }
    at_ = 0;
  }

  std::array<uint32_t, kWords> state_;
  uint32_t at_ = kWords;
  double spare_ = 0.0;
  bool has_spare_ = false;
};

// The `seed` attribute of a node: with it, every run draws the same numbers; without, every run draws others.
class RandomSource {
 public:
  explicit RandomSource(const NodeContext& ctx, bool integer_seed = false) : fixed_(ctx.has_attr("seed")) {
    if (!fixed_) {
      seed_ = std::random_device{}();
    } else if (integer_seed) {
      seed_ = static_cast<uint32_t>(ctx.attr_int("seed"));
    } else {
      const float seed = ctx.attr_float("seed");
      fixed_ = seed == seed;
      seed_ = fixed_ ? static_cast<uint32_t>(static_cast<int64_t>(std::fmin(std::fmax(seed, -9e18f), 9e18f)))
                     : std::random_device{}();
    }
  }
  bool fixed() const { return fixed_; }
  MersenneTwister start() const {
    return MersenneTwister(fixed_ ? seed_
                                  : seed_ + 0x9e3779b9u * runs_.fetch_add(1, std::memory_order_relaxed));
  }

 private:
  bool fixed_;
  uint32_t seed_;
  mutable std::atomic<uint32_t> runs_{0};
};

}  // namespace pyinfer
