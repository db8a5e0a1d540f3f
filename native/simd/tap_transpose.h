// Weights lie as [head][tap] in a channels_last tensor; kernels with vectors along channels want [tap][head]. T is odd
// and a vector has a power of two of lanes, so the heads of one tap lie in lanes that are all different: a rotation
// among the vectors, each lane by a number of its own, gathers a tap in one vector, and a permutation puts its heads in
// order. No single element is touched. With 3 taps and 4 lanes, "21" for head 2, tap 1:
//
//   in memory                after the rotation       after the permutation
//   v0  00 01 02 10          v0  00 30 20 10          v0  00 10 20 30     tap 0
//   v1  11 12 20 21          v1  11 01 31 21          v1  01 11 21 31     tap 1
//   v2  22 30 31 32          v2  22 12 02 32          v2  02 12 22 32     tap 2
//
// Lane 1 of v0 comes from one vector before it (v2, going round), lane 2 from two before it, lane 3 from three, which
// is none. The rotation takes one blend of all vectors for each power of two below T.
#pragma once

#include <utility>

#include "vector.h"

namespace {

template <int BYTES> struct LanesOf;
template <> struct LanesOf<2> {
  typedef uint16_t type __attribute__((vector_size(kVectorBytes)));
};
template <> struct LanesOf<4> {
  typedef uint32_t type __attribute__((vector_size(kVectorBytes)));
};
template <> struct LanesOf<8> {
  typedef uint64_t type __attribute__((vector_size(kVectorBytes)));
};
// A vector of elements of so many bytes, whatever they mean.
template <int BYTES> using Lanes = typename LanesOf<BYTES>::type;

template <int TAPS, int BYTES> struct TapTranspose {
  using V = Lanes<BYTES>;
  static constexpr int lanes = kVectorBytes / BYTES;
  static constexpr auto all_taps = std::make_integer_sequence<int, TAPS>();
  static constexpr auto all_lanes = std::make_integer_sequence<int, lanes>();

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
  template <int STAGE, int SIGN, int... Q>
  static COTNET_INLINE void rotate(V (&v)[TAPS], std::integer_sequence<int, Q...> taps) {
    constexpr int distance = 1 << STAGE;
    if constexpr (distance < TAPS && distance < lanes) {
      const V moved[TAPS] = {blend<STAGE>(v[Q], v[(Q + SIGN * distance + TAPS) % TAPS], all_lanes)...};
      ((v[Q] = moved[Q]), ...);
      rotate<STAGE + 1, SIGN>(v, taps);
    }
  }
  // The heads of tap T in order, and back.
  template <int T, int... R> static COTNET_INLINE V sort(V x, std::integer_sequence<int, R...>) {
    return __builtin_shufflevector(x, x, ((R * TAPS + T) % lanes)...);
  }
  template <int T, int... R> static COTNET_INLINE V unsort(V x, std::integer_sequence<int, R...>) {
    return __builtin_shufflevector(x, x, ((R + lanes * TAPS - T) * inverse(TAPS % lanes, lanes) % lanes)...);
  }

  static COTNET_INLINE V vector_at(const void* from, int number) {
    V x;
    memcpy(&x, static_cast<const char*>(from) + number * kVectorBytes, kVectorBytes);
    return x;
  }
  template <int... T> static COTNET_INLINE void load(V (&v)[TAPS], const void* from, std::integer_sequence<int, T...>) {
    ((v[T] = vector_at(from, order(T))), ...);
    rotate<0, -1>(v, all_taps);
    ((v[T] = sort<T>(v[T], all_lanes)), ...);
  }
  template <int... T> static COTNET_INLINE void store(void* to, V (&v)[TAPS], std::integer_sequence<int, T...>) {
    ((v[T] = unsort<T>(v[T], all_lanes)), ...);
    rotate<0, 1>(v, all_taps);
    (memcpy(static_cast<char*>(to) + order(T) * kVectorBytes, &v[T], kVectorBytes), ...);
  }
};

// Lane h of v[t] is from[h * TAPS + t].
template <int TAPS, int BYTES> COTNET_INLINE void load_taps(Lanes<BYTES> (&v)[TAPS], const void* from) {
  using Transpose = TapTranspose<TAPS, BYTES>;
  Transpose::load(v, from, Transpose::all_taps);
}
// to[h * TAPS + t] = lane h of v[t]; destroys v.
template <int TAPS, int BYTES> COTNET_INLINE void store_taps(void* to, Lanes<BYTES> (&v)[TAPS]) {
  using Transpose = TapTranspose<TAPS, BYTES>;
  Transpose::store(to, v, Transpose::all_taps);
}

// to[t * pitch + h] = from[h * TAPS + t], for elements of BYTES.
template <int TAPS, int BYTES> void deinterleave_taps(char* to, int64_t pitch, const char* from, int64_t heads) {
  constexpr int lanes = kVectorBytes / BYTES;
  int64_t h = 0;
  for (; h + lanes <= heads; h += lanes) {
    Lanes<BYTES> v[TAPS];
    load_taps<TAPS, BYTES>(v, from + h * TAPS * BYTES);
    for (int t = 0; t < TAPS; ++t) memcpy(to + (t * pitch + h) * BYTES, &v[t], sizeof v[t]);
  }
  for (; h < heads; ++h)
    for (int t = 0; t < TAPS; ++t) memcpy(to + (t * pitch + h) * BYTES, from + (h * TAPS + t) * BYTES, BYTES);
}

// to[h * TAPS + t] = from[t * pitch + h], for elements of BYTES.
template <int TAPS, int BYTES> void interleave_taps(char* to, const char* from, int64_t pitch, int64_t heads) {
  constexpr int lanes = kVectorBytes / BYTES;
  int64_t h = 0;
  for (; h + lanes <= heads; h += lanes) {
    Lanes<BYTES> v[TAPS];
    for (int t = 0; t < TAPS; ++t) memcpy(&v[t], from + (t * pitch + h) * BYTES, sizeof v[t]);
    store_taps<TAPS, BYTES>(to + h * TAPS * BYTES, v);
  }
  for (; h < heads; ++h)
    for (int t = 0; t < TAPS; ++t) memcpy(to + (h * TAPS + t) * BYTES, from + (t * pitch + h) * BYTES, BYTES);
}

// Whether there is a transposition for so many taps: then `to` is filled as above.
template <class T> bool deinterleave_taps(T* to, int64_t pitch, const T* from, int64_t heads, int64_t taps) {
  const auto transpose = taps == 9    ? deinterleave_taps<9, sizeof(T)>
                         : taps == 25 ? deinterleave_taps<25, sizeof(T)>
                                      : nullptr;
  if (transpose == nullptr) return false;
  transpose(reinterpret_cast<char*>(to), pitch, reinterpret_cast<const char*>(from), heads);
  return true;
}
template <class T> bool interleave_taps(T* to, const T* from, int64_t pitch, int64_t heads, int64_t taps) {
  const auto transpose = taps == 9    ? interleave_taps<9, sizeof(T)>
                         : taps == 25 ? interleave_taps<25, sizeof(T)>
                                      : nullptr;
  if (transpose == nullptr) return false;
  transpose(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), pitch, heads);
  return true;
}

}  // namespace
