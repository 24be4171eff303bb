// What threads and forks share: the workers, the plans, the contexts. CI runs this file under TSan, in a
// program without the operators (pyinfer_thread_tests): the operators here are its own.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "check.h"
#include "runtime/executor.h"
#include "runtime/thread_pool.h"

using namespace pyinfer;

namespace {

// y = factor * x, in small tiles.
class Scale final : public Op {
 public:
  explicit Scale(float factor) : factor_(factor) {}
  void plan(PlanContext& ctx) const override {
    ctx.output(0, ctx.shape(0));
    ctx.reuse(0, 0);
  }
  void run(RunContext& ctx) const override {
    ctx.parallel(ctx.in(0).count(), 5, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) ctx.out<float>(0)[i] = factor_ * ctx.in<float>(0)[i];
    });
  }

 private:
  float factor_;
};

// The positive elements of x in their order: how many is known only when it has run. Each worker copies to
// scratch of its own first.
class Positives final : public Op {
 public:
  void plan(PlanContext& ctx) const override {
    ctx.scratch(ctx.shape(0).count() * ctx.workers() * static_cast<int64_t>(sizeof(float)));
    ctx.output_dynamic(0);
  }
  void run(RunContext& ctx) const override {
    const int64_t n = ctx.in(0).count();
    std::atomic<int64_t> count{0};
    ctx.parallel(n, 3, [&](int64_t begin, int64_t end, int worker) {
      float* copy = ctx.scratch_as<float>() + worker * n;
      std::copy_n(ctx.in<float>(0) + begin, end - begin, copy);
      count += std::count_if(copy, copy + (end - begin), [](float v) { return v > 0; });
    });
    const TensorView y = ctx.allocate(0, DType::kFloat32, {count.load()});
    std::copy_if(ctx.in<float>(0), ctx.in<float>(0) + n, y.as<float>(), [](float v) { return v > 0; });
  }
};

// Runs a program of its own, as the bodies of control flow do.
class Nested final : public Op {
 public:
  Nested(Program program, const Limits& limits, Parallel& parallel)
      : body_(std::move(program), limits, parallel) {}
  void plan(PlanContext& ctx) const override { ctx.output_dynamic(0); }
  void run(RunContext& ctx) const override {
    std::vector<Object> results;
    body_.run({ctx.object(0)}, results);
    ctx.set(0, std::move(results[0]));
  }

 private:
  mutable Executor body_;
};

Program empty_program(size_t values) {
  Program p;
  p.types.assign(values, {.dtype = DType::kFloat32});
  p.constants.resize(values);
  p.inputs = {0};
  return p;
}

// h = 2 x; doubled = 2 h; positive = 2 nested(positives(h)), where nested(v) = 2 v.
Program sample_program(const Limits& limits, Parallel& parallel) {
  Program body = empty_program(2);
  body.steps.push_back({std::make_unique<Scale>(2.0f), "body", {0}, {1}});
  body.outputs = {1};
  Program p = empty_program(6);
  p.steps.push_back({std::make_unique<Scale>(2.0f), "h", {0}, {1}});
  p.steps.push_back({std::make_unique<Positives>(), "positives", {1}, {2}});
  p.steps.push_back({std::make_unique<Scale>(2.0f), "doubled", {1}, {3}});
  p.steps.push_back({std::make_unique<Nested>(std::move(body), limits, parallel), "nested", {2}, {4}});
  p.steps.push_back({std::make_unique<Scale>(2.0f), "positive", {4}, {5}});
  p.outputs = {3, 5};
  return p;
}

struct Sample {
  Limits limits;
  ThreadPool pool;
  Executor executor;
  explicit Sample(int workers) : pool(workers), executor(sample_program(limits, pool), limits, pool) {}

  // Whether a run on random numbers of this shape gives what plain loops give.
  bool right(std::mt19937& rng, const Shape& shape) {
    Tensor x(DType::kFloat32, shape);
    std::vector<float> doubled, positive;
    for (float& v : x.span<float>()) {
      v = static_cast<float>(static_cast<int>(rng() % 2001) - 1000);
      doubled.push_back(4 * v);
      if (v > 0) positive.push_back(8 * v);
    }
    std::vector<Object> y;
    executor.run({Object::of(x)}, y);
    return y[0].tensor.shape() == shape && std::ranges::equal(y[0].tensor.span<float>(), doubled) &&
           std::ranges::equal(y[1].tensor.span<float>(), positive);
  }
};

}  // namespace

TEST(threads_share_workers_plans_and_contexts) {
  for (const int workers : {1, 2, 4}) {
    Sample sample(workers);
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (uint32_t t = 0; t < 4; ++t)
      callers.emplace_back([&, t] {
        std::mt19937 rng(t);
        // More signatures than are kept, so that plans go while they are in use.
        for (int i = 0; i < 150; ++i) wrong += !sample.right(rng, {static_cast<int64_t>(rng() % 100), 3});
      });
    for (std::thread& t : callers) t.join();
    CHECK_EQ(wrong.load(), 0);
  }
}

TEST(threads_start_and_stop_with_their_pool) {
  std::atomic<int64_t> sum{0};
  for (int trial = 0; trial < 60; ++trial) {
    ThreadPool pool(1 + trial % 4);
    for (int i = 0; i < trial % 3; ++i) pool.run(64, 1, [&](int64_t begin, int64_t, int) { sum += begin; });
  }
  CHECK_EQ(sum.load(), int64_t{60 * 64 * 63 / 2});
}

TEST(threads_idle_until_the_next_region) {
  ThreadPool pool(4);
  for (const int pause : {0, 1, 20, 40, 200, 2000}) {
    std::atomic<int> hits{0};
    pool.run(100, 1, [&](int64_t, int64_t, int) { ++hits; });
    CHECK_EQ(hits.load(), 100);
    std::this_thread::sleep_for(std::chrono::microseconds(pause));
  }
}

TEST(threads_hand_over_what_a_body_throws) {
  ThreadPool pool(4);
  for (int trial = 0; trial < 50; ++trial) {
    std::string caught;
    try {
      pool.run(64, 1, [&](int64_t begin, int64_t, int) {
        if (begin == trial || begin % 16 == 3) throw std::runtime_error("tile");
        std::this_thread::yield();
      });
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    CHECK_EQ(caught, std::string("tile"));
    std::atomic<int> hits{0};
    pool.run(64, 1, [&](int64_t, int64_t, int) { ++hits; });
    CHECK_EQ(hits.load(), 64);
  }
}

// TSan does not know of threads that a forked process starts.
#if !defined(__SANITIZE_THREAD__)
namespace {

// Runs `body` in a forked process; whether it returned true there in time.
template <class F>
bool in_child(F body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST(threads_do_not_follow_a_fork) {
  auto sample = std::make_unique<Sample>(4);
  std::mt19937 rng(1);
  CHECK(sample->right(rng, {40, 3}));
  std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the workers sleep by now
  CHECK(in_child([&] {
    sample.reset();  // without a run
    return true;
  }));
  CHECK(in_child([&] {
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;  // the first runs of the new process, all at once
    for (uint32_t t = 0; t < 4; ++t)
      callers.emplace_back([&, t] {
        std::mt19937 numbers(t);
        for (int i = 0; i < 20; ++i) wrong += !sample->right(numbers, {40, 3});
      });
    for (std::thread& t : callers) t.join();
    const bool child_of_child = in_child([&] {
      const bool ok = sample->right(rng, {41, 3});
      sample.reset();
      return ok;
    });
    sample.reset();
    return wrong == 0 && child_of_child;
  }));
  CHECK(sample->right(rng, {42, 3}));
}

  // The locks of ASan itself do not survive a fork beside running threads.
  #if !defined(__SANITIZE_ADDRESS__)
TEST(threads_run_while_the_process_forks) {
  Sample sample(3);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (uint32_t t = 0; t < 3; ++t)
    callers.emplace_back([&, t] {
      std::mt19937 rng(t);
      while (!stop) wrong += !sample.right(rng, {static_cast<int64_t>(rng() % 500), 3});
    });
  for (uint32_t i = 0; i < 200; ++i) {
    const bool ok = in_child([&] {
      std::mt19937 rng(i);
      bool all = true;
      for (int64_t rows = 0; rows < 20; ++rows) all = all && sample.right(rng, {rows, 3});
      return all;
    });
    CHECK(ok);
    if (!ok) break;
  }
  stop = true;
  for (std::thread& t : callers) t.join();
  CHECK_EQ(wrong.load(), 0);
}
  #endif
#endif
