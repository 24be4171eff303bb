#include "ops/index_maps.h"

#include <algorithm>
#include <numeric>

#include "kernels/kernel_table.h"

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

}  // namespace

IndexMaps make_index_maps(const Shape& in, const std::vector<std::vector<int64_t>>& index) {
  IndexMaps maps;
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
  return maps;
}

void gather_maps(const RunContext& ctx, const IndexMaps& maps) {
  const TensorView &x = ctx.in(0), &y = ctx.out(0);
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
      kernels().movement.gather_rows(x.as<std::byte>() + base * size, maps.run * size, inner.data(), length,
                                     y.as<std::byte>() + number * line_bytes);
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
