/** @file
 *  Which instruction set the kernels use. Every level gives the same bits; MUSTER_ISA=base|avx2|avx512 in the
 *  environment forces a level (for tests), as far as the processor has it.
 *  Thread: any
 */
#pragma once

enum mst_isa { MST_ISA_BASE, MST_ISA_AVX2, MST_ISA_AVX512 };

/** The widest level of this processor, or the one that MUSTER_ISA names if that is lower. Read anew on each call. */
enum mst_isa mst_isa_detect(void);
/** "base", "avx2" or "avx512". */
const char *mst_isa_name(enum mst_isa isa);
