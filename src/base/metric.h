/* Counters and histograms that any thread may update: plain structs of relaxed atomics,
 * owned by whoever declares them. A reader may see some updates of a moment and not others, never a
 * torn number. Rendering as text is the server's. */
#ifndef SL_BASE_METRIC_H
#define SL_BASE_METRIC_H

#include <stdatomic.h>
#include <stdint.h>

#define SL_HISTOGRAM_BOUNDS_MAX 24

typedef struct sl_counter {
    atomic_uint_fast64_t n;
} sl_counter;

/* Values in a unit that the owner names (ns, tokens). Bucket i counts values <= bounds[i] that no
 * earlier bucket counts; the last one, n_bounds, all others. */
typedef struct sl_histogram {
    const uint64_t *bounds; /* rising; static */
    uint32_t n_bounds;      /* at most SL_HISTOGRAM_BOUNDS_MAX */
    atomic_uint_fast64_t buckets[SL_HISTOGRAM_BOUNDS_MAX + 1];
    atomic_uint_fast64_t sum;
} sl_histogram;

static inline void sl_counter_add(sl_counter *c, uint64_t n) {
    atomic_fetch_add_explicit(&c->n, n, memory_order_relaxed);
}
static inline uint64_t sl_counter_get(const sl_counter *c) {
    return atomic_load_explicit(&c->n, memory_order_relaxed);
}

/* Zeroes it; surplus bounds are ignored. */
static inline void sl_histogram_init(sl_histogram *h, const uint64_t *bounds, uint32_t n_bounds) {
    h->bounds = bounds;
    h->n_bounds = n_bounds < SL_HISTOGRAM_BOUNDS_MAX ? n_bounds : SL_HISTOGRAM_BOUNDS_MAX;
    for (uint32_t i = 0; i <= SL_HISTOGRAM_BOUNDS_MAX; i++) {
        atomic_init(&h->buckets[i], 0);
    }
    atomic_init(&h->sum, 0);
}
static inline void sl_histogram_observe(sl_histogram *h, uint64_t value) {
    uint32_t i = 0;
    while (i < h->n_bounds && value > h->bounds[i]) {
        i++;
    }
    atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
}
/* Values in buckets 0 to i together, as Prometheus counts them; i = n_bounds: all. */
static inline uint64_t sl_histogram_cumulative(const sl_histogram *h, uint32_t i) {
    uint64_t n = 0;
    for (uint32_t k = 0; k <= i && k <= h->n_bounds; k++) {
        n += atomic_load_explicit(&h->buckets[k], memory_order_relaxed);
    }
    return n;
}
static inline uint64_t sl_histogram_sum(const sl_histogram *h) {
    return atomic_load_explicit(&h->sum, memory_order_relaxed);
}

#endif
