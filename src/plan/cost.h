/* What a step costs on one machine, as a formula: figures that were measured once
 * (measure/calibrate.h), asked before a step is planned. Pure.
 *
 *   seconds = T(rows) + (head_s + logits_s * rows of logits, if there are any)
 *           + decode_s * tokens attended by runs of one row + prefill_s * tokens attended by others
 *
 * T is a line through measured points: reading the weights costs the same for few rows as for one,
 * and arithmetic takes over from some number of rows on. Tokens attended are those that a row sees,
 * a mean over the layers, of which some may have a window.
 */
#ifndef SL_PLAN_COST_H
#define SL_PLAN_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "plan/plan.h"
#include "plan/step.h"

#define SL_COST_POINTS_MAX 16

typedef struct sl_cost_point {
    uint32_t n_rows;
    double seconds; /* of a step of n_rows rows that attend to nothing and give no logits */
} sl_cost_point;

typedef struct sl_cost {
    uint32_t n_points;                        /* 0: nothing is known */
    sl_cost_point points[SL_COST_POINTS_MAX]; /* rows rise; seconds never fall */
    double head_s, logits_s, decode_s, prefill_s;
    uint32_t n_threads; /* that it was measured with: the best number of them */
} sl_cost;

/* What of a step its cost depends on. */
typedef struct sl_cost_work {
    uint32_t n_rows, n_logits;
    double decode_tokens, prefill_tokens; /* attended */
} sl_cost_work;

/* Tokens that rows at positions pos0 .. pos0 + n_rows - 1 see, themselves included: the sum over
 * the rows of the mean over the layers. */
double sl_cost_attended(const sl_plan *plan, uint32_t pos0, uint32_t n_rows);
sl_cost_work sl_cost_work_of(const sl_plan *plan, const sl_step *step);

/* 0 if nothing is known. */
double sl_cost_seconds(const sl_cost *c, const sl_cost_work *work);
/* Finite, not negative and in order, as every function here expects. */
bool sl_cost_is_valid(const sl_cost *c);

/* How steps of late compare with the formula: the mean of the logarithm of measured / expected,
 * which forgets older steps. All zero: none yet. */
typedef struct sl_cost_drift {
    double log_ratio;
    uint64_t n_steps;
} sl_cost_drift;

void sl_cost_drift_add(sl_cost_drift *d, double expected_s, double measured_s);
double sl_cost_drift_ratio(const sl_cost_drift *d); /* measured / expected; 1 at first */
/* The figures no longer hold: many steps took 1.5 times as long as expected, or as short. */
bool sl_cost_drift_is_large(const sl_cost_drift *d);

#endif
