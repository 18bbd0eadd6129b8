/* Measures what steps of a model cost on this machine (plan/cost.h): the best number of threads,
 * steps of 1, 2, 4, ... rows, rows of logits, and attention over a deep context, alone and in a
 * chunk. Real steps of the engine, a few at a time, so that they fit between other work; a second
 * or two together for a small model, and never more than a fraction of a second at once.
 *
 * It writes to KV pages from the first one on: nobody may hold any while a call runs. Between the
 * calls others may: what they leave in the pages is as good to measure with.
 *
 * Owner: the thread that owns the engine. Everything is allocated by create.
 */
#ifndef SL_MEASURE_CALIBRATE_H
#define SL_MEASURE_CALIBRATE_H

#include "engine/engine.h"
#include "plan/cost.h"

typedef struct sl_calibration sl_calibration;

/* Of a decoder; SL_ERR_UNSUPPORTED for an encoder. All weights are to be ready before the first
 * sl_calibration_next (sl_engine_prepare). all_threads: fewer are not tried. */
SL_NODISCARD sl_status sl_calibration_create(sl_engine *e, bool all_threads, sl_calibration **out,
                                             sl_error *err);
void sl_calibration_free(sl_calibration *c); /* NULL is fine */

/* Some more steps. SL_AGAIN: there is more to do. SL_OK: done, the cost is known and the engine's
 * pool has the best number of threads as its limit. Errors are those of a step. */
SL_NODISCARD sl_status sl_calibration_next(sl_calibration *c, sl_error *err);
const sl_cost *sl_calibration_cost(const sl_calibration *c);
/* A step of decodes and a chunk together, which no figure was taken from: measured / expected
 * time. */
double sl_calibration_check(const sl_calibration *c);
/* Other programs took processors away again and again: its figures are too high, and the number of
 * threads is a guess. */
bool sl_calibration_disturbed(const sl_calibration *c);
/* Begins anew, with all threads. */
void sl_calibration_restart(sl_calibration *c);

#endif
