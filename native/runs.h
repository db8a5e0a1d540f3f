// Which weight a channel uses. A block is a run of channels with maps of its own; within it channel c uses map c modulo
// the block's maps, so a pack of weights serves the channels one period, two periods, ... further on as well.
#pragma once

#include "pack.h"
#include "problem.h"

namespace {

struct Runs {
  int64_t blocks, channels, maps;  // of one block
  int64_t period;                  // in channels, a multiple of the width of a pack
  int repeats;                     // how often a pack repeats the maps; 1: a pack is a part of them
  bool wraps;                      // packs start anywhere in the maps and pass their end: those are stored twice over

  template <class T> static Runs of(const Problem& p) {
    constexpr int width = kWidth<T>;
    Runs r{p.blocks, p.channels / p.blocks, p.maps / p.blocks, width, 1, false};
    if (r.maps % width == 0) {
      r.period = r.maps;
    } else if (r.maps == 1 || r.maps * 2 == width || r.maps * 4 == width) {
      r.repeats = int(width / r.maps);
    } else {
      r.wraps = true;
      while (r.period % r.maps) r.period += width;
    }
    return r;
  }
  // Elements of one block in a row of weights of one tap.
  template <class T> int64_t stored() const { return wraps ? maps + kWidth<T> : maps; }
};

}  // namespace
