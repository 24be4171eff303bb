// What one run may take.
#include <optional>

#include "base/error.h"
#include "base/run_guard.h"
#include "check.h"

using namespace pyinfer;

namespace {

template <class F>
bool over_limit(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code() == ErrorCode::kLimit;
  }
  return false;
}

TEST(run_guard_counts_the_parts_of_a_run_together) {
  const RunGuard guard(nullptr);
  HeldBytes outer(100);
  outer.add(60);
  {
    HeldBytes inner(100);
    inner.add(40);
    CHECK(over_limit([&] { outer.add(1); }));
    inner.set(30);
    outer.add(10);
    CHECK(over_limit([&] { inner.set(31); }));
  }
  outer.add(30);
  CHECK(over_limit([&] { HeldBytes(100).add(1); }));
}

TEST(run_guard_keeps_what_outlives_its_part) {
  for (int run = 0; run < 2; ++run) {
    RunGuard guard(nullptr);
    guard.keep(70, 100);
    CHECK(over_limit([&] { guard.keep(31, 100); }));
    CHECK(over_limit([&] { HeldBytes(100).add(31); }));
    HeldBytes(100).add(30);
  }
}

TEST(run_guard_of_a_run_within_a_run_counts_for_itself) {
  const RunGuard guard(nullptr);
  HeldBytes outer(100);
  outer.add(90);
  std::optional<RunGuard> within(nullptr);
  CHECK(within->id() != guard.id());
  HeldBytes(100).add(90);
  within.reset();
  CHECK(over_limit([] { HeldBytes(100).add(90); }));
}

TEST(held_bytes_without_a_guard_count_for_themselves) {
  HeldBytes held(100);
  held.add(90);
  CHECK(over_limit([&] { held.add(11); }));
  HeldBytes(100).add(90);
}

}  // namespace
