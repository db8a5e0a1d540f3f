// Which positions lie so far inside that their whole window does: there, neighbours' windows differ by a step alone.
#pragma once

#include "pixel.h"
#include "scratch.h"

namespace {

// Positions from `first` until `end` along one axis.
struct Interior {
  int64_t first, end;

  Interior(int64_t pad, int64_t step, int64_t size, int64_t positions) {
    first = (pad + step - 1) / step;
    end = size > pad ? (size - 1 - pad) / step + 1 : 0;
    if (end > positions) end = positions;
  }
  bool holds(int64_t i) const { return i >= first && i < end; }
};

template <class T> Window<T> new_window(Scratch& scratch, int64_t taps) {
  return {scratch.take<const T*>(taps), scratch.take<const T*>(taps), 0, 0, 0};
}

// As long as a row of channels or of weights: what a tap reads where it meets nothing.
template <class T> const T* new_zeros(Scratch& scratch, const Runs& runs) {
  return scratch.take<T>(runs.blocks * (runs.channels + kWidth<T>));
}

}  // namespace
