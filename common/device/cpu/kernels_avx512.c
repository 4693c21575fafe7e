// The loops compiled for processors with AVX-512 (FMA contraction stays off: same bits).
#define KERNEL_TABLE mst_kernels_avx512
#include "kernels_body.h"
