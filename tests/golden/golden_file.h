/** @file
 *  Reads a dump of generate.py: a header of JSON and float tensors by name. For tests: what is missing fails the test.
 *
 *      struct golden *golden = golden_open("dumps/optimizers.golden");
 *      for (size_t i = 0; i < golden_n_cases(golden); i++) {
 *          name = golden_case_name(golden, i);                        // "adam"
 *          w = golden_tensor(golden, &n, "%s.w.%d", name, 0);
 *      }
 *      golden_free(golden);
 *
 *  Thread: any
 */
#pragma once

#include "model/compile.h"
#include "model/model.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct golden;

/** New dump of this name, read from the folder that golden_folder names. */
struct golden *golden_open(const char *name);
/** Releases it. */
void golden_free(struct golden *golden);
/** Where dumps lie: the test's first argument. Owner: keeps a pointer */
void golden_folder(const char *folder);

/** Number of cases. */
size_t golden_n_cases(struct golden *golden);
/** A case's name: the beginning of its tensors' names. Owner: borrowed */
const char *golden_case_name(struct golden *golden, size_t index);
/** A key of a case; fails the test if there is none. Owner: borrowed */
const json_t *golden_case_value(struct golden *golden, size_t index, const char *key);
/** The tensor of this name, whole, and its number of elements; computed if the dump has only its formula.
 *  Owner: borrowed */
const float *golden_tensor(struct golden *golden, size_t *n, const char *format, ...) MST_PRINTF(3, 4);
/** The largest of the tensor's values, without their signs. */
double golden_largest(struct golden *golden, const char *format, ...) MST_PRINTF(2, 3);
/** True if the n values of got are those of the tensor of this name, as far as the dump keeps them, to tolerance
 *  times the largest; else prints the first that is not. */
bool golden_close(struct golden *golden, const float *got, size_t n, double tolerance, const char *format, ...)
    MST_PRINTF(5, 6);

/** The case's "model", read as a job would. Owner: the caller's */
struct mst_model *golden_model(struct golden *golden, size_t index);
/** The case's "compile", with its "class_weight" where it has one. */
struct mst_compile golden_compile(struct golden *golden, size_t index, const struct mst_model *model);
/** New array of n values as int32 (labels are dumped as floats that hold them exactly). Owner: the caller's */
int32_t *golden_to_int32(const float *values, size_t n);
/** New array of n values as uint8, or NULL if one of them is none. Owner: the caller's */
uint8_t *golden_to_uint8(const float *values, size_t n);
