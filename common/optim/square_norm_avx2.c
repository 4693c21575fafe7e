// The sum of squares with AVX2: four lanes of doubles, twice.
#define ISA_LANES          8
#define SQUARE_NORM_KERNEL mst_square_norm_avx2
#include "square_norm_kernels.h"
