// TensorFlow's state file in a directory that anybody may write to: whatever it says, steps that are there stay there.
#include "base/error.h"
#include "ckpt/checkpoint_state.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t *steps;
    size_t n_steps;
    mst_checkpoint_state_parse((struct mst_bytes){data, size}, &steps, &n_steps);
    MST_ASSERT(n_steps <= size / 32); // a line is longer
    free(steps);
    return 0;
}
