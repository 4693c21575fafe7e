// What the files of chief/rounds.h share.
#pragma once

#include "chief/rounds.h"

struct mst_deal_shape mst_rounds_shape(const struct mst_rounds_config *config);
// Nothing is left to train after so many steps.
bool mst_rounds_is_trained(const struct mst_rounds *rounds, uint64_t n_steps);
