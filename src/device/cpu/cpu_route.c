/* Which experts a row goes to, and the sorting of a step's choices by expert. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu_program.h"

/* Softmax in place. */
static void route_softmax(float *x, uint32_t n) {
    float max = -INFINITY;
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - max);
        sum += (double)x[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] = (float)(x[i] / sum);
    }
}

/* The largest of n that is not taken yet, the first of equals; numbers that are none come last. */
static uint32_t route_best(const float *x, const bool *taken, uint32_t n) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        if (!taken[i] &&
            (best == UINT32_MAX || x[i] > x[best] || (isnan(x[best]) && !isnan(x[i])))) {
            best = i;
        }
    }
    return best;
}

/* Marks the experts of all groups but the best as taken. */
static void route_limit_groups(const sl_plan_route *r, const float *choice, bool *taken) {
    uint32_t n = r->n_expert / r->n_group;
    float worth[SL_PLAN_EXPERTS_MAX];
    bool kept[SL_PLAN_EXPERTS_MAX] = {0};
    for (uint32_t g = 0; g < r->n_group; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (uint32_t i = g * n; i < (g + 1) * n; i++) {
            if (choice[i] > first) {
                second = first;
                first = choice[i];
            } else if (choice[i] > second) {
                second = choice[i];
            }
        }
        worth[g] = r->kind == SL_ROUTE_SIGMOID && n > 1 ? first + second : first;
    }
    for (uint32_t k = 0; k < r->n_group_used; k++) {
        kept[route_best(worth, kept, r->n_group)] = true;
    }
    for (uint32_t g = 0; g < r->n_group; g++) {
        for (uint32_t i = g * n; i < (g + 1) * n; i++) {
            taken[i] = !kept[g];
        }
    }
}

void sl_cpu_route_row(const sl_plan_route *r, const float *scores, const float *bias, float *out) {
    float share[SL_PLAN_EXPERTS_MAX], choice[SL_PLAN_EXPERTS_MAX];
    bool taken[SL_PLAN_EXPERTS_MAX] = {0};
    memcpy(share, scores, r->n_expert * sizeof(*share));
    if (r->kind == SL_ROUTE_SOFTMAX) {
        route_softmax(share, r->n_expert);
    }
    for (uint32_t i = 0; i < r->n_expert; i++) {
        if (r->kind == SL_ROUTE_SIGMOID) {
            share[i] = 1.0f / (1.0f + expf(-share[i]));
        }
        choice[i] = bias != NULL ? share[i] + bias[i] : share[i];
    }
    if (r->n_group > 1) {
        route_limit_groups(r, choice, taken);
    }
    float sum = 0.0f;
    for (uint32_t k = 0; k < r->n_used; k++) {
        uint32_t best = route_best(choice, taken, r->n_expert);
        taken[best] = true;
        out[k] = share[best];
        out[r->n_used + k] = (float)best; /* exact: far below 2^24 */
        sum += share[best];
    }
    bool sums_to_1 = r->kind == SL_ROUTE_SOFTMAX_OF_USED;
    if (sums_to_1) {
        route_softmax(out, r->n_used);
    }
    float factor = r->normalize && !sums_to_1 && sum > 0.0f ? r->scale / sum : r->scale;
    for (uint32_t k = 0; k < r->n_used; k++) {
        out[k] *= factor;
    }
}

/* A counting sort: within an expert, choices stay in the order of the rows. */
void sl_cpu_choices_sort(cpu_choices *c, const cpu_value *route, uint32_t n_rows, uint32_t n_used,
                         uint32_t n_expert) {
    memset(c->begin, 0, (n_expert + 1) * sizeof(*c->begin));
    for (uint32_t r = 0; r < n_rows; r++) {
        const float *experts = route->x + r * route->stride + n_used;
        for (uint32_t k = 0; k < n_used; k++) {
            c->begin[(uint32_t)experts[k] + 1]++;
        }
    }
    c->n_active = 0;
    for (uint32_t e = 0; e < n_expert; e++) {
        if (c->begin[e + 1] > 0) {
            c->active[c->n_active++] = e;
        }
        c->begin[e + 1] += c->begin[e];
    }
    for (uint32_t r = 0; r < n_rows; r++) {
        const float *experts = route->x + r * route->stride + n_used;
        for (uint32_t k = 0; k < n_used; k++) {
            uint32_t e = (uint32_t)experts[k];
            uint32_t place = c->begin[e]++;
            c->row[place] = r;
            c->expert[place] = e;
            c->place[r * n_used + k] = place;
        }
    }
    for (uint32_t e = n_expert; e > 0; e--) { /* each begin has moved to the next one's */
        c->begin[e] = c->begin[e - 1];
    }
    c->begin[0] = 0;
}
