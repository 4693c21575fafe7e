// AVX-512 means what every processor with it but the Xeon Phi has: F, BW, DQ and VL. __builtin_cpu_supports also asks
// the operating system whether it saves the wide registers.
#include "tensor/isa.h"

#include <stdlib.h>
#include <string.h>

static enum mst_isa widest(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return MST_ISA_AVX512;
    if (__builtin_cpu_supports("avx2"))
        return MST_ISA_AVX2;
#endif
    return MST_ISA_BASE;
}

enum mst_isa mst_isa_detect(void)
{
    enum mst_isa isa = widest();
    const char *wanted = getenv("MUSTER_ISA");
    for (enum mst_isa lower = MST_ISA_BASE; wanted && lower < isa; lower++)
        if (strcmp(wanted, mst_isa_name(lower)) == 0)
            return lower;
    return isa;
}

const char *mst_isa_name(enum mst_isa isa)
{
    return isa == MST_ISA_AVX512 ? "avx512" : isa == MST_ISA_AVX2 ? "avx2" : "base";
}
