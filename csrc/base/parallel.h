// How an operator spreads work over threads, without knowing the pool.
#pragma once

#include <cstdint>

#include "base/function_ref.h"

namespace pyinfer {

class Parallel {
 public:
  using Body = FunctionRef<void(int64_t begin, int64_t end, int worker)>;

  virtual ~Parallel() = default;
  // Upper bound of `worker` + 1 in any call of a body.
  virtual int workers() const = 0;
  // Calls body over disjoint ranges that cover [0, n), each of at most `grain` items, and returns when all
  // are done. The ranges are those of [0, n) cut at multiples of grain, whatever the number of workers.
  // Throws what the body that failed first has thrown; ranges not yet begun are then left out.
  virtual void run(int64_t n, int64_t grain, Body body) = 0;
};

// Runs everything on the calling thread.
class Serial final : public Parallel {
 public:
  int workers() const override { return 1; }
  void run(int64_t n, int64_t grain, Body body) override {
    for (int64_t i = 0; i < n; i += grain) body(i, i + grain < n ? i + grain : n, 0);
  }
};

}  // namespace pyinfer
