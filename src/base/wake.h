/* An event that one thread sleeps on and any thread signals. It holds at most one signal (it resets
 * when the waiter takes it), so the pattern is:
 *
 *     producer: push to a ring;            consumer: for (;;) { drain the ring; sl_wake_wait(w,
 * timeout); } sl_wake_signal(w);
 *
 * No wake-up is lost: a signal given after the drain began makes the wait return at once. */
#ifndef SL_BASE_WAKE_H
#define SL_BASE_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SL_WAKE_FOREVER UINT64_MAX

typedef struct sl_wake {
    _Alignas(64) atomic_uint state; /* private: see wake.c */
} sl_wake;

void sl_wake_init(sl_wake *w);
/* Any thread; also from a signal handler. A system call only if the waiter sleeps. */
void sl_wake_signal(sl_wake *w);
/* The one waiter. True: there was a signal, now taken; false: timeout_ns passed without one. 0 only
 * looks. */
bool sl_wake_wait(sl_wake *w, uint64_t timeout_ns);

#endif
