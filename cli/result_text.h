/** @file
 *  What people read when a job is finished: scores, figures, and where everything lies.
 *
 *      mst_result_print(result, "run/result.json", "run/logs", stdout);
 *
 *      finished: 4690 steps, 300000 examples in 4.10 s
 *
 *        test accuracy  0.8812
 *        test loss      0.3402
 *        speed          73132 examples/s, first step after 0.42 s
 *        result         run/result.json
 *        checkpoint     run/ckpt/model-4690
 *        model          run/model
 *        logs           run/logs
 *
 *  Thread: any.
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

/** Prints what result.json says; keys that are not there are left out. path: of result.json. */
void mst_result_print(const json_t *result, const char *path, const char *logs_dir, FILE *out);
