#include "base/run_guard.h"

#include <ctime>

#include "base/error.h"

namespace pyinfer {
namespace {

constexpr int64_t kInterval = 50'000'000;  // in ns

thread_local RunGuard* t_current = nullptr;

// A clock of some ms, which takes a few ns to read.
int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

RunGuard::RunGuard(Poll poll) : poll_(poll), outer_(t_current), next_look_(poll ? now_ns() + kInterval : 0) {
  t_current = this;
}

RunGuard::~RunGuard() {
  t_current = outer_;
}

RunGuard* RunGuard::current() {
  return t_current;
}

void RunGuard::trip(int64_t max_loop_trips) {
  RunGuard* guard = t_current;
  if (guard == nullptr) return;
  require(guard->trips_ < max_loop_trips, ErrorCode::kLimit, "more than max_loop_trips=", max_loop_trips,
          " trips in one run");
  ++guard->trips_;
}

void RunGuard::look() {
  if (const int64_t now = now_ns(); now >= next_look_) {
    next_look_ = now + kInterval;
    poll_();
  }
}

}  // namespace pyinfer
