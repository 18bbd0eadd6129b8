/* How a roofline is timed. Internal to measure. */
#ifndef SL_MEASURE_ROOFLINE_ROUND_H
#define SL_MEASURE_ROOFLINE_ROUND_H

#include "base/clock.h"
#include "measure/roofline.h"

#define ROOFLINE_STREAM_BYTES ((size_t)128 << 20) /* of the copies together, at least */
#define ROOFLINE_PART_BYTES ((size_t)8 << 20)     /* of the copies of one round, about */

/* Seconds of the fastest round; *round counts them. */
static inline double roofline_best_round(sl_pool *pool, sl_pool_fn fn, void *arg, uint32_t *round) {
    enum { ROUNDS_MIN = 3, ROUNDS_MAX = 2000 };
    const uint64_t enough_ns = 200 * SL_NS_PER_MS;
    uint64_t best = UINT64_MAX, total = 0;
    for (int i = 0; i < ROUNDS_MIN || (i < ROUNDS_MAX && total < enough_ns); i++) {
        uint64_t begin = sl_clock_mono_ns();
        sl_pool_run(pool, fn, arg);
        uint64_t ns = sl_clock_mono_ns() - begin;
        best = ns < best ? ns : best;
        total += ns;
        ++*round;
    }
    return (double)(best > 0 ? best : 1) * 1e-9;
}

/* peak_gops 0: not known. */
static inline sl_roofline_rate roofline_rate_of(double gbytes, double gops, double seconds,
                                                double read_gbps, double peak_gops) {
    const double read_s = gbytes / read_gbps, ops_s = peak_gops > 0.0 ? gops / peak_gops : 0.0;
    const double least_s = read_s >= ops_s ? read_s : ops_s;
    return (sl_roofline_rate){.gbps = gbytes / seconds,
                              .gops = gops / seconds,
                              .is_memory_bound = read_s >= ops_s,
                              .share = peak_gops > 0.0 ? least_s / seconds : 0.0};
}

#endif
