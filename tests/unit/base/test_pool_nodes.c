/* A pool on several NUMA nodes: every task once, own ones first, and where threads stay. */
#define _GNU_SOURCE
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/pool.h"

#define NODES_MAX 3
#define TASKS_MAX 50
#define N_PHASES 23

static sl_topology topology; /* too large for a frame of every test */

static sl_pool *pool_on(uint32_t n_threads) {
    sl_pool *p = NULL;
    sl_error err;
    if (sl_pool_create_on(&topology, n_threads, false, &p, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    return p;
}

static void simulate(const char *description) {
    sl_error err;
    assert_int_equal(sl_topology_simulate(description, &topology, &err), SL_OK);
}

typedef struct take_job {
    sl_pool *pool;
    uint32_t workers; /* bits: who works */
    bool own_only;
    atomic_uint n_strays; /* tasks of others taken while own ones were left */
    atomic_uchar taken[N_PHASES][NODES_MAX][TASKS_MAX];
} take_job;

static uint32_t n_tasks_of(uint32_t phase, uint32_t node) {
    return (phase * 7 + node * 13) % TASKS_MAX;
}

static void take_fn(void *arg, uint32_t ith, uint32_t nth) {
    take_job *j = arg;
    const uint32_t n_nodes = j->own_only ? 1 : sl_pool_nodes(j->pool)->n;
    (void)nth;
    for (uint32_t ph = 0; ph < N_PHASES; ph++) {
        for (uint32_t i = 0; (j->workers >> ith & 1) != 0 && i < n_nodes; i++) {
            const uint32_t node = sl_pool_turn(j->pool, ith, i);
            for (uint32_t t; sl_pool_take(j->pool, ith, node, n_tasks_of(ph, node), &t);) {
                atomic_fetch_add(&j->taken[ph][node][t], 1);
                const uint32_t own = sl_pool_turn(j->pool, ith, 0), n_own = n_tasks_of(ph, own);
                if (i > 0 && n_own > 0 && atomic_load(&j->taken[ph][own][n_own - 1]) == 0) {
                    atomic_fetch_add(&j->n_strays, 1); /* nobody has begun the last one yet */
                }
            }
        }
        sl_pool_barrier(j->pool, ith);
    }
}

static void check_all_taken(const take_job *j, uint32_t n_nodes) {
    uint32_t n_tasks = 0;
    for (uint32_t ph = 0; ph < N_PHASES; ph++) {
        for (uint32_t node = 0; node < n_nodes; node++) {
            for (uint32_t t = 0; t < n_tasks_of(ph, node); t++) {
                assert_int_equal(j->taken[ph][node][t], 1);
                n_tasks++;
            }
        }
    }
    uint64_t own, others;
    sl_pool_taken(j->pool, &own, &others);
    assert_int_equal(own + others, n_tasks);
}

static void test_every_task_once(void **state) {
    (void)state;
    static const char *const machines[] = {"node:1 core:4 pu:1", "node:2 core:2 pu:1",
                                           "node:3 core:1 pu:2"};
    for (uint32_t m = 0; m < 3; m++) {
        simulate(machines[m]);
        for (uint32_t n_threads = 1; n_threads <= 7; n_threads++) {
            take_job j = {.pool = pool_on(n_threads), .workers = UINT32_MAX};
            const sl_nodes *nodes = sl_pool_nodes(j.pool);
            assert_int_equal(nodes->n, m + 1);
            assert_int_equal(nodes->before[nodes->n], n_threads);
            sl_pool_run(j.pool, take_fn, &j);
            check_all_taken(&j, m + 1);
            sl_pool_free(j.pool);
        }
    }
}

/* Whoever is alone takes all, its own first. */
static void test_stealing(void **state) {
    (void)state;
    simulate("node:2 core:1 pu:1");
    for (uint32_t who = 0; who < 2; who++) {
        take_job j = {.pool = pool_on(2), .workers = 1u << who};
        uint64_t own, others, n_own = 0, n_others = 0;
        for (uint32_t ph = 0; ph < N_PHASES; ph++) {
            n_own += n_tasks_of(ph, who);
            n_others += n_tasks_of(ph, 1 - who);
        }
        sl_pool_run(j.pool, take_fn, &j);
        check_all_taken(&j, 2);
        sl_pool_taken(j.pool, &own, &others);
        assert_int_equal(own, n_own);
        assert_int_equal(others, n_others);
        assert_int_equal(j.n_strays, 0);
        sl_pool_free(j.pool);
    }
    take_job j = {.pool = pool_on(2), .workers = 3, .own_only = true};
    uint64_t own, others;
    sl_pool_run(j.pool, take_fn, &j);
    check_all_taken(&j, 2);
    sl_pool_taken(j.pool, &own, &others);
    assert_int_equal(others, 0);
    sl_pool_free(j.pool);
}

typedef struct where_job {
    cpu_set_t masks[2];
} where_job;

static void where_fn(void *arg, uint32_t ith, uint32_t nth) {
    where_job *j = arg;
    (void)nth;
    (void)sched_getaffinity(0, sizeof(j->masks[ith]), &j->masks[ith]);
}

/* Two nodes made of this machine's CPUs: workers stay on their own, and the caller is free again
 * when the pool is gone. A simulated machine of the same numbers binds nobody. */
static void test_where_workers_stay(void **state) {
    (void)state;
    uint32_t cpus[2];
    if (sl_cpu_list(cpus, 2) < 2) {
        skip();
    }
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    for (int simulated = 0; simulated < 2; simulated++) {
        topology = (sl_topology){.simulated = simulated != 0,
                                 .n_nodes = 2,
                                 .nodes = {{.number = 0, .n_cores = 1, .cpu_end = 1},
                                           {.n_cores = 1, .cpu_begin = 1, .cpu_end = 2}},
                                 .cpus = {(uint16_t)cpus[0], (uint16_t)cpus[1]}};
        where_job j;
        sl_pool *p = pool_on(2);
        sl_pool_run(p, where_fn, &j);
        sl_pool_free(p);
        for (uint32_t i = 0; i < 2; i++) {
            cpu_set_t want = before;
            if (!simulated) {
                CPU_ZERO(&want);
                CPU_SET(cpus[i], &want);
            }
            assert_true(CPU_EQUAL(&j.masks[i], &want));
        }
        assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
        assert_true(CPU_EQUAL(&before, &after));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_once),
        cmocka_unit_test(test_stealing),
        cmocka_unit_test(test_where_workers_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
