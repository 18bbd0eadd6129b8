/* The sleeping half of gates: Linux futexes (private to the process). Any thread. See gate.h for
 * why no wake-up is lost. Reference: futex(2). */
#define _GNU_SOURCE
#include "base/gate.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

void sl_futex_wait(atomic_uint *word, uint32_t expected, uint64_t timeout_ns) {
    struct timespec ts = {.tv_sec = (time_t)(timeout_ns / SL_NS_PER_S),
                          .tv_nsec = (long)(timeout_ns % SL_NS_PER_S)};
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected,
                  timeout_ns == UINT64_MAX ? NULL : &ts, NULL, 0);
}

void sl_futex_wake(atomic_uint *word, int n_threads) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n_threads, NULL, NULL, 0);
}

void sl_gate_wake(sl_gate *g) {
    atomic_store_explicit(&g->woken_ns, sl_clock_mono_ns(), memory_order_relaxed);
    sl_futex_wake(&g->word, INT32_MAX);
}

uint64_t sl_gate_sleep(sl_gate *g, uint32_t old) {
    uint64_t begin = sl_clock_mono_ns();
    atomic_fetch_add_explicit(&g->sleepers, 1, memory_order_seq_cst);
    while (atomic_load_explicit(&g->word, memory_order_seq_cst) == old) {
        sl_futex_wait(&g->word, old, UINT64_MAX);
    }
    atomic_fetch_sub_explicit(&g->sleepers, 1, memory_order_seq_cst);
    /* Older than `begin`: the gate was open already, so the opener had nobody to wake. */
    uint64_t woken = atomic_load_explicit(&g->woken_ns, memory_order_relaxed);
    return woken > begin ? woken - begin : 0;
}
