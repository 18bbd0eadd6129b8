#include "plan/cost.h"

#include <math.h>

#define DRIFT_STEPS 64        /* that count most in the mean */
#define DRIFT_STEPS_LEAST 256 /* before it is called large */
#define DRIFT_LARGE 1.5       /* measured / expected, or the other way round */
#define DRIFT_OUTLIER 8.0     /* one step that was held up says no more than this */
#define SECONDS_MAX 1e6       /* of any figure: anything above is not a measurement */

/* Sum of min(pos + 1, window) over the positions; window 0: none. */
static double attended_in_group(uint64_t pos0, uint64_t n_rows, uint64_t window) {
    uint64_t first = pos0 + 1, end = pos0 + n_rows; /* what the first and the last row see */
    if (window == 0 || end <= window) {
        return 0.5 * (double)(first + end) * (double)n_rows;
    }
    if (first >= window) {
        return (double)window * (double)n_rows;
    }
    const uint64_t n_growing = window - first; /* rows that see less than the window */
    return 0.5 * (double)(first + window - 1) * (double)n_growing +
           (double)window * (double)(n_rows - n_growing);
}

double sl_cost_attended(const sl_plan *plan, uint32_t pos0, uint32_t n_rows) {
    double sum = 0.0;
    uint32_t n_layers = 0;
    for (uint32_t g = 0; g < plan->n_groups; g++) {
        const sl_plan_group *group = &plan->groups[g];
        sum += group->n_layers * attended_in_group(pos0, n_rows, group->window);
        n_layers += group->n_layers;
    }
    return n_layers > 0 ? sum / n_layers : 0.0;
}

sl_cost_work sl_cost_work_of(const sl_plan *plan, const sl_step *step) {
    sl_cost_work w = {.n_rows = step->n_rows, .n_logits = step->n_logits};
    for (uint32_t i = 0; i < step->n_runs; i++) {
        const sl_step_run *run = &step->runs[i];
        const double n = sl_cost_attended(plan, run->pos0, run->n_rows);
        *(run->n_rows == 1 ? &w.decode_tokens : &w.prefill_tokens) += n;
    }
    return w;
}

static double cost_of_rows(const sl_cost *c, uint32_t n_rows) {
    const sl_cost_point *p = c->points;
    uint32_t i = 1; /* the point that ends the piece of line */
    if (c->n_points == 1 || n_rows <= p[0].n_rows) {
        return p[0].seconds;
    }
    while (i + 1 < c->n_points && p[i].n_rows < n_rows) {
        i++;
    }
    const double slope = (p[i].seconds - p[i - 1].seconds) / (p[i].n_rows - p[i - 1].n_rows);
    return p[i - 1].seconds + slope * (n_rows - p[i - 1].n_rows);
}

double sl_cost_seconds(const sl_cost *c, const sl_cost_work *work) {
    if (c->n_points == 0 || work->n_rows == 0) {
        return 0.0;
    }
    return cost_of_rows(c, work->n_rows) + (work->n_logits > 0 ? c->head_s : 0.0) +
           c->logits_s * work->n_logits + c->decode_s * work->decode_tokens +
           c->prefill_s * work->prefill_tokens;
}

static bool is_seconds(double s) {
    return s >= 0.0 && s <= SECONDS_MAX; /* false for what is not a number */
}

bool sl_cost_is_valid(const sl_cost *c) {
    bool ok = c->n_points <= SL_COST_POINTS_MAX && is_seconds(c->head_s) &&
              is_seconds(c->logits_s) && is_seconds(c->decode_s) && is_seconds(c->prefill_s) &&
              (c->n_points == 0 || (c->points[0].n_rows > 0 && c->n_threads > 0));
    for (uint32_t i = 0; ok && i < c->n_points; i++) {
        ok = is_seconds(c->points[i].seconds) &&
             (i == 0 || (c->points[i].n_rows > c->points[i - 1].n_rows &&
                         c->points[i].seconds >= c->points[i - 1].seconds));
    }
    return ok;
}

void sl_cost_drift_add(sl_cost_drift *d, double expected_s, double measured_s) {
    if (!(expected_s > 0.0) || !(measured_s > 0.0)) {
        return;
    }
    const double ratio = fmin(fmax(measured_s / expected_s, 1.0 / DRIFT_OUTLIER), DRIFT_OUTLIER);
    d->n_steps++;
    const double n = d->n_steps < DRIFT_STEPS ? (double)d->n_steps : DRIFT_STEPS;
    d->log_ratio += (log(ratio) - d->log_ratio) / n;
}

double sl_cost_drift_ratio(const sl_cost_drift *d) {
    return exp(d->log_ratio);
}

bool sl_cost_drift_is_large(const sl_cost_drift *d) {
    return d->n_steps >= DRIFT_STEPS_LEAST && fabs(d->log_ratio) > log(DRIFT_LARGE);
}
