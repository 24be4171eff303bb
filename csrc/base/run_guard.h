// Bounds one run in time: counts the trips of its loops, and lets its owner stop it.
#pragma once

#include <cstdint>

namespace pyinfer {

// One run of a model. The loops, bodies and executors of the run all work on the caller's thread, and find
// their guard there.
class RunGuard {
 public:
  // Called every 50 ms or so during a run, between two steps; throws to end the run.
  using Poll = void (*)();

  // Guards the calling thread until it goes out of scope; guards nest.
  explicit RunGuard(Poll poll);
  ~RunGuard();
  RunGuard(const RunGuard&) = delete;
  RunGuard& operator=(const RunGuard&) = delete;

  // The innermost guard of this thread, or nullptr.
  static RunGuard* current();

  // To be called before each trip of each loop: throws Error(kLimit) after `max_loop_trips` of them. Trips
  // of a thread without guard are not counted.
  static void trip(int64_t max_loop_trips);
  // To be called before each step.
  static void step() {
    if (RunGuard* guard = current(); guard && guard->poll_) guard->look();
  }

 private:
  void look();

  Poll poll_;
  RunGuard* outer_;
  int64_t trips_ = 0, next_look_;
};

}  // namespace pyinfer
