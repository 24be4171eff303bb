#include "runtime/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <chrono>
#include <new>
#include <system_error>

#include "base/spin.h"

namespace pyinfer {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);

// Counts forks: threads do not survive one.
std::atomic<uint64_t> g_fork_generation{0};

void watch_forks() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { g_fork_generation.fetch_add(1); }); });
}

}  // namespace

int available_processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(int workers) : workers_(std::max(1, workers)) {
  watch_forks();
  fork_generation_ = g_fork_generation.load();
}

ThreadPool::~ThreadPool() {
  if (fork_generation_ != g_fork_generation.load()) {
    for (std::thread& t : threads_) new (&t) std::thread();  // the parent's threads do not exist here
    return;
  }
  stop_.store(true);
  { std::lock_guard lock(sleep_mutex_); }
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void ThreadPool::start() {
  if (fork_generation_ != g_fork_generation.load()) {
    for (std::thread& t : threads_) new (&t) std::thread();
    threads_.clear();
    inside_.store(0);
    sleeping_.store(0);
    // A thread of the parent may have held or waited on these when the process forked.
    new (&sleep_mutex_) std::mutex();
    new (&wake_) std::condition_variable();
    fork_generation_ = g_fork_generation.load();
  }
  if (!threads_.empty()) return;
  threads_.reserve(static_cast<size_t>(workers_ - 1));
  try {
    for (int w = 1; w < workers_; ++w) threads_.emplace_back([this, w] { work(w); });
  } catch (const std::system_error&) {
    // The machine grants no more threads; those that run, and the caller, do the work.
  }
}

void ThreadPool::take_tiles(Region& region, int worker) {
  for (;;) {
    const int64_t begin = region.next.fetch_add(region.grain, std::memory_order_relaxed);
    if (begin >= region.n) return;
    region.body(begin, std::min(begin + region.grain, region.n), worker);
  }
}

void ThreadPool::run(int64_t n, int64_t grain, Body body) {
  if (fork_generation_ != g_fork_generation.load() && !threads_.empty()) new (&busy_) std::mutex();
  std::unique_lock lock(busy_, std::try_to_lock);
  if (!lock || workers_ == 1) return Serial().run(n, grain, body);
  start();
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
}

void ThreadPool::work(int worker) {
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

}  // namespace pyinfer
