/* The runner under crowds: requests together equal each alone, several owners at once, thousands of
 * short lives. Real engine, tiny random model. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "runner/runner.h"
#include "tiny_engine.h"

#define N_JOBS 32
#define N_PROMPT_MAX 200
#define N_OUT_MAX 40
#define N_TOP 3
#define N_OWNERS 4
#define N_ROUNDS 60 /* requests of one owner in test_many_owners */
#define N_QUICK 10000

static tiny_engine g_tiny;

/* Everything that decides a request's answer, and the answer when it ran alone. */
typedef struct task {
    int32_t prompt[N_PROMPT_MAX], out[N_OUT_MAX];
    uint32_t n_prompt, max_tokens;
    float temperature;
    float logprobs[N_OUT_MAX];
    sl_logprob top[N_OUT_MAX * N_TOP];
} task;

typedef struct answer {
    int32_t out[N_OUT_MAX];
    float logprobs[N_OUT_MAX];
    sl_logprob top[N_OUT_MAX * N_TOP];
} answer;

static task g_tasks[N_JOBS];

static uint64_t next_random(uint64_t *rng) { /* splitmix64 */
    uint64_t z = (*rng += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static sl_runner *runner_of(const sl_runner_options *options) {
    sl_runner *r = NULL;
    sl_error err;
    if (sl_runner_create(g_tiny.engine, options, &r, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    return r;
}

/* Acquires and submits; the caller says where the answer goes. Owners other than the main thread
 * must not use cmocka's checks, so the status is returned. */
static sl_status ask(sl_runner *r, uint32_t owner, const task *t, answer *a, sl_handle *out) {
    sl_error err;
    sl_status status = sl_runner_acquire(r, owner, out, &err);
    if (status != SL_OK) {
        return status;
    }
    sl_request *q = sl_runner_request(r, *out);
    q->prompt_ids = t->prompt;
    q->n_prompt = t->n_prompt;
    q->max_tokens = t->max_tokens;
    q->sample = sl_sample_options_default();
    q->sample.temperature = t->temperature;
    q->sample.seed = 5;
    q->n_top = N_TOP;
    q->out_ids = a->out;
    q->out_logprobs = a->logprobs;
    q->out_top = a->top;
    q->user = a;
    status = sl_runner_submit(r, *out, &err);
    if (status != SL_OK) {
        sl_runner_release(r, *out);
    }
    return status;
}

static sl_finish finish_of(const sl_request *q) {
    return (sl_finish)atomic_load_explicit(&q->finish, memory_order_acquire);
}

/* Takes news until n requests of this owner have ended, and releases them. Returns how many ended
 * as expected. */
static uint32_t collect(sl_runner *r, uint32_t owner, uint32_t n, sl_finish expected) {
    uint32_t n_ended = 0, n_good = 0;
    while (n_ended < n && sl_runner_wait(r, owner, 60000)) {
        sl_handle h;
        while (sl_runner_poll(r, owner, &h)) {
            const sl_request *q = sl_runner_request(r, h);
            const sl_finish finish = finish_of(q);
            if (finish != SL_FINISH_NONE) {
                n_good += finish == expected;
                n_ended++;
                sl_runner_release(r, h);
            }
        }
    }
    return n_good;
}

static bool same_answer(const task *t, const answer *a) {
    const size_t n = t->max_tokens;
    return memcmp(t->out, a->out, n * sizeof(a->out[0])) == 0 &&
           memcmp(t->logprobs, a->logprobs, n * sizeof(a->logprobs[0])) == 0 &&
           memcmp(t->top, a->top, n * N_TOP * sizeof(a->top[0])) == 0;
}

static void stop(sl_runner *r) {
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->pages_used), 0);
    sl_runner_free(r);
    assert_int_equal(sl_alloc_violations(), 0);
}

/* Draws the tasks and runs each alone. */
static int start(void **state) {
    (void)state;
    sl_error err;
    const tiny_model_options model = {.seed = 11};
    const sl_engine_options engine = {
        .n_threads = 2, .batch_invariant = true, .rows_max = 96, .runs_max = 24};
    if (tiny_engine_open(&g_tiny, NULL, &model, &engine, 100, &err) != SL_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    uint64_t rng = 1;
    sl_runner *r = runner_of(&(sl_runner_options){0});
    for (uint32_t i = 0; i < N_JOBS; i++) {
        task *t = &g_tasks[i];
        answer a;
        sl_handle h;
        t->n_prompt = 1 + (uint32_t)(next_random(&rng) % N_PROMPT_MAX);
        t->max_tokens = 1 + (uint32_t)(next_random(&rng) % N_OUT_MAX);
        t->temperature = i % 3 == 0 ? 1.0f : 0.0f;
        for (uint32_t p = 0; p < t->n_prompt; p++) {
            t->prompt[p] = (int32_t)(next_random(&rng) % TINY_N_VOCAB);
        }
        if (ask(r, 0, t, &a, &h) != SL_OK || collect(r, 0, 1, SL_FINISH_LENGTH) != 1) {
            return -1;
        }
        memcpy(t->out, a.out, sizeof(t->out));
        memcpy(t->logprobs, a.logprobs, sizeof(t->logprobs));
        memcpy(t->top, a.top, sizeof(t->top));
    }
    sl_runner_free(r);
    return 0;
}

static int finish(void **state) {
    (void)state;
    tiny_engine_close(&g_tiny);
    return 0;
}

/* More requests than runs or pages for all: chunks, decodes and admissions mix in every way. */
static void test_together_equals_alone(void **state) {
    (void)state;
    static answer answers[N_JOBS];
    const uint32_t chunks[] = {0, 1, 17};
    for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++) {
        const sl_cost cost = {.n_points = 1, .points = {{chunks[c], 1.0}}, .n_threads = 1};
        sl_runner *r = runner_of(&(sl_runner_options){.cost = chunks[c] > 0 ? &cost : NULL});
        memset(answers, 0, sizeof(answers));
        for (uint32_t i = 0; i < N_JOBS; i++) {
            sl_handle h;
            assert_int_equal(ask(r, 0, &g_tasks[i], &answers[i], &h), SL_OK);
        }
        assert_int_equal(collect(r, 0, N_JOBS, SL_FINISH_LENGTH), N_JOBS);
        for (uint32_t i = 0; i < N_JOBS; i++) {
            if (!same_answer(&g_tasks[i], &answers[i])) {
                fail_msg("request %u differs from its run alone (chunks of %u)", i, chunks[c]);
            }
        }
        stop(r);
    }
}

/* --- several owners --- */

typedef struct owner_work {
    sl_runner *r;
    uint32_t owner;
    uint32_t n_wrong, n_cancelled, n_done;
} owner_work;

/* One owner: keeps up to four requests going, cancels some of them at some point, checks the
 * others. */
static void *owner_thread(void *arg) {
    owner_work *w = arg;
    uint64_t rng = w->owner + 100;
    struct {
        sl_handle h;
        const task *t;
        bool cancelled;
        answer a;
    } own[4] = {0};
    uint32_t n_begun = 0, n_ended = 0;
    while (n_ended < N_ROUNDS) {
        for (uint32_t i = 0; i < 4; i++) {
            if (own[i].h == SL_HANDLE_NONE && n_begun < N_ROUNDS) {
                own[i].t = &g_tasks[next_random(&rng) % N_JOBS];
                own[i].cancelled = false;
                const sl_status status = ask(w->r, w->owner, own[i].t, &own[i].a, &own[i].h);
                own[i].h = status == SL_OK ? own[i].h : SL_HANDLE_NONE;
                n_begun += status == SL_OK;
                w->n_wrong += status != SL_OK && status != SL_AGAIN;
            } else if (own[i].h != SL_HANDLE_NONE && next_random(&rng) % 16 == 0) {
                sl_runner_cancel(w->r, own[i].h);
                own[i].cancelled = true;
            }
        }
        (void)sl_runner_wait(w->r, w->owner, 5); /* a refused one is asked again after this */
        sl_handle h;
        while (sl_runner_poll(w->r, w->owner, &h)) {
            for (uint32_t i = 0; i < 4; i++) {
                sl_request *q = own[i].h == h ? sl_runner_request(w->r, h) : NULL;
                if (q == NULL || finish_of(q) == SL_FINISH_NONE) {
                    continue;
                }
                if (finish_of(q) == SL_FINISH_LENGTH) {
                    w->n_wrong += !same_answer(own[i].t, &own[i].a);
                    w->n_done++;
                } else {
                    w->n_wrong += finish_of(q) != SL_FINISH_CANCELLED || !own[i].cancelled ||
                                  memcmp(own[i].t->out, own[i].a.out,
                                         atomic_load(&q->n_out) * sizeof(int32_t)) != 0;
                    w->n_cancelled++;
                }
                sl_runner_release(w->r, h);
                own[i].h = SL_HANDLE_NONE;
                n_ended++;
            }
        }
    }
    return NULL;
}

static void test_many_owners(void **state) {
    (void)state;
    /* Fewer slots than the owners want, and a short queue. */
    sl_runner *r = runner_of(
        &(sl_runner_options){.n_slots = 13, .n_owners = N_OWNERS, .queue_max = 6});
    owner_work work[N_OWNERS];
    pthread_t threads[N_OWNERS];
    for (uint32_t i = 0; i < N_OWNERS; i++) {
        work[i] = (owner_work){.r = r, .owner = i};
        assert_int_equal(pthread_create(&threads[i], NULL, owner_thread, &work[i]), 0);
    }
    uint32_t n_done = 0, n_cancelled = 0;
    for (uint32_t i = 0; i < N_OWNERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(work[i].n_wrong, 0);
        n_done += work[i].n_done;
        n_cancelled += work[i].n_cancelled;
    }
    assert_int_equal(n_done + n_cancelled, N_OWNERS * N_ROUNDS);
    const sl_runner_stats *stats = sl_runner_stats_of(r);
    assert_int_equal(atomic_load(&stats->requests), N_OWNERS * N_ROUNDS);
    assert_int_equal(atomic_load(&stats->cancelled), n_cancelled);
    assert_int_equal(atomic_load(&stats->finished_length), n_done);
    assert_in_range(n_done, 1, N_OWNERS * N_ROUNDS);
    stop(r);
}

/* --- short lives --- */

static void test_quick_lives(void **state) {
    (void)state;
    sl_runner *r = runner_of(&(sl_runner_options){.n_slots = 3});
    static answer a;
    sl_error err;
    sl_handle before = SL_HANDLE_NONE;
    for (uint32_t i = 0; i < N_QUICK; i++) {
        sl_handle h;
        if (i % 2 == 0) { /* never submitted */
            assert_int_equal(sl_runner_acquire(r, 0, &h, &err), SL_OK);
            sl_runner_cancel(r, h);
        } else {
            assert_int_equal(ask(r, 0, &g_tasks[i % N_JOBS], &a, &h), SL_OK);
            assert_int_equal(sl_runner_submit(r, h, &err), SL_ERR_ARGUMENT); /* twice */
            sl_runner_cancel(r, h);
            sl_runner_release(r, h); /* not ended yet, most likely: then it is ignored */
            const sl_request *q = sl_runner_request(r, h);
            while (q != NULL && finish_of(q) == SL_FINISH_NONE) {
                sl_handle news;
                assert_true(sl_runner_wait(r, 0, 60000));
                while (sl_runner_poll(r, 0, &news)) {
                    assert_true(news == h);
                }
            }
        }
        sl_runner_release(r, h);
        assert_true(h != before && h != SL_HANDLE_NONE);
        assert_null(sl_runner_request(r, h));
        assert_null(sl_runner_request(r, before));
        assert_int_equal(sl_runner_submit(r, h, &err), SL_ERR_ARGUMENT); /* stale */
        before = h;
    }
    assert_null(sl_runner_request(r, SL_HANDLE_NONE));
    assert_null(sl_runner_request(r, UINT64_MAX));
    stop(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together_equals_alone),
        cmocka_unit_test(test_many_owners),
        cmocka_unit_test(test_quick_lives),
    };
    return cmocka_run_group_tests(tests, start, finish);
}
