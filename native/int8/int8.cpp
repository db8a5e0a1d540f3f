// Integer networks: the kernels of one instruction set.
#include "int8.h"

#include "layer.h"
#include "pool.h"

namespace COTNET_ISA {
int int8_conv(const Int8ConvProblem* p) { return Int8Conv(*p).run(); }
int int8_pool(const Int8PoolProblem* p) { return Int8Pool(*p).run(); }
int quantize(const QuantizeProblem* p) { return quantize_map(*p); }
int int8_cot(const Int8LayerProblem* p) { return Int8Layer(*p).run(); }
}
