/* States of sl_wake: EMPTY, SIGNALLED, and SLEEPING (the waiter is in the kernel or on its way
 * there). All changes are sequentially consistent exchanges: with a mere load a signaller could
 * find the old SIGNALLED, skip its signal, and have its push seen only after the waiter looked.
 * Owner: see wake.h. */
#include "base/wake.h"

#include "base/clock.h"
#include "base/gate.h"

enum { WAKE_EMPTY = 0, WAKE_SIGNALLED = 1, WAKE_SLEEPING = 2 };

void sl_wake_init(sl_wake *w) {
    atomic_init(&w->state, WAKE_EMPTY);
}

void sl_wake_signal(sl_wake *w) {
    if (atomic_exchange(&w->state, WAKE_SIGNALLED) == WAKE_SLEEPING) {
        sl_futex_wake(&w->state, 1);
    }
}

bool sl_wake_wait(sl_wake *w, uint64_t timeout_ns) {
    if (atomic_exchange(&w->state, WAKE_EMPTY) == WAKE_SIGNALLED) {
        return true;
    }
    if (timeout_ns == 0) {
        return false;
    }
    uint64_t begin = timeout_ns == SL_WAKE_FOREVER ? 0 : sl_clock_mono_ns();
    uint64_t left = timeout_ns;
    unsigned empty = WAKE_EMPTY;
    if (atomic_compare_exchange_strong(&w->state, &empty, WAKE_SLEEPING)) {
        while (atomic_load(&w->state) == WAKE_SLEEPING) {
            sl_futex_wait(&w->state, WAKE_SLEEPING, left);
            if (timeout_ns != SL_WAKE_FOREVER) {
                uint64_t passed = sl_clock_mono_ns() - begin;
                if (passed >= timeout_ns) {
                    break;
                }
                left = timeout_ns - passed;
            }
        }
    }
    return atomic_exchange(&w->state, WAKE_EMPTY) == WAKE_SIGNALLED;
}
