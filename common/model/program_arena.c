// Placing buffers in one arena. Each has a time of birth and of death on the line of a step: forward of operation i at
// i, the loss at n, backward of operation i at 2n - i. Two buffers may share memory if their times do not meet. In
// order of birth each takes the first gap among those that live, so that a plan costs no search over all pairs.
#include "base/alloc.h"
#include "base/error.h"
#include "program_private.h"

#include <stdlib.h>
#include <string.h>

struct buffer {
    float **where; // the pointer to fill
    uint64_t bytes;
    size_t born;
    size_t dead; // last time of use
    uint64_t offset;
};

struct buffers {
    struct buffer *list;
    size_t n;
    size_t room;
};

static size_t backward_time(const struct mst_program *program, const struct op *op)
{
    return 2 * program->n_ops - op->index;
}

static void add(struct buffers *buffers, float **where, uint64_t n_floats, size_t born, size_t dead)
{
    const uint64_t align = MST_ALIGNMENT;
    uint64_t bytes = (n_floats * sizeof(float) + align - 1) / align * align;
    if (n_floats == 0)
        return;
    if (buffers->n == buffers->room) {
        buffers->room = buffers->room > 0 ? 2 * buffers->room : 64;
        buffers->list = mst_realloc_array(buffers->list, buffers->room, sizeof *buffers->list);
    }
    buffers->list[buffers->n++] = (struct buffer){.where = where, .bytes = bytes, .born = born, .dead = dead};
}

// The operation whose buffer holds a value: views hand on their input's.
static struct op *holder(const struct mst_program *program, size_t value)
{
    struct op *op = &program->ops[value];
    while (op->class->forward == NULL && op->layer != NULL)
        op = &program->ops[op->inputs[0].value];
    return op;
}

static void live_until(size_t *dead, size_t time)
{
    if (time > *dead)
        *dead = time;
}

// When each value is last read, by the operation that holds it.
static size_t *find_deaths(const struct mst_program *program)
{
    size_t *dead = mst_alloc_array(program->n_ops, sizeof *dead);
    // A result may be asked for until the next run, but not of training.
    const size_t end = program->options.mode == MST_PROGRAM_TRAIN ? program->n_ops : 2 * program->n_ops + 1;
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct op *op = &program->ops[i];
        live_until(&dead[holder(program, i)->index], i);
        for (size_t k = 0; k < op->n_inputs && op->runs; k++) {
            size_t *of = &dead[holder(program, op->inputs[k].value)->index];
            live_until(of, i);
            if (op->gets_gradient && op->keeps_in)
                live_until(of, backward_time(program, op));
        }
        if (op->has_activity)
            live_until(&dead[holder(program, i)->index], program->n_ops);
        if (op->gets_gradient && op->keeps_out)
            live_until(&dead[holder(program, i)->index], backward_time(program, op));
    }
    for (size_t i = 0; i < program->model->n_outputs; i++) {
        const struct program_output *output = &program->outputs[i];
        live_until(&dead[holder(program, output->result_value)->index], end);
        live_until(&dead[holder(program, output->loss_value)->index], program->n_ops);
        if (output->logits_value != SIZE_MAX)
            live_until(&dead[holder(program, output->logits_value)->index], program->n_ops);
    }
    return dead;
}

static void add_values(struct mst_program *program, struct buffers *buffers)
{
    size_t *dead = find_deaths(program);
    uint64_t batch = program->options.max_batch;
    for (size_t i = 0; i < program->n_ops; i++) {
        struct op *op = &program->ops[i];
        size_t until = op->gets_gradient ? backward_time(program, op) : i;
        bool has_value = op->layer == NULL ? program->inputs[i].casts : op->class->forward != NULL;
        if (!op->runs)
            continue;
        if (has_value)
            add(buffers, &op->out, batch * op->node->n_out, i, dead[i]);
        if (op->gets_gradient && op->keeps_before)
            add(buffers, &op->before, batch * op->node->n_out, i, until);
        add(buffers, &op->kept, op->kept_floats, i, until > program->n_ops ? until : 2 * program->n_ops);
    }
    free(dead);
}

// An operation that works in place, and a view, turn the gradient of their value into that of their input where it
// lies, if nobody else writes there.
static bool shares_gradient(const struct mst_program *program, const struct op *op)
{
    return (op->class->in_place || op->class->backward == NULL) && op->n_inputs == 1 && op->inputs[0].wants_gradient &&
           program->ops[op->inputs[0].value].n_readers == 1;
}

// The operation whose gradient lies where that of `op` does, and is complete last.
static struct op *gradient_owner(const struct mst_program *program, struct op *op)
{
    while (shares_gradient(program, op))
        op = &program->ops[op->inputs[0].value];
    return op;
}

static void add_gradients(struct mst_program *program, struct buffers *buffers)
{
    uint64_t batch = program->options.max_batch;
    size_t *born = mst_alloc_array(program->n_ops, sizeof *born);
    for (size_t i = program->n_ops; i-- > 0;) {
        struct op *op = &program->ops[i];
        if (!op->gets_gradient)
            continue;
        struct op *owner = gradient_owner(program, op);
        if (born[owner->index] == 0 || op->gradient_born < born[owner->index])
            born[owner->index] = op->gradient_born;
        if (owner == op)
            add(buffers, &op->gradient, batch * op->node->n_out, born[i], backward_time(program, op));
        for (size_t k = 0; k < op->n_inputs; k++)
            if (op->inputs[k].wants_gradient && op->inputs[k].adds && op->class->backward != NULL)
                add(buffers, &op->inputs[k].spare, batch * program->ops[op->inputs[k].value].node->n_out,
                    backward_time(program, op), backward_time(program, op));
        for (size_t w = 0; w < MST_LAYER_MAX_WEIGHTS; w++)
            if (op->gradients[w].adds)
                add(buffers, &op->gradients[w].spare, program->model->variables[op->layer->variables[w]].n_elements,
                    backward_time(program, op), backward_time(program, op));
    }
    free(born);
}

static void add_measured(struct mst_program *program, struct buffers *buffers)
{
    if (program->options.mode == MST_PROGRAM_TRAIN && program->compile.n_class_weights > 0)
        add(buffers, &program->class_weights, program->options.max_batch, program->n_ops, program->n_ops);
    for (size_t i = 0; i < program->model->n_outputs; i++) {
        struct program_output *output = &program->outputs[i];
        uint64_t n = (uint64_t)program->options.max_batch * output->n_values;
        if (output->adds)
            add(buffers, &output->spare, n, program->n_ops, program->n_ops);
        if (output->needs.rows)
            add(buffers, &output->label_values, n, program->n_ops, program->n_ops);
        if (output->needs.soft_targets)
            add(buffers, &output->soft_targets, n, program->n_ops, program->n_ops);
    }
}

static int compare_births(const void *a, const void *b)
{
    const struct buffer *x = a;
    const struct buffer *y = b;
    return x->born < y->born ? -1 : x->born > y->born;
}

// The first gap that is wide enough between buffers that live, which stand in the order of their offsets.
static uint64_t place_all(struct buffers *buffers)
{
    if (buffers->n == 0)
        return 0;
    struct buffer **live = mst_alloc_array(buffers->n + 1, sizeof(struct buffer *));
    size_t n_live = 0;
    uint64_t end = 0;
    qsort(buffers->list, buffers->n, sizeof *buffers->list, compare_births);
    for (size_t i = 0; i < buffers->n; i++) {
        struct buffer *buffer = &buffers->list[i];
        size_t kept = 0;
        size_t at = SIZE_MAX;
        uint64_t free_from = 0;
        for (size_t k = 0; k < n_live; k++)
            if (live[k]->dead >= buffer->born)
                live[kept++] = live[k];
        n_live = kept;
        for (size_t k = 0; k < n_live && at == SIZE_MAX; k++) {
            if (live[k]->offset >= free_from + buffer->bytes)
                at = k;
            else if (live[k]->offset + live[k]->bytes > free_from)
                free_from = live[k]->offset + live[k]->bytes;
        }
        at = at == SIZE_MAX ? n_live : at;
        memmove(live + at + 1, live + at, (n_live - at) * sizeof *live);
        live[at] = buffer;
        n_live++;
        buffer->offset = free_from;
        if (free_from + buffer->bytes > end)
            end = free_from + buffer->bytes;
    }
    free((void *)live);
    return end;
}

static mst_status take_memory(struct mst_program *program, uint64_t bytes, struct mst_error *err)
{
    void *memory;
    if (bytes > MST_PROGRAM_MAX_ARENA_BYTES)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED,
                        "a batch of %zu examples needs %llu bytes for this model; the limit is %llu; lower batch_size",
                        program->options.max_batch, (unsigned long long)bytes,
                        (unsigned long long)MST_PROGRAM_MAX_ARENA_BYTES);
    program->arena_bytes = (size_t)bytes;
    if (mst_try_alloc(program->arena_bytes + MST_ALIGNMENT, &memory) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of a batch of %zu examples",
                        program->arena_bytes, program->options.max_batch);
    program->memory = memory;
    return MST_OK;
}

mst_status mst_program_place(struct mst_program *program, struct mst_error *err)
{
    struct buffers buffers = {0};
    add_values(program, &buffers);
    add_gradients(program, &buffers);
    add_measured(program, &buffers);
    mst_status status = take_memory(program, place_all(&buffers), err);
    for (size_t i = 0; i < buffers.n && status == MST_OK; i++)
        *buffers.list[i].where = (float *)(void *)((char *)program->memory + buffers.list[i].offset);
    free(buffers.list);
    MST_TRY(status);
    for (size_t i = 0; i < program->n_ops; i++)
        if (program->ops[i].gets_gradient)
            program->ops[i].gradient = gradient_owner(program, &program->ops[i])->gradient;
    for (size_t i = 0; i < program->model->n_outputs; i++) {
        struct program_output *output = &program->outputs[i];
        output->gradient = output->adds ? output->spare : program->ops[output->loss_value].gradient;
    }
    return MST_OK;
}
