// The dimensions of a tensor, held inline: copying one allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace pyinfer {

class Shape {
 public:
  static constexpr int kMaxRank = 16;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  // Throws Error(kInvalidModel) for a rank over kMaxRank or a negative dimension.
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return dims_[static_cast<size_t>(i)]; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  void push_back(int64_t dim);
  void insert(int at, int64_t dim);
  void erase(int at);

  // Product of all dimensions, 1 for a scalar. Throws Error(kLimit) when it does not fit in 63 bits.
  int64_t count() const;
  // Product of the dimensions [first, last).
  int64_t count(int first, int last) const;
  // Row-major strides in elements.
  std::array<int64_t, kMaxRank> strides() const;

  bool operator==(const Shape& other) const;
  std::string str() const;  // "[2, 3]"

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// `axis` in [-rank, rank) mapped to [0, rank). Throws Error(kInvalidModel) outside.
int normalize_axis(int64_t axis, int rank);

// The shape of `a` and `b` under NumPy's rules. Throws Error(kInvalidInput) when they do not broadcast.
Shape broadcast_shapes(const Shape& a, const Shape& b);

}  // namespace pyinfer
