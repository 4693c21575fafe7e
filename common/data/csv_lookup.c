// The texts sorted, each with its place in the list: a column may have tens of thousands, and every field is looked up.
#include "csv_lookup.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    const char *text;
    size_t len;
    size_t place;
};

struct mst_csv_lookup {
    size_t n;
    struct entry entries[];
};

static int compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    size_t len = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->text, b->text, len);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

mst_status mst_csv_lookup_new(const char *path, const struct mst_csv_categories *categories,
                              struct mst_csv_lookup **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_csv_lookup *lookup = mst_alloc(sizeof *lookup + categories->n * sizeof *lookup->entries);
    lookup->n = categories->n;
    for (size_t i = 0; i < lookup->n; i++)
        lookup->entries[i] = (struct entry){categories->texts[i], strlen(categories->texts[i]), i};
    qsort(lookup->entries, lookup->n, sizeof *lookup->entries, compare);
    for (size_t i = 1; i < lookup->n; i++) {
        if (compare(&lookup->entries[i - 1], &lookup->entries[i]) == 0) {
            mst_status status = mst_fail(err, MST_INVALID_ARGUMENT,
                                         "%s: categories of column \"%.60s\" name \"%.60s\" twice: leave one out", path,
                                         categories->column, lookup->entries[i].text);
            mst_csv_lookup_free(lookup);
            return status;
        }
    }
    *out = lookup;
    return MST_OK;
}

void mst_csv_lookup_free(struct mst_csv_lookup *lookup)
{
    free(lookup);
}

bool mst_csv_lookup_find(const struct mst_csv_lookup *lookup, const char *text, size_t len, double *number_out)
{
    const struct entry key = {text, len, 0};
    const struct entry *found = bsearch(&key, lookup->entries, lookup->n, sizeof key, compare);
    *number_out = found ? (double)found->place : 0;
    return found != NULL;
}

size_t mst_csv_lookup_n(const struct mst_csv_lookup *lookup)
{
    return lookup->n;
}
