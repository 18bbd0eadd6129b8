/* A gate: a 32-bit word that threads wait on until it changes. Internal to base: the pool and
 * sl_wake stand on it. Waits spin first (the caller says how long), then sleep on a futex.
 *
 * No wake-up is lost: a waiter announces itself in `sleepers` before the kernel compares `word`
 * again, and an opener changes `word` before it reads `sleepers`; both in the one total order of
 * sequentially consistent operations. So either the opener sees the sleeper, or the kernel sees the
 * new word and does not sleep.
 */
#ifndef SL_BASE_GATE_H
#define SL_BASE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SL_CACHE_LINE 64

/* On a line of its own: the opener owns the line when it looks for sleepers, which then costs
 * nothing. */
typedef struct sl_gate {
    _Alignas(SL_CACHE_LINE) atomic_uint word;
    atomic_uint sleepers;
    atomic_uint_fast64_t woken_ns; /* monotonic time at which it was last opened for a sleeper */
} sl_gate;

/* Tells the processor that this is a spin loop. */
static inline void sl_cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* Sleeps while *word == expected, at most timeout_ns (UINT64_MAX: for ever). May return early. */
void sl_futex_wait(atomic_uint *word, uint32_t expected, uint64_t timeout_ns);
void sl_futex_wake(atomic_uint *word, int n_threads);

static inline uint32_t sl_gate_value(const sl_gate *g) {
    return atomic_load_explicit(&g->word, memory_order_relaxed);
}

void sl_gate_wake(sl_gate *g); /* the second half of sl_gate_open, when somebody sleeps */

/* Gives the word a new value. All that was written before is visible to those who pass. One opener
 * at a time. */
static inline void sl_gate_open(sl_gate *g, uint32_t value) {
    atomic_store_explicit(&g->word, value, memory_order_seq_cst);
    if (__builtin_expect(atomic_load_explicit(&g->sleepers, memory_order_seq_cst) != 0, 0)) {
        sl_gate_wake(g);
    }
}

/* True as soon as the word differs from `old`; false after n_spins looks. */
static inline bool sl_gate_spin(const sl_gate *g, uint32_t old, uint32_t n_spins) {
    for (uint32_t i = 0;; i++) {
        if (atomic_load_explicit(&g->word, memory_order_acquire) != old) {
            return true;
        }
        if (i >= n_spins) {
            return false;
        }
        sl_cpu_relax();
    }
}

/* Returns when the word differs from `old`; sleeps at once. The result is how long the gate stayed
 * closed, in ns: the time that waking up took is not in it. */
uint64_t sl_gate_sleep(sl_gate *g, uint32_t old);

#endif
