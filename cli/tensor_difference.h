/** @file
 *  In how many elements two tensors of one type and shape differ, where first, and by how much at most.
 *
 *      struct mst_tensor_pair pair = {.type = MST_TF_FLOAT, .n_elements = n, .a = mine, .b = theirs};
 *      mst_tensor_difference(&pair, 0, &found);
 *      if (found.n_different > 0) … found.first, found.max_absolute …
 *
 *  With tolerance 0 elements are compared bit for bit (so -0 differs from 0, and a NaN equals one of the same bits).
 *  With tolerance t they differ if |a − b| > t · max(1, |a|, |b|); two NaNs are equal then, and so are equal
 *  infinities.
 *  Thread: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Two tensors, little-endian, whose elements have mst_tf_type_bytes(type), not 0. Borrowed for the call. */
struct mst_tensor_pair {
    uint32_t type; // enum mst_tf_type
    size_t n_elements;
    const void *a;
    const void *b;
};

enum { MST_ELEMENT_TEXT_BYTES = 64 };

/** What was found. */
struct mst_tensor_difference {
    size_t n_different;
    size_t first; // of them, row-major
    char a_text[MST_ELEMENT_TEXT_BYTES];
    char b_text[MST_ELEMENT_TEXT_BYTES];
    double max_absolute; // of |a − b|; infinite where one is NaN or infinite
    double max_relative; // of |a − b| / max(|a|, |b|)
};

/** Compares. Cost: O(n), a pass of memcmp where they are equal */
void mst_tensor_difference(const struct mst_tensor_pair *pair, double tolerance, struct mst_tensor_difference *out);
