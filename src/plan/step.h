/* A step: one pass over the weights for a ragged batch of tokens from many sequences. Flat arrays,
 * no slots, no padding. Built by src/sched (or a command), run by src/engine. */
#ifndef SL_PLAN_STEP_H
#define SL_PLAN_STEP_H

#include <stdint.h>

#include "kernels/page.h"
#include "kernels/top.h"
#include "plan/plan.h"

/* Consecutive tokens of one sequence: a prefill chunk, or a decode (n_rows == 1). */
typedef struct sl_step_run {
    uint32_t row_begin, n_rows; /* rows of the step; runs follow each other without gaps */
    uint32_t pos0;              /* position of the first row in its sequence */
    uint32_t n_logits;          /* the last n_logits rows need logits (0 .. n_rows) */
    /* Tokens of the sequence that are known so far, pos0 + n_rows at least: the whole prompt while
     * it is computed in chunks. Chooses the rope tables (plan->ctx_switch). */
    uint32_t n_known;
    /* Block table of each layer group: the page of position p is table[p / SL_PAGE_TOKENS]. Pages
     * up to the last row's position must be there, from that of position pos0 + 1 - window on where
     * the group has a window (entries before it are not looked at). Borrowed for the step. */
    const int32_t *tables[SL_PLAN_GROUPS_MAX];
    uint32_t owner; /* the caller's own mark (slot number); not looked at */
} sl_step_run;

/* What a logits row is wanted for: all of it, or only its largest numbers. The latter are left here
 * by the step, together with the logarithm of the sum of exponentials if it is wanted. */
typedef struct sl_step_top {
    sl_top top; /* n_wanted 0: the whole row */
    bool wants_log_sum;
    double log_sum;
} sl_step_top;

typedef struct sl_step {
    const int32_t *ids; /* [n_rows] token ids */
    uint32_t n_rows;
    const sl_step_run *runs;
    uint32_t n_runs;
    uint32_t n_logits; /* sum over the runs; logits rows are numbered in the order of the runs */
    /* [n_logits] or NULL: all rows are wanted whole. Whole rows are numbered among themselves. */
    sl_step_top *tops;
} sl_step;

#endif
