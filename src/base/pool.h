/* The compute pool: n threads that run one job together. The caller of sl_pool_run is worker 0, the
 * pool owns the other n-1. Inside a job, phases are separated by sl_pool_barrier and uneven work is
 * handed out by sl_pool_claim. Waits spin for a few tens of microseconds, then sleep on a futex: an
 * idle pool costs no CPU, and a busy neighbour on the same core costs no more than its share.
 */
#ifndef SL_BASE_POOL_H
#define SL_BASE_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/topology.h"

#define SL_POOL_THREADS_MAX 512

typedef struct sl_pool sl_pool;
typedef void (*sl_pool_fn)(void *arg, uint32_t ith, uint32_t nth);

/* n_threads counts the caller. `pin`: worker i is bound to the i-th CPU of sl_cpu_list (one of
 * every core first); the caller from its first job until sl_pool_free. */
SL_NODISCARD sl_status sl_pool_create(uint32_t n_threads, bool pin, sl_pool **out, sl_error *err);
/* On a machine of several nodes workers are divided among them, in order (sl_topology_workers), and
 * each is bound to its node's CPUs; with `pin` to one of them. On one of one node it is the pool
 * above. The topology must outlive the pool. */
SL_NODISCARD sl_status sl_pool_create_on(const sl_topology *topology, uint32_t n_threads, bool pin,
                                         sl_pool **out, sl_error *err);
void sl_pool_free(sl_pool *p); /* joins; only when no job runs; NULL is fine */
uint32_t sl_pool_n_threads(const sl_pool *p);
const sl_nodes *sl_pool_nodes(const sl_pool *p); /* by workers; at least one node */

/* Jobs from now on have the first n workers only, 1 to all of them; the others sleep. Between jobs,
 * by the caller of sl_pool_run. Room for workers is still a matter of sl_pool_n_threads. */
void sl_pool_limit(sl_pool *p, uint32_t n);
uint32_t sl_pool_n_active(const sl_pool *p);

/* Runs fn(arg, i, n) on all workers, or those of the limit, and returns when all are done. One job
 * at a time; always called by the same thread. Allocates nothing. */
void sl_pool_run(sl_pool *p, sl_pool_fn fn, void *arg);

/* All workers of the running job meet here. Also resets the work counter that is used after it: see
 * claim. */
void sl_pool_barrier(sl_pool *p, uint32_t ith);

/* A barrier at which the last worker to arrive calls fn(arg) before any leaves: work too short to
 * share. fn claims nothing; it does the same with any worker's arg. */
void sl_pool_barrier_then(sl_pool *p, uint32_t ith, void (*fn)(void *arg), void *arg);

/* Hands out the numbers 0..n_tasks-1 of the present phase, each once: the next `chunk` of them
 * begin at the returned number; n_tasks or more means no work is left. A phase is what lies between
 * two barriers (or a job's ends); each phase starts again at 0. One claim sequence per phase;
 * n_tasks + n_threads * chunk must stay below 2^32. */
uint32_t sl_pool_claim(sl_pool *p, uint32_t ith, uint32_t chunk);

/* The same for tasks that belong to nodes, in phases without sl_pool_claim. A worker asks for those
 * of its own node until none is left, then for other nodes'; the node to ask i-th, of all that
 * sl_pool_nodes has: */
uint32_t sl_pool_turn(const sl_pool *p, uint32_t ith, uint32_t i);
/* The next one of the node's n_tasks; false when none is left. */
bool sl_pool_take(sl_pool *p, uint32_t ith, uint32_t node, uint32_t n_tasks, uint32_t *task);
/* Tasks that workers took so far of their own node, and of others. While no job runs. */
void sl_pool_taken(const sl_pool *p, uint64_t *own, uint64_t *others);

#endif
