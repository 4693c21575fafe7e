// Which loops for which instruction set.
#include "kernels.h"

#include "tensor/isa.h"

const struct mst_kernels *mst_kernels_find(enum mst_isa isa)
{
#if defined(__x86_64__)
    if (isa == MST_ISA_AVX512)
        return &mst_kernels_avx512;
    if (isa == MST_ISA_AVX2)
        return &mst_kernels_avx2;
#else
    (void)isa;
#endif
    return &mst_kernels_base;
}
