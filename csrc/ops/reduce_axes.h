// How a reduction over any set of axes walks its input.
#pragma once

#include <vector>

#include "ops/op.h"

namespace pyinfer {

struct ReduceAttributes {
  bool keep_dims = true;
  bool noop_with_empty_axes = false;
  std::vector<int64_t> axes;  // when they are an attribute
};

ReduceAttributes read_reduce_attributes(const NodeContext& ctx, int axes_input);

// Which dimensions of input 0 are reduced, given the axes of the attribute or of input `axes_input`.
std::vector<bool> reduced_axes(PlanContext& ctx, const ReduceAttributes& attributes, int axes_input);

// The dimensions of an input, neighbours of the same kind joined, split into those that are kept and those
// that are reduced. When the last one is kept it is `inner` and results come in rows of `inner`; else
// `inner` is 1 and each result reads runs of `run` consecutive elements.
struct ReduceAxes final : StepState {
  struct Dim {
    int64_t size, stride;
  };

  ReduceAxes(const Shape& shape, const std::vector<bool>& reduced_dims);

  Shape output(const Shape& shape, bool keep_dims) const;
  // Whether the input is [kept, run, inner] in one piece.
  bool is_plain() const {
    return reduced.empty() && (kept.empty() || (kept.size() == 1 && kept[0].stride == run * inner));
  }
  // Results, in rows of `inner`.
  int64_t kept_count() const { return kept_count_; }
  // Elements that one result reads.
  int64_t reduced_count() const { return reduced_count_; }
  // The first element that row i of results reads.
  int64_t kept_at(int64_t i) const { return at(kept, i); }

  // use(start) for every run of `run` elements of the result whose first element is `base`.
  template <class Use>
  void each_run(int64_t base, Use use) const {
    const int64_t n = run == 0 ? 0 : reduced_count_ / run;
    for (int64_t i = 0; i < n; ++i) use(base + at(reduced, i));
  }
  // use(start) for every row of the results whose first elements begin at `base`.
  template <class Use>
  void each_row(int64_t base, Use use) const {
    const int64_t n = run == 0 ? 0 : reduced_count_ / run;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < run; ++j) use(base + at(reduced, i) + j * run_stride);
  }

  int64_t inner = 1;
  int64_t run = 1;           // the last reduced dimension
  int64_t run_stride = 1;    // 1 when inner is 1
  std::vector<Dim> kept;     // but for `inner`
  std::vector<Dim> reduced;  // but for `run`
  std::vector<bool> is_reduced;

 private:
  static int64_t at(const std::vector<Dim>& dims, int64_t i) {
    int64_t offset = 0;
    for (size_t d = dims.size(); d-- > 0 && i > 0;) {
      offset += i % dims[d].size * dims[d].stride;
      i /= dims[d].size;
    }
    return offset;
  }

  int64_t kept_count_ = 1;
  int64_t reduced_count_ = 1;
};

}  // namespace pyinfer
