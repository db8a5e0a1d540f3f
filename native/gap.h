// Gaps behind the pieces of one memory block, which only a build under AddressSanitizer has: whoever touches one is caught.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kGap = 64;
inline void forbid(const void* at, size_t bytes) { __asan_poison_memory_region(at, bytes); }
inline void allow(const void* at, size_t bytes) { __asan_unpoison_memory_region(at, bytes); }
#else
constexpr int64_t kGap = 0;
inline void forbid(const void*, size_t) {}
inline void allow(const void*, size_t) {}
#endif

}  // namespace
