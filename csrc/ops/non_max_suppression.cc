// NonMaxSuppression: of each batch and class, the boxes by falling score, without those that overlap one
// already chosen by more than a threshold (intersection over union).
#include <algorithm>
#include <limits>

#include "base/math.h"
#include "ops/op.h"
#include "ops/work.h"

namespace pyinfer {
namespace {

struct Candidate {
  float score;
  int32_t index;
  bool operator<(const Candidate& other) const {
    return score != other.score ? score > other.score : index < other.index;
  }
};

struct Box {
  float x0, y0, x1, y1;
  float area() const { return (x1 - x0) * (y1 - y0); }
};

Box corners(const float* b, bool centers) {
  if (centers) return {b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2};
  return {std::min(b[1], b[3]), std::min(b[0], b[2]), std::max(b[1], b[3]), std::max(b[0], b[2])};
}

bool overlaps(const Box& a, const Box& b, float threshold) {
  const float x0 = std::max(a.x0, b.x0), x1 = std::min(a.x1, b.x1);
  const float y0 = std::max(a.y0, b.y0), y1 = std::min(a.y1, b.y1);
  if (!(x1 > x0) || !(y1 > y0)) return false;
  const float both = (x1 - x0) * (y1 - y0), either = a.area() + b.area() - both;
  if (!(both > 0) || !(a.area() > 0) || !(b.area() > 0) || !(either > 0)) return false;
  return both / either > threshold;
}

class NonMaxSuppression final : public Op {
 public:
  explicit NonMaxSuppression(bool centers) : centers_(centers) {}

  void plan(PlanContext& ctx) const override {
    const Shape &boxes = ctx.shape(0), &scores = ctx.shape(1);
    require(boxes.rank() == 3 && scores.rank() == 3 && boxes[2] == 4 && boxes[0] == scores[0] &&
                boxes[1] == scores[2] && boxes[1] < INT32_MAX,
            ErrorCode::kInvalidInput, "boxes of shape ", boxes, " and scores of shape ", scores);
    for (int i = 2; i < ctx.num_inputs(); ++i)
      if (ctx.has(i))
        require(ctx.shape(i).count() == 1, ErrorCode::kInvalidInput, "input ", i, " has shape ",
                ctx.shape(i));
    ctx.scratch(rooms(scores, ctx.workers()).layout.bytes());
    ctx.output_dynamic(0);
  }

  void run(RunContext& ctx) const override {
    const Shape& scores = ctx.in(1).shape;
    const int64_t n = scores[2], pairs = scores[0] * scores[1];
    const int64_t most = ctx.has(2) ? std::clamp<int64_t>(*ctx.in<int64_t>(2), 0, n) : 0;
    const Rooms room = rooms(scores, ctx.workers());
    auto* chosen = reinterpret_cast<int32_t*>(ctx.scratch() + room.chosen);
    auto* counts = reinterpret_cast<int64_t*>(ctx.scratch() + room.counts);
    if (most > 0)
      ctx.parallel(pairs, 1, [&](int64_t begin, int64_t end, int worker) {
        auto* candidates = reinterpret_cast<Candidate*>(ctx.scratch() + room.candidates) + worker * n;
        auto* kept = reinterpret_cast<Box*>(ctx.scratch() + room.boxes) + worker * n;
        for (int64_t p = begin; p < end; ++p)
          counts[p] = choose(ctx, p, most, candidates, kept, chosen + p * n);
      });
    else
      std::fill_n(counts, pairs, 0);

    int64_t total = 0;
    for (int64_t p = 0; p < pairs; ++p) total += counts[p];
    auto* y = ctx.allocate(0, DType::kInt64, {total, 3}).as<int64_t>();
    for (int64_t p = 0; p < pairs; ++p) {
      for (int64_t i = 0; i < counts[p]; ++i) {
        *y++ = p / scores[1];
        *y++ = p % scores[1];
        *y++ = chosen[p * n + i];
      }
    }
  }

 private:
  struct Rooms {
    ScratchLayout layout;
    int64_t chosen, counts, candidates, boxes;
  };
  static Rooms rooms(const Shape& scores, int64_t workers) {
    Rooms r;
    r.chosen = r.layout.take(scores.count(), sizeof(int32_t));
    r.counts = r.layout.take(scores.count(0, 2), sizeof(int64_t));
    r.candidates = r.layout.take(workers * scores[2], sizeof(Candidate));
    r.boxes = r.layout.take(workers * scores[2], sizeof(Box));
    return r;
  }

  // The indices chosen for pair `p` of batch and class; gives their number.
  int64_t choose(const RunContext& ctx, int64_t p, int64_t most, Candidate* candidates, Box* kept,
                 int32_t* chosen) const {
    const Shape& shape = ctx.in(1).shape;
    const int64_t n = shape[2];
    const float* scores = ctx.in<float>(1) + p * n;
    const float* boxes = ctx.in<float>(0) + p / shape[1] * n * 4;
    const float iou = ctx.has(3) ? *ctx.in<float>(3) : 0;
    int64_t held = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (ctx.has(4) && !(scores[i] > *ctx.in<float>(4))) continue;
      const bool nan = scores[i] != scores[i];  // comes last
      candidates[held++] = {nan ? -std::numeric_limits<float>::infinity() : scores[i],
                            static_cast<int32_t>(i)};
    }
    std::sort(candidates, candidates + held);
    int64_t count = 0;
    for (int64_t i = 0; i < held && count < most; ++i) {
      const Box box = corners(boxes + candidates[i].index * int64_t{4}, centers_);
      bool free = true;
      for (int64_t k = 0; k < count && free; ++k) free = !overlaps(box, kept[k], iou);
      if (!free) continue;
      kept[count] = box;
      chosen[count++] = candidates[i].index;
    }
    return count;
  }

  bool centers_;
};

std::unique_ptr<Op> make_non_max_suppression(NodeContext& ctx) {
  ctx.expect_inputs(2, 5);
  ctx.expect_dtype(0, {DType::kFloat32});
  ctx.expect_dtype(1, {DType::kFloat32});
  if (ctx.has_input(2)) ctx.expect_dtype(2, {DType::kInt64});
  for (int i : {3, 4})
    if (ctx.has_input(i)) ctx.expect_dtype(i, {DType::kFloat32});
  ctx.output(0, DType::kInt64);
  const int64_t centers = ctx.attr_int("center_point_box", 0);
  require(centers == 0 || centers == 1, ErrorCode::kInvalidModel, "center_point_box=", centers);
  return std::make_unique<NonMaxSuppression>(centers == 1);
}

}  // namespace

std::span<const OpDef> non_max_suppression_ops() {
  static constexpr OpDef kOps[] = {{"", "NonMaxSuppression", 1, make_non_max_suppression}};
  return kOps;
}

}  // namespace pyinfer
