// The sum of squares with AVX-512: eight lanes of doubles, twice.
#define ISA_LANES          16
#define SQUARE_NORM_KERNEL mst_square_norm_avx512
#include "square_norm_kernels.h"
