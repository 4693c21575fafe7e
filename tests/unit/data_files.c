#include "data_files.h"

#include "base/alloc.h"
#include "base/error.h"

#include <zlib.h>

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void data_file_write(const char *path, enum file_form form, const void *bytes, size_t len)
{
    if (form == FORM_GZIP) {
        gzFile file = gzopen(path, "wb6");
        MST_ASSERT(file != NULL);
        MST_ASSERT(len == 0 || gzwrite(file, bytes, (unsigned)len) == (int)len);
        MST_ASSERT(gzclose(file) == Z_OK);
        return;
    }
    FILE *file = fopen(path, "wb");
    MST_ASSERT(file != NULL);
    MST_ASSERT(fwrite(bytes, 1, len, file) == len);
    MST_ASSERT(fclose(file) == 0);
}

size_t data_file_idx(uint8_t *out, uint8_t type, size_t n_dims, const uint32_t *dims, const void *body, size_t body_len)
{
    memset(out, 0, 2);
    out[2] = type;
    out[3] = (uint8_t)n_dims;
    for (size_t i = 0; i < n_dims; i++)
        for (size_t k = 0; k < 4; k++)
            out[4 + 4 * i + k] = (uint8_t)(dims[i] >> (24 - 8 * k));
    memcpy(out + 4 + 4 * n_dims, body, body_len);
    return 4 + 4 * n_dims + body_len;
}

char *data_folder_new(void)
{
    const char *root = getenv("TMPDIR");
    char *folder = mst_text("%s/muster-test-XXXXXX", root ? root : "/tmp");
    MST_ASSERT(mkdtemp(folder) != NULL);
    return folder;
}

void data_folder_free(char *folder)
{
    DIR *dir = opendir(folder);
    MST_ASSERT(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        char *path = mst_text("%s/%s", folder, entry->d_name);
        if (unlink(path) != 0)
            data_folder_free(mst_strdup(path)); // a folder
        free(path);
    }
    closedir(dir);
    MST_ASSERT(rmdir(folder) == 0);
    free(folder);
}
