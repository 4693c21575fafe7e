// The sum of squares for every processor: two lanes of doubles, twice.
#define ISA_LANES          4
#define SQUARE_NORM_KERNEL mst_square_norm_base
#include "square_norm_kernels.h"
