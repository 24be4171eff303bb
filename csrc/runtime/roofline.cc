#include "runtime/roofline.h"

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <limits>
#include <thread>

#include "base/aligned.h"
#include "kernels/kernel_table.h"

namespace pyinfer {
namespace {

constexpr int kSamples = 5;  // the best counts: others slow a sample down, nothing speeds it up
constexpr int64_t kRounds = 200'000;
constexpr int64_t kBytesPerSample = 64 << 20;
constexpr int64_t kSmallestSet = 128 << 10;  // bytes of one thread; each next set is twice as large
constexpr int64_t kLargestSet = 128 << 20;   // bytes of all threads: beyond the caches

// The shortest time of work(thread) on all threads at once, in seconds. Not on a ThreadPool: there the first
// thread may do the work of one that is late.
template <class Work>
double best_seconds(int threads, const Work& work) {
  std::barrier together(threads);
  std::vector<std::array<double, kSamples>> took(static_cast<size_t>(threads));
  const auto body = [&](int thread) {
    work(thread);  // touches the memory
    for (double& seconds : took[static_cast<size_t>(thread)]) {
      together.arrive_and_wait();
      const auto start = std::chrono::steady_clock::now();
      work(thread);
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  };
  {
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
    body(0);
  }
  double best = std::numeric_limits<double>::infinity();
  for (size_t s = 0; s < kSamples; ++s) {
    double longest = 0;
    for (const auto& samples : took) longest = std::max(longest, samples[s]);
    best = std::min(best, longest);
  }
  return best;
}

}  // namespace

Roofline measure_roofline(int threads) {
  const RooflineKernels& kernel = kernels().roofline;
  std::vector<float> sinks(static_cast<size_t>(threads) * 16);  // one cache line per thread
  const auto sink = [&](int thread) -> float& { return sinks[static_cast<size_t>(thread) * 16]; };
  Roofline found;
  const double flops = static_cast<double>(kernel.flops_per_round * kRounds * threads);
  found.flops = flops / best_seconds(threads, [&](int t) { sink(t) += kernel.multiply_add(kRounds, 0.5F); });

  const AlignedBytes memory(static_cast<size_t>(kLargestSet), true);
  auto* const base = memory.as<float>();
  const int64_t share = kLargestSet / 4 / threads;  // floats of one thread
  for (int64_t set = kSmallestSet; set / 2 < kLargestSet / threads; set *= 2) {
    const int64_t n = std::min(set / 4, share) / (2 * kRooflineBlock) * (2 * kRooflineBlock);
    const int64_t repeats = std::max<int64_t>(1, kBytesPerSample / threads / (4 * n));
    const double bytes = static_cast<double>(4 * n * repeats * threads);
    const double read = best_seconds(threads, [&](int t) {
      for (int64_t i = 0; i < repeats; ++i) sink(t) += kernel.read(base + t * share, n);
    });
    const double copy = best_seconds(threads, [&](int t) {
      float* const src = base + t * share;
      for (int64_t i = 0; i < repeats; ++i) kernel.copy(src, src + n / 2, n / 2);
    });
    found.bandwidth.push_back({4 * n * threads, bytes / read, bytes / copy});
  }
  return found;
}

}  // namespace pyinfer
