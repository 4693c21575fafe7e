// The cases of tests/golden/config: a text of lines, described at its top.
#pragma once

#include <stddef.h>

enum config_outcome { CONFIG_PRINTS, CONFIG_REFUSES };

// All texts are the case's own; NULL where the case has no such line.
struct config_case {
    char *name;
    char *tf_config;
    char *task_type;
    char *task_index;
    char *task_index_from;
    char *hostname;
    char *env_name;
    char *env_value;
    enum config_outcome outcome;
    char *expected;
};

// Reads a file of cases; prints what is wrong with it and aborts if it is none. Freed with config_cases_free.
struct config_case *config_cases_load(const char *path, size_t *n_out);
void config_cases_free(struct config_case *cases, size_t n);
