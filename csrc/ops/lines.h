// A tensor seen as lines along one axis: element (outer, i, inner) of [outer, length, inner].
#pragma once

#include <algorithm>

#include "ops/op.h"

namespace pyinfer {

struct Lines {
  int64_t outer, length, inner;
  Lines(const Shape& shape, int axis)
      : outer(shape.count(0, axis)), length(shape[axis]), inner(shape.count(axis + 1, shape.rank())) {}
  int64_t count() const { return outer * inner; }
};

// Calls body(o, first, last) for stretches [first, last) of the inner positions of every outer one, over the
// workers. A stretch has at most `stretch` positions; `cost` is that of one element in nanoseconds.
template <class Body>
void for_each_line(const RunContext& ctx, const Lines& lines, int64_t stretch, int64_t cost,
                   const Body& body) {
  if (lines.count() == 0) return;
  const int64_t width = std::min(stretch, lines.inner), parts = (lines.inner + width - 1) / width;
  const int64_t grain = std::max<int64_t>(1, 50'000 / std::max<int64_t>(1, cost * width * lines.length));
  ctx.parallel(lines.outer * parts, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit % parts * width;
      body(unit / parts, first, std::min(first + width, lines.inner));
    }
  });
}

}  // namespace pyinfer
