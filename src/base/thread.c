/* Starting threads; see thread.h. */
#include "base/thread.h"

#include <signal.h>
#include <stddef.h>

int sl_thread_start(pthread_t *out, void *(*body)(void *arg), void *arg) {
    static const int unblocked[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF};
    sigset_t blocked, before;
    (void)sigfillset(&blocked);
    for (size_t i = 0; i < sizeof(unblocked) / sizeof(unblocked[0]); i++) {
        (void)sigdelset(&blocked, unblocked[i]);
    }
    (void)pthread_sigmask(SIG_SETMASK, &blocked, &before); /* the new thread inherits it */
    const int code = pthread_create(out, NULL, body, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}
