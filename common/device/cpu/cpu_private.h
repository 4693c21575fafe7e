/** @file
 *  The CPU as a device: what its operations share. Private to device/cpu. cpu.c slices what works on elements, copy.c
 *  and merge.c what has axes; batch_norm.c and row_norm.c normalize; gather.c has tables, penalty.c what regularizers
 *  need; gemm.c calls OpenBLAS; loss.c has losses and
 *  accuracies.
 */
#pragma once

#include "device/device.h"
#include "kernels.h"
#include "pool.h"
#include "tensor/isa.h"

// A hand-over to a thread that sleeps costs about 10 microseconds; slices are as long as that, or longer.
enum {
    MST_CPU_CHEAP = 262144, // elements that are only moved, added or compared: 0.04 to 0.1 ns each
    MST_CPU_COSTLY = 32768, // those that go through an exponential or a random number: 0.3 to 4 ns each
    MST_CPU_GRANULE = 64,   // whole cache lines of any type, whole blocks of random numbers
};

struct mst_cpu {
    struct mst_device device;
    enum mst_isa isa;
    const struct mst_kernels *kernels;
    size_t n_threads;
    size_t row_granule; // gemm's slices of rows begin at multiples of it
    struct mst_pool *pool;
    float *losses; // of the rows of a batch
    size_t n_losses;
    float *spare; // a place for gradients that nobody wants, one part a slice
    size_t n_spare;
    float *scratch; // of one operation
    size_t n_scratch;
};

/** n floats, any, until the next call. */
float *mst_cpu_scratch(struct mst_cpu *cpu, size_t n);

/** How many slices of at least min_elements n elements make, at most one a thread. */
size_t mst_cpu_slices(const struct mst_cpu *cpu, size_t n, size_t min_elements);

/** At multiples of how many rows products may be cut without another bit in them, for a core type of OpenBLAS. */
size_t mst_cpu_row_granule(const char *core_type);

void mst_cpu_copy(struct mst_device *device, const struct mst_copy *copy);
void mst_cpu_merge(struct mst_device *device, const struct mst_merge *merge);
void mst_cpu_merge_backward(struct mst_device *device, const struct mst_merge *merge);
void mst_cpu_batch_moments(struct mst_device *device, const struct mst_batch_norm *norm);
void mst_cpu_batch_norm(struct mst_device *device, const struct mst_batch_norm *norm);
void mst_cpu_batch_norm_backward(struct mst_device *device, const struct mst_batch_norm_backward *backward);
void mst_cpu_row_norm(struct mst_device *device, const struct mst_row_norm *norm);
void mst_cpu_row_norm_backward(struct mst_device *device, const struct mst_row_norm_backward *backward);
void mst_cpu_gemm(struct mst_device *device, const struct mst_gemm *gemm);
void mst_cpu_gemm_batch(struct mst_device *device, const struct mst_gemm_batch *batch);
size_t mst_cpu_gather(struct mst_device *device, const struct mst_gather *gather);
void mst_cpu_scatter_add(struct mst_device *device, const struct mst_scatter *scatter);
void mst_cpu_ids_from_f32(struct mst_device *device, size_t n, const float *x, int32_t *ids);
double mst_cpu_sum_absolute(struct mst_device *device, size_t n, const float *x);
double mst_cpu_sum_squares(struct mst_device *device, size_t n, const float *x);
void mst_cpu_add_penalty(struct mst_device *device, const struct mst_penalty *penalty);
double mst_cpu_sparse_crossentropy(struct mst_device *device, const struct mst_loss *loss);
double mst_cpu_crossentropy(struct mst_device *device, const struct mst_loss *loss);
double mst_cpu_mean_squared_error(struct mst_device *device, const struct mst_loss *loss);
double mst_cpu_dense_loss(struct mst_device *device, const struct mst_loss *loss);
size_t mst_cpu_count_matches_sparse(struct mst_device *device, const struct mst_matches *matches);
size_t mst_cpu_count_matches_categorical(struct mst_device *device, const struct mst_matches *matches);
size_t mst_cpu_count_matches_binary(struct mst_device *device, const struct mst_matches *matches);
size_t mst_cpu_count_in_top_k(struct mst_device *device, const struct mst_matches *matches);
