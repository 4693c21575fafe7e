// The job file: what is filled in, what --set changes, and each sentence of refusal.
#include "muster/status.h"
#include "spec/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char minimal[] = "{\"name\": \"tiny\", \"model\": \"model.json\","
                              "\"compile\": {\"optimizer\": \"sgd\", \"loss\": \"mse\"},"
                              "\"data\": {\"train\": {\"features\": \"x.idx\", \"labels\": \"/data/y.idx\"}}}";

// Parses text with --set arguments up to a NULL, as the file a/job.json of a process in /here.
static mst_status parse(const char *text, const char *const *sets, struct mst_job **out, struct mst_error *err)
{
    struct mst_job_request request = {.path = "a/job.json", .sets = sets, .current_dir = "/here"};
    while (sets && sets[request.n_sets])
        request.n_sets++;
    return mst_job_parse(&request, text, strlen(text), out, err);
}

static struct mst_job *parse_right(const char *text, const char *const *sets)
{
    struct mst_error err = {""};
    struct mst_job *job = NULL;
    if (parse(text, sets, &job, &err) != MST_OK)
        fail_msg("%s", err.text);
    return job;
}

static void check_refused(const char *text, const char *const *sets, const char *wanted)
{
    struct mst_error err = {""};
    struct mst_job *job = NULL;
    mst_status status = parse(text, sets, &job, &err);
    if (status != MST_INVALID_ARGUMENT || strcmp(err.text, wanted) != 0)
        fail_msg("wanted %s\n      got    %s (%s)", wanted, err.text, mst_status_name(status));
    assert_null(job);
}

// The minimal job with one key set in the file.
static char *with_key(const char *path, const char *value)
{
    json_t *json = json_loads(minimal, 0, NULL);
    json_t *parsed = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(parsed);
    assert_int_equal(mst_json_put(json, path, parsed, NULL), MST_OK);
    char *text = json_dumps(json, 0);
    json_decref(json);
    return text;
}

static void test_defaults(void **state)
{
    (void)state;
    struct mst_job *job = parse_right(minimal, NULL);
    char *got = json_dumps(job->resolved, JSON_COMPACT);
    assert_string_equal(
        got, "{\"name\":\"tiny\",\"model\":\"/here/a/model.json\",\"init_from\":null,"
             "\"compile\":{\"optimizer\":\"sgd\",\"loss\":\"mse\"},"
             "\"data\":{\"train\":{\"format\":\"idx\",\"features\":\"/here/a/x.idx\",\"labels\":\"/data/y.idx\","
             "\"shuffle\":true},\"eval\":null},\"batch_size\":32,\"epochs\":1,\"steps\":null,\"seed\":0,"
             "\"consistency\":{\"staleness\":\"async\",\"backup_workers\":0,\"workers\":null,\"accumulate_steps\":1},"
             "\"partitioner\":null,"
             "\"replicas\":0,\"checkpoint\":{\"dir\":\"/here/a/run/ckpt\",\"every_steps\":null,\"every_seconds\":null,"
             "\"keep\":5,\"resume\":false,\"local\":false,\"max_bytes_per_second\":null},"
             "\"eval\":{\"every\":null,\"final_timeout\":600},"
             "\"cluster\":{\"heartbeat_ms\":1000,\"lease_ms\":3000,\"absence_ms\":600000,\"checksums\":false},"
             "\"output\":{\"dir\":\"/here/a/run\",\"keras\":true},"
             "\"callbacks\":[],\"class_weight\":null}");
    // What is printed can be read again as a job, and gives the same.
    struct mst_job *again = parse_right(got, NULL);
    assert_true(json_equal(job->resolved, again->resolved));
    free(got);
    mst_job_free(again);
    assert_string_equal(job->name, "tiny");
    assert_string_equal(job->file, "a/job.json");
    assert_string_equal(job->train.format, "idx");
    assert_true(job->train.shuffle);
    assert_null(job->eval.format);
    assert_null(job->eval.inputs);
    assert_int_equal(job->batch_size, 32);
    assert_int_equal(job->epochs, 1);
    assert_int_equal(job->steps, 0);
    assert_int_equal(job->partitioner.kind, MST_PARTITIONER_NONE);
    assert_int_equal(job->checkpoint_every_steps, 0);
    assert_int_equal(job->checkpoint_keep, 5);
    assert_false(job->checkpoint_resume);
    assert_int_equal(job->lease_ms, 3000);
    mst_job_free(job);
}

static void test_everything_given(void **state)
{
    (void)state;
    struct mst_job *job = parse_right(
        "{\"output\": {\"dir\": \"./out\"}, \"cluster\": {\"lease_ms\": 400, \"heartbeat_ms\": 200.0},"
        "\"checkpoint\": {\"dir\": \"../ckpt\", \"every_steps\": 1000, \"every_seconds\": 2.5, \"keep\": 3, "
        "\"resume\": true,"
        "\"local\": false}, \"eval\": {\"every\": null, \"final_timeout\": 1.5}, \"replicas\": 0,"
        "\"partitioner\": {\"class_name\": \"MinSizePartitioner\", \"config\": {\"max_shards\": 2}},"
        "\"consistency\": {\"staleness\": \"async\", \"backup_workers\": 0, \"workers\": null},"
        "\"seed\": 9223372036854775807, \"steps\": 5000, \"batch_size\": 64.0,"
        "\"data\": {\"eval\": {\"labels\": \"l\", \"features\": \"f\"}, \"train\": {\"format\": \"idx\","
        "\"features\": \"x\", \"labels\": \"y\", \"shuffle\": false}},"
        "\"compile\": {\"optimizer\": {\"class_name\": \"Adam\", \"config\": {}}, \"loss\": \"mse\", \"metrics\": []},"
        "\"model\": \"/m.json\", \"name\": \"a job\"}",
        NULL);
    assert_string_equal(job->model_path, "/m.json");
    assert_string_equal(job->output_dir, "/here/a/out");
    assert_string_equal(job->checkpoint_dir, "/here/a/../ckpt");
    assert_string_equal(job->eval.inputs[0].path, "/here/a/f");
    assert_string_equal(job->eval.format, "idx");
    assert_false(job->train.shuffle);
    assert_int_equal(job->batch_size, 64);
    assert_int_equal(job->heartbeat_ms, 200);
    assert_int_equal(job->lease_ms, 400);
    assert_int_equal(job->steps, 5000);
    assert_int_equal(job->epochs, 0);
    assert_true(job->seed == INT64_MAX);
    assert_int_equal(job->checkpoint_every_steps, 1000);
    assert_true(job->checkpoint_every_seconds == 2.5);
    assert_int_equal(job->checkpoint_keep, 3);
    assert_true(job->checkpoint_resume);
    assert_true(job->eval_final_timeout_seconds == 1.5);
    assert_true(!job->eval_every_epoch && job->eval_every_steps == 0);
    assert_int_equal(job->partitioner.kind, MST_PARTITIONER_MIN_SIZE);
    assert_int_equal(job->partitioner.min_shard_bytes, 262144);
    assert_int_equal(job->partitioner.max_shards, 2);
    assert_int_equal(job->partitioner.bytes_per_string, 16);
    assert_true(json_is_integer(json_object_get(job->resolved, "batch_size")));
    mst_job_free(job);
}

// A value is JSON if it parses, else a text; its paths are relative to the current directory, not to the file.
static void test_sets(void **state)
{
    (void)state;
    const char *const sets[] = {"name=two words",
                                "batch_size=8",
                                "seed=1",
                                "seed=2",
                                "output.dir=out",
                                "data.train.features=./f.idx",
                                "data.eval={\"features\": \"e.idx\", \"labels\": \"/l.idx\"}",
                                "checkpoint.every_steps=10",
                                "compile.optimizer.class_name=SGD",
                                "compile.optimizer.config.learning_rate=0.5",
                                "partitioner.class_name=FixedShardsPartitioner",
                                "partitioner.config.num_shards=3",
                                NULL};
    char *text = with_key("compile.optimizer", "{\"class_name\": \"Adam\", \"config\": {}}");
    struct mst_job *job = parse_right(text, sets);
    free(text);
    assert_string_equal(job->name, "two words");
    assert_int_equal(job->batch_size, 8);
    assert_int_equal(job->seed, 2);
    assert_string_equal(job->output_dir, "/here/out");
    assert_string_equal(job->checkpoint_dir, "/here/out/ckpt");
    assert_string_equal(job->train.inputs[0].path, "/here/f.idx");
    assert_string_equal(job->train.outputs[0].path, "/data/y.idx");
    assert_string_equal(job->eval.inputs[0].path, "/here/e.idx");
    assert_string_equal(job->model_path, "/here/a/model.json");
    assert_int_equal(job->checkpoint_every_steps, 10);
    assert_int_equal(job->partitioner.kind, MST_PARTITIONER_FIXED_SHARDS);
    assert_int_equal(job->partitioner.num_shards, 3);
    char *optimizer = json_dumps(json_object_get(job->compile, "optimizer"), JSON_COMPACT);
    assert_string_equal(optimizer, "{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":0.5}}");
    free(optimizer);
    mst_job_free(job);
}

static void test_wrong_csv(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"data.train", "{\"format\": \"csv\", \"features\": \"f.csv\"}",
         "data.train.label is missing: say which column of the csv file holds the labels"},
        {"data.train", "{\"features\": \"f\"}", "data.train.labels is missing: say which file holds the labels"},
        {"data.train.label", "4",
         "data.train.label does not belong to format \"idx\": leave it out; labels says where the labels are"},
        {"data.train.format", "\"csv\"",
         "data.train.labels does not belong to format \"csv\": leave it out; label says where the labels are"},
        {"data.eval", "{\"format\": \"csv\", \"features\": \"f\", \"label\": 4, \"labels\": \"l\"}",
         "data.eval.labels does not belong to format \"csv\": leave it out; label says where the labels are"},
        {"data.train.header", "true",
         "data.train.header does not belong to format \"idx\": leave it out; labels says where the labels are"},
        {"data.train.missing", "null",
         "data.train.missing does not belong to format \"idx\": leave it out; labels says where the labels are"},
        {"data.train.label", "-1", "data.train.label is -1, must be from 0 to 65535"},
        {"data.train.header", "1", "data.train.header is an integer (1), must be true or false"},
        {"data.train.missing", "\"\"", "data.train.missing is a text (\"\"), must be a number or null"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = with_key(rows[i][0], rows[i][1]), wanted[600];
        snprintf(wanted, sizeof wanted, "a/job.json: %s", rows[i][2]);
        check_refused(text, NULL, wanted);
        free(text);
    }
}

static void test_csv(void **state)
{
    (void)state;
    char *text = with_key("data.train", "{\"format\": \"csv\", \"features\": \"f.csv.gz\", \"label\": 4}");
    struct mst_job *job = parse_right(text, NULL);
    assert_string_equal(job->train.format, "csv");
    assert_string_equal(job->train.file, "/here/a/f.csv.gz");
    assert_int_equal(job->train.n_outputs, 1);
    assert_string_equal(job->train.outputs[0].columns[0], "4");
    assert_null(job->train.outputs[0].path);
    assert_int_equal(job->train.n_inputs, 1);
    assert_int_equal(job->train.inputs[0].n_columns, 0);
    assert_int_equal(job->train.separator, ',');
    assert_false(job->train.is_headless || job->train.fills_missing);
    assert_true(json_is_true(mst_json_at(job->resolved, "data.train.header")));
    assert_true(json_is_null(mst_json_at(job->resolved, "data.train.missing")));
    mst_job_free(job);
    free(text);
    text = with_key("data.eval", "{\"format\": \"csv\", \"features\": \"f.csv\", \"label\": \"y\", "
                                 "\"header\": false, \"missing\": -1.5}");
    job = parse_right(text, NULL);
    assert_string_equal(job->eval.outputs[0].columns[0], "y");
    assert_true(job->eval.is_headless && job->eval.fills_missing);
    assert_true(job->eval.missing == -1.5f);
    mst_job_free(job);
    free(text);
}

static void test_several_parts(void **state)
{
    (void)state;
    const char *const sets[] = {"data.train.features.meta=m.idx", NULL};
    char *text = with_key("data.train", "{\"features\": {\"image\": \"i.idx\", \"meta\": \"x\"}, "
                                        "\"labels\": {\"digit\": \"/d.idx\"}, \"sample_weights\": \"w.idx\"}");
    struct mst_job *job = parse_right(text, sets);
    assert_int_equal(job->train.n_inputs, 2);
    assert_string_equal(job->train.inputs[0].name, "image");
    assert_string_equal(job->train.inputs[0].path, "/here/a/i.idx");
    assert_string_equal(job->train.inputs[1].path, "/here/m.idx");
    assert_string_equal(job->train.outputs[0].name, "digit");
    assert_string_equal(job->train.outputs[0].path, "/d.idx");
    assert_string_equal(job->train.weights, "/here/a/w.idx");
    assert_null(job->train.file);
    mst_job_free(job);
    free(text);
    text = with_key("data.train", "{\"format\": \"csv\", \"features\": \"f.csv\", \"separator\": \"tab\", "
                                  "\"inputs\": {\"wide\": [\"a\", 3], \"deep\": \"c\"}, "
                                  "\"label\": {\"p\": \"y\", \"q\": [\"z\", 1]}, \"sample_weight\": 7}");
    job = parse_right(text, NULL);
    assert_int_equal(job->train.n_inputs, 2);
    assert_string_equal(job->train.inputs[0].name, "wide");
    assert_int_equal(job->train.inputs[0].n_columns, 2);
    assert_string_equal(job->train.inputs[0].columns[1], "3");
    assert_string_equal(job->train.inputs[1].columns[0], "c");
    assert_int_equal(job->train.n_outputs, 2);
    assert_string_equal(job->train.outputs[1].columns[1], "1");
    assert_string_equal(job->train.weights, "7");
    assert_int_equal(job->train.separator, '\t');
    mst_job_free(job);
    free(text);
    text = with_key("data.train", "{\"format\": \"csv\", \"features\": \"f.csv\", \"columns\": [\"b\", \"a\"], "
                                  "\"label\": [\"y\", \"z\"]}");
    job = parse_right(text, NULL);
    assert_null(job->train.inputs[0].name);
    assert_string_equal(job->train.inputs[0].columns[1], "a");
    assert_int_equal(job->train.outputs[0].n_columns, 2);
    mst_job_free(job);
    free(text);
}

static void test_wrong_parts(void **state)
{
    (void)state;
#define CSV "{\"format\": \"csv\", \"features\": \"f\", \"label\": "
    static const char *const rows[][2] = {
        {"{\"features\": {\"a\": 5}, \"labels\": \"l\"}", "data.train.features.a must be the path of a file"},
        {"{\"features\": {}, \"labels\": \"l\"}", "data.train.features has 0 names, must have 1 to 256"},
        {"{\"features\": \"f\", \"labels\": {\"a\": \"\"}}", "data.train.labels.a must be the path of a file"},
        {"{\"format\": \"csv\", \"features\": {\"a\": \"f\"}, \"label\": 1}",
         "data.train.features must be the path of the csv file: say in inputs which columns make which input"},
        {CSV "[]}", "data.train.label must be a column or a list of columns, by name or by number from 0 to 65535"},
        {CSV "{\"a\": [1, -1]}}",
         "data.train.label.a must be a column or a list of columns, by name or by number from 0 to 65535"},
        {CSV "1, \"columns\": [1.5]}",
         "data.train.columns must be a column or a list of columns, by name or by number from 0 to 65535"},
        {CSV "1, \"columns\": [1], \"inputs\": {\"a\": 1}}",
         "data.train.columns and data.train.inputs are both given: give one of them"},
        {CSV "1, \"columns\": \"a\"}", "data.train.columns is a text (\"a\"), must be a list"},
        {CSV "1, \"separator\": \":\"}", "data.train.separator is \":\", must be one of: ,|;|tab"},
        {CSV "1, \"sample_weights\": \"w\"}",
         "data.train.sample_weights does not belong to format \"csv\": leave it out; label says where the labels are"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = with_key("data.train", rows[i][0]), wanted[600];
        snprintf(wanted, sizeof wanted, "a/job.json: %s", rows[i][1]);
        check_refused(text, NULL, wanted);
        free(text);
    }
}

static void test_words_of_data(void **state)
{
    (void)state;
    static const struct {
        const char *text, *refusal;
    } rows[] = {
        {"{}", NULL},
        {"{\"columns\": [\"a\", 2], \"separator\": \";\", \"missing\": 3}", NULL},
        {"{\"labels\": \"l\"}", "--data: labels does not belong here: leave it out"},
        {"{\"columns\": []}",
         "--data: data.train.columns must be a column or a list of columns, by name or by number from 0 to 65535"},
        {"5", "--data: data.train is an integer (5), must be an object"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *json = json_loads(rows[i].text, JSON_DECODE_ANY, NULL);
        struct mst_job_data data;
        struct mst_error err = {""};
        mst_status status = mst_job_data_parse(json, "--data", &data, &err);
        assert_int_equal(status, rows[i].refusal ? MST_INVALID_ARGUMENT : MST_OK);
        assert_string_equal(err.text, rows[i].refusal ? rows[i].refusal : "");
        assert_int_equal(data.n_inputs, rows[i].refusal ? 0 : 1);
        assert_int_equal(data.n_outputs, 0); // no label is needed
        if (i == 1) {
            assert_string_equal(data.inputs[0].columns[1], "2");
            assert_true(data.separator == ';' && data.fills_missing && data.missing == 3.0f);
        }
        mst_job_data_fini(&data);
        json_decref(json);
    }
}

static void test_wrong_sets(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"epochs", "--set \"epochs\": write key=value, as in --set batch_size=64"},
        {"=5", "--set \"=5\": write key=value, as in --set batch_size=64"},
        {"batchsize=5", "--set: batchsize is not known: did you mean batch_size?"},
        {"batch_size=many", "--set: batch_size is a text (\"many\"), must be an integer"},
        {"batch_size=0", "--set: batch_size is 0, must be from 1 to 1048576"},
        {"data.train.=5", "--set: data.train. is no key: a name is empty"},
        {".name=5", "--set: .name is no key: a name is empty"},
        {"name.first=5", "--set: name is a text, so there is no first in it"},
        {"compile.optimizer.name.x=5", "--set: compile.optimizer is a text, so there is no name.x in it"},
        {"data={}", "--set: data.train is missing: The examples to train on."},
        {"data.eval.features=e", "a/job.json: data.eval.labels is missing: say which file holds the labels"},
        {"security={}", "--set: security is not built yet: leave it out"},
        {"cluster.heartbeat_ms=2000",
         "a/job.json: cluster.lease_ms is 3000, must be at least two heartbeats (cluster.heartbeat_ms is 2000)"},
        {"cluster.lease_ms=1999",
         "--set: cluster.lease_ms is 1999, must be at least two heartbeats (cluster.heartbeat_ms is 1000)"},
        {"name=\xff", "--set name: the value is not UTF-8"},
        {"\xff=1", "--set: \xff is no key: not UTF-8"},
        {"a\xff.b=1", "--set: a\xff.b is no key: not UTF-8"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *const sets[] = {rows[i][0], NULL};
        check_refused(minimal, sets, rows[i][1]);
    }
    char deep[400] = "", wanted[400];
    for (size_t i = 0; i < 130; i++)
        snprintf(deep + 2 * i, sizeof deep - 2 * i, "a.");
    snprintf(deep + 260, sizeof deep - 260, "b=1");
    const char *const sets[] = {deep, NULL};
    snprintf(wanted, sizeof wanted, "--set: %.60s… is nested deeper than 128 levels", deep);
    check_refused(minimal, sets, wanted);
}

static void test_epochs_or_steps(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        const char *sets[3];
        uint64_t epochs, steps;
        const char *refusal;
    } rows[] = {
        {"{\"epochs\": 3}", {NULL}, 3, 0, NULL},
        {"{\"steps\": 3}", {NULL}, 0, 3, NULL},
        {"{\"epochs\": 3, \"steps\": null}", {NULL}, 3, 0, NULL},
        {"{\"epochs\": null, \"steps\": 3}", {NULL}, 0, 3, NULL},
        {"{\"epochs\": 3}", {"steps=5"}, 0, 5, NULL},
        {"{\"steps\": 3}", {"epochs=5"}, 5, 0, NULL},
        {"{}", {"steps=5"}, 0, 5, NULL},
        {"{\"epochs\": 3}", {"steps=5", "epochs=null"}, 0, 5, NULL},
        {"{\"epochs\": 3, \"steps\": 5}",
         {NULL},
         0,
         0,
         "a/job.json: epochs and steps are both given: give one of them"},
        {"{}", {"epochs=3", "steps=5"}, 0, 0, "--set: epochs and steps are both given: give one of them"},
        {"{\"epochs\": null}", {NULL}, 0, 0, "a/job.json: epochs is null and steps is not given: give one of them"},
        {"{\"epochs\": null, \"steps\": null}",
         {NULL},
         0,
         0,
         "a/job.json: epochs is null and steps is not given: give one of them"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *json = json_loads(minimal, 0, NULL), *more = json_loads(rows[i].file, 0, NULL);
        json_object_update_new(json, more);
        char *text = json_dumps(json, 0);
        json_decref(json);
        if (rows[i].refusal) {
            check_refused(text, rows[i].sets, rows[i].refusal);
        } else {
            struct mst_job *job = parse_right(text, rows[i].sets);
            assert_int_equal(job->epochs, rows[i].epochs);
            assert_int_equal(job->steps, rows[i].steps);
            mst_job_free(job);
        }
        free(text);
    }
}

static void test_wrong_values(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"name", "\"\"", "name must not be empty"},
        {"name", "7", "name is an integer (7), must be a text"},
        {"name", "\"a\\u001b[31mb\"",
         "name holds the control character 0x1b; write it without line ends, tabs and the like"},
        {"name", "\"a\\nb\"", "name holds the control character 0x0a; write it without line ends, tabs and the like"},
        {"name", "\"\\u007f\"", "name holds the control character 0x7f; write it without line ends, tabs and the like"},
        {"model", "null", "model is null (null), must be a path"},
        {"model", "{}", "model is an object ({}), must be a path"},
        {"compile", "[]", "compile is a list ([]), must be an object"},
        {"compile", "{}", "compile.optimizer is missing: say it as Keras serialises it"},
        {"compile.loss", "null", "compile.loss is missing: say it as Keras serialises it"},
        {"data.train.shufle", "true", "data.train.shufle is not known: did you mean data.train.shuffle?"},
        {"shuffle", "true", "shuffle is not known: did you mean data.train.shuffle?"},
        {"class_weight", "[1, 2]", "class_weight is a list ([1,2]), must be an object or null"},
        {"data.test", "{}", "data.test is not known; known here: train, eval"},
        {"momentum", "0.9",
         "momentum is not known; known here: name, model, init_from, compile, data, batch_size, epochs, steps, seed, "
         "consistency, "
         "partitioner, replicas, checkpoint, eval, cluster, output, callbacks, class_weight, security"},
        {"data.train.shuffle", "1", "data.train.shuffle is an integer (1), must be true or false"},
        {"data.train.format", "\"parquet\"", "data.train.format is \"parquet\", must be one of: idx|csv"},
        {"data.train", "null", "data.train is null (null), must be an object"},
        {"data.eval", "false", "data.eval is false (false), must be an object or null"},
        {"batch_size", "\"64\"", "batch_size is a text (\"64\"), must be an integer"},
        {"batch_size", "0", "batch_size is 0, must be from 1 to 1048576"},
        {"batch_size", "-1", "batch_size is -1, must be from 1 to 1048576"},
        {"batch_size", "1048577", "batch_size is 1048577, must be from 1 to 1048576"},
        {"batch_size", "64.5", "batch_size is a number (64.5), must be an integer"},
        {"batch_size", "1e300", "batch_size is a number (1e300), must be an integer"},
        {"batch_size", "null", "batch_size is null (null), must be an integer"},
        {"epochs", "1.5", "epochs is a number (1.5), must be an integer or null"},
        {"epochs", "0", "epochs is 0, must be from 1 to 1000000"},
        {"steps", "0", "steps is 0, must be from 1 to 1000000000000"},
        {"seed", "-1", "seed is -1, must be from 0 to 9223372036854775807"},
        {"checkpoint", "\"ckpt\"", "checkpoint is a text (\"ckpt\"), must be an object"},
        {"checkpoint.every_seconds", "0.5", "checkpoint.every_seconds is 0.5, must be from 1 to 31536000"},
        {"checkpoint.every_seconds", "\"1m\"", "checkpoint.every_seconds is a text (\"1m\"), must be a number or null"},
        {"checkpoint.keep", "0", "checkpoint.keep is 0, must be from 1 to 1000000"},
        {"checkpoint.resume", "\"yes\"", "checkpoint.resume is a text (\"yes\"), must be true or false"},
        {"checkpoint.dir", "\"\"", "checkpoint.dir must not be empty"},
        {"output", "{\"directory\": \"x\"}", "output.directory is not known; known here: dir, keras"},
        {"cluster.lease_ms", "1500",
         "cluster.lease_ms is 1500, must be at least two heartbeats (cluster.heartbeat_ms is 1000)"},
        {"cluster.heartbeat_ms", "9", "cluster.heartbeat_ms is 9, must be from 10 to 60000"},
        {"eval.every", "\"batch\"", "eval.every is \"batch\", must be this one of: epoch"},
        {"eval.every", "0", "eval.every is 0, must be from 1 to 1000000000000"},
        {"eval.final_timeout", "-1", "eval.final_timeout is -1, must be from 0 to 604800"},
        {"eval", "null", "eval is null (null), must be an object"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = with_key(rows[i][0], rows[i][1]), wanted[600];
        snprintf(wanted, sizeof wanted, "a/job.json: %s", rows[i][2]);
        check_refused(text, NULL, wanted);
        free(text);
    }
}

// What later issues build is refused by name, never ignored; its default is harmless.
static void test_not_built_yet(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"consistency.staleness", "1000001", "consistency.staleness is 1000001, must be from 0 to 1000000"},
        {"consistency.staleness", "\"sync\"", "consistency.staleness is \"sync\", must be this one of: async"},
        {"consistency.backup_workers", "1",
         "consistency.backup_workers is for synchronous rounds: leave it out, or set consistency.staleness to 0"},
        {"consistency.workers", "2",
         "consistency.workers is for synchronous rounds: leave it out, or set consistency.staleness to 0"},
        {"consistency", "{\"staleness\": 0, \"workers\": 2, \"backup_workers\": 2}",
         "consistency.backup_workers is 2, must be less than consistency.workers, which is 2"},
        {"replicas", "3", "replicas is 3, must be from 0 to 2"},
        {"checkpoint.max_bytes_per_second", "0",
         "checkpoint.max_bytes_per_second is 0, must be from 1 to 1000000000000000"},
        {"init_from", "1", "init_from is an integer (1), must be a path or null"},
        {"security", "{}", "security is not built yet: leave it out"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = with_key(rows[i][0], rows[i][1]), wanted[600];
        snprintf(wanted, sizeof wanted, "a/job.json: %s", rows[i][2]);
        check_refused(text, NULL, wanted);
        free(text);
    }
    char *text = with_key("data.eval", "{\"features\": \"f\", \"labels\": \"l\", \"shuffle\": true}");
    check_refused(
        text, NULL,
        "a/job.json: data.eval.shuffle is true, but an evaluation reads its examples in their order: leave it out "
        "or set it to false");
    free(text);
}

// TensorFlow's words where TensorFlow refuses.
static void test_partitioners(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"class_name\": \"MinSizePartitioner\"}", NULL},
        {"{\"class_name\": \"MaxSizePartitioner\", \"config\": {\"max_shard_bytes\": 1000, \"max_shards\": null}}",
         NULL},
        {"{\"class_name\": \"MaxSizePartitioner\", \"config\": {\"max_shard_bytes\": 1000, \"max_shards\": 0}}", NULL},
        {"{\"class_name\": \"MinSize\"}", "partitioner.class_name is \"MinSize\", must be one of: "
                                          "FixedShardsPartitioner|MinSizePartitioner|MaxSizePartitioner"},
        {"{}", "partitioner.class_name is missing: TensorFlow's name of the partitioner."},
        {"\"MinSizePartitioner\"", "partitioner is a text (\"MinSizePartitioner\"), must be an object or null"},
        {"{\"class_name\": \"FixedShardsPartitioner\"}",
         "partitioner.config.num_shards is missing: Parts of each variable, as far as it has rows."},
        {"{\"class_name\": \"FixedShardsPartitioner\", \"config\": {\"num_shards\": 0}}",
         "partitioner.config.num_shards is 0, must be from 1 to 1000000"},
        {"{\"class_name\": \"MinSizePartitioner\", \"config\": {\"min_shard_bytes\": 0}}",
         "partitioner.config.min_shard_bytes: Argument `min_shard_bytes` must be positive. Received: 0"},
        {"{\"class_name\": \"MinSizePartitioner\", \"config\": {\"max_shards\": -2}}",
         "partitioner.config.max_shards: Argument `max_shards` must be positive. Received: -2"},
        {"{\"class_name\": \"MinSizePartitioner\", \"config\": {\"bytes_per_string\": 0}}",
         "partitioner.config.bytes_per_string: Argument `bytes_per_string` must be positive. Received: 0"},
        {"{\"class_name\": \"MaxSizePartitioner\", \"config\": {\"max_shard_bytes\": 0}}",
         "partitioner.config.max_shard_bytes: Argument `max_shard_bytes` must be positive. Received 0"},
        {"{\"class_name\": \"MaxSizePartitioner\", \"config\": {\"max_shard_bytes\": 9, \"max_shards\": -1}}",
         "partitioner.config.max_shards: Argument `max_shards` must be positive. Received -1"},
        {"{\"class_name\": \"MaxSizePartitioner\", \"config\": {\"max_shard_bytes\": 9, \"bytes_per_string\": -1}}",
         "partitioner.config.bytes_per_string: Argument `bytes_per_string` must be positive. Received: -1"},
        {"{\"class_name\": \"MaxSizePartitioner\", \"config\": {}}",
         "partitioner.config.max_shard_bytes is missing: The greatest size of a part, unless a row is larger or "
         "max_shards is "
         "reached."},
        {"{\"class_name\": \"MinSizePartitioner\", \"config\": {\"num_shards\": 2}}",
         "partitioner.config.num_shards is not known: did you mean partitioner.config.max_shards?"},
        {"{\"class_name\": \"MinSizePartitioner\", \"config\": []}",
         "partitioner.config is a list ([]), must be an object"},
        {"{\"class_name\": \"MinSizePartitioner\", \"config\": {\"max_shards\": \"2\"}}",
         "partitioner.config.max_shards is a text (\"2\"), must be an integer"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = with_key("partitioner", rows[i][0]), wanted[600];
        snprintf(wanted, sizeof wanted, "a/job.json: %s", rows[i][1] ? rows[i][1] : "");
        if (rows[i][1])
            check_refused(text, NULL, wanted);
        else
            mst_job_free(parse_right(text, NULL));
        free(text);
    }
}

static void test_broken_files(void **state)
{
    (void)state;
    check_refused("", NULL, "a/job.json:1:1: Expecting value, but the text is empty");
    check_refused("{\"name\": \"tiny\",\n \"model\": }", NULL, "a/job.json:2:11: unexpected token near '}'");
    check_refused("{\"name\": \"a\", \"name\": \"b\"}", NULL, "a/job.json:1:20: duplicate object key near '\"name\"'");
    check_refused("[]", NULL, "a/job.json: must be a JSON object, not a list");
    check_refused("{}", NULL, "a/job.json: name, model, compile, data are missing");
    check_refused("{\"na.me\": 1}", NULL, "a/job.json: na.me is not known: did you mean name?");
    const char *const sets[] = {"name=x", NULL};
    check_refused("7", sets, "a/job.json: must be a JSON object, not an integer");
}

// Keys and values too long for a sentence are cut.
static void test_long_texts(void **state)
{
    (void)state;
    char filler[5001], value[5100];
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    struct mst_error err;
    struct mst_job *job;
    static const char *const paths[] = {"name", "data.train.features", "batch_size", "data.train.format",
                                        "checkpoint.dir"};
    snprintf(value, sizeof value, "\"%s\"", filler);
    for (size_t i = 0; i < COUNT(paths); i++) {
        char *text = with_key(paths[i], value);
        assert_int_equal(parse(text, NULL, &job, &err), MST_INVALID_ARGUMENT);
        assert_int_equal(strncmp(err.text, "a/job.json: ", 12), 0);
        assert_true(strlen(err.text) < 300);
        free(text);
    }
    char *text = with_key("name", "\"x\"");
    const char *const sets[] = {value, NULL};
    snprintf(value, sizeof value, "%s=1", filler);
    assert_int_equal(parse(text, sets, &job, &err), MST_INVALID_ARGUMENT);
    assert_int_equal(parse(text, sets, &job, NULL), MST_INVALID_ARGUMENT);
    free(text);
    // Characters are counted, not bytes.
    for (size_t i = 0; i < 200; i++)
        snprintf(value + 2 * i, sizeof value - 2 * i, "é");
    snprintf(filler, sizeof filler, "\"%s\"", value);
    text = with_key("name", filler);
    mst_job_free(parse_right(text, NULL));
    free(text);
    snprintf(filler, sizeof filler, "\"%sé\"", value);
    text = with_key("name", filler);
    check_refused(text, NULL, "a/job.json: name has 201 characters, the limit is 200");
    free(text);
}

static uint64_t hash_of(const char *text, const char *const *sets, const char *model)
{
    struct mst_error err = {""};
    uint64_t hash = 0;
    struct mst_job *job = parse_right(text, sets);
    if (mst_job_hash(job, model, strlen(model), &hash, &err) != MST_OK)
        fail_msg("%s", err.text);
    mst_job_free(job);
    return hash;
}

// The same job in other words, other folders and with other defaults written out is the same job.
static void test_hash(void **state)
{
    (void)state;
    const char *const model = "{\"a\": 1, \"b\": [2.5]}";
    uint64_t hash = hash_of(minimal, NULL, model);
    assert_true(hash == hash_of(minimal, NULL, " {\"b\":[2.5],\n\"a\":1}"));
    static const char *const same[][2] = {
        {"batch_size=32.0"}, {"data.train.features=/elsewhere/x"}, {"output.dir=o"},
        {"model=/m.json"},   {"checkpoint.every_steps=7"},         {"data.eval=null"}};
    static const char *const other[][2] = {
        {"batch_size=33"},         {"seed=1"},  {"name=other"}, {"compile.loss=mae"}, {"data.train.shuffle=false"},
        {"cluster.lease_ms=4000"}, {"epochs=2"}};
    for (size_t i = 0; i < COUNT(same); i++)
        assert_true(hash == hash_of(minimal, same[i], model));
    for (size_t i = 0; i < COUNT(other); i++)
        assert_true(hash != hash_of(minimal, other[i], model));
    assert_true(hash != hash_of(minimal, NULL, "{\"a\": 2, \"b\": [2.5]}"));
    struct mst_error err;
    struct mst_job *job = parse_right(minimal, NULL);
    assert_int_equal(mst_job_hash(job, "{", 1, &hash, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "/here/a/model.json:1:1: string or '}' expected near end of file");
    assert_int_equal(hash, 0);
    mst_job_free(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults),      cmocka_unit_test(test_everything_given),
                                       cmocka_unit_test(test_sets),          cmocka_unit_test(test_csv),
                                       cmocka_unit_test(test_words_of_data), cmocka_unit_test(test_several_parts),
                                       cmocka_unit_test(test_wrong_parts),   cmocka_unit_test(test_wrong_csv),
                                       cmocka_unit_test(test_wrong_sets),    cmocka_unit_test(test_epochs_or_steps),
                                       cmocka_unit_test(test_wrong_values),  cmocka_unit_test(test_not_built_yet),
                                       cmocka_unit_test(test_partitioners),  cmocka_unit_test(test_broken_files),
                                       cmocka_unit_test(test_long_texts),    cmocka_unit_test(test_hash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
