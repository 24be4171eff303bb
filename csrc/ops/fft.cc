#include "ops/fft.h"

#include <algorithm>
#include <bit>

namespace pyinfer {
namespace {

// sin x and cos x for |x| <= pi / 4, by Taylor's series: the first term left out is below 2^-53 of them.
double sin_octant(double x) {
  const double t = x * x;
  double sum = 0.0;
  for (int i = 17; i >= 3; i -= 2) sum = (1.0 - sum) * t / static_cast<double>(i * (i - 1));
  return x - x * sum;
}
double cos_octant(double x) {
  const double t = x * x;
  double sum = 0.0;
  for (int i = 18; i >= 2; i -= 2) sum = (1.0 - sum) * t / static_cast<double>(i * (i - 1));
  return 1.0 - sum;
}

constexpr int64_t power_of_two_for(int64_t n) {
  const auto u = static_cast<uint64_t>(n);
  return std::has_single_bit(u) ? n : static_cast<int64_t>(std::bit_ceil(2 * u - 1));
}

}  // namespace

Complex root_of_unity(int64_t k, int64_t n) {
  k %= n;
  if (k < 0) k += n;
  // The quarter, and within it the eighth, are found in integers: k / n loses nothing.
  const int64_t quarter =
      static_cast<int64_t>(static_cast<unsigned __int128>(k) * 4 / static_cast<uint64_t>(n));
  const auto rest = static_cast<int64_t>(static_cast<__int128>(k) * 4 - static_cast<__int128>(quarter) * n);
  constexpr double kHalfPi = 1.5707963267948966;
  const bool upper = rest > n - rest;  // past the eighth: measured from its end
  const double angle = kHalfPi * (static_cast<double>(upper ? n - rest : rest) / static_cast<double>(n));
  double c = cos_octant(angle), s = sin_octant(angle);
  if (upper) std::swap(c, s);
  switch (quarter) {
    case 0: return {c, s};
    case 1: return {-s, c};
    case 2: return {-c, -s};
    default: return {s, -c};
  }
}

int64_t Fft::memory(int64_t n) {
  const int64_t each = static_cast<int64_t>(sizeof(Complex));
  if (n > INT64_MAX / 16 / each) return INT64_MAX;
  return (n + 4 * power_of_two_for(std::max<int64_t>(n, 1))) * each;
}

Fft::Fft(int64_t n) : n_(n), m_(power_of_two_for(std::max<int64_t>(n, 1))) {
  for (int64_t k = 0; k < m_ / 2; ++k) roots_.push_back(conjugate(root_of_unity(k, m_)));
  if (m_ == n_ || n_ == 0) return;
  kernel_.resize(static_cast<size_t>(m_));
  for (int64_t k = 0; k < n_; ++k) {
    // k^2 modulo 2n keeps the angle exact.
    const auto turn = static_cast<int64_t>(static_cast<unsigned __int128>(k) * static_cast<uint64_t>(k) %
                                           static_cast<uint64_t>(2 * n_));
    const Complex w = root_of_unity(turn, 2 * n_);
    chirp_.push_back(conjugate(w));
    kernel_[static_cast<size_t>(k)] = w;
    if (k > 0) kernel_[static_cast<size_t>(m_ - k)] = w;
  }
  power_of_two(kernel_.data());
  for (Complex& v : kernel_) v = {v.re / static_cast<double>(m_), v.im / static_cast<double>(m_)};
}

void Fft::power_of_two(Complex* x) const {
  for (int64_t i = 1, j = 0; i < m_; ++i) {
    int64_t bit = m_ >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) std::swap(x[i], x[j]);
  }
  for (int64_t half = 1; half < m_; half *= 2) {
    const int64_t step = m_ / (2 * half);
    for (int64_t block = 0; block < m_; block += 2 * half)
      for (int64_t k = 0; k < half; ++k) {
        Complex& a = x[block + k];
        Complex& b = x[block + k + half];
        const Complex t = b * roots_[static_cast<size_t>(k * step)];
        b = a - t;
        a = a + t;
      }
  }
}

void Fft::transform(Complex* x, Complex* scratch, bool inverse) const {
  if (n_ <= 1) return;
  if (inverse)
    for (int64_t k = 0; k < n_; ++k) x[k].im = -x[k].im;
  if (chirp_.empty()) {
    power_of_two(x);
  } else {
    for (int64_t k = 0; k < n_; ++k) scratch[k] = x[k] * chirp_[static_cast<size_t>(k)];
    std::fill(scratch + n_, scratch + m_, Complex{});
    power_of_two(scratch);
    // The inverse transform is the conjugate of the transform of the conjugate.
    for (int64_t k = 0; k < m_; ++k) scratch[k] = conjugate(scratch[k] * kernel_[static_cast<size_t>(k)]);
    power_of_two(scratch);
    for (int64_t k = 0; k < n_; ++k) x[k] = conjugate(scratch[k]) * chirp_[static_cast<size_t>(k)];
  }
  if (inverse)
    for (int64_t k = 0; k < n_; ++k) x[k].im = -x[k].im;
}

}  // namespace pyinfer
