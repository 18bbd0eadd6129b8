/* Starting a thread that leaves signals to others. */
#ifndef SL_BASE_THREAD_H
#define SL_BASE_THREAD_H

#include <pthread.h>

#include <sluice/status.h>

/* Starts body(arg) with all signals blocked but those that a thread's own instructions raise (were
 * these blocked, the system would end the process instead of calling the handler) and SIGPROF, by
 * which profilers sample. To be joined. Returns 0, or the errno value: the message is the
 * caller's. */
SL_NODISCARD int sl_thread_start(pthread_t *out, void *(*body)(void *arg), void *arg);

#endif
