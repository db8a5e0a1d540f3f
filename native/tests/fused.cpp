// The fused layer: its attention and value given, or made inside, and then its static context, too; with a norm behind it,
// or without.
#include <algorithm>
#include <type_traits>

#include "../fused.h"
#include "../winograd.h"
#include "checks.h"

extern "C" {
int cotnet_fused_cot(const FusedProblem*);
int cotnet_winograd_conv(const WinogradProblem*);
}

namespace {

struct Case {
  int64_t batch, groups, maps, channels, k, dilation, height, width, hidden, squeezed;
};

// The last ones are large enough for a second thread: more images than threads, fewer, and a number that goes round.
const Case kCases[] = {
    {2, 1, 8, 64, 3, 1, 7, 13, 32, 33},   {1, 1, 1, 8, 3, 1, 1, 1, 4, 1},       {3, 1, 6, 48, 3, 2, 5, 9, 24, 32},
    {1, 2, 12, 96, 3, 1, 13, 7, 48, 48},  {2, 1, 5, 40, 5, 1, 3, 2, 20, 7},     {2, 2, 32, 256, 3, 1, 2, 3, 128, 128},
    {1, 1, 20, 60, 3, 40, 3, 11, 30, 17}, {1, 1, 3, 21, 1, 1, 3, 5, 9, 5},      {1, 4, 4, 4, 3, 1, 2, 1, 4, 3},
    {1, 1, 9, 72, 3, 1, 17, 15, 36, 36},  {3, 2, 4, 24, 3, 1, 19, 15, 12, 32},  {2, 1, 2, 34, 3, 3, 13, 21, 11, 16},
    {9, 1, 4, 32, 3, 1, 7, 9, 16, 32},
};

struct Matrix {
  int64_t groups, columns, rows;  // of one group: inputs, outputs
};

// As `pack` of src/cotnet/ops/panels.py.
constexpr int64_t kPanelWidth = 32;
int64_t panels_of(const Matrix& m) { return (m.rows + kPanelWidth - 1) / kPanelWidth; }
template <class T> void fill_panels(const Buffer<T>& panels, const Matrix& m) {
  for (int64_t i = 0; i < panels.count(); ++i) {
    const int64_t row = i / (m.columns * kPanelWidth) % panels_of(m) * kPanelWidth + i % kPanelWidth;
    panels.data()[i] = narrow<T>(row < m.rows ? Accumulator<T>(random_unit() / std::sqrt(double(m.columns))) : 0);
  }
}
template <class T> double panel_at(const Buffer<T>& panels, const Matrix& m, int64_t b, int64_t row, int64_t column) {
  return panels[((b * panels_of(m) + row / kPanelWidth) * m.columns + column) * kPanelWidth + row % kPanelWidth];
}

struct Way {
  bool given, behind;
  int threads;
  int64_t static_groups;  // of the static context that is made inside, or 0: it is given
};

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

template <class T> bool run(const Case& c, Dtype dtype, const Way& way) {
  const int64_t taps = c.k * c.k, weights = taps * c.maps, pixels = c.height * c.width, all = c.batch * pixels;
  const Matrix reduce{c.groups, 2 * c.channels / c.groups, c.hidden / c.groups};
  const Matrix expand{c.groups, c.hidden / c.groups, weights / c.groups};
  const Matrix project{c.groups, c.channels / c.groups, c.channels / c.groups};
  Buffer<T> x(all * c.channels), still(all * c.channels), attention(all * weights), value(all * c.channels);
  Buffer<T> out(all * c.channels), norm_weight(weights), norm_bias(weights), dynamic_bias(c.channels);
  Buffer<T> squeeze(c.squeezed * c.channels), squeeze_bias(c.squeezed), excite(c.channels * c.squeezed);
  Buffer<T> excite_bias(c.channels), reduce_bias(c.hidden), expand_bias(weights), project_bias(c.channels);
  const auto room = [&](const Matrix& m) { return m.groups * panels_of(m) * m.columns * kPanelWidth; };
  Buffer<T> out_scale(c.channels), out_bias(c.channels);
  Buffer<T> reduces(room(reduce)), expands(room(expand)), projects(room(project));
  for (Buffer<T>* map : {&x, &still, &value, &norm_bias, &dynamic_bias, &squeeze_bias, &excite_bias, &reduce_bias,
                         &out_scale, &out_bias})
    map->fill();
  attention.fill(1, 3), norm_weight.fill(0.3, 1), expand_bias.fill(), project_bias.fill();
  squeeze.fill(1 / std::sqrt(double(c.channels))), excite.fill(1 / std::sqrt(double(c.squeezed)));
  fill_panels(reduces, reduce), fill_panels(expands, expand), fill_panels(projects, project);

  FusedProblem f{};
  f.dtype = dtype, f.threads = way.threads, f.kernel_size = c.k, f.groups = c.groups, f.eps = 1e-5;
  f.dilation = std::min(c.dilation, std::max(c.height, c.width));  // as the caller bounds it
  f.batch = c.batch, f.channels = c.channels, f.maps = c.maps, f.height = c.height, f.width = c.width;
  f.squeezed = c.squeezed, f.static_context = still.data(), f.out = out.data();
  f.norm_weight = norm_weight.data(), f.norm_bias = norm_bias.data(), f.dynamic_bias = dynamic_bias.data();
  f.squeeze = squeeze.data(), f.squeeze_bias = squeeze_bias.data();
  f.excite = excite.data(), f.excite_bias = excite_bias.data();
  if (way.behind) f.out_scale = out_scale.data(), f.out_bias = out_bias.data();
  if (way.given) {
    f.attention = attention.data(), f.value = value.data();
  } else {
    f.x = x.data(), f.hidden = c.hidden;
    f.reduce = reduces.data(), f.reduce_bias = reduce_bias.data();
    f.expand = expands.data(), f.expand_bias = expand_bias.data();
    f.project = projects.data(), f.project_bias = project_bias.data();
  }
  const int64_t of_group = way.static_groups ? c.channels / way.static_groups : 0;
  const int64_t matrices = of_group <= kNarrow ? 9 : 16 * ((of_group + kPanelWidth - 1) / kPanelWidth);
  Buffer<float> static_weights(matrices * c.channels * kPanelWidth), static_bias(c.channels);
  if constexpr (std::is_same<T, float>::value)
    if (way.static_groups) {
      static_weights.fill(0.3 / std::sqrt(double(of_group))), static_bias.fill();
      const WinogradProblem conv{way.threads, c.batch, c.channels, c.channels, way.static_groups, c.height, c.width, 1,
                                 x.data(), static_weights.data(), static_bias.data(), still.data()};
      if (cotnet_winograd_conv(&conv) != kDone) return false;
      f.static_context = nullptr, f.static_groups = way.static_groups;
      f.static_weights = static_weights.data(), f.static_bias = static_bias.data();
    }
  if (cotnet_fused_cot(&f) != kDone) return false;

  // The same in double, step by step.
  std::vector<double> filters(size_t(all * weights)), values(size_t(all * c.channels)), inner(size_t(c.hidden));
  for (int64_t p = 0; p < all; ++p) {
    for (int64_t i = 0; i < weights; ++i) filters[size_t(p * weights + i)] = attention[p * weights + i];
    for (int64_t i = 0; i < c.channels; ++i) values[size_t(p * c.channels + i)] = value[p * c.channels + i];
    if (way.given) continue;
    for (int64_t b = 0; b < c.groups; ++b) {
      const int64_t width = c.channels / c.groups, first = p * c.channels + b * width;
      for (int64_t r = 0; r < reduce.rows; ++r) {
        double y = reduce_bias[b * reduce.rows + r];
        for (int64_t i = 0; i < 2 * width; ++i)
          y += panel_at(reduces, reduce, b, r, i) * (i < width ? x[first + i] : still[first + i - width]);
        inner[size_t(r)] = std::max(y, 0.0);
      }
      for (int64_t r = 0; r < expand.rows; ++r) {
        double y = expand_bias[b * expand.rows + r];
        for (int64_t i = 0; i < expand.columns; ++i) y += panel_at(expands, expand, b, r, i) * inner[size_t(i)];
        filters[size_t(p * weights + b * expand.rows + r)] = y;
      }
      for (int64_t r = 0; r < width; ++r) {
        double y = project_bias[b * width + r];
        for (int64_t i = 0; i < width; ++i) y += panel_at(projects, project, b, r, i) * x[first + i];
        values[size_t(first + r)] = y;
      }
    }
  }
  const int64_t own_maps = c.maps / c.groups, own_channels = c.channels / c.groups;
  Largest largest;
  double scale = 0, steepest = 1;
  std::vector<double> exact(size_t(all * c.channels));
  for (int64_t n = 0; n < c.batch; ++n) {
    for (int64_t map = 0; map < c.maps; ++map) {
      const auto at = [&](int64_t p, int64_t t) { return (map / own_maps * taps + t) * own_maps + map % own_maps + p * weights; };
      double mean = 0, square = 0;
      for (int64_t p = n * pixels; p < (n + 1) * pixels; ++p)
        for (int64_t t = 0; t < taps; ++t) mean += filters[size_t(at(p, t))] / double(pixels * taps);
      for (int64_t p = n * pixels; p < (n + 1) * pixels; ++p)
        for (int64_t t = 0; t < taps; ++t) square += std::pow(filters[size_t(at(p, t))] - mean, 2) / double(pixels * taps);
      steepest = std::max(steepest, std::sqrt((mean * mean + square) / (square + f.eps)));
      for (int64_t p = n * pixels; p < (n + 1) * pixels; ++p)
        for (int64_t t = 0; t < taps; ++t) {
          double& w = filters[size_t(at(p, t))];
          w = (w - mean) / std::sqrt(square + f.eps) * norm_weight[at(0, t)] + norm_bias[at(0, t)];
        }
    }
    std::vector<double> pooled(size_t(c.channels)), squeezed(size_t(c.squeezed));
    for (int64_t ch = 0; ch < c.channels; ++ch) {
      const int64_t b = ch / own_channels, map = ch % own_channels % own_maps;
      for (int64_t i = 0; i < c.height; ++i)
        for (int64_t j = 0; j < c.width; ++j) {
          const int64_t p = (n * c.height + i) * c.width + j;
          double y = dynamic_bias[ch];
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t h = i + (t / c.k - c.k / 2) * c.dilation, w = j + (t % c.k - c.k / 2) * c.dilation;
            if (h < 0 || h >= c.height || w < 0 || w >= c.width) continue;
            y += filters[size_t(p * weights + (b * taps + t) * own_maps + map)] *
                 values[size_t(((n * c.height + h) * c.width + w) * c.channels + ch)];
          }
          exact[size_t(p * c.channels + ch)] = y * sigmoid_of(y);
          pooled[size_t(ch)] += (y * sigmoid_of(y) + still[p * c.channels + ch]) / double(pixels);
        }
    }
    for (int64_t r = 0; r < c.squeezed; ++r) {
      double y = squeeze_bias[r];
      for (int64_t ch = 0; ch < c.channels; ++ch) y += squeeze[r * c.channels + ch] * pooled[size_t(ch)];
      squeezed[size_t(r)] = std::max(y, 0.0);
    }
    for (int64_t ch = 0; ch < c.channels; ++ch) {
      double share = excite_bias[ch];
      for (int64_t r = 0; r < c.squeezed; ++r) share += excite[ch * c.squeezed + r] * squeezed[size_t(r)];
      share = sigmoid_of(share);
      for (int64_t p = n * pixels; p < (n + 1) * pixels; ++p) {
        double& y = exact[size_t(p * c.channels + ch)];
        y = still[p * c.channels + ch] + share * (y - still[p * c.channels + ch]);
        if (way.behind) y = y * out_scale[ch] + out_bias[ch];
        scale = std::max(scale, std::fabs(y));
      }
    }
  }
  // Weights, aggregation and dynamic context are rounded on their way; the convolutions inside add their own, which the
  // normalisation enlarges where a map hardly varies.
  const double tolerance = (way.given ? 16 : 48 * steepest) * rounding_of(dtype) * scale;
  for (int64_t i = 0; i < out.count(); ++i) largest.add(out[i], exact[size_t(i)], tolerance);
  return largest.within();
}

}  // namespace

void check_fused(const char* isa, Count& count) {
  const auto record = [&](const Case& c, Dtype dtype, const Way& way, bool right) {
    ++count.done;
    if (right) return;
    ++count.failed;
    printf("%s: wrong fused layer, %s, %s, static context of %d groups, %s norm behind, case %d, %d threads\n", isa,
           kDtypeNames[dtype], way.given ? "attention given" : "attention made inside", int(way.static_groups),
           way.behind ? "a" : "no", int(&c - kCases), way.threads);
  };
  for (const Case& c : kCases)
    for (int behind = 0; behind < 2; ++behind)
      for (int threads = 1; threads <= 2; ++threads) {
        const Way inside{false, bool(behind), threads, 0}, given{true, bool(behind), threads, 0};
        record(c, kFloat32, inside, run<float>(c, kFloat32, inside));
        for (const int64_t groups : {1, 4}) {
          const Way whole{false, bool(behind), threads, groups};
          if (c.k == 3 && c.dilation == 1 && c.channels % groups == 0) record(c, kFloat32, whole, run<float>(c, kFloat32, whole));
        }
        record(c, kFloat32, given, run<float>(c, kFloat32, given));
        record(c, kBfloat16, given, run<Bfloat16>(c, kBfloat16, given));
        record(c, kFloat16, given, run<Float16>(c, kFloat16, given));
      }
}
