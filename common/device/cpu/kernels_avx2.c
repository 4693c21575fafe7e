// The loops compiled for processors with AVX2 (FMA stays off: same bits).
#define KERNEL_TABLE mst_kernels_avx2
#include "kernels_body.h"
