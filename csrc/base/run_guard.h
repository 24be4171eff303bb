// Bounds one run in time and memory: counts the trips of its loops and the bytes that it holds, and lets its
// owner stop it.
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
  // What the run of the calling thread, if there is one, may add to what it holds.
  static int64_t room(int64_t max_total_bytes);
  // Differs from that of every other guard, past ones included.
  uint64_t id() const { return id_; }
  // Counts what outlives the part of the run that asked for it: until the end of the run. Throws
  // Error(kLimit).
  void keep(int64_t bytes, int64_t max_total_bytes);
  // To be called before each step.
  static void step() {
    if (RunGuard* guard = current(); guard && guard->poll_) guard->look();
  }

 private:
  friend class HeldBytes;
  void look();

  Poll poll_;
  RunGuard* outer_;
  int64_t trips_ = 0, held_ = 0, next_look_;
  uint64_t id_;
};

// What a part of a run (a graph or body with its values, a loop with what it carries) holds for as long as
// this lives. The parts of one run, which nest, are held to max_total_bytes together.
class HeldBytes {
 public:
  explicit HeldBytes(int64_t max_total_bytes) : guard_(RunGuard::current()), limit_(max_total_bytes) {}
  ~HeldBytes() { change(-bytes_); }
  HeldBytes(const HeldBytes&) = delete;
  HeldBytes& operator=(const HeldBytes&) = delete;

  // Throws Error(kLimit), and counts nothing, when `more` is too much; to be called before it is spent.
  void add(int64_t more);
  // `bytes` in place of what was added before.
  void set(int64_t bytes);

 private:
  void change(int64_t by);

  RunGuard* guard_;  // nullptr: this part is on its own
  int64_t bytes_ = 0, limit_;
};

}  // namespace pyinfer
