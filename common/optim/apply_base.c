// The apply kernels for every processor: on x86-64 four lanes of SSE2, elsewhere what the compiler makes of four lanes.
#define ISA_LANES   4
#define APPLY_TABLE mst_apply_base
#if defined(__x86_64__)
#include <emmintrin.h>
#define vec_sqrt(v)       ((vec)_mm_sqrt_ps((__m128)(v)))
#define vec_stream(to, v) _mm_stream_ps((to), (__m128)(v))
#define vec_fence()       _mm_sfence()
#else
#include <math.h>
#define vec_sqrt(v)       ((vec){sqrtf((v)[0]), sqrtf((v)[1]), sqrtf((v)[2]), sqrtf((v)[3])})
#define vec_stream(to, v) (*(vec *)(to) = (v))
#define vec_fence()       ((void)0)
#endif
#include "apply_kernels.h"
