// Every step of a schedule's formula is rounded to float32, in Keras's order: a rate that differs in its last bit moves
// every weight. Powers, logarithms and cosines are computed in double and rounded once, which is what a good float
// function gives.
#include "schedule.h"

#include <math.h>
#include <stdlib.h>

static float power(float base, float exponent)
{
    return (float)pow((double)base, (double)exponent);
}

static float logarithm(float x)
{
    return (float)log((double)x);
}

// (1 + cos(pi x)) as Keras rounds it.
static float raised_cosine(float fraction)
{
    return 1.0f + (float)cos((double)(3.14159265358979323846f * fraction));
}

static float exponential(const struct mst_schedule *s, float step)
{
    float p = step / (float)s->decay_steps;
    if (s->staircase)
        p = floorf(p);
    return (float)s->initial * power((float)s->decay_rate, p);
}

static float inverse_time(const struct mst_schedule *s, float step)
{
    float p = step / (float)s->decay_steps;
    if (s->staircase)
        p = floorf(p);
    return (float)s->initial / (1.0f + (float)s->decay_rate * p);
}

static float polynomial(const struct mst_schedule *s, float step)
{
    float steps = (float)s->decay_steps;
    if (s->cycle)
        steps = steps * (step == 0 ? 1.0f : ceilf(step / steps));
    else
        step = fminf(step, steps);
    float p = step / steps;
    return ((float)s->initial - (float)s->end) * power(1.0f - p, (float)s->power) + (float)s->end;
}

static float cosine(const struct mst_schedule *s, float step)
{
    float steps = (float)s->decay_steps;
    float from = (float)s->initial;
    if (!isnan(s->warmup_target)) {
        float warmup = (float)s->warmup_steps;
        float target = (float)s->warmup_target;
        step = fminf(step, steps + warmup);
        if (step < warmup)
            return (target - from) * (step / warmup) + from;
        step = step - warmup;
        from = target;
    } else {
        step = fminf(step, steps);
    }
    float decayed = 0.5f * raised_cosine(step / steps);
    // 1 - alpha is a difference of Python floats here; in cosine_restarts it is one of float32
    return from * ((float)(1.0 - s->alpha) * decayed + (float)s->alpha);
}

static float cosine_restarts(const struct mst_schedule *s, float step)
{
    float t_mul = (float)s->t_mul;
    float alpha = (float)s->alpha;
    float fraction = step / (float)s->decay_steps;
    float restart;
    if (t_mul == 1.0f) {
        restart = floorf(fraction);
        fraction = fraction - restart;
    } else {
        restart = floorf(logarithm(1.0f - fraction * (1.0f - t_mul)) / logarithm(t_mul));
        float stretch = power(t_mul, restart);
        float before = (1.0f - stretch) / (1.0f - t_mul);
        fraction = (fraction - before) / stretch;
    }
    float decayed = 0.5f * power((float)s->m_mul, restart) * raised_cosine(fraction);
    return (float)s->initial * ((1.0f - alpha) * decayed + alpha);
}

static float piecewise(const struct mst_schedule *s, uint64_t iteration)
{
    size_t i = 0;
    while (i < s->n_boundaries && (double)iteration > trunc(s->boundaries[i])) // Keras casts them to integers
        i++;
    return (float)s->values[i];
}

float mst_schedule_rate(const struct mst_schedule *schedule, uint64_t iteration)
{
    float step = (float)iteration;
    switch (schedule->kind) {
    case MST_SCHEDULE_EXPONENTIAL:
        return exponential(schedule, step);
    case MST_SCHEDULE_INVERSE_TIME:
        return inverse_time(schedule, step);
    case MST_SCHEDULE_POLYNOMIAL:
        return polynomial(schedule, step);
    case MST_SCHEDULE_COSINE:
        return cosine(schedule, step);
    case MST_SCHEDULE_COSINE_RESTARTS:
        return cosine_restarts(schedule, step);
    default:
        return piecewise(schedule, iteration);
    }
}

void mst_schedule_free(struct mst_schedule *schedule)
{
    if (!schedule)
        return;
    free(schedule->boundaries);
    free(schedule->values);
    free(schedule);
}
