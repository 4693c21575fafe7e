// Finds and loads the module, and asks it: in this process to write, in a child to read.
#include "keras/archive.h"

#include "base/alloc.h"
#include "base/error.h"
#include "isolated.h"
#include "module.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE_FILE     "muster-keras.so"
#define MAX_ARRAY_BYTES ((uint64_t)64 << 30) // of one archive: the limit of a model's variables

struct mst_keras_archive {
    void *memory; // shared with the child that read
    size_t n_bytes;
    float **values;
};

bool mst_keras_is_archive(const char *path)
{
    static const char suffix[] = ".keras";
    size_t len = strlen(path);
    return len > sizeof suffix - 1 && strcmp(path + len - (sizeof suffix - 1), suffix) == 0;
}

// The module stands in lib/muster, beside the program in a build, beside its bin when installed.
static char *module_path(void)
{
    char program[4096];
    const char *dir = getenv("MUSTER_MODULE_DIR");
    if (dir != NULL)
        return mst_text("%s/" MODULE_FILE, dir);
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    if (len > 0) {
        static const char *const beside[] = {"lib/muster", "../lib/muster"};
        program[len] = '\0';
        *(strrchr(program, '/') + 1) = '\0';
        for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
            char *path = mst_text("%s%s/" MODULE_FILE, program, beside[i]);
            if (access(path, R_OK) == 0)
                return path;
            free(path);
        }
    }
    return mst_strdup("/usr/lib/muster/" MODULE_FILE);
}

// The module's table, or NULL, which is MST_UNIMPLEMENTED.
static const struct mst_keras_module *load_module(struct mst_error *err)
{
    char *path = module_path();
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = handle != NULL ? dlsym(handle, MST_KERAS_MODULE_SYMBOL) : NULL;
    const struct mst_keras_module *module = NULL;
    if (handle == NULL) {
        (void)mst_fail(
            err, MST_UNIMPLEMENTED,
            "`.keras` archives need the module %s, which cannot be loaded (%s); install the whole package, or "
            "name its folder in MUSTER_MODULE_DIR",
            path, dlerror());
    } else {
        // POSIX promises that a symbol's address may be taken for a function's; C has no cast for it.
        const struct mst_keras_module *(*table)(void);
        memcpy(&table, &symbol, sizeof table);
        module = symbol != NULL ? table() : NULL;
        if (module == NULL || module->abi != MST_KERAS_MODULE_ABI) {
            (void)mst_fail(err, MST_UNIMPLEMENTED, "%s is of another version of muster", path);
            module = NULL;
        }
    }
    free(path);
    return module;
}

// A file that is not there is the caller's own mistake: said without a child.
static mst_status check_file(const char *file, struct mst_error *err)
{
    if (access(file, R_OK) == 0)
        return MST_OK;
    return mst_fail(err, errno == ENOENT ? MST_NOT_FOUND : MST_PERMISSION_DENIED, "cannot read %s: %s", file,
                    strerror(errno));
}

struct read_config {
    const char *file;
    char *text;  // shared
    size_t *len; // shared
};

static mst_status read_config(void *arg, struct mst_error *err)
{
    struct read_config *job = arg;
    const struct mst_keras_module *module = load_module(err);
    return module != NULL ? module->read_config(job->file, job->text, job->len, err) : MST_UNIMPLEMENTED;
}

mst_status mst_keras_read_config(const char *file, struct mst_buf *out, struct mst_error *err)
{
    const size_t n_bytes = (size_t)MST_KERAS_CONFIG_MAX_BYTES + MST_ALIGNMENT;
    mst_buf_init(out, MST_KERAS_CONFIG_MAX_BYTES);
    MST_TRY(check_file(file, err));
    char *memory = mst_isolated_alloc(n_bytes);
    if (memory == NULL)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s: no memory to read it", file);
    struct read_config job = {.file = file, .text = memory + MST_ALIGNMENT, .len = (size_t *)(void *)memory};
    mst_status status = mst_isolated_run(read_config, &job, file, err);
    // What a child says that a stranger's file may have upset is checked, too.
    if (status == MST_OK &&
        (*job.len > MST_KERAS_CONFIG_MAX_BYTES || mst_buf_append(out, job.text, *job.len) != MST_OK))
        status = mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s: no memory for its config.json", file);
    mst_isolated_free(memory, n_bytes);
    return status;
}

struct read_arrays {
    const char *file;
    const struct mst_keras_array *arrays;
    size_t n;
    float *const *out;
};

static mst_status read_arrays(void *arg, struct mst_error *err)
{
    struct read_arrays *job = arg;
    const struct mst_keras_module *module = load_module(err);
    return module != NULL ? module->read_arrays(job->file, job->arrays, job->n, job->out, err) : MST_UNIMPLEMENTED;
}

static mst_status place_arrays(struct mst_keras_archive *archive, const struct mst_keras_array *arrays, size_t n)
{
    uint64_t n_bytes = MST_ALIGNMENT; // a mapping has at least one byte
    uint64_t *at = mst_alloc_array(n + 1, sizeof *at);
    mst_status status = MST_OK;
    for (size_t i = 0; i < n && status == MST_OK; i++) {
        size_t count;
        at[i] = n_bytes;
        status = mst_shape_count(&arrays[i].shape, &count);
        if (status == MST_OK && count > (MAX_ARRAY_BYTES - n_bytes) / sizeof(float))
            status = MST_RESOURCE_EXHAUSTED;
        if (status == MST_OK)
            n_bytes += (count * sizeof(float) + MST_ALIGNMENT - 1) / MST_ALIGNMENT * MST_ALIGNMENT;
    }
    if (status == MST_OK)
        archive->memory = mst_isolated_alloc((size_t)n_bytes);
    if (archive->memory != NULL) {
        archive->n_bytes = (size_t)n_bytes;
        archive->values = mst_alloc_array(n + 1, sizeof *archive->values);
        for (size_t i = 0; i < n; i++)
            archive->values[i] = (float *)(void *)((char *)archive->memory + at[i]);
    }
    free(at);
    return archive->memory != NULL ? MST_OK : MST_RESOURCE_EXHAUSTED;
}

mst_status mst_keras_read_arrays(const char *file, const struct mst_keras_array *arrays, size_t n,
                                 struct mst_keras_archive **out, struct mst_error *err)
{
    *out = NULL;
    MST_TRY(check_file(file, err));
    struct mst_keras_archive *archive = mst_alloc(sizeof *archive);
    mst_status status = place_arrays(archive, arrays, n);
    if (status != MST_OK) {
        (void)mst_fail(err, status, "%s: no memory for the model's weights", file);
    } else {
        struct read_arrays job = {.file = file, .arrays = arrays, .n = n, .out = archive->values};
        status = mst_isolated_run(read_arrays, &job, file, err);
    }
    if (status != MST_OK) {
        mst_keras_archive_free(archive);
        return status;
    }
    *out = archive;
    return MST_OK;
}

const float *mst_keras_archive_values(const struct mst_keras_archive *archive, size_t index)
{
    return archive->values[index];
}

void mst_keras_archive_free(struct mst_keras_archive *archive)
{
    if (archive == NULL)
        return;
    mst_isolated_free(archive->memory, archive->n_bytes);
    free(archive->values);
    free(archive);
}

mst_status mst_keras_write(const char *file, struct mst_bytes config, const struct mst_keras_array *arrays, size_t n,
                           struct mst_error *err)
{
    const struct mst_keras_module *module = load_module(err);
    return module != NULL ? module->write(file, config, arrays, n, err) : MST_UNIMPLEMENTED;
}
