// Body of the pool family (contract: kernels/pool.h).
#pragma once

#include "kernels/cpu/math.inl.h"
#include "kernels/cpu/window.inl.h"
#include "kernels/pool.h"

namespace pyinfer {
namespace {

// Input pixels under one window, padding left out.
struct PoolTaps {
  const float** pixels;
  int64_t count;
};

// Calls f with each pixel (as its index within the image) under the window of p, in order.
template <class F>
void for_each_pixel(const Window& w, const PixelCursor& p, F f) {
  const int last = w.rank - 1;
  const int64_t begin = last_axis_begin(w, p), width = w.input[last];
  for_each_input_row(w, p, [&](int64_t row) {
    if (row < 0) return;
    for (int64_t k = 0, i = begin; k < w.kernel[last]; ++k, i += w.dilation[last]) {
      if (i >= 0 && i < width) f(row * width + i);
    }
  });
}

// Taps of the window of p within [-pad, input + pad_end) along every axis.
inline int64_t padded_count(const PoolArgs& args, const PixelCursor& p) {
  const Window& w = args.window;
  int64_t count = 1;
  for (int d = 0; d < w.rank; ++d) {
    const int64_t begin = p.at[d] * w.stride[d] - w.pad[d];
    const int64_t room = w.input[d] + args.pad_end[d] - begin;
    count *= room <= 0 ? 0 : min_of(w.kernel[d], div_up(room, w.dilation[d]));
  }
  return count;
}

template <class Step, class Finish>
void pool_channels(const PoolTaps& taps, int64_t channels, float* y, float initial, Step step,
                   Finish finish) {
  int64_t c = 0;
  for (; c + 32 <= channels; c += 32) {
    F32 a = splat(initial), b = a;
    for (int64_t t = 0; t < taps.count; ++t) {
      a = step(a, load(taps.pixels[t] + c));
      b = step(b, load(taps.pixels[t] + c + 16));
    }
    store(y + c, finish(a));
    store(y + c + 16, finish(b));
  }
  for (; c < channels && channels >= 16; c += 16) {
    // The last 16 overlap those before them: what both compute is the same.
    const int64_t at = min_of(c, channels - 16);
    F32 a = splat(initial);
    for (int64_t t = 0; t < taps.count; ++t) a = step(a, load(taps.pixels[t] + at));
    store(y + at, finish(a));
  }
  if (c < channels) {
    const int n = static_cast<int>(channels - c);
    F32 a = splat(initial);
    for (int64_t t = 0; t < taps.count; ++t) a = step(a, load_n(taps.pixels[t] + c, n));
    store_n(y + c, finish(a), n);
  }
}

inline size_t pool_scratch_bytes(const PoolArgs& args) {
  return static_cast<size_t>(volume(args.window.kernel, args.window.rank) * 8);
}

inline void pool_run(const PoolArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  if (row_begin >= row_end) return;
  const Window& w = args.window;
  const int64_t image_size = volume(w.input, w.rank) * args.x_stride;
  const auto keep = [](F32 x) { return x; };
  const F32 p = splat(args.p), root = splat(1.0f / args.p);
  PixelCursor pixel = pixel_at(w, row_begin);
  for (int64_t row = row_begin; row < row_end; ++row, advance(w, pixel)) {
    PoolTaps taps{.pixels = static_cast<const float**>(scratch), .count = 0};
    const float* image = args.x + pixel.image * image_size;
    for_each_pixel(w, pixel, [&](int64_t i) { taps.pixels[taps.count++] = image + i * args.x_stride; });
    float* y = args.y + row * args.y_stride;
    switch (args.kind) {
      case PoolKind::kMax:
        pool_channels(
            taps, args.channels, y, -__builtin_inff(), [](F32 a, F32 x) { return max(a, x); }, keep);
        break;
      case PoolKind::kAverage: {
        const int64_t count = args.count_padding ? padded_count(args, pixel) : taps.count;
        const F32 divisor = splat(static_cast<float>(count));
        pool_channels(
            taps, args.channels, y, 0.0f, [](F32 a, F32 x) { return a + x; },
            [divisor](F32 a) { return a / divisor; });
        break;
      }
      case PoolKind::kL1:
        pool_channels(
            taps, args.channels, y, 0.0f, [](F32 a, F32 x) { return a + abs(x); }, keep);
        break;
      case PoolKind::kL2:
        pool_channels(
            taps, args.channels, y, 0.0f, [](F32 a, F32 x) { return fma(x, x, a); },
            [](F32 a) { return sqrt(a); });
        break;
      case PoolKind::kLp:
        pool_channels(
            taps, args.channels, y, 0.0f, [p](F32 a, F32 x) { return a + pow(abs(x), p); },
            [root](F32 a) { return pow(a, root); });
        break;
    }
  }
}

// The greatest of kGroups times 16 channels from c on at each of the taps, of which there is one.
template <class T, int kGroups>
void greatest_bytes(const T* const* pixels, int64_t taps, int64_t c, T* y) {
  using Bytes [[gnu::vector_size(16)]] = T;
  Bytes most[kGroups];
  const auto get = [c](const T* pixel, int g) {
    Bytes x;
    __builtin_memcpy(&x, pixel + c + 16 * g, 16);
    return x;
  };
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) most[g] = get(pixels[0], g);
  for (int64_t t = 1; t < taps; ++t) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const Bytes x = get(pixels[t], g);
      most[g] = x > most[g] ? x : most[g];
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) __builtin_memcpy(y + c + 16 * g, &most[g], 16);
}

template <class T>
void max_bytes_as(const MaxBytesArgs& args, T lowest, int64_t row_begin, int64_t row_end, void* scratch) {
  const Window& w = args.window;
  const int64_t channels = args.channels, image_size = volume(w.input, w.rank) * channels;
  auto** pixels = static_cast<const T**>(scratch);
  PixelCursor pixel = pixel_at(w, row_begin);
  for (int64_t row = row_begin; row < row_end; ++row, advance(w, pixel)) {
    const T* image = reinterpret_cast<const T*>(args.x) + pixel.image * image_size;
    T* y = reinterpret_cast<T*>(args.y) + row * channels;
    int64_t taps = 0;
    for_each_pixel(w, pixel, [&](int64_t i) { pixels[taps++] = image + i * channels; });
    int64_t c = 0;
    for (; taps == 0 && c < channels; ++c) y[c] = lowest;
    for (; c + 64 <= channels; c += 64) greatest_bytes<T, 4>(pixels, taps, c, y);
    for (; c + 16 <= channels; c += 16) greatest_bytes<T, 1>(pixels, taps, c, y);
    for (; c < channels; ++c) {
      T most = pixels[0][c];
      for (int64_t t = 1; t < taps; ++t) most = pixels[t][c] > most ? pixels[t][c] : most;
      y[c] = most;
    }
  }
}

inline void pool_max_bytes(const MaxBytesArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  if (row_begin >= row_end) return;
  if (args.is_signed) return max_bytes_as<int8_t>(args, -128, row_begin, row_end, scratch);
  max_bytes_as<uint8_t>(args, 0, row_begin, row_end, scratch);
}

inline void pool_max_indices(const PoolArgs& args, int64_t row_begin, int64_t row_end, int64_t* indices,
                             void* scratch) {
  if (row_begin >= row_end) return;
  const Window& w = args.window;
  const int64_t image_size = volume(w.input, w.rank) * args.x_stride;
  int64_t* pixels = static_cast<int64_t*>(scratch);
  PixelCursor cursor = pixel_at(w, row_begin);
  for (int64_t row = row_begin; row < row_end; ++row, advance(w, cursor)) {
    int64_t count = 0;
    for_each_pixel(w, cursor, [&](int64_t i) { pixels[count++] = i; });
    const float* image = args.x + cursor.image * image_size;
    for (int64_t c = 0; c < args.channels; ++c) {
      int64_t best = count > 0 ? pixels[0] : -1;
      for (int64_t t = 1; t < count; ++t) {
        const float old = image[best * args.x_stride + c], x = image[pixels[t] * args.x_stride + c];
        if (x > old || (x != x && old == old)) best = pixels[t];
      }
      indices[row * args.channels + c] = best;
    }
  }
}

// Sixteen channels, or the first n of them.
template <class Load>
F32 average_channels(const GlobalAverageArgs& args, int64_t channel, Load get) {
  F32 total = zero_f32();
  for (int64_t block = 0; block < args.pixels; block += 64) {
    F32 sum[4] = {zero_f32(), zero_f32(), zero_f32(), zero_f32()};
    const float* x = args.x + block * args.x_stride + channel;
    const int64_t count = min_of(64, args.pixels - block);
    int64_t i = 0;
    for (; i + 4 <= count; i += 4, x += 4 * args.x_stride) {
#pragma GCC unroll 4
      for (int l = 0; l < 4; ++l) sum[l] = sum[l] + get(x + l * args.x_stride);
    }
#pragma GCC unroll 3
    for (int l = 0; l < 3; ++l) {
      if (i + l < count) sum[l] = sum[l] + get(x + l * args.x_stride);
    }
    total = total + ((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
  return total / splat(static_cast<float>(args.pixels));
}

inline void pool_global_average(const GlobalAverageArgs& args, int64_t channel_begin, int64_t channel_end) {
  int64_t c = channel_begin;
  for (; c + 16 <= channel_end; c += 16) {
    store(args.y + c, average_channels(args, c, [](const float* p) { return load(p); }));
  }
  if (const int n = static_cast<int>(channel_end - c); n > 0) {
    store_n(args.y + c, average_channels(args, c, [n](const float* p) { return load_n(p, n); }), n);
  }
}

constexpr PoolKernels kPoolKernels = {
    .scratch_bytes = pool_scratch_bytes,
    .run = pool_run,
    .max_bytes = pool_max_bytes,
    .max_indices = pool_max_indices,
    .global_average = pool_global_average,
};

}  // namespace
}  // namespace pyinfer
