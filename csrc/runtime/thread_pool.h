// The workers of one model. The caller is worker 0; the others spin for tens of microseconds after a
// region, then sleep. A region that finds the workers busy runs on its caller alone, so concurrent runs
// never have more threads at work than they have callers plus workers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/parallel.h"

namespace pyinfer {

class ThreadPool final : public Parallel {
 public:
  explicit ThreadPool(int workers);
  ~ThreadPool() override;

  int workers() const override { return workers_; }
  void run(int64_t n, int64_t grain, Body body) override;

 private:
  struct Region {
    Body body;
    int64_t n, grain;
    std::atomic<int64_t> next{0};
  };

  void start();
  void work(int worker);
  static void take_tiles(Region& region, int worker);

  const int workers_;
  std::mutex busy_;               // held by the caller whose region has the workers
  uint64_t fork_generation_ = 0;  // threads_ belong to this process only
  std::vector<std::thread> threads_;
  std::atomic<uint64_t> epoch_{0};  // one more per region
  std::atomic<Region*> region_{nullptr};
  std::atomic<int> inside_{0};  // workers that may still touch the region
  std::atomic<bool> stop_{false};
  std::atomic<int> sleeping_{0};
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
};

// Processors that this process may run on.
int available_processors();

}  // namespace pyinfer
