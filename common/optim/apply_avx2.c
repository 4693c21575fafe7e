// The apply kernels with eight lanes of AVX2.
#include <immintrin.h>
#define ISA_LANES         8
#define APPLY_TABLE       mst_apply_avx2
#define vec_sqrt(v)       ((vec)_mm256_sqrt_ps((__m256)(v)))
#define vec_stream(to, v) _mm256_stream_ps((to), (__m256)(v))
#define vec_fence()       _mm_sfence()
#include "apply_kernels.h"
