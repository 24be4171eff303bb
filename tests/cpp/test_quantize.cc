// The quantization kernels of every instruction set against loops in double, every length, and the walk of
// broadcast operands against plain index arithmetic.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "kernels/broadcast.h"
#include "kernels/kernel_table.h"

using namespace pyinfer;

namespace {

struct Target {
  DType dtype;
  int low, high;
};
constexpr Target kTargets[] = {{DType::kInt8, -128, 127},      {DType::kUInt8, 0, 255},
                               {DType::kInt16, -32768, 32767}, {DType::kUInt16, 0, 65535},
                               {DType::kInt4, -8, 7},          {DType::kUInt4, 0, 15},
                               {DType::kInt2, -2, 1},          {DType::kUInt2, 0, 3}};

int read(DType dtype, const std::vector<uint16_t>& memory, size_t i) {
  const void* p = memory.data();
  switch (dtype) {
    case DType::kInt16: return static_cast<const int16_t*>(p)[i];
    case DType::kUInt16: return static_cast<const uint16_t*>(p)[i];
    case DType::kUInt8:
    case DType::kUInt4:
    case DType::kUInt2: return static_cast<const uint8_t*>(p)[i];
    default: return static_cast<const int8_t*>(p)[i];
  }
}

void check_quantize(const KernelTable& k, const Target& t, size_t n, int s_step, int z_step) {
  std::mt19937 rng(static_cast<uint32_t>(n) + 7);
  std::normal_distribution<float> normal(0, static_cast<float>(t.high - t.low));
  std::uniform_real_distribution<float> positive(0.5f, 2.0f);
  std::uniform_int_distribution<int> zeros(t.low, t.high);
  std::vector<float> x(n), s(n + 1);
  std::vector<int32_t> z(n + 1);
  for (float& v : x) v = normal(rng);
  for (float& v : s) v = positive(rng);
  for (int32_t& v : z) v = zeros(rng);
  if (n > 3) x[1] = NAN, x[2] = INFINITY, x[3] = -INFINITY;
  std::vector<uint16_t> y(n + 1, 0x5a5a);
  k.quantize.quantize(x.data(), s.data(), s_step, z.data(), z_step, t.dtype, y.data(),
                      static_cast<int64_t>(n));
  for (size_t i = 0; i < n; ++i) {
    const float q = x[i] / s[i * static_cast<size_t>(s_step)];
    const double zero = z[i * static_cast<size_t>(z_step)];
    const double want = std::isnan(q) ? t.low : std::clamp<double>(std::nearbyint(q) + zero, t.low, t.high);
    CHECK_EQ(read(t.dtype, y, i), static_cast<int>(want));
  }
  CHECK_EQ(y[n], 0x5a5a);

  std::vector<float> back(n), zf(z.begin(), z.end());
  k.quantize.dequantize(t.dtype, y.data(), s.data(), s_step, zf.data(), z_step, back.data(),
                        static_cast<int64_t>(n));
  for (size_t i = 0; i < n; ++i) {
    const float want = static_cast<float>(read(t.dtype, y, i) - z[i * static_cast<size_t>(z_step)]) *
                       s[i * static_cast<size_t>(s_step)];
    CHECK_EQ(back[i], want);
  }
}

Shape random_operand(std::mt19937& rng, const Shape& out) {
  Shape s;
  const int skip = static_cast<int>(rng() % static_cast<uint32_t>(out.rank() + 1));
  for (int i = skip; i < out.rank(); ++i) s.push_back(rng() % 3 == 0 ? 1 : out[i]);
  return s;
}

// The offset in `s` of the element that meets element `at` of `out`.
int64_t offset_of(const Shape& s, const Shape& out, int64_t at) {
  int64_t offset = 0, stride = 1;
  for (int i = out.rank() - 1; i >= out.rank() - s.rank(); --i) {
    const int64_t dim = s[i - (out.rank() - s.rank())];
    offset += dim == 1 ? 0 : at % out[i] * stride;
    stride *= dim;
    at /= out[i];
  }
  return offset;
}

}  // namespace

TEST(quantize_kernels) {
  for (Isa isa : available_isas())
    for (const Target& t : kTargets)
      for (size_t n : {0, 1, 2, 7, 15, 16, 17, 31, 33, 64, 259})
        for (int steps = 0; steps < 4; ++steps)
          check_quantize(kernel_table(isa), t, n, steps & 1, steps >> 1);
}

TEST(quantize_combine_bytes) {
  std::mt19937 rng(5);
  for (Isa isa : available_isas())
    for (size_t n : {0, 1, 2, 15, 16, 17, 40, 259})
      for (const bool is_signed : {false, true}) {
        const auto value = [&](uint8_t b) { return is_signed ? int{static_cast<int8_t>(b)} : int{b}; };
        const auto byte = [&] { return static_cast<uint8_t>(rng()); };
        std::vector<uint8_t> a(n), b(n), y(n + 1, 77);
        for (size_t i = 0; i < n; ++i) a[i] = byte(), b[i] = byte();
        for (const bool sum : {false, true}) {
          const int a_step = n == 0 || rng() % 3 ? 1 : 0, b_step = n == 0 || rng() % 3 ? 1 : 0;
          const ByteTerm p{a.data(), a_step, value(byte()), sum ? 0.7f : 0.013f};
          const ByteTerm q{b.data(), b_step, value(byte()), sum ? 1.3f : 1.0f};
          const int zero = value(byte()), low = is_signed ? -128 : 0;
          kernel_table(isa).quantize.combine_bytes(sum ? ByteCombination::kSum : ByteCombination::kProduct, p,
                                                   q, zero, is_signed, y.data(), static_cast<int64_t>(n));
          for (size_t i = 0; i < n; ++i) {
            const float u = static_cast<float>(value(a[i * a_step]) - p.zero) * p.factor;
            const float v = static_cast<float>(value(b[i * b_step]) - q.zero) * q.factor;
            const int want = static_cast<int>(std::nearbyint(sum ? u + v : u * v)) + zero;
            CHECK_EQ(value(y[i]), std::clamp(want, low, low + 255));
          }
        }
        CHECK_EQ(int{y[n]}, 77);
      }
}

TEST(quantize_range_with_zero) {
  std::mt19937 rng(3);
  for (Isa isa : available_isas())
    for (size_t n = 0; n < 70; ++n)
      for (float center : {-9.0f, 0.0f, 9.0f}) {
        std::normal_distribution<float> normal(center, 2);
        std::vector<float> x(n);
        for (float& v : x) v = normal(rng);
        if (n > 20) x[n / 2] = NAN;
        float low = 1, high = -1, want_low = 0, want_high = 0;
        kernel_table(isa).quantize.range_with_zero(x.data(), static_cast<int64_t>(n), &low, &high);
        for (float v : x) {
          if (v < want_low) want_low = v;
          if (v > want_high) want_high = v;
        }
        CHECK_EQ(low, want_low);
        CHECK_EQ(high, want_high);
      }
}

TEST(broadcast_walk) {
  std::mt19937 rng(4);
  for (int trial = 0; trial < 2000; ++trial) {
    Shape out;
    const int rank = static_cast<int>(rng() % 6);
    for (int i = 0; i < rank; ++i) out.push_back(rng() % 12 == 0 ? 0 : 1 + rng() % 4);
    const Shape a = random_operand(rng, out), b = random_operand(rng, out), c = random_operand(rng, out);
    const BroadcastWalk<3> walk(out, {&a, &b, &c});
    const int64_t n = out.count(), begin = n ? rng() % n : 0, end = n ? begin + rng() % (n - begin + 1) : 0;
    int64_t next = begin;
    const Shape* shapes[] = {&a, &b, &c};
    walk.walk(begin, end, [&](const std::array<int64_t, 3>& at, int64_t o, int64_t count) {
      CHECK_EQ(o, next);
      CHECK(count > 0);
      for (int64_t i = 0; i < count; ++i)
        for (int k = 0; k < 3; ++k)
          CHECK_EQ(at[static_cast<size_t>(k)] + i * walk.step(k), offset_of(*shapes[k], out, o + i));
      next += count;
    });
    CHECK_EQ(next, end);
  }
}
