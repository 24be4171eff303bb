#include "tensor/shape.h"

#include <algorithm>

#include "base/error.h"
#include "base/math.h"

namespace pyinfer {

Shape::Shape(std::span<const int64_t> dims) {
  for (int64_t d : dims) push_back(d);
}

void Shape::push_back(int64_t dim) {
  insert(rank_, dim);
}

void Shape::insert(int at, int64_t dim) {
  require(rank_ < kMaxRank, ErrorCode::kInvalidModel, "a tensor of more than ", kMaxRank, " dimensions");
  require(dim >= 0, ErrorCode::kInvalidModel, "negative dimension ", dim);
  std::copy_backward(dims_.begin() + at, dims_.begin() + rank_, dims_.begin() + rank_ + 1);
  dims_[static_cast<size_t>(at)] = dim;
  ++rank_;
}

void Shape::erase(int at) {
  std::copy(dims_.begin() + at + 1, dims_.begin() + rank_, dims_.begin() + at);
  --rank_;
}

int64_t Shape::count() const {
  return count(0, rank_);
}

int64_t Shape::count(int first, int last) const {
  int64_t n = 1;
  bool overflow = false;
  for (int i = first; i < last; ++i) {
    if ((*this)[i] == 0) return 0;
    const auto next = checked_mul(n, (*this)[i]);
    overflow |= !next;
    n = next.value_or(1);
  }
  require(!overflow, ErrorCode::kLimit, "a tensor of shape ", *this, " has too many elements");
  return n;
}

std::array<int64_t, Shape::kMaxRank> Shape::strides() const {
  std::array<int64_t, kMaxRank> s{};
  int64_t n = 1;
  for (int i = rank_ - 1; i >= 0; --i) {
    s[static_cast<size_t>(i)] = n;
    // Only a shape with a zero dimension can overflow here, and then no stride is ever used.
    n = checked_mul(n, (*this)[i]).value_or(0);
  }
  return s;
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

std::string Shape::str() const {
  std::string out = "[";
  for (int i = 0; i < rank_; ++i) out += join(i ? ", " : "", (*this)[i]);
  return out + "]";
}

int normalize_axis(int64_t axis, int rank) {
  require(axis >= -rank && axis < rank, ErrorCode::kInvalidModel, "axis ", axis, " is out of range for rank ",
          rank);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Shape broadcast_shapes(const Shape& a, const Shape& b) {
  Shape out = a.rank() >= b.rank() ? a : b;
  const Shape& small = a.rank() >= b.rank() ? b : a;
  const int offset = out.rank() - small.rank();
  for (int i = 0; i < small.rank(); ++i) {
    int64_t& d = out[i + offset];
    if (d == 1)
      d = small[i];
    else
      require(small[i] == 1 || small[i] == d, ErrorCode::kInvalidInput, "shapes ", a, " and ", b,
              " do not broadcast");
  }
  return out;
}

}  // namespace pyinfer
