// Which kernel for which instruction set.
#include "optim/apply.h"

mst_apply_fn *mst_apply_find(enum mst_isa isa, unsigned kind, enum mst_apply_store store)
{
#if defined(__x86_64__)
    if (isa == MST_ISA_AVX512)
        return mst_apply_avx512[kind][store];
    if (isa == MST_ISA_AVX2)
        return mst_apply_avx2[kind][store];
#else
    (void)isa;
#endif
    return mst_apply_base[kind][store];
}
