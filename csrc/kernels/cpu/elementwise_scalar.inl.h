// Binary operations of kernels/elementwise.h on integers, bool and double, one element at a time.
#pragma once

#include "kernels/cpu/math.inl.h"
#include "kernels/elementwise.h"
#include "kernels/math_f64.h"

namespace pyinfer {
namespace {

// The compiler vectorises the loops it can.
template <class T>
struct UnsignedOf;
template <>
struct UnsignedOf<int8_t> {
  using type = uint8_t;
};
template <>
struct UnsignedOf<int16_t> {
  using type = uint16_t;
};
template <>
struct UnsignedOf<int32_t> {
  using type = uint32_t;
};
template <>
struct UnsignedOf<int64_t> {
  using type = uint64_t;
};
template <>
struct UnsignedOf<uint8_t> {
  using type = uint8_t;
};
template <>
struct UnsignedOf<uint16_t> {
  using type = uint16_t;
};
template <>
struct UnsignedOf<uint32_t> {
  using type = uint32_t;
};
template <>
struct UnsignedOf<uint64_t> {
  using type = uint64_t;
};
template <>
struct UnsignedOf<double> {
  using type = double;
};

template <class T>
constexpr bool kIsDouble = false;
template <>
constexpr bool kIsDouble<double> = true;

#define PYINFER_SCALAR_OP(Name, expression) \
  struct Name {                             \
    template <class T>                      \
    static auto apply(T a, T b) {           \
      return expression;                    \
    }                                       \
  };
PYINFER_SCALAR_OP(Add, static_cast<T>(a + b))
PYINFER_SCALAR_OP(Sub, static_cast<T>(a - b))
PYINFER_SCALAR_OP(Min, (a != a || a < b) ? a : b)
PYINFER_SCALAR_OP(Max, (a != a || a > b) ? a : b)
PYINFER_SCALAR_OP(Equal, a == b)
PYINFER_SCALAR_OP(Less, a < b)
PYINFER_SCALAR_OP(LessOrEqual, a <= b)
PYINFER_SCALAR_OP(Greater, a > b)
PYINFER_SCALAR_OP(GreaterOrEqual, a >= b)
PYINFER_SCALAR_OP(BitAnd, static_cast<T>(a& b))
PYINFER_SCALAR_OP(BitOr, static_cast<T>(a | b))
PYINFER_SCALAR_OP(BitXor, static_cast<T>(a ^ b))
PYINFER_SCALAR_OP(ShiftLeft, b < 8 * sizeof(T) ? static_cast<T>(a << b) : T{0})
PYINFER_SCALAR_OP(ShiftRight, b < 8 * sizeof(T) ? static_cast<T>(a >> b) : T{0})
#undef PYINFER_SCALAR_OP

// Through 32 bits at least: the product of two uint16_t would be a signed int.
struct Mul {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (kIsDouble<T> || sizeof(T) > 2) {
      return a * b;
    } else {
      return static_cast<T>(static_cast<uint32_t>(a) * static_cast<uint32_t>(b));
    }
  }
};
struct Div {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (kIsDouble<T>) {
      return a / b;
    } else {
      using U = typename UnsignedOf<T>::type;
      if (b == 0) return 0;
      if (T(-1) < T(0) && b == T(-1)) return static_cast<T>(U{0} - static_cast<U>(a));
      return static_cast<T>(a / b);
    }
  }
};
struct FMod {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (kIsDouble<T>) {
      return __builtin_fmod(a, b);
    } else {
      if (b == 0 || (T(-1) < T(0) && b == T(-1))) return 0;
      return static_cast<T>(a % b);
    }
  }
};
struct Mod {
  template <class T>
  static T apply(T a, T b) {
    const T r = FMod::apply(a, b);
    if constexpr (kIsDouble<T>) {
      if (r == 0.0) return b < 0.0 ? -0.0 : 0.0;
    }
    return r != 0 && (r < 0) != (b < 0) ? static_cast<T>(r + b) : r;
  }
};
struct Pow {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (kIsDouble<T>) {
      return f64::pow(a, b);
    } else {
      using U = typename UnsignedOf<T>::type;
      if (b < 0) return a == 1 ? 1 : a == T(-1) ? (b % 2 == 0 ? T(1) : T(-1)) : T(0);
      U result = 1, base = static_cast<U>(a);
      for (; b > 0; b = static_cast<T>(b >> 1)) {
        if (b & 1) result = Mul::apply(result, base);
        base = Mul::apply(base, base);
      }
      return static_cast<T>(result);
    }
  }
};
struct PRelu {
  template <class T>
  static T apply(T a, T b) {
    return a < 0 ? a * b : a;
  }
};

// A scalar operand becomes a short vector of copies: one loop serves the three forms. `loop` takes elements
// of T's size and writes elements of `written` bytes. What is called with many loops is not compiled into
// each.
template <class T>
[[gnu::noinline]] void loop_with_scalar(BinaryFn loop, const void* scalar, bool scalar_first,
                                        const void* vector, void* y, int64_t written, int64_t n) {
  constexpr int64_t kBlock = 64;
  T block[kBlock];
  const T v = *static_cast<const T*>(scalar);
  for (int64_t i = 0; i < (n < kBlock ? n : kBlock); ++i) block[i] = v;
  const T* x = static_cast<const T*>(vector);
  char* out = static_cast<char*>(y);
  for (int64_t i = 0; i < n; i += kBlock) {
    const void *a = scalar_first ? block : x + i, *b = scalar_first ? x + i : block;
    loop(a, b, out + i * written, n - i < kBlock ? n - i : kBlock);
  }
}

// R is what is written.
template <class Op, class T, class R>
struct ScalarLoops {
  [[gnu::noinline]] static void vv(const void* a, const void* b, void* y, int64_t n) {
    const T* p = static_cast<const T*>(a);
    const T* q = static_cast<const T*>(b);
    R* out = static_cast<R*>(y);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<R>(Op::apply(p[i], q[i]));
  }
  static void vs(const void* a, const void* b, void* y, int64_t n) {
    loop_with_scalar<T>(vv, b, false, a, y, sizeof(R), n);
  }
  static void sv(const void* a, const void* b, void* y, int64_t n) {
    loop_with_scalar<T>(vv, a, true, b, y, sizeof(R), n);
  }
  static constexpr BinaryFns fns() {
    return {vv, vs, sv};
  }
};

template <class T>
BinaryFns comparison(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::kEqual: return ScalarLoops<Equal, T, bool>::fns();
    case BinaryKind::kLess: return ScalarLoops<Less, T, bool>::fns();
    case BinaryKind::kLessOrEqual: return ScalarLoops<LessOrEqual, T, bool>::fns();
    case BinaryKind::kGreater: return ScalarLoops<Greater, T, bool>::fns();
    case BinaryKind::kGreaterOrEqual: return ScalarLoops<GreaterOrEqual, T, bool>::fns();
    default: return {};
  }
}

template <class T>
BinaryFns arithmetic(BinaryKind kind) {
  using U = typename UnsignedOf<T>::type;  // wraps, and shares the loop with the signed type
  switch (kind) {
    case BinaryKind::kAdd: return ScalarLoops<Add, U, U>::fns();
    case BinaryKind::kSub: return ScalarLoops<Sub, U, U>::fns();
    case BinaryKind::kMul: return ScalarLoops<Mul, U, U>::fns();
    case BinaryKind::kDiv: return ScalarLoops<Div, T, T>::fns();
    case BinaryKind::kMin: return ScalarLoops<Min, T, T>::fns();
    case BinaryKind::kMax: return ScalarLoops<Max, T, T>::fns();
    case BinaryKind::kPow: return ScalarLoops<Pow, T, T>::fns();
    case BinaryKind::kMod: return ScalarLoops<Mod, T, T>::fns();
    case BinaryKind::kFMod: return ScalarLoops<FMod, T, T>::fns();
    default: return {};
  }
}

template <class T>
BinaryFns binary_integer(BinaryKind kind) {
  using U = typename UnsignedOf<T>::type;
  switch (kind) {
    case BinaryKind::kEqual: return ScalarLoops<Equal, U, bool>::fns();
    case BinaryKind::kBitwiseAnd: return ScalarLoops<BitAnd, U, U>::fns();
    case BinaryKind::kBitwiseOr: return ScalarLoops<BitOr, U, U>::fns();
    case BinaryKind::kBitwiseXor: return ScalarLoops<BitXor, U, U>::fns();
    case BinaryKind::kShiftLeft: return ScalarLoops<ShiftLeft, U, U>::fns();
    case BinaryKind::kShiftRight: return ScalarLoops<ShiftRight, U, U>::fns();
    default: break;
  }
  const BinaryFns compare = comparison<T>(kind);
  return compare ? compare : arithmetic<T>(kind);
}

// A bool is a byte of 0 or 1.
BinaryFns binary_bool(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::kEqual: return ScalarLoops<Equal, uint8_t, bool>::fns();
    case BinaryKind::kAnd: return ScalarLoops<BitAnd, uint8_t, uint8_t>::fns();
    case BinaryKind::kOr: return ScalarLoops<BitOr, uint8_t, uint8_t>::fns();
    case BinaryKind::kXor: return ScalarLoops<BitXor, uint8_t, uint8_t>::fns();
    default: return {};
  }
}

}  // namespace
}  // namespace pyinfer
