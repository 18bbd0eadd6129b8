/* What steps of the loaded model cost on this machine: found in the folder of packed weights, or
 * measured while the server has nothing to do, and kept there. */
#ifndef SL_CMD_CALIBRATED_H
#define SL_CMD_CALIBRATED_H

#include "load.h"
#include "measure/calibrate.h"
#include "measure/calibration_file.h"
#include "runner/runner.h"

typedef struct sl_calibrated {
    sl_cost cost;    /* n_points 0: unknown */
    const char *dir; /* NULL: nothing is kept */
    char key[SL_CALIBRATION_KEY_BYTES];
    sl_pool *pool;
    bool all_threads; /* their number, or a place for each, was asked for */
    sl_calibration *measuring;
    bool busy, failed;   /* in the middle of measuring; for good */
    bool disturbed;      /* the last time, by other programs */
    uint64_t t_taken_ns; /* when it was last measured; 0: by an earlier process */
} sl_calibrated;

/* Looks for what is kept. If it is there, the engine uses as many threads as were found best,
 * unless --threads asks for a number, or --pin for a place of each. */
void sl_calibrated_find(sl_calibrated *c, const sl_loaded *l, const sl_load_flags *flags);
/* Makes ready to measure it. */
SL_NODISCARD sl_status sl_calibrated_begin(sl_calibrated *c, const sl_loaded *l, sl_error *err);
/* To be the `idle` of a runner, with the sl_calibrated as its user: measures if nothing is known,
 * or if what is known no longer holds. */
bool sl_calibrated_idle(void *user, sl_runner *r);
void sl_calibrated_end(sl_calibrated *c);

/* Measures now. *check_out: sl_calibration_check. */
SL_NODISCARD sl_status sl_calibrated_measure(sl_calibrated *c, sl_loaded *l,
                                             const sl_load_flags *flags, double *check_out,
                                             sl_error *err);
/* Keeps it for the next start, unless other programs disturbed. */
SL_NODISCARD sl_status sl_calibrated_keep(const sl_calibrated *c, sl_error *err);

/* sluice bench --calibrate: measures now, prints a table or one JSON object, and keeps it. */
SL_NODISCARD sl_status sl_bench_calibrate(sl_loaded *l, const sl_load_flags *flags, bool json,
                                          sl_error *err);

#endif
