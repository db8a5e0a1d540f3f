// Weights lie as [map][tap] in a channels_last tensor; kernels along channels want [tap][map]. T is odd and a vector
// has a power of two of lanes, so the maps of a tap lie in lanes that are all different: a rotation of whole vectors,
// each lane by its own number, and one permutation of each vector transpose without touching single elements.
#pragma once

#include <utility>

#include "simd.h"

namespace {

template <int BYTES> struct LanesOf;
template <> struct LanesOf<2> { typedef uint16_t type __attribute__((vector_size(kVectorBytes))); };
template <> struct LanesOf<4> { typedef uint32_t type __attribute__((vector_size(kVectorBytes))); };
template <> struct LanesOf<8> { typedef uint64_t type __attribute__((vector_size(kVectorBytes))); };
// A vector of elements of so many bytes, whatever they mean.
template <int BYTES> using Lanes = typename LanesOf<BYTES>::type;

template <int TAPS, int BYTES> struct Rotation {
  using V = Lanes<BYTES>;
  static constexpr int lanes = kVectorBytes / BYTES;

  static constexpr int inverse(int x, int modulus) {
    for (int y = 0; y < modulus; ++y)
      if (x * y % modulus == 1 % modulus) return y;
    return 0;
  }
  // In rotating order, vector q is number order(q) in memory.
  static constexpr int order(int q) { return inverse(lanes % TAPS, TAPS) * q % TAPS; }

  // Lane r of b where it moves by 2^STAGE vectors, else of a.
  template <int STAGE, int... R> static COTNET_INLINE V blend(V a, V b, std::integer_sequence<int, R...>) {
    return __builtin_shufflevector(a, b, ((R % TAPS) >> STAGE & 1 ? lanes + R : R)...);
  }
  template <int STAGE, int SIGN, int... Q> static COTNET_INLINE void rotate(V (&v)[TAPS], std::integer_sequence<int, Q...> all) {
    constexpr int step = 1 << STAGE;
    if constexpr (step < TAPS && step < lanes) {
      constexpr auto every_lane = std::make_integer_sequence<int, lanes>();
      const V moved[TAPS] = {blend<STAGE>(v[Q], v[(Q + SIGN * step + TAPS) % TAPS], every_lane)...};
      ((v[Q] = moved[Q]), ...);
      rotate<STAGE + 1, SIGN>(v, all);
    }
  }
  template <int T, int... R> static COTNET_INLINE V apart(V x, std::integer_sequence<int, R...>) {
    return __builtin_shufflevector(x, x, ((R * TAPS + T) % lanes)...);
  }
  template <int T, int... R> static COTNET_INLINE V together(V x, std::integer_sequence<int, R...>) {
    return __builtin_shufflevector(x, x, ((R + lanes * TAPS - T) * inverse(TAPS % lanes, lanes) % lanes)...);
  }

  static constexpr auto all_taps = std::make_integer_sequence<int, TAPS>();
  static constexpr auto all_lanes = std::make_integer_sequence<int, lanes>();

  static COTNET_INLINE V vector_at(const void* from, int number) {
    V x;
    memcpy(&x, static_cast<const char*>(from) + number * kVectorBytes, kVectorBytes);
    return x;
  }
  template <int... T> static COTNET_INLINE void load(V (&v)[TAPS], const void* from, std::integer_sequence<int, T...>) {
    ((v[T] = vector_at(from, order(T))), ...);
    rotate<0, -1>(v, all_taps);
    ((v[T] = apart<T>(v[T], all_lanes)), ...);
  }
  template <int... T> static COTNET_INLINE void store(void* to, V (&v)[TAPS], std::integer_sequence<int, T...>) {
    ((v[T] = together<T>(v[T], all_lanes)), ...);
    rotate<0, 1>(v, all_taps);
    (memcpy(static_cast<char*>(to) + order(T) * kVectorBytes, &v[T], kVectorBytes), ...);
  }
};

// Lane m of v[t] is from[m * TAPS + t].
template <int TAPS, int BYTES> COTNET_INLINE void load_taps(Lanes<BYTES> (&v)[TAPS], const void* from) {
  using R = Rotation<TAPS, BYTES>;
  R::load(v, from, R::all_taps);
}
// to[m * TAPS + t] = lane m of v[t]; destroys v.
template <int TAPS, int BYTES> COTNET_INLINE void store_taps(void* to, Lanes<BYTES> (&v)[TAPS]) {
  using R = Rotation<TAPS, BYTES>;
  R::store(to, v, R::all_taps);
}

// to[t * pitch + m] = from[m * TAPS + t], for elements of BYTES.
template <int TAPS, int BYTES> void taps_apart(char* to, int64_t pitch, const char* from, int64_t maps) {
  constexpr int lanes = kVectorBytes / BYTES;
  int64_t m = 0;
  for (; m + lanes <= maps; m += lanes) {
    Lanes<BYTES> v[TAPS];
    load_taps<TAPS, BYTES>(v, from + m * TAPS * BYTES);
    for (int t = 0; t < TAPS; ++t) memcpy(to + (t * pitch + m) * BYTES, &v[t], sizeof v[t]);
  }
  for (; m < maps; ++m)
    for (int t = 0; t < TAPS; ++t) memcpy(to + (t * pitch + m) * BYTES, from + (m * TAPS + t) * BYTES, BYTES);
}

// to[m * TAPS + t] = from[t * pitch + m], for elements of BYTES.
template <int TAPS, int BYTES> void taps_together(char* to, const char* from, int64_t pitch, int64_t maps) {
  constexpr int lanes = kVectorBytes / BYTES;
  int64_t m = 0;
  for (; m + lanes <= maps; m += lanes) {
    Lanes<BYTES> v[TAPS];
    for (int t = 0; t < TAPS; ++t) memcpy(&v[t], from + (t * pitch + m) * BYTES, sizeof v[t]);
    store_taps<TAPS, BYTES>(to + m * TAPS * BYTES, v);
  }
  for (; m < maps; ++m)
    for (int t = 0; t < TAPS; ++t) memcpy(to + (m * TAPS + t) * BYTES, from + (t * pitch + m) * BYTES, BYTES);
}

// Whether the vectors serve so many taps: then `to` is filled as above.
template <class T> bool taps_apart(T* to, int64_t pitch, const T* from, int64_t maps, int64_t taps) {
  const auto run = taps == 9 ? taps_apart<9, sizeof(T)> : taps == 25 ? taps_apart<25, sizeof(T)> : nullptr;
  if (run != nullptr) run(reinterpret_cast<char*>(to), pitch, reinterpret_cast<const char*>(from), maps);
  return run != nullptr;
}
template <class T> bool taps_together(T* to, const T* from, int64_t pitch, int64_t maps, int64_t taps) {
  const auto run = taps == 9 ? taps_together<9, sizeof(T)> : taps == 25 ? taps_together<25, sizeof(T)> : nullptr;
  if (run != nullptr) run(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), pitch, maps);
  return run != nullptr;
}

}  // namespace
