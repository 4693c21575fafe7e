// The apply kernels with sixteen lanes of AVX-512.
#include <immintrin.h>
#define ISA_LANES         16
#define APPLY_TABLE       mst_apply_avx512
#define vec_sqrt(v)       ((vec)_mm512_sqrt_ps((__m512)(v)))
#define vec_stream(to, v) _mm512_stream_ps((to), (__m512)(v))
#define vec_fence()       _mm_sfence()
#include "apply_kernels.h"
