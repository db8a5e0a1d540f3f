// The 3x3 convolution, by Winograd's algorithm or, of narrow groups, directly.
#include <algorithm>

#include "checks.h"

extern "C" int cotnet_winograd_conv(const Conv3x3Problem*);

namespace {

struct Case {
  int64_t batch, groups, in, out, height, width;  // channels of a group
};

// The last ones are large enough for a second thread.
const Case kCases[] = {
    {1, 1, 1, 1, 1, 1},     {2, 1, 5, 3, 2, 3},     {3, 4, 3, 2, 13, 1},    {1, 1, 16, 9, 3, 3},
    {1, 2, 17, 33, 7, 5},   {1, 1, 32, 40, 1, 13},  {1, 4, 24, 20, 3, 5},   {2, 8, 4, 18, 1, 1},
    {2, 3, 12, 16, 31, 17}, {2, 2, 13, 34, 13, 17}, {1, 1, 40, 21, 33, 19}, {1, 4, 8, 17, 25, 23},
};

bool run(const Case& c, bool relu, int threads) {
  const int64_t channels = c.groups * c.in, outputs = c.groups * c.out, pixels = c.batch * c.height * c.width;
  const int64_t panels = (c.out + 31) / 32;
  Buffer<float> x(pixels * channels), weight(outputs * c.in * 9), bias(outputs), out(pixels * outputs);
  const bool narrow = c.in <= kNarrow && c.out <= kNarrow;
  Buffer<float> transformed(c.groups * (narrow ? 9 : 16 * panels) * c.in * 32);
  x.fill(), weight.fill(), bias.fill(), transformed.fill(0);
  const double basis[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  for (int64_t o = 0; o < outputs; ++o)
    for (int64_t i = 0; i < c.in; ++i)
      for (int64_t q = 0; q < (narrow ? 9 : 16); ++q) {
        if (narrow) {
          transformed.data()[((o / c.out * 9 + q) * c.in + i) * 32 + o % c.out] = float(weight[(o * c.in + i) * 9 + q]);
          continue;
        }
        double y = 0;
        for (int64_t u = 0; u < 3; ++u)
          for (int64_t v = 0; v < 3; ++v)
            y += basis[q / 4][u] * weight[(o * c.in + i) * 9 + u * 3 + v] * basis[q % 4][v];
        const int64_t group = o / c.out, row = o % c.out;
        transformed.data()[(((group * 16 + q) * panels + row / 32) * c.in + i) * 32 + row % 32] = float(y);
      }
  const Conv3x3Problem problem{threads, c.batch,  channels,           outputs,     c.groups,  c.height, c.width,
                               relu,    x.data(), transformed.data(), bias.data(), out.data()};
  if (cotnet_winograd_conv(&problem) != kOk) return false;

  Largest largest;
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t o = 0; o < outputs; ++o) {
      double y = bias[o];
      for (int64_t t = 0; t < 9; ++t) {
        const int64_t h = p / c.width % c.height + t / 3 - 1, w = p % c.width + t % 3 - 1;
        if (h < 0 || h >= c.height || w < 0 || w >= c.width) continue;
        const int64_t from = (p / (c.height * c.width) * c.height + h) * c.width + w;
        for (int64_t i = 0; i < c.in; ++i)
          y += x[from * channels + o / c.out * c.in + i] * weight[(o * c.in + i) * 9 + t];
      }
      // A transformed input is a sum of 4 terms below 1, a result one of 9 products.
      largest.add(out[p * outputs + o], relu ? std::max(y, 0.0) : y, 0x1p-24 * 36 * double(c.in + 8));
    }
  return largest.within();
}

}  // namespace

void check_conv3x3(const char* isa, Count& count) {
  for (const Case& c : kCases)
    for (int relu = 0; relu < 2; ++relu)
      for (int threads = 1; threads <= 2; ++threads) {
        ++count.done;
        if (run(c, relu, threads)) continue;
        ++count.failed;
        printf("%s: wrong convolution, case %d, relu %d, %d threads\n", isa, int(&c - kCases), relu, threads);
      }
}
