#include "runtime/thread_pool.h"

#include <sched.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fork.h"
#include "base/spin.h"

namespace pyinfer {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);

}  // namespace

int available_processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

class ThreadPool::Crew {
 public:
  explicit Crew(uint64_t generation) : generation_(generation) {}
  ~Crew();

  uint64_t generation() const { return generation_; }
  // Starts what is missing of workers 1 to `workers` - 1.
  void start(int workers);
  void run(int64_t n, int64_t grain, Body body);

 private:
  struct Region {
    Body body;
    int64_t n, grain;
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error{};  // what the body that failed first has thrown
  };

  void work(int worker);
  static void take_tiles(Region& region, int worker);

  const uint64_t generation_;  // of the process that has the threads
  std::vector<std::thread> threads_;
  std::atomic<uint64_t> epoch_{0};  // one more per region
  std::atomic<Region*> region_{nullptr};
  std::atomic<int> inside_{0};  // workers that may still touch the region
  std::atomic<bool> stop_{false};
  std::atomic<int> sleeping_{0};
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
};

ThreadPool::Crew::~Crew() {
  stop_.store(true);
  { std::lock_guard lock(sleep_mutex_); }
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void ThreadPool::Crew::start(int workers) {
  const auto wanted = static_cast<size_t>(workers - 1);
  if (threads_.size() == wanted) return;
  threads_.reserve(wanted);
  try {
    while (threads_.size() < wanted)
      threads_.emplace_back([this, w = static_cast<int>(threads_.size()) + 1] { work(w); });
  } catch (const std::system_error& e) {
    fail(ErrorCode::kLimit, "the system refuses thread ", threads_.size() + 2, " of ", workers, " (",
         e.what(), "); raise its limit, or load the model with fewer threads");
  }
}

void ThreadPool::Crew::take_tiles(Region& region, int worker) {
  try {
    for (;;) {
      const int64_t begin = region.next.fetch_add(region.grain, std::memory_order_relaxed);
      if (begin >= region.n) return;
      region.body(begin, std::min(begin + region.grain, region.n), worker);
    }
  } catch (...) {
    region.next.store(region.n);
    if (!region.failed.exchange(true)) region.error = std::current_exception();
  }
}

void ThreadPool::Crew::run(int64_t n, int64_t grain, Body body) {
  Region region{.body = body, .n = n, .grain = grain};
  region_.store(&region);
  epoch_.fetch_add(1);
  if (sleeping_.load() > 0) {
    { std::lock_guard sleep(sleep_mutex_); }
    wake_.notify_all();
  }
  take_tiles(region, 0);
  // Nobody may enter any more; wait for those inside.
  region_.store(nullptr);
  while (inside_.load() != 0) spin_pause();
  if (region.error) std::rethrow_exception(region.error);
}

void ThreadPool::Crew::work(int worker) {
  uint64_t seen = 0;
  auto idle_since = std::chrono::steady_clock::now();
  for (int spins = 0;; ++spins) {
    if (stop_.load(std::memory_order_relaxed)) return;
    const uint64_t epoch = epoch_.load();
    if (epoch != seen) {
      seen = epoch;
      inside_.fetch_add(1);
      if (Region* region = region_.load()) take_tiles(*region, worker);
      inside_.fetch_sub(1);
      idle_since = std::chrono::steady_clock::now();
      continue;
    }
    spin_pause();
    if (spins % 64 != 0 || std::chrono::steady_clock::now() - idle_since < kSpin) continue;
    std::unique_lock lock(sleep_mutex_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, [&] { return stop_.load() || epoch_.load() != seen; });
    sleeping_.fetch_sub(1);
    idle_since = std::chrono::steady_clock::now();
  }
}

ThreadPool::ThreadPool(int workers) : workers_(std::max(1, workers)) {
  fork_generation();  // counts from here on
}

ThreadPool::~ThreadPool() {
  if (crew_ && crew_->generation() != fork_generation()) (void)crew_.release();
}

void ThreadPool::prepare_crew(uint64_t generation) {
  if (crew_ && crew_->generation() != generation) {
    // The threads did not follow into this process, and its copy of what they sleep on would wait for
    // them when destroyed: the memory is given up.
    (void)crew_.release();
  }
  if (!crew_) crew_ = std::make_unique<Crew>(generation);
  crew_->start(workers_);
}

void ThreadPool::run(int64_t n, int64_t grain, Body body) {
  const uint64_t generation = fork_generation();
  uint64_t holder = holder_.load(std::memory_order_relaxed);
  if (workers_ == 1 || holder == generation + 1 ||
      !holder_.compare_exchange_strong(holder, generation + 1, std::memory_order_acquire))
    return Serial().run(n, grain, body);
  struct Release {
    std::atomic<uint64_t>& holder;
    ~Release() { holder.store(0, std::memory_order_release); }
  } release{holder_};
  prepare_crew(generation);
  crew_->run(n, grain, body);
}

}  // namespace pyinfer
