/** @file
 *  The number of each text of a column of categories. Private to data/.
 *
 *      MST_TRY(mst_csv_lookup_new(path, &categories, &lookup, err));
 *      if (mst_csv_lookup_find(lookup, text, len, &number)) …
 *      mst_csv_lookup_free(lookup);
 */
#pragma once

#include "data/csv.h"

struct mst_csv_lookup;

/** New lookup in *out.
 *  Owner:  borrows the texts
 *  Errors: INVALID_ARGUMENT a text is listed twice
 *  Cost:   O(n log n) */
MST_MUST_USE mst_status mst_csv_lookup_new(const char *path, const struct mst_csv_categories *categories,
                                           struct mst_csv_lookup **out, struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_csv_lookup_free(struct mst_csv_lookup *lookup);
/** The text's place in the list, from 0; false if it is not listed.
 *  Cost: O(log n), no allocation */
bool mst_csv_lookup_find(const struct mst_csv_lookup *lookup, const char *text, size_t len, double *number_out);
/** How many texts there are. */
size_t mst_csv_lookup_n(const struct mst_csv_lookup *lookup);
