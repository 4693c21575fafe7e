// TensorFlow's object graph: any bytes.
#include "ckpt/object_graph.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_variable(void *context, struct mst_bytes full_name, struct mst_bytes key)
{
    uint8_t *sum = context;
    for (size_t i = 0; i < full_name.len; i++) // so that ASan sees a byte too many
        *sum ^= ((const uint8_t *)full_name.data)[i];
    for (size_t i = 0; i < key.len; i++)
        *sum ^= ((const uint8_t *)key.data)[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    volatile uint8_t kept;
    uint8_t sum = 0;
    (void)!mst_object_graph_each((struct mst_bytes){data, size}, on_variable, &sum);
    kept = sum;
    (void)kept;
    return 0;
}
