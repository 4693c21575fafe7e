// Frames as a stranger would write them, for the tests of rpc.
#pragma once

#include "base/bytes.h"
#include "wire/frame.h"

#include <stddef.h>
#include <stdint.h>

// Byte i of the pattern that belongs to a number: what bodies are filled with.
uint8_t rpc_pattern(uint64_t number, size_t i);
// Fills data with that pattern.
void rpc_fill(void *data, size_t len, uint64_t number);

// Appends a frame: head gives flags, method and call; its lengths are those of meta and of a body of body_bytes filled
// with the pattern of head->call (followed by its CRC with MST_FRAME_BODY_CRC).
void rpc_append_frame(struct mst_buf *out, const struct mst_frame *head, struct mst_bytes meta, size_t body_bytes);
