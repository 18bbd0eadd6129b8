#define _GNU_SOURCE
/* The compute pool: every index runs, barriers separate, claims hand out each task once, idle and
 * oversubscribed pools make progress. Run it under ThreadSanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/pool.h"

static sl_pool *make_pool(uint32_t n) {
    sl_pool *p = NULL;
    sl_error err = {0};
    if (sl_pool_create(n, false, &p, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(sl_pool_n_threads(p), n);
    return p;
}

static const uint32_t sizes[] = {1, 2, 3, 4, 5, 7, 16, 17, 33};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

typedef struct seen_job {
    uint32_t n;
    uint32_t calls[64]; /* not atomic: each worker writes its own */
} seen_job;

static void seen_fn(void *arg, uint32_t ith, uint32_t nth) {
    seen_job *j = arg;
    if (nth == j->n && ith < nth) {
        j->calls[ith]++;
    }
}

static void test_each_worker_runs_each_job_once(void **state) {
    (void)state;
    for (size_t s = 0; s < N_SIZES; s++) {
        sl_pool *p = make_pool(sizes[s]);
        seen_job j = {.n = sizes[s]};
        for (uint32_t k = 1; k <= 50; k++) {
            sl_pool_run(p, seen_fn, &j);
            for (uint32_t i = 0; i < sizes[s]; i++) {
                assert_int_equal(j.calls[i], k);
            }
        }
        sl_pool_free(p);
    }
}

typedef struct round_job {
    sl_pool *pool;
    uint32_t n_rounds;
    uint32_t *values; /* [n]; plain memory: TSan sees a barrier that does not synchronise */
    atomic_uint n_wrong;
} round_job;

/* In each round a worker writes its value, all meet, and everybody checks everybody's. */
static void round_fn(void *arg, uint32_t ith, uint32_t nth) {
    round_job *j = arg;
    for (uint32_t r = 1; r <= j->n_rounds; r++) {
        j->values[ith] = r * 1000 + ith;
        sl_pool_barrier(j->pool, ith);
        for (uint32_t i = 0; i < nth; i++) {
            if (j->values[i] != r * 1000 + i) {
                atomic_fetch_add(&j->n_wrong, 1);
            }
        }
        sl_pool_barrier(j->pool, ith);
    }
}

static void test_barriers_separate_phases(void **state) {
    (void)state;
    for (size_t s = 0; s < N_SIZES; s++) {
        sl_pool *p = make_pool(sizes[s]);
        uint32_t values[64] = {0};
        round_job j = {
            .pool = p, .n_rounds = sizes[s] <= 2 ? 5000 : 2000 / sizes[s], .values = values};
        for (int k = 0; k < 3; k++) {
            sl_pool_run(p, round_fn, &j);
        }
        assert_int_equal(atomic_load(&j.n_wrong), 0);
        sl_pool_free(p);
    }
}

typedef struct sum_job {
    sl_pool *pool;
    uint32_t n_rounds, n_workers, n_sums;
    uint32_t *values; /* [n] plain memory */
    uint32_t sum;
    atomic_uint n_wrong;
} sum_job;

static void sum_fn(void *arg) {
    sum_job *j = arg;
    j->sum = 0;
    j->n_sums++;
    for (uint32_t i = 0; i < j->n_workers; i++) {
        j->sum += j->values[i];
    }
}

/* In each round a worker writes its value, one of them adds them up, and everybody looks. */
static void sum_round_fn(void *arg, uint32_t ith, uint32_t nth) {
    sum_job *j = arg;
    for (uint32_t r = 1; r <= j->n_rounds; r++) {
        j->values[ith] = r + ith;
        sl_pool_barrier_then(j->pool, ith, sum_fn, j);
        if (j->sum != nth * r + nth * (nth - 1) / 2) {
            atomic_fetch_add(&j->n_wrong, 1);
        }
        sl_pool_barrier(j->pool, ith);
    }
}

static void test_one_worker_acts_before_any_leaves(void **state) {
    (void)state;
    for (size_t s = 0; s < N_SIZES; s++) {
        sl_pool *p = make_pool(sizes[s]);
        uint32_t values[64] = {0};
        sum_job j = {.pool = p,
                     .n_rounds = sizes[s] <= 2 ? 2000 : 1000 / sizes[s],
                     .n_workers = sizes[s],
                     .values = values};
        sl_pool_run(p, sum_round_fn, &j);
        assert_int_equal(atomic_load(&j.n_wrong), 0);
        assert_int_equal(j.n_sums, j.n_rounds);
        sl_pool_free(p);
    }
}

typedef struct claim_job {
    sl_pool *pool;
    uint32_t n_phases, n_tasks, chunk;
    atomic_uchar *taken; /* [n_phases][n_tasks] */
} claim_job;

static void claim_fn(void *arg, uint32_t ith, uint32_t nth) {
    (void)nth;
    claim_job *j = arg;
    for (uint32_t ph = 0; ph < j->n_phases; ph++) {
        for (;;) {
            uint32_t begin = sl_pool_claim(j->pool, ith, j->chunk);
            if (begin >= j->n_tasks) {
                break;
            }
            for (uint32_t t = begin; t < begin + j->chunk && t < j->n_tasks; t++) {
                atomic_fetch_add_explicit(&j->taken[ph * j->n_tasks + t], 1, memory_order_relaxed);
            }
        }
        if (ph + 1 < j->n_phases) { /* a job's end separates phases too */
            sl_pool_barrier(j->pool, ith);
        }
    }
}

static void test_claims_hand_out_each_task_once(void **state) {
    (void)state;
    enum { PHASES = 37, TASKS = 101 };
    atomic_uchar *taken = calloc(PHASES * TASKS, sizeof(*taken));
    assert_non_null(taken);
    for (size_t s = 0; s < N_SIZES; s++) {
        sl_pool *p = make_pool(sizes[s]);
        for (uint32_t run = 0; run < 6;
             run++) { /* odd and even numbers of phases before the next job */
            memset(taken, 0, PHASES * TASKS);
            claim_job j = {p, PHASES - run % 3, TASKS, 1 + run, taken};
            sl_pool_run(p, claim_fn, &j);
            for (uint32_t i = 0; i < j.n_phases * TASKS; i++) {
                assert_int_equal(taken[i], 1);
            }
        }
        sl_pool_free(p);
    }
    free(taken);
}

/* Phases in which nobody, or not everybody, claims must still begin at 0. */
static void claim_some_fn(void *arg, uint32_t ith, uint32_t nth) {
    claim_job *j = arg;
    for (uint32_t ph = 0; ph < j->n_phases; ph++) {
        if (ph % 3 == 0 && ith == ph % nth) {
            uint32_t first = sl_pool_claim(j->pool, ith, 5),
                     second = sl_pool_claim(j->pool, ith, 5);
            atomic_store(&j->taken[ph], first == 0 && second == 5 ? 1 : 2);
        }
        sl_pool_barrier(j->pool, ith);
    }
}

static void test_claims_start_at_zero_in_sparse_phases(void **state) {
    (void)state;
    atomic_uchar taken[100];
    for (uint32_t n = 1; n <= 5; n++) {
        sl_pool *p = make_pool(n);
        for (uint32_t run = 0; run < 4; run++) {
            memset(taken, 0, sizeof(taken));
            claim_job j = {.pool = p, .n_phases = 97 + run, .taken = taken};
            sl_pool_run(p, claim_some_fn, &j);
            for (uint32_t ph = 0; ph < j.n_phases; ph++) {
                assert_int_equal(taken[ph], ph % 3 == 0 ? 1 : 0);
            }
        }
        sl_pool_free(p);
    }
}

static void pause_us(uint32_t us) {
    struct timespec ts = {0, (long)us * 1000};
    (void)nanosleep(&ts, NULL);
}

/* One worker comes late, by more and less than the spin budget: the others fall asleep and must be
 * woken. */
static void late_fn(void *arg, uint32_t ith, uint32_t nth) {
    round_job *j = arg;
    for (uint32_t r = 0; r < j->n_rounds; r++) {
        if (ith == r % nth) {
            pause_us(r % 5 * 40);
            j->values[0]++;
        }
        sl_pool_barrier(j->pool, ith);
    }
    if (ith == j->n_rounds % nth) {
        pause_us(200);
    }
}

static void test_sleepers_are_woken(void **state) {
    (void)state;
    for (uint32_t n = 2; n <= 9; n += 7) {
        sl_pool *p = make_pool(n);
        uint32_t counter = 0;
        round_job j = {.pool = p, .values = &counter};
        for (uint32_t k = 0; k < 60; k++) {
            j.n_rounds = k % 11;
            uint32_t before = counter;
            sl_pool_run(p, late_fn, &j);
            assert_int_equal(counter, before + j.n_rounds);
            pause_us(k % 4 * 60);
        }
        sl_pool_free(p);
    }
}

static uint64_t process_cpu_ns(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * SL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* An idle pool sleeps: measured in processor time, which neighbours do not change. */
static void test_idle_pool_uses_no_cpu(void **state) {
    (void)state;
    sl_pool *p = make_pool(4);
    seen_job j = {.n = 4};
    sl_pool_run(p, seen_fn, &j);
    pause_us(50000); /* let every worker run out of its spin budget */
    uint64_t before = process_cpu_ns();
    pause_us(300000);
    uint64_t used = process_cpu_ns() - before;
    sl_pool_run(p, seen_fn, &j);
    assert_int_equal(j.calls[3], 2);
    sl_pool_free(p);
    assert_true(used < 30 * SL_NS_PER_MS);
}

static void test_run_allocates_nothing(void **state) {
    (void)state;
    sl_pool *p = make_pool(3);
    uint32_t values[3] = {0};
    round_job j = {.pool = p, .n_rounds = 10, .values = values};
    uint64_t before = sl_alloc_count();
    for (int k = 0; k < 10; k++) {
        sl_pool_run(p, round_fn, &j);
    }
    assert_int_equal(sl_alloc_count(), before);
    sl_pool_free(p);
}

static void test_bad_arguments_and_no_memory(void **state) {
    (void)state;
    sl_pool *p = NULL;
    sl_error err;
    assert_int_equal(sl_pool_create(0, false, &p, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "is 0"));
    assert_int_equal(sl_pool_create(SL_POOL_THREADS_MAX + 1, false, &p, &err), SL_ERR_ARGUMENT);
    sl_alloc_fail_nth(1, true);
    sl_status status = sl_pool_create(2, false, &p, &err);
    sl_alloc_fail_nth(0, false);
    assert_int_equal(status, SL_ERR_MEMORY);
    assert_null(p);
    sl_pool_free(NULL);
}

static void cpu_fn(void *arg, uint32_t ith, uint32_t nth) {
    (void)nth;
    ((int *)arg)[ith] = sched_getcpu();
}

static void test_pinned_workers_stay_and_the_caller_is_freed(void **state) {
    (void)state;
    uint32_t cpus[8];
    uint32_t n_cpus = sl_cpu_list(cpus, 8);
    uint32_t n = n_cpus < 2 ? 1 : 2;
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    sl_pool *p = NULL;
    assert_int_equal(sl_pool_create(n, true, &p, NULL), SL_OK);
    int where[2] = {-1, -1};
    for (int k = 0; k < 20; k++) {
        sl_pool_run(p, cpu_fn, where);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(where[i], cpus[i]);
        }
    }
    sl_pool_free(p);
    assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

static void test_largest_pool(void **state) {
    (void)state;
    sl_pool *p = make_pool(200); /* a tree of four levels */
    static uint32_t values[200];
    round_job j = {.pool = p, .n_rounds = 20, .values = values};
    sl_pool_run(p, round_fn, &j);
    assert_int_equal(atomic_load(&j.n_wrong), 0);
    sl_pool_free(p);
}

/* Jobs of 1 to all workers in turn, with pauses in which those left out fall asleep, or do not get
 * that far: each runs on just the first ones, and barriers and claims are theirs alone. */
static void test_limits_leave_the_last_workers_out(void **state) {
    (void)state;
    enum { TASKS = 23, PHASES = 5 };
    for (size_t s = 0; s < N_SIZES; s++) {
        const uint32_t size = sizes[s];
        sl_pool *p = make_pool(size);
        uint32_t values[64] = {0};
        for (uint32_t k = 0; k < 60; k++) {
            const uint32_t n = 1 + k * 7 % size;
            sl_pool_limit(p, n);
            assert_int_equal(sl_pool_n_active(p), n);
            assert_int_equal(sl_pool_n_threads(p), size);
            seen_job seen = {.n = n};
            sl_pool_run(p, seen_fn, &seen);
            for (uint32_t i = 0; i < 64; i++) {
                assert_int_equal(seen.calls[i], i < n);
            }
            round_job rounds = {.pool = p, .n_rounds = 4, .values = values};
            sl_pool_run(p, round_fn, &rounds);
            assert_int_equal(atomic_load(&rounds.n_wrong), 0);
            atomic_uchar taken[PHASES * TASKS] = {0};
            claim_job claims = {p, PHASES, TASKS, 2, taken};
            sl_pool_run(p, claim_fn, &claims);
            for (uint32_t i = 0; i < PHASES * TASKS; i++) {
                assert_int_equal(taken[i], 1);
            }
            if (k % 5 == 0) {
                pause_us(k % 2 * 120);
            }
        }
        sl_pool_limit(p, 0); /* as good as 1 */
        assert_int_equal(sl_pool_n_active(p), 1);
        sl_pool_limit(p, size + 1);
        assert_int_equal(sl_pool_n_active(p), size);
        sl_pool_limit(p, 1);
        sl_pool_free(p); /* while they sleep */
    }
}

/* The same without jobs in between: nobody may be lost on the way in or out. */
static void test_limits_change_at_once(void **state) {
    (void)state;
    sl_pool *p = make_pool(5);
    for (uint32_t k = 0; k < 500; k++) {
        sl_pool_limit(p, 1 + k % 5);
        sl_pool_limit(p, 5 - k % 3);
        const uint32_t n = 5 - k % 3;
        seen_job seen = {.n = n};
        sl_pool_run(p, seen_fn, &seen);
        for (uint32_t i = 0; i < 5; i++) {
            assert_int_equal(seen.calls[i], i < n);
        }
    }
    sl_pool_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_worker_runs_each_job_once),
        cmocka_unit_test(test_barriers_separate_phases),
        cmocka_unit_test(test_one_worker_acts_before_any_leaves),
        cmocka_unit_test(test_claims_hand_out_each_task_once),
        cmocka_unit_test(test_claims_start_at_zero_in_sparse_phases),
        cmocka_unit_test(test_sleepers_are_woken),
        cmocka_unit_test(test_limits_leave_the_last_workers_out),
        cmocka_unit_test(test_limits_change_at_once),
        cmocka_unit_test(test_idle_pool_uses_no_cpu),
        cmocka_unit_test(test_run_allocates_nothing),
        cmocka_unit_test(test_bad_arguments_and_no_memory),
        cmocka_unit_test(test_pinned_workers_stay_and_the_caller_is_freed),
        cmocka_unit_test(test_largest_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
