// The workers of one model. The caller is worker 0; the others spin for tens of microseconds after a
// region, then sleep. A region that finds the workers busy runs on its caller alone, so concurrent runs
// never have more threads at work than they have callers plus workers.
#pragma once

#include <atomic>
#include <memory>

#include "base/parallel.h"

namespace pyinfer {

class ThreadPool final : public Parallel {
 public:
  // The threads start with the first region, and again with the first region of a forked process.
  explicit ThreadPool(int workers);
  ~ThreadPool() override;

  int workers() const override { return workers_; }
  // Throws Error(kLimit) when the system refuses a thread.
  void run(int64_t n, int64_t grain, Body body) override;

 private:
  class Crew;  // the threads, and all that they share with the caller

  void prepare_crew(uint64_t generation);

  const int workers_;
  // 0, or 1 + the fork generation of the caller whose region has the workers: a holder of another
  // generation was left behind by a fork.
  std::atomic<uint64_t> holder_{0};
  std::unique_ptr<Crew> crew_;  // touched by the holder alone
};

// Processors that this process may run on.
int available_processors();

}  // namespace pyinfer
