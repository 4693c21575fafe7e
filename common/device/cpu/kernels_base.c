// The loops compiled for every processor: on x86-64 the compiler uses SSE2.
#define KERNEL_TABLE mst_kernels_base
#include "kernels_body.h"
