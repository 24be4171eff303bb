// The discrete Fourier transform of one line, in float64 whatever the type of the tensor:
//   y(k) = sum_n x(n) e^(-2 pi i k n / N), or with the sign turned, unscaled.
// Powers of two by radix 2; other lengths as a convolution of a power of two (Bluestein). Twiddles are
// polynomials of our own in plain arithmetic, so that the result has the same bits on every CPU.
#pragma once

#include <cstdint>
#include <vector>

namespace pyinfer {

struct Complex {
  double re = 0.0, im = 0.0;
};
inline Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
inline Complex operator+(Complex a, Complex b) {
  return {a.re + b.re, a.im + b.im};
}
inline Complex operator-(Complex a, Complex b) {
  return {a.re - b.re, a.im - b.im};
}
inline Complex conjugate(Complex a) {
  return {a.re, -a.im};
}

// e^(2 pi i k / n) for n > 0.
Complex root_of_unity(int64_t k, int64_t n);

class Fft {
 public:
  Fft() = default;
  explicit Fft(int64_t n);

  int64_t size() const { return n_; }
  // Elements of scratch that transform() needs.
  int64_t scratch_size() const { return chirp_.empty() ? 0 : 2 * m_; }
  // Bytes of tables and scratch of a transform of length n.
  static int64_t memory(int64_t n);
  // In place.
  void transform(Complex* x, Complex* scratch, bool inverse) const;

 private:
  void power_of_two(Complex* x) const;

  int64_t n_ = 0;
  int64_t m_ = 0;                // the power of two
  std::vector<Complex> roots_;   // e^(-2 pi i k / m), k < m / 2
  std::vector<Complex> chirp_;   // e^(-pi i k^2 / n), k < n; empty when n is m
  std::vector<Complex> kernel_;  // the transform of the chirp's conjugate, over m
};

}  // namespace pyinfer
