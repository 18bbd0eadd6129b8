/* The compute pool (pool.h). Owner thread: the caller of sl_pool_run, which is worker 0.
 *
 * One gate, `phase`, releases everybody: its word counts phases, a job's start and each barrier in
 * it begin a new one. Arrivals are counted in a tree of counters with four children each, so that
 * on many cores no line is fought over by all; up to four threads the tree is one counter. The last
 * to arrive opens the gate (at a barrier) or tells the caller (at a job's end). Idle workers are
 * simply waiting for the next phase.
 *
 * Waiting. A worker looks at the gate in a pause loop for its spin budget, then sleeps. Sleeping
 * and waking up cost about as much as the full budget, so spinning at worst doubles a wait. The
 * budget adapts: after many waits in a row that even the full one did not cover (uneven work, peers
 * that do not get a processor) it is halved each time, down to an eighth; a wait that it would have
 * covered restores it. Starts of jobs and barriers keep separate budgets, since a pause between
 * steps says nothing about the barriers inside one.
 *
 * Stacking. Beside busy neighbours the system's scheduler likes to put two workers that wait for
 * each other on one processor: each sleeps while the other runs, which looks like little load, so
 * it stays that way, and a barrier then costs ten times as much. A worker whose waits keep failing
 * and whose peer sleeps on the same processor therefore moves to its own one, without staying bound
 * to it. Pinned workers cannot be stacked. On a machine of several nodes all of this happens within
 * a node, whose CPUs its workers are bound to.
 *
 * Limits. A job with fewer workers than there are threads has a tree for these only. Those left out
 * sleep at a gate of their own, `parked`, so that barriers do not wake them; they go there in a job
 * that all still take part in, and come back to the phase that the caller names on opening it. No
 * job that needs a worker can begin and end without it, so it cannot miss one on its way.
 *
 * Reference for the tree: Mellor-Crummey and Scott, "Algorithms for scalable synchronization on
 * shared-memory multiprocessors", ACM TOCS 9(1), 1991.
 */
#define _GNU_SOURCE
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/gate.h"
#include "base/thread.h"

#define POOL_FAN_IN 4
#define POOL_NODES_MAX 172        /* 128 + 32 + 8 + 2 + 1, and one to spare */
#define POOL_SPIN_NS 20000        /* full spin budget */
#define POOL_FAILS_MAX 16         /* failed waits in a row before the budget shrinks */
#define POOL_STACKED_FAILS 8      /* ... and before a worker looks whether it is stacked */
#define POOL_MOVE_NS SL_NS_PER_MS /* least time between two moves of a worker */
#define POOL_PAUSE_NS_MAX 1000    /* a measured pause longer than this is a preemption */
#define POOL_NO_CPU UINT32_MAX

typedef struct pool_node {
    _Alignas(SL_CACHE_LINE) atomic_uint n_arrived;
    uint32_t n_children;
    uint32_t i_parent; /* the root is its own parent */
} pool_node;

/* How long to spin before sleeping; see the head of the file. Private to one worker. */
typedef struct pool_spin {
    uint32_t n_spins; /* present budget, in pauses */
    uint32_t n_fails; /* waits in a row that the full budget did not cover */
} pool_spin;

typedef struct pool_worker {
    _Alignas(SL_CACHE_LINE) sl_pool *pool;
    uint32_t ith;
    uint32_t cpu; /* its own processor, or POOL_NO_CPU if unknown; may be shared */
    uint32_t node;
    pool_spin at_start; /* waiting for a job, or (worker 0) for its end */
    pool_spin at_barrier;
    bool parks;               /* after this job: it is left out of the next ones */
    uint64_t moved_ns;        /* when it was last moved away from a peer */
    uint64_t n_own, n_others; /* tasks taken */
    atomic_uint slept_on;     /* processor on which it last went to sleep; read by peers */
    pthread_t thread;         /* not for worker 0 */
} pool_worker;

typedef struct pool_counter {
    _Alignas(SL_CACHE_LINE) atomic_uint n_claimed;
} pool_counter;

struct sl_pool {
    sl_gate phase;  /* word: number of the present phase */
    sl_gate joined; /* word: changes when a job ends and the caller, who waits here, was not last */
    sl_gate parked; /* word: changes when workers that were left out take part again */
    /* They take part if their number is below n_let_in, from the phase after let_in_at on. Stored
     * in the reverse of the order in which they are read. */
    atomic_uint n_let_in, let_in_at;
    pool_counter claims[2][SL_NODES_MAX]; /* of even and odd phases; without nodes the first */
    pool_node tree[POOL_NODES_MAX];
    /* Written by the caller between jobs, read by workers after the phase that starts the job. */
    _Alignas(SL_CACHE_LINE) sl_pool_fn fn; /* NULL: workers end */
    void *arg;
    bool alloc_locked;             /* the caller may not allocate in this job, so nobody may */
    uint32_t n_threads, n_started; /* n_started: threads to be joined */
    uint32_t n_active;             /* workers of a job, the first ones */
    uint32_t spins_full; /* pauses in POOL_SPIN_NS; 0 when there are more threads than CPUs */
    bool may_move;       /* not pinned, and each worker has a processor of its own */
    const sl_topology *topology; /* NULL, or of several nodes */
    sl_nodes nodes;
    bool pin, is_bound; /* is_bound: the caller */
    pthread_t bound_thread;
    cpu_set_t mask_before; /* of the caller, restored when the pool is freed */
    pool_worker workers[];
};

/* Nanoseconds of one pause, at least 1: 5 to 60, depending on the processor. The least of a few
 * runs, since any of them may be interrupted. */
static uint32_t pool_pause_ns(void) {
    enum { PAUSES = 256, RUNS = 5 };
    uint64_t best = POOL_PAUSE_NS_MAX * PAUSES;
    for (int run = 0; run < RUNS; run++) {
        uint64_t begin = sl_clock_mono_ns();
        for (int i = 0; i < PAUSES; i++) {
            sl_cpu_relax();
        }
        uint64_t ns = sl_clock_mono_ns() - begin;
        best = ns < best ? ns : best;
    }
    return best < PAUSES ? 1 : (uint32_t)(best / PAUSES);
}

/* Binds the calling thread to processors. A wish: without it, it only runs slower. */
static void pool_bind_self(const uint16_t *cpus, uint32_t n) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < n; i++) {
        if (cpus[i] < CPU_SETSIZE) {
            CPU_SET(cpus[i], &set);
        }
    }
    if (CPU_COUNT(&set) > 0) {
        (void)sched_setaffinity(0, sizeof(set), &set);
    }
}

static void pool_bind_to_cpu(const pool_worker *w) {
    if (w->cpu != POOL_NO_CPU) {
        const uint16_t cpu = (uint16_t)w->cpu;
        pool_bind_self(&cpu, 1);
    }
}

static bool pool_binds(const sl_pool *p) {
    return p->pin || (p->topology != NULL && !p->topology->simulated);
}

/* Where it stays. */
static void pool_bind(const pool_worker *w) {
    const sl_topology *t = w->pool->topology;
    if (w->pool->pin) {
        pool_bind_to_cpu(w);
    } else {
        const sl_topology_node *node = &t->nodes[w->node];
        pool_bind_self(t->cpus + node->cpu_begin, node->cpu_end - node->cpu_begin);
    }
}

static bool pool_is_stacked(const sl_pool *p, const pool_worker *w, uint32_t cpu) {
    for (uint32_t i = 0; i < p->n_threads; i++) {
        const pool_worker *peer = &p->workers[i];
        if (peer != w && atomic_load_explicit(&peer->slept_on, memory_order_relaxed) == cpu) {
            return true;
        }
    }
    return false;
}

/* Moves the calling worker to its own processor if it shares one with a sleeping peer. The system
 * may move it on at once: its mask is as before. */
static void pool_unstack(const sl_pool *p, pool_worker *w, uint32_t cpu) {
    uint64_t now = sl_clock_mono_ns();
    if (w->cpu == cpu || now - w->moved_ns < POOL_MOVE_NS || !pool_is_stacked(p, w, cpu)) {
        return;
    }
    w->moved_ns = now;
    cpu_set_t before;
    if (sched_getaffinity(0, sizeof(before), &before) == 0) {
        pool_bind_to_cpu(w);
        (void)sched_setaffinity(0, sizeof(before), &before);
    }
}

/* A wait ended in sleep, after the gate had stayed closed for closed_ns altogether. */
static void pool_spin_learn(pool_spin *s, uint32_t spins_full, uint64_t closed_ns) {
    if (closed_ns <= POOL_SPIN_NS) {
        *s = (pool_spin){.n_spins = spins_full};
    } else if (++s->n_fails >= POOL_FAILS_MAX) {
        uint32_t half = s->n_spins / 2, least = spins_full / 8;
        s->n_spins = half > least ? half : least;
    }
}

/* Returns when the gate's word differs from `old`. */
static void pool_wait(pool_worker *w, sl_gate *g, uint32_t old, pool_spin *s) {
    if (sl_gate_spin(g, old, 0)) {
        return;
    }
    const sl_pool *p = w->pool;
    if (s->n_spins > 0 && sl_gate_spin(g, old, s->n_spins)) {
        *s = (pool_spin){.n_spins = p->spins_full};
        return;
    }
    if (p->may_move) {
        int cpu = sched_getcpu();
        atomic_store_explicit(&w->slept_on, (uint32_t)cpu, memory_order_relaxed);
        if (s->n_fails % POOL_STACKED_FAILS == POOL_STACKED_FAILS - 1) {
            pool_unstack(p, w, (uint32_t)cpu);
        }
    }
    uint64_t closed_ns = sl_gate_sleep(g, old);
    if (p->spins_full > 0) {
        pool_spin_learn(s, p->spins_full,
                        closed_ns + (uint64_t)s->n_spins * POOL_SPIN_NS / p->spins_full);
    }
}

/* Counts worker `ith` in; true for the last one of all. Counters are reset on the way, before
 * anybody can arrive again: that needs the gate which the last one is about to open. */
static bool pool_arrive(sl_pool *p, uint32_t ith) {
    uint32_t i = ith / POOL_FAN_IN;
    for (;;) {
        pool_node *node = &p->tree[i];
        const uint32_t n_children = node->n_children; /* may be another once all have arrived */
        uint32_t n = atomic_fetch_add_explicit(&node->n_arrived, 1, memory_order_acq_rel) + 1;
        if (n != n_children) {
            return false;
        }
        atomic_store_explicit(&node->n_arrived, 0, memory_order_relaxed);
        if (node->i_parent == i) {
            return true;
        }
        i = node->i_parent;
    }
}

/* The claims of a phase that is over start at zero when they are next used, two phases later. */
static void pool_claims_reset(sl_pool *p, uint32_t phase) {
    for (uint32_t n = 0; n < p->nodes.n; n++) {
        atomic_store_explicit(&p->claims[phase & 1][n].n_claimed, 0, memory_order_relaxed);
    }
}

void sl_pool_barrier_then(sl_pool *p, uint32_t ith, void (*fn)(void *arg), void *arg) {
    uint32_t phase = sl_gate_value(&p->phase); /* cannot change before this worker has arrived */
    if (pool_arrive(p, ith)) {
        if (fn != NULL) {
            fn(arg);
        }
        sl_gate_open(&p->phase, phase + 1);
        pool_claims_reset(p, phase);
    } else {
        pool_wait(&p->workers[ith], &p->phase, phase, &p->workers[ith].at_barrier);
    }
}

void sl_pool_barrier(sl_pool *p, uint32_t ith) {
    sl_pool_barrier_then(p, ith, NULL, NULL);
}

uint32_t sl_pool_claim(sl_pool *p, uint32_t ith, uint32_t chunk) {
    (void)ith; /* room for queues per worker, should one counter become the bottleneck */
    uint32_t phase = sl_gate_value(&p->phase);
    return atomic_fetch_add_explicit(&p->claims[phase & 1][0].n_claimed, chunk,
                                     memory_order_relaxed);
}

uint32_t sl_pool_turn(const sl_pool *p, uint32_t ith, uint32_t i) {
    const uint32_t node = p->workers[ith].node + i;
    return node < p->nodes.n ? node : node - p->nodes.n;
}

bool sl_pool_take(sl_pool *p, uint32_t ith, uint32_t node, uint32_t n_tasks, uint32_t *task) {
    pool_worker *w = &p->workers[ith];
    atomic_uint *n_claimed = &p->claims[sl_gate_value(&p->phase) & 1][node].n_claimed;
    /* At the end of a phase everybody looks at all nodes: writing would pass the line around. */
    if (node != w->node && atomic_load_explicit(n_claimed, memory_order_relaxed) >= n_tasks) {
        return false;
    }
    *task = atomic_fetch_add_explicit(n_claimed, 1, memory_order_relaxed);
    if (*task >= n_tasks) {
        return false;
    }
    w->n_own += node == w->node;
    w->n_others += node != w->node;
    return true;
}

void sl_pool_taken(const sl_pool *p, uint64_t *own, uint64_t *others) {
    *own = *others = 0;
    for (uint32_t i = 0; i < p->n_threads; i++) {
        *own += p->workers[i].n_own;
        *others += p->workers[i].n_others;
    }
}

/* Sleeps while the worker is left out; returns the phase after which its next job starts. */
static uint32_t pool_park(pool_worker *w) {
    sl_pool *p = w->pool;
    atomic_store_explicit(&w->slept_on, POOL_NO_CPU, memory_order_relaxed);
    for (;;) {
        const uint32_t word = sl_gate_value(&p->parked);
        if (atomic_load_explicit(&p->n_let_in, memory_order_acquire) > w->ith) {
            return atomic_load_explicit(&p->let_in_at, memory_order_relaxed);
        }
        (void)sl_gate_sleep(&p->parked, word);
    }
}

static void *pool_thread_main(void *arg) {
    pool_worker *w = arg;
    sl_pool *p = w->pool;
    char name[16];
    (void)snprintf(name, sizeof(name), "sluice-w%u", w->ith);
    (void)pthread_setname_np(pthread_self(), name);
    if (pool_binds(p)) {
        pool_bind(w);
    }
    uint32_t phase = 0; /* the pool's first */
    for (;;) {
        pool_wait(w, &p->phase, phase, &w->at_start);
        if (p->fn == NULL) {
            return NULL;
        }
        const bool locked = p->alloc_locked;
        if (locked) {
            sl_alloc_lock();
        }
        p->fn(p->arg, w->ith, p->n_active);
        if (locked) {
            sl_alloc_unlock();
        }
        phase = sl_gate_value(&p->phase);
        if (pool_arrive(p, w->ith)) {
            sl_gate_open(&p->joined, sl_gate_value(&p->joined) + 1);
        }
        if (w->parks) {
            w->parks = false;
            phase = pool_park(w);
        }
    }
}

/* The caller becomes worker 0 with its first job: it is bound then, not in sl_pool_create. */
static void pool_bind_caller(sl_pool *p) {
    p->bound_thread = pthread_self();
    if (pthread_getaffinity_np(p->bound_thread, sizeof(p->mask_before), &p->mask_before) == 0) {
        pool_bind(&p->workers[0]);
        p->is_bound = true;
    }
}

void sl_pool_run(sl_pool *p, sl_pool_fn fn, void *arg) {
    if (!p->is_bound && pool_binds(p)) {
        pool_bind_caller(p);
    }
    p->fn = fn;
    p->arg = arg;
    p->alloc_locked = sl_alloc_is_locked();
    uint32_t phase = sl_gate_value(&p->phase);
    uint32_t joined = sl_gate_value(&p->joined);
    sl_gate_open(&p->phase, phase + 1);
    fn(arg, 0, p->n_active);
    phase = sl_gate_value(&p->phase);
    if (!pool_arrive(p, 0)) {
        pool_wait(&p->workers[0], &p->joined, joined, &p->workers[0].at_start);
    }
    pool_claims_reset(p, phase);
}

uint32_t sl_pool_n_threads(const sl_pool *p) {
    return p->n_threads;
}

uint32_t sl_pool_n_active(const sl_pool *p) {
    return p->n_active;
}

const sl_nodes *sl_pool_nodes(const sl_pool *p) {
    return &p->nodes;
}

/* Builds the tree of counters: a level has one node for each POOL_FAN_IN of what is below it. */
static void pool_tree_init(sl_pool *p) {
    uint32_t begin = 0, n_below = p->n_active;
    for (;;) {
        uint32_t n_nodes = (n_below + POOL_FAN_IN - 1) / POOL_FAN_IN;
        for (uint32_t i = 0; i < n_nodes; i++) {
            uint32_t left = n_below - i * POOL_FAN_IN;
            bool root = n_nodes == 1;
            p->tree[begin + i].n_children = left < POOL_FAN_IN ? left : POOL_FAN_IN;
            p->tree[begin + i].i_parent = root ? begin + i : begin + n_nodes + i / POOL_FAN_IN;
        }
        if (n_nodes == 1) {
            return;
        }
        begin += n_nodes;
        n_below = n_nodes;
    }
}

typedef struct pool_lower_job {
    sl_pool *pool;
    uint32_t n;
} pool_lower_job;

static void pool_lower(void *arg) {
    const pool_lower_job *j = arg;
    atomic_store_explicit(&j->pool->n_let_in, j->n, memory_order_relaxed);
}

/* The limit is lowered when all have come in: one that was let in before, and is still on its way,
 * would else turn round. */
static void pool_lower_fn(void *arg, uint32_t ith, uint32_t nth) {
    (void)nth;
    const pool_lower_job *j = arg;
    sl_pool_barrier_then(j->pool, ith, pool_lower, arg);
    j->pool->workers[ith].parks = ith >= j->n;
}

void sl_pool_limit(sl_pool *p, uint32_t n) {
    n = n == 0 ? 1 : n > p->n_threads ? p->n_threads : n;
    if (n < p->n_active) {
        sl_pool_run(p, pool_lower_fn, &(pool_lower_job){.pool = p, .n = n});
    } else if (n > p->n_active) {
        atomic_store_explicit(&p->let_in_at, sl_gate_value(&p->phase), memory_order_relaxed);
        atomic_store_explicit(&p->n_let_in, n, memory_order_release);
        sl_gate_open(&p->parked, sl_gate_value(&p->parked) + 1);
    }
    p->n_active = n;
    pool_tree_init(p);
}

/* Gives each worker a processor: those of a list in turn, or, where there are nodes, of its node's
 * part of the list. */
static void pool_workers_place(sl_pool *p) {
    uint32_t cpus[SL_POOL_THREADS_MAX], n_cpus = 0;
    if (p->topology == NULL) {
        n_cpus = sl_cpu_list(cpus, SL_POOL_THREADS_MAX);
    }
    p->may_move = !p->pin && (p->topology == NULL || !p->topology->simulated);
    for (uint32_t i = 0; i < p->n_threads; i++) {
        pool_worker *w = &p->workers[i];
        if (p->topology == NULL) {
            w->cpu = n_cpus == 0 ? POOL_NO_CPU : cpus[i % n_cpus];
            p->may_move = p->may_move && i < n_cpus;
            continue;
        }
        w->node = sl_nodes_find(&p->nodes, p->n_threads, i);
        const sl_topology_node *node = &p->topology->nodes[w->node];
        const uint32_t nth = i - p->nodes.before[w->node], n = node->cpu_end - node->cpu_begin;
        w->cpu = p->topology->simulated ? POOL_NO_CPU
                                        : p->topology->cpus[node->cpu_begin + nth % n];
        p->may_move = p->may_move && nth < n;
    }
}

static void pool_workers_init(sl_pool *p) {
    bool crowded = p->n_threads > sl_cpu_count_logical();
    p->spins_full = crowded ? 0 : POOL_SPIN_NS / pool_pause_ns();
    for (uint32_t i = 0; i < p->n_threads; i++) {
        pool_spin spin = {.n_spins = p->spins_full};
        p->workers[i] = (pool_worker){
            .pool = p, .ith = i, .at_start = spin, .at_barrier = spin, .slept_on = POOL_NO_CPU};
    }
    pool_workers_place(p);
}

static sl_status pool_threads_start(sl_pool *p, sl_error *err) {
    int code = 0;
    while (p->n_started + 1 < p->n_threads && code == 0) {
        pool_worker *w = &p->workers[p->n_started + 1];
        code = sl_thread_start(&w->thread, pool_thread_main, w);
        p->n_started += code == 0;
    }
    if (code != 0) {
        return SL_FAIL(
            err, SL_ERR_MEMORY,
            "the system refused to start compute thread %u of %u (%s); use fewer threads",
            p->n_started + 2, p->n_threads, sl_errno_text(code));
    }
    return SL_OK;
}

sl_status sl_pool_create(uint32_t n_threads, bool pin, sl_pool **out, sl_error *err) {
    return sl_pool_create_on(NULL, n_threads, pin, out, err);
}

sl_status sl_pool_create_on(const sl_topology *topology, uint32_t n_threads, bool pin,
                            sl_pool **out, sl_error *err) {
    if (n_threads == 0 || n_threads > SL_POOL_THREADS_MAX) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the number of compute threads is %u; it must be 1 to %d", n_threads,
                       SL_POOL_THREADS_MAX);
    }
    sl_pool *p = sl_alloc_aligned(sizeof(*p) + n_threads * sizeof(p->workers[0]), SL_CACHE_LINE);
    if (p == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the table of %u compute threads",
                       n_threads);
    }
    p->n_threads = p->n_active = n_threads;
    p->pin = pin;
    p->topology = topology != NULL && topology->n_nodes > 1 ? topology : NULL;
    p->nodes = p->topology != NULL ? sl_topology_workers(topology, n_threads)
                                   : (sl_nodes){.n = 1, .before = {0, n_threads}};
    pool_tree_init(p);
    pool_workers_init(p);
    sl_status status = pool_threads_start(p, err);
    if (status != SL_OK) {
        sl_pool_free(p);
        return status;
    }
    *out = p;
    return SL_OK;
}

void sl_pool_free(sl_pool *p) {
    if (p == NULL) {
        return;
    }
    sl_pool_limit(p, p->n_threads);
    p->fn = NULL;
    sl_gate_open(&p->phase, sl_gate_value(&p->phase) + 1);
    for (uint32_t i = 1; i <= p->n_started; i++) {
        (void)pthread_join(p->workers[i].thread, NULL);
    }
    if (p->is_bound && pthread_equal(p->bound_thread, pthread_self())) {
        (void)pthread_setaffinity_np(p->bound_thread, sizeof(p->mask_before), &p->mask_before);
    }
    sl_free_aligned(p);
}
