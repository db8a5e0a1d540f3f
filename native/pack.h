// Strided weights and maps into dense scratch in the accumulator type, and back.
#pragma once

#include "simd.h"

namespace {

typedef float Eight __attribute__((vector_size(32)));

COTNET_INLINE Eight load_eight(const float* from) {
  Eight x;
  memcpy(&x, from, sizeof x);
  return x;
}
COTNET_INLINE Eight load_eight(const Bfloat16* from) {
  typedef uint16_t Halves __attribute__((vector_size(16)));
  typedef uint32_t Words __attribute__((vector_size(32)));
  Halves halves;
  memcpy(&halves, from, sizeof halves);
  return (Eight)(__builtin_convertvector(halves, Words) << 16);
}
COTNET_INLINE Eight load_eight(const Float16* from) {
#if defined(__F16C__)
  __m128i halves;
  memcpy(&halves, from, sizeof halves);
  return (Eight)_mm256_cvtph_ps(halves);
#else
  Eight x;
  for (int lane = 0; lane < 8; ++lane) x[lane] = widen(from[lane]);
  return x;
#endif
}

COTNET_INLINE void store_eight(float* to, Eight x) { memcpy(to, &x, sizeof x); }
COTNET_INLINE void store_eight(Bfloat16* to, Eight x) {
  for (int lane = 0; lane < 8; ++lane) to[lane] = narrow<Bfloat16>(x[lane]);
}
COTNET_INLINE void store_eight(Float16* to, Eight x) {
#if defined(__F16C__)
  const __m128i halves = _mm256_cvtps_ph((__m256)x, 0);
  memcpy(to, &halves, sizeof halves);
#else
  for (int lane = 0; lane < 8; ++lane) to[lane] = narrow<Float16>(x[lane]);
#endif
}

COTNET_INLINE void transpose_eight(Eight (&r)[8]) {
  Eight a[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    a[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  Eight b[8];
  for (int i = 0; i < 8; i += 4) {
    b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    b[i + 2] = __builtin_shufflevector(a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 3] = __builtin_shufflevector(a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    r[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// to[column * rows + row] = from[row * row_stride + column * column_stride].
template <class T>
COTNET_INLINE void gather_transposed(Accumulator<T>* to, const T* from, int64_t rows, int64_t columns,
                                     int64_t row_stride, int64_t column_stride) {
  int64_t row = 0;
  if constexpr (sizeof(Accumulator<T>) == 4) {
    if (column_stride == 1 && columns >= 8) {
      for (; row + 8 <= rows; row += 8) {
        const T* source = from + row * row_stride;
        int64_t column = 0;
        for (; column + 8 <= columns; column += 8) {
          Eight r[8];
          for (int i = 0; i < 8; ++i) r[i] = load_eight(source + i * row_stride + column);
          transpose_eight(r);
          for (int i = 0; i < 8; ++i) store_eight(to + (column + i) * rows + row, r[i]);
        }
        for (; column < columns; ++column) {
          Eight r;
          for (int i = 0; i < 8; ++i) r[i] = widen(source[i * row_stride + column]);
          store_eight(to + column * rows + row, r);
        }
      }
    }
  }
  if (row_stride == 1) {
    for (int64_t column = 0; column < columns; ++column) {
      const T* source = from + column * column_stride;
      Accumulator<T>* target = to + column * rows;
      int64_t i = row;
      if constexpr (sizeof(Accumulator<T>) == 4)
        for (; i + 8 <= rows; i += 8) store_eight(target + i, load_eight(source + i));
      for (; i < rows; ++i) target[i] = widen(source[i]);
    }
    return;
  }
  for (; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      to[column * rows + row] = widen(from[row * row_stride + column * column_stride]);
}

// to[row * row_stride + column * column_stride] = from[column * rows + row].
template <class T>
COTNET_INLINE void scatter_transposed(T* to, const Accumulator<T>* from, int64_t rows, int64_t columns,
                                      int64_t row_stride, int64_t column_stride) {
  int64_t row = 0;
  if constexpr (sizeof(Accumulator<T>) == 4) {
    if (column_stride == 1 && columns >= 8) {
      for (; row + 8 <= rows; row += 8) {
        T* target = to + row * row_stride;
        int64_t column = 0;
        for (; column + 8 <= columns; column += 8) {
          Eight r[8];
          for (int i = 0; i < 8; ++i) r[i] = load_eight(from + (column + i) * rows + row);
          transpose_eight(r);
          for (int i = 0; i < 8; ++i) store_eight(target + i * row_stride + column, r[i]);
        }
        for (; column < columns; ++column)
          for (int i = 0; i < 8; ++i) target[i * row_stride + column] = narrow<T>(from[column * rows + row + i]);
      }
    }
  }
  for (; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      to[row * row_stride + column * column_stride] = narrow<T>(from[column * rows + row]);
}

}  // namespace
