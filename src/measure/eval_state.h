/* What an evaluation has found out so far, whole pieces only, in memory and (for resuming) in a
 * file:
 *
 *     0  "SLEVAL01"
 *     8  u64  key: a check over all that the result depends on
 *    16  u64  check over the 16 bytes before
 *    24  pieces in order, each: f64 nll, nll2, base_nll; u64 n_same; with a base f32 kl[n_scored],
 *        delta_p[n_scored]; u64 check over the piece
 *
 * A piece whose check is wrong (the run was killed while it was written) and all that follows are
 * computed again. */
#ifndef SL_MEASURE_EVAL_STATE_H
#define SL_MEASURE_EVAL_STATE_H

#include <stdio.h>

#include "measure/eval.h"

/* Sums over the scored tokens of one piece, added up in the order of the text. */
typedef struct sl_eval_sums {
    double nll, nll2, base_nll;
    uint64_t n_same;
} sl_eval_sums;

typedef struct sl_eval_state {
    uint32_t n_pieces, n_scored; /* n_scored: of one piece */
    uint32_t n_done;
    double nll;          /* sum over the pieces done */
    sl_eval_sums *sums;  /* [n_pieces] */
    float *kl, *delta_p; /* [n_pieces][n_scored]; NULL without a base */
    FILE *file;          /* NULL: not kept */
    const char *path;    /* borrowed */
} sl_eval_state;

SL_NODISCARD sl_status sl_eval_state_init(sl_eval_state *s, uint32_t n_pieces, uint32_t n_scored,
                                          bool has_base, sl_error *err);
/* Opens or makes the file and takes over the pieces it holds. SL_ERR_ARGUMENT if it is that of
 * another run, or no such file at all: it is left as it is. */
SL_NODISCARD sl_status sl_eval_state_resume(sl_eval_state *s, const char *path, uint64_t key,
                                            sl_error *err);
/* Piece n_done is whole: counts it and writes it down. */
SL_NODISCARD sl_status sl_eval_state_keep(sl_eval_state *s, sl_error *err);
void sl_eval_state_deinit(sl_eval_state *s);

/* Figures over the pieces done. Reorders kl and delta_p: for the end. */
void sl_eval_state_result(sl_eval_state *s, sl_eval_result *out);
double sl_eval_state_ppl(const sl_eval_state *s); /* so far; 0 if nothing is done */

#endif
