// What holds across fork(): the child has one thread, and a copy of all memory as the other threads left it.
#pragma once

#include <cstdint>
#include <mutex>

namespace pyinfer {

// How many forks lie between this process and the first that asked. What belongs to threads (the threads,
// what they sleep on) is of use only in the generation that made it.
uint64_t fork_generation();

// A mutex that fork() acquires first, so that the child finds it free and what it guards whole. Hold it
// for short sections that neither wait for another lock nor for the forking thread.
class ForkSafeMutex {
 public:
  ForkSafeMutex();
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex& mutex_;  // one of a few that all objects share: fork() takes these without knowing the objects
};

}  // namespace pyinfer
