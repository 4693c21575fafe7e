#include "weights_file.h"

#include "base/error.h"

#include <hdf5.h>
#include <hdf5_hl.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 2048 };

// Every component of the path must be a plain link within the file.
static bool is_inside(hid_t file, const char *path)
{
    char part[PATH_BYTES];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof part)
        return false;
    for (size_t i = 1; i <= len; i++) {
        H5L_info_t info;
        if (i < len && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (H5Lget_info(file, part, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
            return false;
    }
    return true;
}

// Data that stands in the file itself, under filters that HDF5 has built in.
static bool is_plain(hid_t dataset)
{
    hid_t created = H5Dget_create_plist(dataset);
    if (created < 0)
        return false;
    bool plain = H5Pget_layout(created) != H5D_VIRTUAL && H5Pget_external_count(created) == 0;
    H5Pclose(created);
    return plain;
}

static mst_status other_shape(const struct mst_keras_array *array, const char *file, int rank, const hsize_t *dims,
                              struct mst_error *err)
{
    char has[MST_SHAPE_TEXT_BYTES];
    char wanted[MST_SHAPE_TEXT_BYTES];
    struct mst_shape shape = {.rank = rank < 0 ? 0 : (size_t)rank};
    for (size_t i = 0; i < shape.rank && i < MST_SHAPE_MAX_RANK; i++)
        shape.dims[i] = (size_t)dims[i];
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s: %s has shape %s, but layer '%s' of this model needs %s; the file is of another model", file,
                    array->path, mst_shape_print(&shape, has, sizeof has), array->layer,
                    mst_shape_print(&array->shape, wanted, sizeof wanted));
}

static mst_status check_shape(hid_t dataset, const struct mst_keras_array *array, const char *file,
                              struct mst_error *err)
{
    hsize_t dims[MST_SHAPE_MAX_RANK] = {0};
    hid_t space = H5Dget_space(dataset);
    int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    bool fits = rank >= 0 && rank <= MST_SHAPE_MAX_RANK && H5Sget_simple_extent_dims(space, dims, NULL) >= 0;
    if (space >= 0)
        H5Sclose(space);
    if (!fits)
        return mst_fail(err, MST_DATA_LOSS, "%s: %s has no shape that can be read", file, array->path);
    fits = (size_t)rank == array->shape.rank;
    for (size_t i = 0; fits && i < array->shape.rank; i++)
        fits = dims[i] == array->shape.dims[i];
    return fits ? MST_OK : other_shape(array, file, rank, dims, err);
}

static mst_status check_type(hid_t dataset, const struct mst_keras_array *array, const char *file,
                             struct mst_error *err)
{
    hid_t type = H5Dget_type(dataset);
    H5T_class_t class = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    if (type >= 0)
        H5Tclose(type);
    if (class == H5T_FLOAT || class == H5T_INTEGER)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s: %s holds no numbers; weights of float32 are what is read", file,
                    array->path);
}

static mst_status read_dataset(hid_t dataset, const struct mst_keras_array *array, const char *file, float *out,
                               struct mst_error *err)
{
    if (!is_plain(dataset))
        return mst_fail(err, MST_DATA_LOSS, "%s: %s takes its data from another file", file, array->path);
    MST_TRY(check_shape(dataset, array, file, err));
    MST_TRY(check_type(dataset, array, file, err));
    if (H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
        return mst_fail(err, MST_DATA_LOSS, "%s is damaged: %s cannot be read", file, array->path);
    return MST_OK;
}

static mst_status read_array(hid_t from, const struct mst_keras_array *array, const char *file, float *out,
                             struct mst_error *err)
{
    hid_t dataset = is_inside(from, array->path) ? H5Dopen2(from, array->path, H5P_DEFAULT) : H5I_INVALID_HID;
    if (dataset < 0)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s has no %s, a weight of layer '%s'; the file is of another model, or its weights were never "
                        "made",
                        file, array->path, array->layer);
    mst_status status = read_dataset(dataset, array, file, out, err);
    H5Dclose(dataset);
    return status;
}

static void be_quiet(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

mst_status mst_weights_file_read(struct mst_bytes bytes, const char *file, const struct mst_keras_array *arrays,
                                 size_t n, float *const *out, struct mst_error *err)
{
    be_quiet();
    // It is only read, and stays the caller's.
    hid_t from =
        H5LTopen_file_image((void *)bytes.data, bytes.len, H5LT_FILE_IMAGE_DONT_COPY | H5LT_FILE_IMAGE_DONT_RELEASE);
    if (from < 0)
        return mst_fail(err, MST_DATA_LOSS, "%s is damaged: its model.weights.h5 is no HDF5 file that can be read",
                        file);
    mst_status status = MST_OK;
    for (size_t i = 0; i < n && status == MST_OK; i++)
        status = read_array(from, &arrays[i], file, out[i], err);
    H5Fclose(from);
    return status;
}

static bool name_group(hid_t group, const char *name)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    hid_t space = H5Screate(H5S_SCALAR);
    bool done = H5Tset_size(type, strlen(name) + 1) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0;
    hid_t attribute = done ? H5Acreate2(group, "name", type, space, H5P_DEFAULT, H5P_DEFAULT) : H5I_INVALID_HID;
    done = attribute >= 0 && H5Awrite(attribute, type, name) >= 0;
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    return done;
}

// The group "…/vars" of an array, named after its layer when its first array makes it.
static bool make_group(hid_t file, hid_t with_parents, const struct mst_keras_array *array)
{
    char path[PATH_BYTES];
    const char *slash = strrchr(array->path, '/');
    if (slash == NULL || strlen(array->path) >= sizeof path)
        return false;
    snprintf(path, sizeof path, "%.*s", (int)(slash - array->path), array->path);
    if (is_inside(file, path))
        return true;
    hid_t group = H5Gcreate2(file, path, with_parents, H5P_DEFAULT, H5P_DEFAULT);
    bool done = group >= 0 && name_group(group, array->layer);
    if (group >= 0)
        H5Gclose(group);
    return done;
}

// The variables of the model itself: none. tf_keras looks for the group all the same.
static bool make_root_group(hid_t file)
{
    hid_t group = H5Gcreate2(file, "vars", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    return group >= 0 && H5Gclose(group) >= 0;
}

static bool write_array(hid_t file, hid_t with_parents, const struct mst_keras_array *array)
{
    hsize_t dims[MST_SHAPE_MAX_RANK];
    if (!make_group(file, with_parents, array))
        return false;
    for (size_t i = 0; i < array->shape.rank; i++)
        dims[i] = array->shape.dims[i];
    hid_t space = array->shape.rank > 0 ? H5Screate_simple((int)array->shape.rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t dataset = H5Dcreate2(file, array->path, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool done = dataset >= 0 && H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, array->values) >= 0;
    if (dataset >= 0)
        done = H5Dclose(dataset) >= 0 && done;
    H5Sclose(space);
    return done;
}

mst_status mst_weights_file_write(const char *path, const struct mst_keras_array *arrays, size_t n,
                                  struct mst_error *err)
{
    be_quiet();
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (file < 0)
        return mst_fail(err, MST_UNAVAILABLE, "cannot make %s; does its folder exist, and may it be written?", path);
    hid_t with_parents = H5Pcreate(H5P_LINK_CREATE);
    bool done = H5Pset_create_intermediate_group(with_parents, 1) >= 0 && make_root_group(file);
    size_t i = 0;
    for (; i < n && done; i++)
        done = write_array(file, with_parents, &arrays[i]);
    H5Pclose(with_parents);
    done = H5Fclose(file) >= 0 && done;
    if (done)
        return MST_OK;
    return mst_fail(err, MST_UNAVAILABLE, "cannot write %s to %s; is the disk full?",
                    i > 0 ? arrays[i - 1].path : "groups", path);
}
