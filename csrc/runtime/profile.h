// Which steps ran when, recorded while a ProfileScope is open on the thread that calls Executor::run.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "tensor/shape.h"

namespace pyinfer {

// One execution of a step.
struct StepRecord {
  const std::string* label;  // the program's
  int depth;                 // 0: a step of the model itself; more: of subgraphs inside the steps before it
  Shape shape = {};          // of the first output
  int64_t begin_ns = 0, end_ns = 0;  // since the profile was made
  int64_t flops = 0, read_bytes = 0, written_bytes = 0;
};

class Profile {
 public:
  // Later steps of a run of very many (a Loop's) are not recorded.
  static constexpr size_t kMaxRecords = 1 << 20;

  // The place of a new record; its time starts.
  size_t begin(const std::string& label) {
    const size_t at = records_.size();
    if (at < kMaxRecords) records_.push_back({.label = &label, .depth = depth_});
    ++depth_;
    if (at < kMaxRecords) records_[at].begin_ns = now();
    return at;
  }
  // The record to fill in, or nullptr; its time ends.
  StepRecord* end(size_t at) {
    const int64_t time = now();
    --depth_;
    if (at >= kMaxRecords) return nullptr;
    records_[at].end_ns = time;
    return &records_[at];
  }
  const std::vector<StepRecord>& records() const { return records_; }

  // The profile of this thread's open scope, else nullptr. A run asks once per segment.
  static Profile* current() { return current_; }

 private:
  friend class ProfileScope;

  int64_t now() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start_)
        .count();
  }

  static inline thread_local Profile* current_ = nullptr;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int depth_ = 0;
  std::vector<StepRecord> records_;
};

// Runs that this thread starts meanwhile are recorded. Subgraphs run on the thread of their step, so theirs
// are too.
class ProfileScope {
 public:
  explicit ProfileScope(Profile& profile) : before_(std::exchange(Profile::current_, &profile)) {}
  ~ProfileScope() { Profile::current_ = before_; }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  Profile* before_;
};

}  // namespace pyinfer
