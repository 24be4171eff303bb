// Planning and running small programs built by hand.
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>
#include <thread>

#include "check.h"
#include "plan/memory.h"
#include "runtime/executor.h"
#include "runtime/lower.h"
#include "runtime/thread_pool.h"

using namespace pyinfer;

namespace {
std::atomic<bool> g_counting{false};
std::atomic<int> g_allocations{0};
}  // namespace

// Every allocation of the C++ library in this program passes here, except where a sanitizer has its own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void* operator new(size_t size) {
  if (g_counting) ++g_allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
#endif

namespace {

struct Builder {
  Graph graph;
  ValueId input(DType dtype) {
    graph.inputs.push_back(
        graph.add_value({.name = "x", .type = {.dtype = dtype}, .shape = {}, .constant = {}}));
    return graph.inputs.back();
  }
  ValueId constant(Tensor t) {
    const DType dtype = t.dtype();
    return graph.add_value({.name = "c", .type = {.dtype = dtype}, .shape = {}, .constant = std::move(t)});
  }
  ValueId node(const char* op, std::vector<ValueId> inputs) {
    const ValueId y = graph.add_value({.name = op, .type = {}, .shape = {}, .constant = {}});
    Node n;
    n.op_type = op;
    n.version = 28;
    n.inputs = std::move(inputs);
    n.outputs = {y};
    graph.nodes.push_back(std::move(n));
    return y;
  }
};

Tensor filled(const Shape& shape, float value) {
  Tensor t(DType::kFloat32, shape);
  for (float& v : t.span<float>()) v = value;
  return t;
}

// What this process has in memory now.
size_t resident_bytes() {
  size_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * 4096;
}

}  // namespace

TEST(warm_static_plan_allocates_nothing) {
  Builder b;
  const ValueId x = b.input(DType::kFloat32);
  const ValueId h = b.node("MatMul", {x, b.constant(filled({64, 48}, 0.01f))});
  const ValueId biased = b.node("Add", {h, b.constant(filled({48}, 0.5f))});
  const ValueId y = b.node("Softmax", {b.node("Relu", {biased})});
  const ValueId flat = b.node("Reshape", {y, b.constant(Tensor::vector_i64(std::vector<int64_t>{-1}))});
  b.graph.outputs = {b.node("Mul", {flat, b.constant(filled({}, 2.0f))})};
  const Limits limits;
  ThreadPool pool(2);
  Executor executor(lower(b.graph, limits, pool), limits, pool);

  const std::vector<Object> inputs{Object::of(filled({32, 64}, 1.0f))};
  std::vector<Object> outputs;
  for (int i = 0; i < 3; ++i) executor.run(inputs, outputs);
  const uint64_t buffers = allocation_count();
  g_allocations = 0;
  g_counting = true;
  executor.run(inputs, outputs);
  g_counting = false;
  CHECK_EQ(g_allocations.load(), 0);
  CHECK_EQ(allocation_count(), buffers);
  CHECK_NEAR(outputs[0].tensor.as<float>()[0], 2.0 / 48, 1e-6);
}

TEST(plans_are_kept_per_shape) {
  Builder b;
  const ValueId x = b.input(DType::kFloat32);
  b.graph.outputs = {b.node("Neg", {x})};
  const Limits limits;
  Serial serial;
  Executor executor(lower(b.graph, limits, serial), limits, serial);
  const auto first = executor.plan({Shape{2, 3}});
  CHECK(executor.plan({Shape{2, 3}}) == first);
  CHECK(executor.plan({Shape{3, 2}}) != first);
}

TEST(data_dependent_shapes_cut_the_plan) {
  Builder b;
  const ValueId x = b.input(DType::kFloat32);
  const ValueId where = b.node("NonZero", {x});
  b.graph.outputs = {b.node("Shape", {where}), b.node("Transpose", {where})};
  const Limits limits;
  Serial serial;
  Executor executor(lower(b.graph, limits, serial), limits, serial);
  for (const int nonzero : {0, 2, 5, 2}) {
    Tensor t = filled({5}, 0.0f);
    for (int i = 0; i < nonzero; ++i) t.as<float>()[i] = 1.0f;
    std::vector<Object> outputs;
    executor.run({Object::of(t)}, outputs);
    CHECK_EQ(outputs[0].tensor.as<int64_t>()[1], int64_t{nonzero});
    CHECK(outputs[1].tensor.shape() == (Shape{nonzero, 1}));
  }
}

// A chain of cuts: what is kept of it must grow with its length, not with the square.
TEST(a_long_chain_of_cuts_is_planned_or_refused) {
  for (const int cuts : {3000, 6000}) {
    Builder b;
    ValueId v = b.input(DType::kFloat32);
    for (int i = 0; i < cuts; ++i) v = b.node("NonZero", {v});
    b.graph.outputs = {v};
    Limits limits;
    Serial serial;
    Executor executor(lower(b.graph, limits, serial), limits, serial);
    const size_t before = resident_bytes();
    std::vector<Object> outputs;
    std::string error;
    try {
      executor.run({Object::of(filled({2, 3}, 0.0f))}, outputs);
    } catch (const Error& e) {
      CHECK(e.code() == ErrorCode::kLimit);
      error = e.what();
    }
    CHECK_EQ(error.empty(), cuts < 4000);
    CHECK(resident_bytes() < before + (size_t{1} << 30));
  }
}

TEST(values_of_unknown_size_count_against_the_total) {
  for (const int64_t limit : {12'000, 80'000}) {
    Builder b;
    const ValueId x = b.input(DType::kFloat32);
    for (int i = 0; i < 4; ++i) b.graph.outputs.push_back(b.node("NonZero", {x}));
    Limits limits;
    limits.max_total_bytes = limit;
    Serial serial;
    Executor executor(lower(b.graph, limits, serial), limits, serial);
    std::vector<Object> outputs;
    std::string error;
    try {
      executor.run({Object::of(filled({1000}, 1.0f))}, outputs);
    } catch (const Error& e) {
      CHECK(e.code() == ErrorCode::kLimit);
      error = e.what();
    }
    CHECK_EQ(error.empty(), limit == 80'000);
  }
}

TEST(offsets_of_live_pieces_do_not_overlap) {
  std::mt19937 rng(3);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Lifetime> pieces;
    int64_t sum = 0;
    for (int i = 0; i < 30; ++i) {
      const auto first = static_cast<int32_t>(rng() % 20);
      pieces.push_back({static_cast<int64_t>(rng() % 5000), first, first + static_cast<int32_t>(rng() % 6)});
      sum += (pieces.back().bytes + 63) / 64 * 64;
    }
    const int64_t total = assign_offsets(pieces);
    CHECK(total <= sum);
    for (size_t i = 0; i < pieces.size(); ++i)
      for (size_t j = 0; j < i; ++j) {
        const Lifetime &a = pieces[i], &c = pieces[j];
        const bool together = a.first <= c.last && c.first <= a.last;
        const bool overlap = a.offset < c.offset + c.bytes && c.offset < a.offset + a.bytes;
        CHECK(!(together && overlap && a.bytes > 0 && c.bytes > 0));
      }
  }
}

TEST(offsets_of_very_many_pieces) {
  std::mt19937 rng(4);
  std::vector<Lifetime> pieces;
  for (int i = 0; i < 30'000; ++i) {
    const auto first = static_cast<int32_t>(rng() % 20'000), length = static_cast<int32_t>(rng() % 400);
    pieces.push_back({static_cast<int64_t>(rng() % 5000), first, first + (i % 10 == 0 ? length : 2)});
  }
  const int64_t total = assign_offsets(pieces);
  int64_t most = 0;
  for (int32_t step = 0; step < 20'400; step += 37) {
    std::vector<const Lifetime*> alive;
    int64_t bytes = 0;
    for (const Lifetime& p : pieces)
      if (p.first <= step && step <= p.last && p.bytes > 0) {
        alive.push_back(&p);
        bytes += (p.bytes + 63) / 64 * 64;
      }
    most = std::max(most, bytes);
    std::ranges::sort(alive, {}, [](const Lifetime* p) { return p->offset; });
    for (size_t i = 1; i < alive.size(); ++i)
      CHECK(alive[i - 1]->offset + alive[i - 1]->bytes <= alive[i]->offset);
    if (!alive.empty()) CHECK(alive.back()->offset + alive.back()->bytes <= total);
  }
  CHECK(total <= 2 * most);
}

TEST(pool_covers_every_range_once) {
  ThreadPool pool(4);
  for (int64_t n : {1, 7, 64, 1000}) {
    for (int64_t grain : {1, 3, 64}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
      pool.run(n, grain, [&](int64_t begin, int64_t end, int worker) {
        CHECK(worker >= 0 && worker < 4);
        CHECK(begin % grain == 0 && end - begin <= grain);
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
      });
      for (const auto& h : hits) CHECK_EQ(h.load(), 1);
    }
  }
}

TEST(concurrent_runs_share_one_model) {
  Builder b;
  const ValueId x = b.input(DType::kFloat32);
  const ValueId h = b.node("MatMul", {x, b.constant(filled({256, 256}, 0.5f))});
  b.graph.outputs = {b.node("Add", {h, x})};
  const Limits limits;
  ThreadPool pool(3);
  Executor executor(lower(b.graph, limits, pool), limits, pool);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 6; ++t)
    callers.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        const float v = static_cast<float>(t + 1);
        std::vector<Object> outputs;
        executor.run({Object::of(filled({8 + t % 2, 256}, v))}, outputs);
        for (float y : outputs[0].tensor.span<float>()) wrong += y != 128.0f * v + v;
      }
    });
  for (std::thread& t : callers) t.join();
  CHECK_EQ(wrong.load(), 0);
}
