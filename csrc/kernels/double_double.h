// Double-double arithmetic: a number as the unevaluated sum of two doubles, good for about 106 bits (Dekker,
// "A floating-point technique for extending the available precision", 1971; Knuth, TAOCP 4.2.2). It needs
// correctly rounded additions, products and quotients alone, so every processor computes the same bits, and
// the compiler may compute tables by it. Products overflow in their halves from 2^996, and lose their low
// part where it would be subnormal: callers keep away from both.
#pragma once

#include <cmath>

namespace pyinfer {

struct DoubleDouble {
  double hi = 0.0;
  double lo = 0.0;  // at most half a unit in the last place of hi, where nothing else is said

  constexpr DoubleDouble() = default;
  constexpr DoubleDouble(double value) : hi(value) {}  // NOLINT(google-explicit-constructor)
  constexpr DoubleDouble(double high, double low) : hi(high), lo(low) {}
};

// a + b without error; quick_two_sum where a = 0 or |a| >= |b|.
constexpr DoubleDouble quick_two_sum(double a, double b) {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}
constexpr DoubleDouble two_sum(double a, double b) {
  const double sum = a + b, b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

// Two halves of at most 26 bits.
constexpr DoubleDouble split(double a) {
  const double scaled = 134217729.0 * a, high = scaled - (scaled - a);
  return {high, a - high};
}

// a * b without error.
constexpr DoubleDouble two_product(double a, double b) {
  const double product = a * b;
  const DoubleDouble x = split(a), y = split(b);
  return {product, ((x.hi * y.hi - product) + x.hi * y.lo + x.lo * y.hi) + x.lo * y.lo};
}

constexpr DoubleDouble operator-(DoubleDouble a) {
  return {-a.hi, -a.lo};
}
constexpr DoubleDouble operator+(DoubleDouble a, DoubleDouble b) {
  DoubleDouble sum = two_sum(a.hi, b.hi);
  const DoubleDouble rest = two_sum(a.lo, b.lo);
  sum = quick_two_sum(sum.hi, sum.lo + rest.hi);
  return quick_two_sum(sum.hi, sum.lo + rest.lo);
}
constexpr DoubleDouble operator-(DoubleDouble a, DoubleDouble b) {
  return a + -b;
}
constexpr DoubleDouble operator*(DoubleDouble a, DoubleDouble b) {
  const DoubleDouble product = two_product(a.hi, b.hi);
  return quick_two_sum(product.hi, product.lo + (a.hi * b.lo + a.lo * b.hi));
}
constexpr DoubleDouble operator/(DoubleDouble a, DoubleDouble b) {
  const double first = a.hi / b.hi;
  const DoubleDouble rest = a - b * first;
  return quick_two_sum(first, rest.hi / b.hi);
}

// The integer nearest to |x| < 2^51; one of two where they are equally near, or almost.
constexpr double nearest(double x) {
  return (x + 0x1.8p52) - 0x1.8p52;
}

constexpr double rounded(DoubleDouble a) {
  return a.hi + a.lo;
}

// Precondition: a >= 0.
inline DoubleDouble sqrt(DoubleDouble a) {
  const double root = std::sqrt(a.hi);
  if (root == 0.0) return 0.0;
  return quick_two_sum(root, (a - two_product(root, root)).hi / (2.0 * root));
}

}  // namespace pyinfer
