#include "base/fork.h"

#include <pthread.h>

#include <array>
#include <atomic>

namespace pyinfer {
namespace {

struct alignas(64) Stripe {
  std::mutex mutex;
};
std::array<Stripe, 32> g_stripes;
std::atomic<uint32_t> g_next_stripe{0};
std::atomic<uint64_t> g_generation{0};

void before_fork() {
  for (Stripe& s : g_stripes) s.mutex.lock();
}
void after_fork_in_parent() {
  for (Stripe& s : g_stripes) s.mutex.unlock();
}
void after_fork_in_child() {
  g_generation.fetch_add(1);
  after_fork_in_parent();
}

void watch_forks() {
  [[maybe_unused]] static const int registered =
      pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

}  // namespace

uint64_t fork_generation() {
  watch_forks();
  return g_generation.load(std::memory_order_relaxed);
}

ForkSafeMutex::ForkSafeMutex() : mutex_(g_stripes[g_next_stripe.fetch_add(1) % g_stripes.size()].mutex) {
  watch_forks();
}

}  // namespace pyinfer
