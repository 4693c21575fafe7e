/** @file
 *  The options of an optimizer's or a schedule's "config", as a table: name, rule and where the value is kept. One
 *  table reads them, refuses them and prints them. Private to optim/.
 */
#pragma once

#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { MST_OPTION_SHOWN_BYTES = 80 };

/** What a value may be and how it is kept: doubles, but MST_OPTION_BOOL a bool. */
enum mst_option_rule {
    MST_OPTION_NOT_NEGATIVE, // a number of 0 or more
    MST_OPTION_POSITIVE,     // a number above 0
    MST_OPTION_NOT_POSITIVE, // a number of 0 or less
    MST_OPTION_FROM_1,       // a number of 1 or more
    MST_OPTION_TO_1,         // from 0 to 1
    MST_OPTION_BELOW_1,      // from 0 to below 1, in float32 too
    MST_OPTION_ABOVE_0_TO_1, // from above 0 to 1
    MST_OPTION_BOOL,
    MST_OPTION_OR_OFF,   // a number of 0 or more; null and false are 0; printed if it is not 0
    MST_OPTION_OR_NULL,  // a number of 0 or more, or null, which is kept as NaN
    MST_OPTION_OTHER,    // read and printed by the caller
    MST_OPTION_IGNORED,  // says nothing about the arithmetic, or only together with an option that is refused
    MST_OPTION_ONLY_OFF, // not built: null, false or 0
    MST_OPTION_ONLY_NULL // not built: null
};

struct mst_option {
    const char *name;
    unsigned owners; // bits: whose option it is
    enum mst_option_rule rule;
    size_t offset; // of the value in the object
};

/** Compact JSON of a value, cut to the room there is. */
const char *mst_option_show(const json_t *value, char out[MST_OPTION_SHOWN_BYTES]);
/** The option of that name; NULL if the owner has none. Owner: borrowed from the table */
const struct mst_option *mst_option_find(const struct mst_option *options, size_t n, unsigned owner, const char *name);
/** The owner's option whose name is nearest to this one. */
const char *mst_option_nearest(const struct mst_option *options, size_t n, unsigned owner, const char *name);
/** Reads one value into the object, by the option's rule (not MST_OPTION_OTHER).
 *  Errors: INVALID_ARGUMENT a wrong type or a value out of range; UNIMPLEMENTED an option that is not built yet */
MST_MUST_USE mst_status mst_option_read(const struct mst_option *option, const json_t *value, const char *where,
                                        void *object, struct mst_error *err);
/** Adds the owner's options that have values to a JSON object. */
void mst_options_print(const struct mst_option *options, size_t n, unsigned owner, const void *object, json_t *config);
