/* Time. Monotonic nanoseconds for intervals, Unix seconds for people. Any thread. Code that must be
 * testable with a virtual clock (the scheduler) takes times as arguments and never calls these. */
#ifndef SL_BASE_CLOCK_H
#define SL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define SL_NS_PER_S 1000000000ull
#define SL_NS_PER_MS 1000000ull

/* Never goes back; its zero means nothing. */
static inline uint64_t sl_clock_mono_ns(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Seconds since 1970-01-01 UTC; an administrator may set it back. */
static inline int64_t sl_clock_wall_s(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec;
}

#endif
