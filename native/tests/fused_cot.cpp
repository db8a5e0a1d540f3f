// The fused layer: its attention and value given, or made inside, and then its static context, too; with a norm behind
// it, or without.
#include <algorithm>
#include <type_traits>

#include "checks.h"

extern "C" {
int cotnet_fused_cot(const FusedCotProblem*);
int cotnet_winograd_conv(const Conv3x3Problem*);
}

namespace {

struct Case {
  int64_t batch, groups, heads, channels, k, dilation, height, width, hidden, squeezed;

  int64_t taps() const { return k * k; }
  int64_t weights() const { return taps() * heads; }
  int64_t pixels() const { return height * width; }
};

// The last ones are large enough for a second thread: more images than threads, fewer, and a number that goes round.
const Case kCases[] = {
    {2, 1, 8, 64, 3, 1, 7, 13, 32, 33},   {1, 1, 1, 8, 3, 1, 1, 1, 4, 1},      {3, 1, 6, 48, 3, 2, 5, 9, 24, 32},
    {1, 2, 12, 96, 3, 1, 13, 7, 48, 48},  {2, 1, 5, 40, 5, 1, 3, 2, 20, 7},    {2, 2, 32, 256, 3, 1, 2, 3, 128, 128},
    {1, 1, 20, 60, 3, 40, 3, 11, 30, 17}, {1, 1, 3, 21, 1, 1, 3, 5, 9, 5},     {1, 4, 4, 4, 3, 1, 2, 1, 4, 3},
    {1, 1, 9, 72, 3, 1, 17, 15, 36, 36},  {3, 2, 4, 24, 3, 1, 19, 15, 12, 32}, {2, 1, 2, 34, 3, 3, 13, 21, 11, 16},
    {9, 1, 4, 32, 3, 1, 7, 9, 16, 32},
};

// What of the layer is given, and what comes behind it.
struct Variant {
  bool attention_given, norm_behind;
  int num_threads;
  int64_t static_groups;  // of the static context that is made inside, or 0: it is given
};

// As `pack` of src/cotnet/ops/panels.py.
constexpr int64_t kPanelWidth = 32;

// A grouped 1x1 convolution: its panels and its bias.
template <class T> struct Matrix {
  int64_t groups, inputs, outputs;  // the latter two of one group
  Buffer<T> panels, bias;

  Matrix(int64_t group_count, int64_t all_inputs, int64_t all_outputs)
      : groups(group_count),
        inputs(all_inputs / group_count),
        outputs(all_outputs / group_count),
        panels(groups * panel_count() * inputs * kPanelWidth),
        bias(all_outputs) {
    for (int64_t i = 0; i < panels.count(); ++i) {
      const int64_t output = i / (inputs * kPanelWidth) % panel_count() * kPanelWidth + i % kPanelWidth;
      panels.data()[i] =
          narrow<T>(output < outputs ? Accumulator<T>(random_unit() / std::sqrt(double(inputs))) : Accumulator<T>(0));
    }
    bias.fill();
  }
  int64_t panel_count() const { return (outputs + kPanelWidth - 1) / kPanelWidth; }
  double weight(int64_t group, int64_t output, int64_t input) const {
    return panels[((group * panel_count() + output / kPanelWidth) * inputs + input) * kPanelWidth +
                  output % kPanelWidth];
  }
  // One output of a group, of the inputs that `input(i)` gives.
  template <class Get> double times(int64_t group, int64_t output, const Get& input) const {
    double y = bias[group * outputs + output];
    for (int64_t i = 0; i < inputs; ++i) y += weight(group, output, i) * input(i);
    return y;
  }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// A layer with random inputs and parameters: what the kernel makes of it, and the same in double, step by step.
template <class T> class Layer {
 public:
  Layer(const Case& c, Dtype dtype, const Variant& variant)
      : c_(c),
        dtype_(dtype),
        variant_(variant),
        all_(c.batch * c.pixels()),
        x_(all_ * c.channels),
        static_context_(all_ * c.channels),
        attention_(all_ * c.weights()),
        value_(all_ * c.channels),
        out_(all_ * c.channels),
        norm_weight_(c.weights()),
        norm_bias_(c.weights()),
        dynamic_bias_(c.channels),
        squeeze_(c.squeezed * c.channels),
        squeeze_bias_(c.squeezed),
        excite_(c.channels * c.squeezed),
        excite_bias_(c.channels),
        out_scale_(c.channels),
        out_bias_(c.channels),
        reduce_(c.groups, 2 * c.channels, c.hidden),
        expand_(c.groups, c.hidden, c.weights()),
        project_(c.groups, c.channels, c.channels),
        static_weights_(static_weight_count()),
        static_bias_(c.channels) {
    for (const Buffer<T>* map : {&x_, &static_context_, &value_, &norm_bias_, &dynamic_bias_, &squeeze_bias_,
                                 &excite_bias_, &out_scale_, &out_bias_})
      const_cast<Buffer<T>*>(map)->fill();
    attention_.fill(1, 3);
    norm_weight_.fill(0.3, 1);
    squeeze_.fill(1 / std::sqrt(double(c.channels)));
    excite_.fill(1 / std::sqrt(double(c.squeezed)));
  }

  // Whether the kernel's output is right.
  bool run() {
    FusedCotProblem f = problem();
    if constexpr (std::is_same<T, float>::value)
      if (variant_.static_groups && !make_static_context(f)) return false;
    if (cotnet_fused_cot(&f) != kOk) return false;
    make_attention();
    for (int64_t n = 0; n < c_.batch; ++n) {
      normalize(n);
      aggregate(n);
      mix(n);
    }
    double scale = 0;
    for (const double y : exact_) scale = std::max(scale, std::fabs(y));
    // Weights, aggregation and dynamic context are rounded on their way; the convolutions inside add their own, which
    // the normalization enlarges where a head hardly varies.
    const double tolerance = (variant_.attention_given ? 16 : 48 * steepest_) * rounding_of(dtype_) * scale;
    Largest largest;
    for (int64_t i = 0; i < out_.count(); ++i) largest.add(out_[i], exact_[size_t(i)], tolerance);
    return largest.within();
  }

 private:
  int64_t static_weight_count() const {
    const int64_t channels = variant_.static_groups ? c_.channels / variant_.static_groups : 0;
    const int64_t matrices = channels <= kNarrow ? 9 : 16 * ((channels + kPanelWidth - 1) / kPanelWidth);
    return matrices * c_.channels * kPanelWidth;
  }

  FusedCotProblem problem() const {
    FusedCotProblem f{};
    f.dtype = dtype_, f.num_threads = variant_.num_threads;
    f.kernel_size = c_.k, f.groups = c_.groups, f.eps = kEps;
    f.dilation = std::min(c_.dilation, std::max(c_.height, c_.width));  // as the caller bounds it
    f.batch = c_.batch, f.channels = c_.channels, f.heads = c_.heads, f.height = c_.height, f.width = c_.width;
    f.squeezed = c_.squeezed, f.static_context = static_context_.data(), f.out = out_.data();
    f.norm_weight = norm_weight_.data(), f.norm_bias = norm_bias_.data(), f.dynamic_bias = dynamic_bias_.data();
    f.squeeze = squeeze_.data(), f.squeeze_bias = squeeze_bias_.data();
    f.excite = excite_.data(), f.excite_bias = excite_bias_.data();
    if (variant_.norm_behind) f.out_scale = out_scale_.data(), f.out_bias = out_bias_.data();
    if (variant_.attention_given) {
      f.attention = attention_.data(), f.value = value_.data();
    } else {
      f.x = x_.data(), f.hidden = c_.hidden;
      f.reduce = reduce_.panels.data(), f.reduce_bias = reduce_.bias.data();
      f.expand = expand_.panels.data(), f.expand_bias = expand_.bias.data();
      f.project = project_.panels.data(), f.project_bias = project_.bias.data();
    }
    return f;
  }

  // The static context is left to the layer, and made here by the kernel for the convolution alone.
  bool make_static_context(FusedCotProblem& f) {
    static_weights_.fill(0.3 / std::sqrt(double(c_.channels / variant_.static_groups)));
    static_bias_.fill();
    const Conv3x3Problem conv{variant_.num_threads,
                              c_.batch,
                              c_.channels,
                              c_.channels,
                              variant_.static_groups,
                              c_.height,
                              c_.width,
                              1,
                              x_.data(),
                              static_weights_.data(),
                              static_bias_.data(),
                              static_context_.data()};
    f.static_context = nullptr, f.static_groups = variant_.static_groups;
    f.static_weights = static_weights_.data(), f.static_bias = static_bias_.data();
    return cotnet_winograd_conv(&conv) == kOk;
  }

  // The attention and the value, of all images.
  void make_attention() {
    const int64_t weights = c_.weights(), channels = c_.channels / c_.groups;
    for (int64_t i = 0; i < all_ * weights; ++i) filters_.push_back(attention_[i]);
    for (int64_t i = 0; i < all_ * c_.channels; ++i) values_.push_back(value_[i]);
    if (variant_.attention_given) return;
    std::vector<double> hidden(size_t(reduce_.outputs));
    for (int64_t p = 0; p < all_; ++p)
      for (int64_t b = 0; b < c_.groups; ++b) {
        const int64_t first = p * c_.channels + b * channels;
        const auto both = [&](int64_t i) {
          return i < channels ? x_[first + i] : static_context_[first + i - channels];
        };
        for (int64_t o = 0; o < reduce_.outputs; ++o) hidden[size_t(o)] = std::max(reduce_.times(b, o, both), 0.0);
        for (int64_t o = 0; o < expand_.outputs; ++o)
          filters_[size_t(p * weights + b * expand_.outputs + o)] =
              expand_.times(b, o, [&](int64_t i) { return hidden[size_t(i)]; });
        for (int64_t o = 0; o < channels; ++o)
          values_[size_t(first + o)] = project_.times(b, o, [&](int64_t i) { return x_[first + i]; });
      }
  }

  // GroupNorm of an image's weights, over the taps and pixels of each head.
  void normalize(int64_t n) {
    const int64_t heads = c_.heads / c_.groups, taps = c_.taps(), first = n * c_.pixels(), last = first + c_.pixels();
    const double count = double(c_.pixels() * taps);
    for (int64_t head = 0; head < c_.heads; ++head) {
      const auto at = [&](int64_t p, int64_t t) {
        return size_t(p * c_.weights() + (head / heads * taps + t) * heads + head % heads);
      };
      double mean = 0, square = 0;
      for (int64_t p = first; p < last; ++p)
        for (int64_t t = 0; t < taps; ++t) mean += filters_[at(p, t)] / count;
      for (int64_t p = first; p < last; ++p)
        for (int64_t t = 0; t < taps; ++t) square += std::pow(filters_[at(p, t)] - mean, 2) / count;
      steepest_ = std::max(steepest_, std::sqrt((mean * mean + square) / (square + kEps)));
      for (int64_t p = first; p < last; ++p)
        for (int64_t t = 0; t < taps; ++t) {
          double& w = filters_[at(p, t)];
          const int64_t parameter = int64_t(at(0, t));
          w = (w - mean) / std::sqrt(square + kEps) * norm_weight_[parameter] + norm_bias_[parameter];
        }
    }
  }

  // The dynamic context of an image, and the means of both contexts.
  void aggregate(int64_t n) {
    const int64_t heads = c_.heads / c_.groups, channels = c_.channels / c_.groups, taps = c_.taps();
    exact_.resize(size_t(all_ * c_.channels));
    pooled_.assign(size_t(c_.channels), 0);
    for (int64_t ch = 0; ch < c_.channels; ++ch)
      for (int64_t i = 0; i < c_.height; ++i)
        for (int64_t j = 0; j < c_.width; ++j) {
          const int64_t p = (n * c_.height + i) * c_.width + j;
          double y = dynamic_bias_[ch];
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t h = i + (t / c_.k - c_.k / 2) * c_.dilation, w = j + (t % c_.k - c_.k / 2) * c_.dilation;
            if (h < 0 || h >= c_.height || w < 0 || w >= c_.width) continue;
            const int64_t filter = p * c_.weights() + (ch / channels * taps + t) * heads + ch % channels % heads;
            y += filters_[size_t(filter)] * values_[size_t(((n * c_.height + h) * c_.width + w) * c_.channels + ch)];
          }
          y *= sigmoid(y);
          exact_[size_t(p * c_.channels + ch)] = y;
          pooled_[size_t(ch)] += (y + static_context_[p * c_.channels + ch]) / double(c_.pixels());
        }
  }

  // The fusion of both contexts of an image, and the norm behind the layer.
  void mix(int64_t n) {
    std::vector<double> squeezed(size_t(c_.squeezed));
    for (int64_t r = 0; r < c_.squeezed; ++r) {
      double y = squeeze_bias_[r];
      for (int64_t ch = 0; ch < c_.channels; ++ch) y += squeeze_[r * c_.channels + ch] * pooled_[size_t(ch)];
      squeezed[size_t(r)] = std::max(y, 0.0);
    }
    for (int64_t ch = 0; ch < c_.channels; ++ch) {
      double share = excite_bias_[ch];
      for (int64_t r = 0; r < c_.squeezed; ++r) share += excite_[ch * c_.squeezed + r] * squeezed[size_t(r)];
      share = sigmoid(share);
      for (int64_t p = n * c_.pixels(); p < (n + 1) * c_.pixels(); ++p) {
        double& y = exact_[size_t(p * c_.channels + ch)];
        const double static_context = static_context_[p * c_.channels + ch];
        y = static_context + share * (y - static_context);
        if (variant_.norm_behind) y = y * out_scale_[ch] + out_bias_[ch];
      }
    }
  }

  static constexpr double kEps = 1e-5;
  const Case& c_;
  const Dtype dtype_;
  const Variant& variant_;
  const int64_t all_;  // pixels of all images
  Buffer<T> x_, static_context_, attention_, value_, out_;
  Buffer<T> norm_weight_, norm_bias_, dynamic_bias_;
  Buffer<T> squeeze_, squeeze_bias_, excite_, excite_bias_, out_scale_, out_bias_;
  Matrix<T> reduce_, expand_, project_;
  Buffer<float> static_weights_, static_bias_;
  std::vector<double> filters_, values_, exact_, pooled_;
  double steepest_ = 1;  // by how much a head's normalization enlarges errors
};

}  // namespace

void check_fused_cot(const char* isa, Count& count) {
  const auto check = [&](auto zero, const Case& c, Dtype dtype, const Variant& variant) {
    ++count.done;
    if (Layer<decltype(zero)>(c, dtype, variant).run()) return;
    ++count.failed;
    printf("%s: wrong fused layer, %s, %s, static context of %d groups, %s norm behind, case %d, %d threads\n", isa,
           kDtypeNames[dtype], variant.attention_given ? "attention given" : "attention made inside",
           int(variant.static_groups), variant.norm_behind ? "a" : "no", int(&c - kCases), variant.num_threads);
  };
  for (const Case& c : kCases)
    for (int behind = 0; behind < 2; ++behind)
      for (int threads = 1; threads <= 2; ++threads) {
        check(float(), c, kFloat32, {false, bool(behind), threads, 0});
        for (const int64_t groups : {1, 4})
          if (c.k == 3 && c.dilation == 1 && c.channels % groups == 0)
            check(float(), c, kFloat32, {false, bool(behind), threads, groups});
        const Variant given{true, bool(behind), threads, 0};
        check(float(), c, kFloat32, given);
        check(Bfloat16(), c, kBfloat16, given);
        check(Float16(), c, kFloat16, given);
      }
}
