/* The ring and wake events with real threads: nothing lost, nothing twice, order kept, no missed
 * wake-up. Run it under ThreadSanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/ring.h"
#include "base/wake.h"

static void test_mpsc_fills_and_empties(void **state) {
    (void)state;
    for (uint32_t capacity = 2; capacity <= 16; capacity *= 2) {
        sl_mpsc *r = NULL;
        assert_int_equal(sl_mpsc_create(capacity, &r, NULL), SL_OK);
        uint64_t v, next_in = 0, next_out = 0;
        for (uint32_t round = 0; round < 100; round++) {
            uint32_t n = round % (capacity + 1);
            for (uint32_t i = 0; i < n; i++) {
                assert_true(sl_mpsc_push(r, next_in++));
            }
            if (n == capacity) {
                assert_false(sl_mpsc_push(r, 7));
            }
            for (uint32_t i = 0; i < n; i++) {
                assert_true(sl_mpsc_pop(r, &v));
                assert_int_equal(v, next_out++);
            }
            assert_false(sl_mpsc_pop(r, &v));
        }
        sl_mpsc_free(r);
    }
}

static void test_capacity_is_checked(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 1, 3, 6, SL_RING_CAPACITY_MAX * 2, UINT32_MAX};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        sl_mpsc *m = NULL;
        sl_error err;
        assert_int_equal(sl_mpsc_create(bad[i], &m, &err), SL_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "power of two"));
        assert_null(m);
    }
    sl_mpsc *m = NULL;
    sl_alloc_fail_nth(1, false);
    assert_int_equal(sl_mpsc_create(8, &m, NULL), SL_ERR_MEMORY);
    sl_alloc_fail_nth(0, false);
    sl_mpsc_free(NULL);
}

#define N_PER_THREAD 20000u

typedef struct stream {
    sl_mpsc *mpsc;
    sl_wake *wake;
    uint32_t ith;
    uint64_t *payload; /* plain memory, published by the push */
} stream;

static void *mpsc_producer(void *arg) {
    stream *s = arg;
    for (uint64_t i = 0; i < N_PER_THREAD; i++) {
        s->payload[i] = i + s->ith;
        while (!sl_mpsc_push(s->mpsc, (uint64_t)s->ith << 32 | i)) {
            sched_yield();
        }
        sl_wake_signal(s->wake);
    }
    return NULL;
}

static void test_mpsc_between_threads(void **state) {
    (void)state;
    enum { N = 5 };
    sl_wake wake;
    sl_wake_init(&wake);
    sl_mpsc *ring = NULL;
    assert_int_equal(sl_mpsc_create(32, &ring, NULL), SL_OK);
    stream s[N];
    pthread_t t[N];
    uint64_t next[N] = {0}, left = N * N_PER_THREAD;
    for (uint32_t i = 0; i < N; i++) {
        s[i] = (stream){.mpsc = ring, .wake = &wake, .ith = i, .payload = calloc(N_PER_THREAD, 8)};
        assert_int_equal(pthread_create(&t[i], NULL, mpsc_producer, &s[i]), 0);
    }
    while (left > 0) {
        uint64_t v;
        while (sl_mpsc_pop(ring, &v)) {
            uint64_t who = v >> 32, i = v & 0xFFFFFFFF;
            assert_true(who < N && i == next[who] && s[who].payload[i] == i + who);
            next[who]++;
            left--;
        }
        if (left > 0) {
            assert_true(sl_wake_wait(&wake, SL_WAKE_FOREVER));
        }
    }
    for (uint32_t i = 0; i < N; i++) {
        pthread_join(t[i], NULL);
        free(s[i].payload);
    }
    uint64_t v;
    assert_false(sl_mpsc_pop(ring, &v));
    sl_mpsc_free(ring);
}

/* Two threads hand a turn to and fro, each sleeping in between. */
typedef struct table {
    sl_wake a, b;
    uint32_t n_rounds, turn;
} table;

static void *answer(void *arg) {
    table *t = arg;
    for (uint32_t i = 0; i < t->n_rounds; i++) {
        while (!sl_wake_wait(&t->b, SL_WAKE_FOREVER)) {
        }
        t->turn++;
        sl_wake_signal(&t->a);
    }
    return NULL;
}

static void test_wake_to_and_fro(void **state) {
    (void)state;
    table t = {.n_rounds = 5000};
    sl_wake_init(&t.a);
    sl_wake_init(&t.b);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, answer, &t), 0);
    for (uint32_t i = 0; i < t.n_rounds; i++) {
        t.turn++;
        sl_wake_signal(&t.b);
        assert_true(sl_wake_wait(&t.a, SL_WAKE_FOREVER));
        assert_int_equal(t.turn, 2 * i + 2);
    }
    pthread_join(thread, NULL);
}

static void test_wake_keeps_one_signal_and_times_out(void **state) {
    (void)state;
    sl_wake w;
    sl_wake_init(&w);
    assert_false(sl_wake_wait(&w, 0));
    sl_wake_signal(&w);
    sl_wake_signal(&w);
    assert_true(sl_wake_wait(&w, 0));
    assert_false(sl_wake_wait(&w, 0));
    uint64_t begin = sl_clock_mono_ns();
    assert_false(sl_wake_wait(&w, 20 * SL_NS_PER_MS));
    assert_true(sl_clock_mono_ns() - begin >= 20 * SL_NS_PER_MS);
    sl_wake_signal(&w);
    assert_true(sl_wake_wait(&w, SL_WAKE_FOREVER));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mpsc_fills_and_empties),
        cmocka_unit_test(test_capacity_is_checked),
        cmocka_unit_test(test_mpsc_between_threads),
        cmocka_unit_test(test_wake_to_and_fro),
        cmocka_unit_test(test_wake_keeps_one_signal_and_times_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
