#include "ops/index_maps.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace pyinfer {
namespace {

// Where line `number` of the output reads, in elements; a line runs along the last mapped axis.
int64_t line_base(const IndexMaps& maps, int64_t number) {
  int64_t base = 0;
  for (size_t d = maps.from.size() - 1; d-- > 0;) {
    const auto n = static_cast<int64_t>(maps.from[d].size());
    base += maps.from[d][static_cast<size_t>(number % n)];
    number /= n;
  }
  return base;
}

// How often each of n elements is repeated when all are, in order and equally often; else zero.
int64_t repeats_of(const std::vector<int64_t>& index, int64_t n) {
  const auto size = static_cast<int64_t>(index.size());
  if (size % n != 0) return 0;
  const int64_t times = size / n;
  for (int64_t i = 0; i < size; ++i)
    if (index[static_cast<size_t>(i)] != i / times) return 0;
  return times;
}

// The box of an output that repeats every element; empty when it does something else.
CopyPlan plan_repeats(DType dtype, const Shape& in, const std::vector<std::vector<int64_t>>& index) {
  const auto strides = in.strides();
  std::vector<int64_t> dims, src;
  for (int d = 0; d < in.rank(); ++d) {
    const auto a = static_cast<size_t>(d);
    const int64_t times = index[a].empty() ? 1 : repeats_of(index[a], in[d]);
    if (times == 0) return {};
    dims.insert(dims.end(), {in[d], times});
    src.insert(src.end(), {strides[a], 0});
  }
  const auto dst = Shape(std::span<const int64_t>(dims)).strides();
  return plan_box(dtype, dims, src, std::span(dst).first(dims.size()));
}

// The longest stretch of consecutive numbers.
std::pair<int64_t, int64_t> longest_stretch(const std::vector<int64_t>& index) {
  std::pair<int64_t, int64_t> best{0, 0};
  for (size_t first = 0, i = 1; i <= index.size(); ++i) {
    if (i < index.size() && index[i] == index[i - 1] + 1) continue;
    if (static_cast<int64_t>(i - first) > best.second - best.first)
      best = {static_cast<int64_t>(first), static_cast<int64_t>(i)};
    first = i;
  }
  return best;
}

}  // namespace

IndexMaps make_index_maps(DType dtype, const Shape& in, const std::vector<std::vector<int64_t>>& index) {
  IndexMaps maps;
  if (2 * in.rank() <= Shape::kMaxRank) maps.repeats = plan_repeats(dtype, in, index);
  if (maps.repeats.units > 0) return maps;
  const auto strides = in.strides();
  size_t axes = index.size();
  while (index[axes - 1].empty()) --axes;
  maps.run = in.count(static_cast<int>(axes), in.rank());
  for (size_t d = 0; d < axes; ++d) {
    std::vector<int64_t> from = index[d];
    if (from.empty()) {
      from.resize(static_cast<size_t>(in[static_cast<int>(d)]));
      std::iota(from.begin(), from.end(), 0);
    }
    const int64_t stride = d + 1 == axes ? 1 : strides[d];
    for (int64_t& i : from) i *= stride;
    maps.from.push_back(std::move(from));
  }
  std::tie(maps.stretch_begin, maps.stretch_end) = longest_stretch(maps.from.back());
  return maps;
}

void gather_maps(const RunContext& ctx, const IndexMaps& maps) {
  const TensorView &x = ctx.in(0), &y = ctx.out(0);
  if (maps.repeats.units > 0) return copy_box(ctx, maps.repeats, x.dtype, x.data, y.data);
  const auto size = static_cast<int64_t>(dtype_size(x.dtype));
  const std::vector<int64_t>& inner = maps.from.back();
  const auto length = static_cast<int64_t>(inner.size());
  const int64_t line_bytes = length * maps.run * size;
  const auto gather = [&](int64_t number, int64_t base) {
    if (x.dtype == DType::kString) {
      for (int64_t i = 0; i < length; ++i)
        std::copy_n(x.as<std::string>() + base + inner[static_cast<size_t>(i)] * maps.run, maps.run,
                    y.as<std::string>() + (number * length + i) * maps.run);
    } else {
      const int64_t bytes = maps.run * size, stretch = maps.stretch_end - maps.stretch_begin;
      const std::byte* from = x.as<std::byte>() + base * size;
      std::byte* to = y.as<std::byte>() + number * line_bytes;
      const auto rows = kernels().movement.gather_rows;
      rows(from, bytes, inner.data(), maps.stretch_begin, to);
      std::memcpy(to + maps.stretch_begin * bytes,
                  from + inner[static_cast<size_t>(maps.stretch_begin)] * bytes,
                  static_cast<size_t>(stretch * bytes));
      rows(from, bytes, inner.data() + maps.stretch_end, length - maps.stretch_end,
           to + maps.stretch_end * bytes);
    }
  };
  const int64_t lines = y.count() / (length * maps.run);
  ctx.parallel(lines, std::max<int64_t>(1, (64 << 10) / line_bytes), [&](int64_t begin, int64_t end, int) {
    int64_t previous = -1;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t base = line_base(maps, i);
      // A repeated line is copied from its twin.
      if (base == previous && x.dtype != DType::kString)
        std::memcpy(y.as<std::byte>() + i * line_bytes, y.as<std::byte>() + (i - 1) * line_bytes,
                    static_cast<size_t>(line_bytes));
      else
        gather(i, base);
      previous = base;
    }
  });
}

}  // namespace pyinfer
