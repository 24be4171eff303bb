#include "base/run_guard.h"

#include <atomic>
#include <ctime>

#include "base/error.h"

namespace pyinfer {
namespace {

constexpr int64_t kInterval = 50'000'000;  // in ns

thread_local RunGuard* t_current = nullptr;
std::atomic<uint64_t> g_guards = 0;

// A clock of some ms, which takes a few ns to read.
int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

// Throws when `more` bytes are too much for a run that holds `held`.
void check_total(int64_t held, int64_t more, int64_t limit) {
  require(more <= limit - held, ErrorCode::kLimit, "this run holds ", held, " bytes and needs ", more,
          " more, over max_total_bytes=", limit);
}

}  // namespace

RunGuard::RunGuard(Poll poll)
    : poll_(poll), outer_(t_current), next_look_(poll ? now_ns() + kInterval : 0), id_(++g_guards) {
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

int64_t RunGuard::room(int64_t max_total_bytes) {
  return max_total_bytes - (t_current != nullptr ? t_current->held_ : 0);
}

void RunGuard::keep(int64_t bytes, int64_t max_total_bytes) {
  check_total(held_, bytes, max_total_bytes);
  held_ += bytes;
}

void HeldBytes::change(int64_t by) {
  bytes_ += by;
  if (guard_ != nullptr) guard_->held_ += by;
}

void HeldBytes::add(int64_t more) {
  check_total(guard_ != nullptr ? guard_->held_ : bytes_, more, limit_);
  change(more);
}

void HeldBytes::set(int64_t bytes) {
  change(-bytes_);
  add(bytes);
}

void RunGuard::look() {
  if (const int64_t now = now_ns(); now >= next_look_) {
    next_look_ = now + kInterval;
    poll_();
  }
}

}  // namespace pyinfer
