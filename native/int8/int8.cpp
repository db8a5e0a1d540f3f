// Networks of bytes: cotnet::int8_conv, int8_pool, int8_quantize and int8_cot.
#include "cot.h"
#include "pool.h"

namespace COTNET_ISA {
int int8_conv(const Int8ConvProblem* p) { return Int8Conv(*p).run(); }
int int8_pool(const Int8PoolProblem* p) { return Int8Pool(*p).run(); }
int int8_quantize(const Int8QuantizeProblem* p) { return quantize_map(*p); }
int int8_cot(const Int8CotProblem* p) { return Int8Cot(*p).run(); }
}
