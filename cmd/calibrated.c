#include "calibrated.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cmd.h"

/* Before it is measured once more, whatever steps take; or because it was disturbed. */
#define AGAIN_NS (600 * SL_NS_PER_S)
#define AGAIN_DISTURBED_NS (60 * SL_NS_PER_S)

/* Nothing is known yet. */
static sl_calibrated calibrated_of(const sl_loaded *l, const sl_load_flags *flags) {
    sl_calibrated c = {.dir = sl_load_options(flags).cache.dir,
                       .pool = sl_engine_pool(l->engine),
                       .all_threads = flags->threads > 0 || flags->pin};
    sl_calibration_key(l->engine, c.key);
    return c;
}

void sl_calibrated_find(sl_calibrated *c, const sl_loaded *l, const sl_load_flags *flags) {
    *c = calibrated_of(l, flags);
    const bool found = c->dir != NULL && sl_calibration_load(c->dir, c->key, &c->cost);
    if (found && !c->all_threads) {
        sl_pool_limit(c->pool, c->cost.n_threads);
    }
}

sl_status sl_calibrated_begin(sl_calibrated *c, const sl_loaded *l, sl_error *err) {
    return sl_calibration_create(l->engine, c->all_threads, &c->measuring, err);
}

void sl_calibrated_end(sl_calibrated *c) {
    sl_calibration_free(c->measuring);
    c->measuring = NULL;
}

/* Takes what was measured. If that was disturbed it will do for a while, with all threads. */
static void take(sl_calibrated *c) {
    c->cost = *sl_calibration_cost(c->measuring);
    c->t_taken_ns = sl_clock_mono_ns();
    c->disturbed = sl_calibration_disturbed(c->measuring);
    if (c->disturbed) {
        c->cost.n_threads = sl_pool_n_threads(c->pool);
        sl_pool_limit(c->pool, c->cost.n_threads);
    }
}

sl_status sl_calibrated_keep(const sl_calibrated *c, sl_error *err) {
    return c->dir == NULL || c->disturbed ? SL_OK
                                          : sl_calibration_store(c->dir, c->key, &c->cost, err);
}

static void log_taken(const sl_calibrated *c) {
    const sl_cost_point *last = &c->cost.points[c->cost.n_points - 1];
    sl_log(SL_LOG_INFO, "serve",
           "steps measured with %" PRIu32 " threads: 1 row in %.2f ms, %" PRIu32 " in %.1f ms%s",
           c->cost.n_threads, 1e3 * c->cost.points[0].seconds, last->n_rows, 1e3 * last->seconds,
           c->disturbed ? "; other programs took the processors meanwhile: it is not kept" : "");
}

static bool is_to_be_measured(const sl_calibrated *c, const sl_runner *r) {
    if (c->failed || c->busy || c->cost.n_points == 0) {
        return !c->failed;
    }
    const uint64_t ns = c->disturbed ? AGAIN_DISTURBED_NS : AGAIN_NS;
    return (c->disturbed || sl_runner_cost_drifted(r)) &&
           (c->t_taken_ns == 0 || sl_clock_mono_ns() - c->t_taken_ns > ns);
}

bool sl_calibrated_idle(void *user, sl_runner *r) {
    sl_calibrated *c = user;
    sl_error err;
    if (!is_to_be_measured(c, r)) {
        return false;
    }
    if (!c->busy) {
        sl_calibration_restart(c->measuring);
        c->busy = true;
    }
    sl_runner_forget_prefixes(r);
    sl_status status = sl_calibration_next(c->measuring, &err);
    if (status == SL_AGAIN) {
        return true;
    }
    c->busy = false;
    if (status == SL_OK) {
        take(c);
        sl_runner_set_cost(r, &c->cost);
        log_taken(c);
        status = sl_calibrated_keep(c, &err);
    } else {
        c->failed = true; /* a step says why to those who wait for one */
    }
    if (status != SL_OK) {
        sl_log(SL_LOG_WARN, "serve", "what steps cost is not kept: %s", err.message);
    }
    return false;
}

/* --- bench ------------------------------------------------------------------------------------ */

static void print_json(const sl_calibrated *calibrated, double check) {
    const sl_cost *c = &calibrated->cost;
    (void)printf("{\"threads\": %" PRIu32 ", \"rows\": [", c->n_threads);
    for (uint32_t i = 0; i < c->n_points; i++) {
        (void)printf("%s{\"rows\": %" PRIu32 ", \"seconds\": %.6g}", i == 0 ? "" : ", ",
                     c->points[i].n_rows, c->points[i].seconds);
    }
    (void)printf("], \"head_s\": %.4g, \"logits_s\": %.4g, \"decode_s\": %.4g"
                 ", \"prefill_s\": %.4g, \"check\": %.3f, \"disturbed\": %s}\n",
                 c->head_s, c->logits_s, c->decode_s, c->prefill_s, check,
                 calibrated->disturbed ? "true" : "false");
}

static void print_table(const sl_calibrated *calibrated, double check) {
    const sl_cost *c = &calibrated->cost;
    (void)printf("%6s %10s %10s\n", "rows", "ms", "rows/s");
    for (uint32_t i = 0; i < c->n_points; i++) {
        const sl_cost_point *p = &c->points[i];
        (void)printf("%6" PRIu32 " %10.3f %10.0f\n", p->n_rows, 1e3 * p->seconds,
                     p->n_rows / p->seconds);
    }
    (void)printf("\nbest number of threads: %" PRIu32 "\n"
                 "logits: %.1f us, and %.1f us for each row\n"
                 "1,000 tokens attended by a decode: %.1f us, by a row of a chunk: %.1f us\n"
                 "decodes and a chunk together: %.2f of the expected time\n",
                 c->n_threads, 1e6 * c->head_s, 1e6 * c->logits_s, 1e9 * c->decode_s,
                 1e9 * c->prefill_s, check);
    if (calibrated->disturbed) {
        (void)printf("Other programs took the processors meanwhile: these figures are too high, "
                     "and are not kept.\n");
    }
}

sl_status sl_calibrated_measure(sl_calibrated *c, sl_loaded *l, const sl_load_flags *flags,
                                double *check_out, sl_error *err) {
    sl_status status = SL_AGAIN;
    SL_TRY(sl_load_prepare(l, flags->quiet, err));
    *c = calibrated_of(l, flags);
    SL_TRY(sl_calibrated_begin(c, l, err));
    while (status == SL_AGAIN) {
        status = sl_calibration_next(c->measuring, err);
    }
    if (status == SL_OK) {
        take(c);
        *check_out = sl_calibration_check(c->measuring);
    }
    sl_calibrated_end(c);
    return status;
}

sl_status sl_bench_calibrate(sl_loaded *l, const sl_load_flags *flags, bool json, sl_error *err) {
    sl_engine_options options = sl_load_options(flags);
    sl_calibrated c;
    double check;
    SL_TRY(sl_load_engine(l, &options, err));
    SL_TRY(sl_calibrated_measure(&c, l, flags, &check, err));
    (json ? print_json : print_table)(&c, check);
    SL_TRY(sl_stdout_flush(err));
    return sl_calibrated_keep(&c, err);
}
