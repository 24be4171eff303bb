// What a waiting loop does between two looks at an atomic variable.
#pragma once

namespace pyinfer {

// Tells the CPU that this thread is spinning, so that its sibling gets the core's units.
inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace pyinfer
