#include "runtime/roofline.h"

#include <algorithm>
#include <chrono>

#include "base/aligned.h"
#include "base/math.h"
#include "kernels/kernel_table.h"
#include "runtime/thread_pool.h"

namespace pyinfer {
namespace {

constexpr int kSamples = 5;  // the best counts: others slow a sample down, nothing speeds it up
constexpr int64_t kRounds = 200'000;
constexpr int64_t kBytesPerSample = 64 << 20;
constexpr int64_t kSmallestSet = 128 << 10;  // bytes of one thread; each next set is four times as large
constexpr int64_t kLargestSet = 128 << 20;   // bytes of all threads: beyond the caches

// The shortest time of work(thread) on all threads at once, in seconds.
template <class Work>
double best_seconds(ThreadPool& pool, const Work& work) {
  double best = 1e9;
  for (int s = 0; s <= kSamples; ++s) {  // the first wakes the threads and touches the memory
    const auto start = std::chrono::steady_clock::now();
    pool.run(pool.workers(), 1, [&](int64_t begin, int64_t, int) { work(begin); });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (s > 0) best = std::min(best, took.count());
  }
  return best;
}

}  // namespace

Roofline measure_roofline(int threads) {
  const RooflineKernels& kernel = kernels().roofline;
  ThreadPool pool(threads);
  std::vector<float> sinks(static_cast<size_t>(threads) * 16);  // one cache line per thread
  const auto sink = [&](int64_t thread) -> float& { return sinks[static_cast<size_t>(thread) * 16]; };
  Roofline found;
  const double flops = static_cast<double>(kernel.flops_per_round * kRounds * threads);
  found.flops = flops / best_seconds(pool, [&](int64_t t) { sink(t) += kernel.multiply_add(kRounds, 0.5F); });

  const AlignedBytes memory(static_cast<size_t>(kLargestSet), true);
  auto* const base = memory.as<float>();
  const int64_t share = kLargestSet / 4 / threads;  // floats of one thread
  for (int64_t set = kSmallestSet; set / 4 < kLargestSet / threads; set *= 4) {
    const int64_t n = std::min(set / 4, share) / (2 * kRooflineBlock) * (2 * kRooflineBlock);
    const int64_t repeats = std::max<int64_t>(1, kBytesPerSample / threads / (4 * n));
    const double bytes = static_cast<double>(4 * n * repeats * threads);
    const double read = best_seconds(pool, [&](int64_t t) {
      for (int64_t i = 0; i < repeats; ++i) sink(t) += kernel.read(base + t * share, n);
    });
    const double copy = best_seconds(pool, [&](int64_t t) {
      float* const src = base + t * share;
      for (int64_t i = 0; i < repeats; ++i) kernel.copy(src, src + n / 2, n / 2);
    });
    found.bandwidth.push_back({4 * n * threads, bytes / read, bytes / copy});
  }
  return found;
}

}  // namespace pyinfer
