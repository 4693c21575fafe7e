// Messages are built by hand, inside out, into small buffers; fields whose value is 0 are left out as protobuf does.
// Records of one append go out in one write, so that a reader that follows the file sees them together, and nothing is
// kept back in memory: a process that is killed loses no epoch that it has reported. There is no fsync: curves are not
// worth waiting for a disk.
#include "tfio/event_file.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "muster/status.h"
#include "tfio/disk_file.h"
#include "tfio/proto_fields.h"
#include "tfio/record.h"
#include "tfio/tf_types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

// Field numbers of the messages.
enum {
    EVENT_WALL_TIME = 1,
    EVENT_STEP = 2,
    EVENT_FILE_VERSION = 3,
    EVENT_SUMMARY = 5,
    EVENT_SOURCE_METADATA = 10,
    SOURCE_WRITER = 1,
    SUMMARY_VALUE = 1,
    VALUE_TAG = 1,
    VALUE_TENSOR = 8,
    VALUE_METADATA = 9,
    TENSOR_DTYPE = 1,
    TENSOR_SHAPE = 2,
    TENSOR_CONTENT = 4,
    SHAPE_DIM = 2,
    DIM_SIZE = 1,
    METADATA_PLUGIN_DATA = 1,
    PLUGIN_NAME = 1,
};

enum {
    MESSAGE_MAX_BYTES = 4096, // a tag, and less than 100 bytes around it, or MST_EVENT_BINS_MAX bins
    RECORDS_MAX_BYTES = 1 << 20,
    HOST_NAME_BYTES = 256,
    NAMES_MAX = 1000, // files that one process may begin within a second
};

struct mst_event_file {
    char *path;
    int fd;
    off_t size_bytes; // of whole records
};

static struct mst_bytes text_bytes(const char *text)
{
    return (struct mst_bytes){text, strlen(text)};
}

static mst_status append_double(struct mst_buf *out, double value)
{
    uint64_t bits;
    uint8_t little_endian[sizeof bits];
    memcpy(&bits, &value, sizeof bits);
    for (size_t i = 0; i < sizeof bits; i++)
        little_endian[i] = (uint8_t)(bits >> (8 * i));
    return mst_buf_append(out, little_endian, sizeof little_endian);
}

static mst_status append_wall_time(struct mst_buf *event, uint64_t wall_ns)
{
    MST_TRY(mst_varint_append(event, EVENT_WALL_TIME << 3 | MST_PROTO_FIXED64));
    return append_double(event, (double)wall_ns / 1e9);
}

// Appends what `inner` holds as a field of `outer`, and empties inner for the next message.
static mst_status append_message(struct mst_buf *outer, uint32_t number, struct mst_buf *inner)
{
    MST_TRY(mst_proto_append_bytes(outer, number, mst_buf_view(inner)));
    mst_buf_reset(inner);
    return MST_OK;
}

static mst_status append_version(struct mst_buf *records, uint64_t wall_ns, struct mst_buf *event,
                                 struct mst_buf *inner)
{
    MST_TRY(append_wall_time(event, wall_ns));
    MST_TRY(mst_proto_append_bytes(event, EVENT_FILE_VERSION, text_bytes("brain.Event:2")));
    MST_TRY(mst_proto_append_bytes(inner, SOURCE_WRITER, text_bytes("muster")));
    MST_TRY(append_message(event, EVENT_SOURCE_METADATA, inner));
    return mst_record_append(records, mst_buf_view(event));
}

static mst_status append_tensor(struct mst_buf *value, float number, struct mst_buf *tensor)
{
    uint32_t bits;
    uint8_t little_endian[sizeof bits];
    memcpy(&bits, &number, sizeof bits);
    for (size_t i = 0; i < sizeof bits; i++)
        little_endian[i] = (uint8_t)(bits >> (8 * i));
    MST_TRY(mst_proto_append_varint(tensor, TENSOR_DTYPE, MST_TF_FLOAT));
    MST_TRY(mst_proto_append_bytes(tensor, TENSOR_SHAPE, (struct mst_bytes){"", 0}));
    MST_TRY(mst_proto_append_bytes(tensor, TENSOR_CONTENT, (struct mst_bytes){little_endian, sizeof little_endian}));
    return append_message(value, VALUE_TENSOR, tensor);
}

// The messages that one event is made of.
struct event_parts {
    struct mst_buf event;
    struct mst_buf summary;
    struct mst_buf value;
    struct mst_buf inner;
    struct mst_buf plugin;
};

static void init_parts(struct event_parts *parts)
{
    struct mst_buf *const all[] = {&parts->event, &parts->summary, &parts->value, &parts->inner, &parts->plugin};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mst_buf_init(all[i], MESSAGE_MAX_BYTES);
}

static void fini_parts(struct event_parts *parts)
{
    struct mst_buf *const all[] = {&parts->event, &parts->summary, &parts->value, &parts->inner, &parts->plugin};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mst_buf_fini(all[i]);
}

// The event around parts->value, which has its tag and tensor.
static mst_status append_event(struct mst_buf *records, const char *plugin, uint64_t step, uint64_t wall_ns,
                               struct event_parts *parts)
{
    MST_TRY(mst_proto_append_bytes(&parts->plugin, PLUGIN_NAME, text_bytes(plugin)));
    MST_TRY(append_message(&parts->inner, METADATA_PLUGIN_DATA, &parts->plugin));
    MST_TRY(append_message(&parts->value, VALUE_METADATA, &parts->inner));
    MST_TRY(append_message(&parts->summary, SUMMARY_VALUE, &parts->value));
    MST_TRY(append_wall_time(&parts->event, wall_ns));
    if (step > 0)
        MST_TRY(mst_proto_append_varint(&parts->event, EVENT_STEP, step));
    MST_TRY(append_message(&parts->event, EVENT_SUMMARY, &parts->summary));
    mst_status status = mst_record_append(records, mst_buf_view(&parts->event));
    mst_buf_reset(&parts->event);
    return status;
}

static mst_status append_scalar(struct mst_buf *records, const struct mst_event_scalar *scalar, uint64_t step,
                                uint64_t wall_ns, struct event_parts *parts)
{
    MST_TRY(mst_proto_append_bytes(&parts->value, VALUE_TAG, text_bytes(scalar->tag)));
    MST_TRY(append_tensor(&parts->value, scalar->value, &parts->inner));
    return append_event(records, "scalars", step, wall_ns, parts);
}

static mst_status append_dim(struct mst_buf *shape, uint64_t size, struct mst_buf *dim)
{
    MST_TRY(mst_proto_append_varint(dim, DIM_SIZE, size));
    return append_message(shape, SHAPE_DIM, dim);
}

static mst_status append_histogram(struct mst_buf *records, const struct mst_event_histogram *histogram, uint64_t step,
                                   uint64_t wall_ns, struct event_parts *parts)
{
    struct mst_buf *tensor = &parts->inner, *content = &parts->plugin;
    MST_TRY(mst_proto_append_varint(tensor, TENSOR_DTYPE, MST_TF_DOUBLE));
    MST_TRY(append_dim(&parts->summary, histogram->n_bins, content));
    MST_TRY(append_dim(&parts->summary, 3, content));
    MST_TRY(append_message(tensor, TENSOR_SHAPE, &parts->summary));
    for (size_t i = 0; i < histogram->n_bins; i++) {
        MST_TRY(append_double(content, histogram->bins[i].left));
        MST_TRY(append_double(content, histogram->bins[i].right));
        MST_TRY(append_double(content, histogram->bins[i].count));
    }
    MST_TRY(append_message(tensor, TENSOR_CONTENT, content));
    MST_TRY(mst_proto_append_bytes(&parts->value, VALUE_TAG, text_bytes(histogram->tag)));
    MST_TRY(append_message(&parts->value, VALUE_TENSOR, tensor));
    return append_event(records, "histograms", step, wall_ns, parts);
}

// Writes all of it, or leaves the file as it was.
static mst_status write_records(struct mst_event_file *file, const struct mst_buf *records, struct mst_error *err)
{
    for (size_t at = 0; at < records->len;) {
        ssize_t n = write(file->fd, records->data + at, records->len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int cause = errno;
            // Append mode: after the cut the next write goes behind what is whole.
            if (at > 0 && ftruncate(file->fd, file->size_bytes) != 0)
                return mst_disk_fail(err, errno, "shorten", file->path);
            return mst_disk_fail(err, cause, "write", file->path);
        }
        at += (size_t)n;
    }
    file->size_bytes += (off_t)records->len;
    return MST_OK;
}

static mst_status write_version(struct mst_event_file *file, uint64_t wall_ns, struct mst_error *err)
{
    struct mst_buf records, event, inner;
    mst_buf_init(&records, MESSAGE_MAX_BYTES);
    mst_buf_init(&event, MESSAGE_MAX_BYTES);
    mst_buf_init(&inner, MESSAGE_MAX_BYTES);
    mst_status status = append_version(&records, wall_ns, &event, &inner);
    MST_ASSERT(status == MST_OK); // less than 100 bytes
    status = write_records(file, &records, err);
    mst_buf_fini(&inner);
    mst_buf_fini(&event);
    mst_buf_fini(&records);
    return status;
}

// Opens the first name of this second that nobody has taken: containers may well have the same process id twice.
static mst_status open_free_name(const char *folder, uint64_t wall_ns, struct mst_event_file *file,
                                 struct mst_error *err)
{
    char host[HOST_NAME_BYTES] = "";
    if (gethostname(host, sizeof host - 1) != 0 || !host[0])
        memcpy(host, "localhost", sizeof "localhost");
    for (int n = 0;; n++) {
        free(file->path);
        file->path = mst_text("%s/events.out.tfevents.%010llu.%s.%ld.%d.v2", folder,
                              (unsigned long long)(wall_ns / 1000000000U), host, (long)getpid(), n);
        file->fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (file->fd >= 0)
            return MST_OK;
        if (errno != EEXIST || n + 1 == NAMES_MAX)
            return mst_disk_fail(err, errno, "create", file->path);
    }
}

mst_status mst_event_file_new(const char *folder, uint64_t wall_ns, struct mst_event_file **out, struct mst_error *err)
{
    *out = NULL;
    MST_TRY(mst_disk_make_folders(folder, err));
    struct mst_event_file *file = mst_alloc(sizeof *file);
    mst_status status = open_free_name(folder, wall_ns, file, err);
    if (status == MST_OK) {
        status = write_version(file, wall_ns, err);
        if (status != MST_OK)
            (void)unlink(file->path);
    }
    if (status != MST_OK) {
        mst_event_file_free(file);
        return status;
    }
    *out = file;
    return MST_OK;
}

void mst_event_file_free(struct mst_event_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        (void)close(file->fd);
    free(file->path);
    free(file);
}

const char *mst_event_file_path(const struct mst_event_file *file)
{
    return file->path;
}

static mst_status check_tag(const char *tag, struct mst_error *err)
{
    if (strlen(tag) <= MST_EVENT_TAG_MAX)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT, "a tag of %zu bytes exceeds %d", strlen(tag), MST_EVENT_TAG_MAX);
}

mst_status mst_event_file_append(struct mst_event_file *file, const struct mst_event_scalar *scalars, size_t n_scalars,
                                 uint64_t step, uint64_t wall_ns, struct mst_error *err)
{
    struct mst_buf records;
    struct event_parts parts;
    mst_status status = MST_OK;
    mst_buf_init(&records, RECORDS_MAX_BYTES);
    init_parts(&parts);
    for (size_t i = 0; i < n_scalars && status == MST_OK; i++) {
        status = check_tag(scalars[i].tag, err);
        if (status == MST_OK && append_scalar(&records, &scalars[i], step, wall_ns, &parts) != MST_OK)
            status = mst_fail(err, MST_RESOURCE_EXHAUSTED, "%zu scalars exceed %d bytes of records", n_scalars,
                              RECORDS_MAX_BYTES);
    }
    if (status == MST_OK)
        status = write_records(file, &records, err);
    fini_parts(&parts);
    mst_buf_fini(&records);
    return status;
}

mst_status mst_event_file_append_histogram(struct mst_event_file *file, const struct mst_event_histogram *histogram,
                                           uint64_t step, uint64_t wall_ns, struct mst_error *err)
{
    MST_TRY(check_tag(histogram->tag, err));
    if (histogram->n_bins > MST_EVENT_BINS_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a histogram of %zu bins exceeds %d", histogram->n_bins,
                        MST_EVENT_BINS_MAX);
    struct mst_buf records;
    struct event_parts parts;
    mst_buf_init(&records, RECORDS_MAX_BYTES);
    init_parts(&parts);
    mst_status status = append_histogram(&records, histogram, step, wall_ns, &parts);
    MST_ASSERT(status == MST_OK); // bounded above
    status = write_records(file, &records, err);
    fini_parts(&parts);
    mst_buf_fini(&records);
    return status;
}
