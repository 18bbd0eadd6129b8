/* The runner over the real engine and a tiny random model: what one request gets, and how requests
 * end. Crowds of requests and owners are in test_runner_many.c. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/mapfile.h"
#include "runner/runner.h"
#include "tiny_engine.h"

#define N_PROMPT_MAX 2048
#define N_OUT_MAX 2048
#define N_TOP 5
#define PAGES 64
#define ANY_TIME_MS 60000 /* far beyond what anything here takes */

static tiny_engine g_tiny;

typedef struct job {
    int32_t prompt[N_PROMPT_MAX], out[N_OUT_MAX];
    float logprobs[N_OUT_MAX];
    sl_logprob top[N_OUT_MAX * N_TOP];
    sl_handle handle;
    sl_request *request;
} job;

static job g_jobs[4];

static int start_engine(void **state) {
    (void)state;
    sl_error err;
    const tiny_model_options model = {.seed = 7};
    const sl_engine_options engine = {
        .n_threads = 2, .batch_invariant = true, .rows_max = 128, .runs_max = 32};
    if (tiny_engine_open(&g_tiny, NULL, &model, &engine, PAGES, &err) != SL_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    return 0;
}

static int stop_engine(void **state) {
    (void)state;
    tiny_engine_close(&g_tiny);
    return 0;
}

static sl_runner *runner_of(const sl_runner_options *options) {
    sl_runner *r = NULL;
    sl_error err;
    if (sl_runner_create(g_tiny.engine, options, &r, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    return r;
}

static sl_runner *plain_runner(void) {
    return runner_of(&(sl_runner_options){.n_slots = 8});
}

/* A request for n_prompt + max_tokens tokens, acquired and filled, not yet submitted. */
static job *fill(sl_runner *r, uint32_t which, uint32_t n_prompt, uint32_t max_tokens) {
    job *j = &g_jobs[which];
    sl_error err;
    assert_int_equal(sl_runner_acquire(r, 0, &j->handle, &err), SL_OK);
    j->request = sl_runner_request(r, j->handle);
    assert_non_null(j->request);
    for (uint32_t i = 0; i < n_prompt && i < N_PROMPT_MAX; i++) {
        j->prompt[i] = (int32_t)(3 + (i * 7 + which * 31) % 240);
    }
    j->request->prompt_ids = j->prompt;
    j->request->n_prompt = n_prompt;
    j->request->max_tokens = max_tokens;
    j->request->out_ids = j->out;
    j->request->out_logprobs = j->logprobs;
    return j;
}

static void submit(sl_runner *r, job *j) {
    sl_error err;
    if (sl_runner_submit(r, j->handle, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
}

static sl_finish finish_of(const job *j) {
    return (sl_finish)atomic_load_explicit(&j->request->finish, memory_order_acquire);
}

static uint32_t n_out_of(const job *j) {
    return (uint32_t)atomic_load_explicit(&j->request->n_out, memory_order_acquire);
}

/* Waits for at least n tokens or the end, by news alone. */
static void await(sl_runner *r, const job *j, uint32_t n) {
    while (finish_of(j) == SL_FINISH_NONE && n_out_of(j) < n) {
        sl_handle h;
        assert_true(sl_runner_wait(r, 0, ANY_TIME_MS));
        while (sl_runner_poll(r, 0, &h)) {
        }
    }
}

static sl_finish run(sl_runner *r, job *j) {
    submit(r, j);
    await(r, j, UINT32_MAX);
    return finish_of(j);
}

static uint64_t pages_used(const sl_runner *r) {
    return atomic_load(&sl_runner_stats_of(r)->pages_used);
}

/* Ends the runner; the step path must not have allocated, and no page may be left. */
static void stop(sl_runner *r) {
    assert_int_equal(pages_used(r), 0);
    sl_runner_free(r);
    assert_int_equal(sl_alloc_violations(), 0);
}

/* --- one request --- */

typedef struct direct {
    float logits[TINY_N_VOCAB];
} direct;

static sl_status direct_logits(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                               sl_error *err) {
    (void)first;
    (void)n;
    (void)stride;
    (void)err;
    memcpy(((direct *)user)->logits, logits, sizeof(((direct *)user)->logits));
    return SL_OK;
}

/* Tokens and log-probs are those of the engine's logits, computed here without the runner. */
static void test_greedy_is_the_argmax(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    job *j = fill(r, 0, 40, 4);
    j->request->n_top = N_TOP;
    j->request->out_top = j->top;
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    assert_int_equal(n_out_of(j), 4);
    const sl_request *q = j->request;
    assert_true(q->t_submit_ns <= q->t_start_ns && q->t_start_ns < q->t_first_ns &&
                q->t_first_ns <= q->t_end_ns);
    sl_runner_release(r, j->handle);
    stop(r);

    int32_t ids[44], table[2] = {5, 3};
    memcpy(ids, j->prompt, 40 * sizeof(ids[0]));
    for (uint32_t n = 40; n < 44; n++) {
        const sl_step_run a_run = {.n_rows = n, .n_logits = 1, .n_known = n, .tables = {table}};
        const sl_step step = {.ids = ids, .n_rows = n, .runs = &a_run, .n_runs = 1, .n_logits = 1};
        direct d;
        sl_error err;
        assert_int_equal(sl_engine_step(g_tiny.engine, &step, direct_logits, &d, &err), SL_OK);
        int32_t best = 0;
        double sum = 0;
        for (int32_t i = 0; i < TINY_N_VOCAB; i++) {
            best = d.logits[i] > d.logits[best] ? i : best;
            sum += exp((double)d.logits[i]);
        }
        assert_int_equal(j->out[n - 40], best);
        assert_true(fabs((double)j->logprobs[n - 40] - ((double)d.logits[best] - log(sum))) < 1e-4);
        const sl_logprob *top = &j->top[(n - 40) * N_TOP];
        assert_int_equal(top[0].id, best);
        for (uint32_t k = 0; k < N_TOP; k++) {
            assert_true(fabs((double)top[k].logprob - ((double)d.logits[top[k].id] - log(sum))) <
                        1e-4);
            assert_true(k == 0 || top[k].logprob <= top[k - 1].logprob);
        }
        ids[n] = best;
    }
}

/* A draw is the sampler's for this seed, choice and position in the sequence, prompt included. */
static void test_draws_are_the_samplers(void **state) {
    (void)state;
    sl_sample_options options = sl_sample_options_default();
    options.seed = 1234;
    sl_runner *r = plain_runner();
    job *j = fill(r, 0, 40, 20);
    j->request->sample = options;
    j->request->choice = 3;
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    sl_runner_release(r, j->handle);
    stop(r);

    sl_sampler *sampler = NULL;
    sl_error err;
    assert_int_equal(
        sl_sampler_create(sl_engine_kernels(g_tiny.engine), TINY_N_VOCAB, &sampler, &err), SL_OK);
    int32_t ids[60], table[2] = {1, 0};
    memcpy(ids, j->prompt, 40 * sizeof(ids[0]));
    for (uint32_t n = 40; n < 60; n++) {
        const sl_step_run a_run = {.n_rows = n, .n_logits = 1, .n_known = n, .tables = {table}};
        const sl_step step = {.ids = ids, .n_rows = n, .runs = &a_run, .n_runs = 1, .n_logits = 1};
        direct d;
        sl_sample_out out;
        assert_int_equal(sl_engine_step(g_tiny.engine, &step, direct_logits, &d, &err), SL_OK);
        assert_int_equal(sl_sample_row(sampler, d.logits, &options, NULL, 3, n, &out, &err), SL_OK);
        assert_int_equal(j->out[n - 40], out.id);
        ids[n] = out.id;
    }
    sl_sampler_free(sampler);
}

/* A model without long rope tables gives the same tokens when it computes a sequence anew: neither
 * the owner nor the count of prompt tokens notices. */
static void test_computed_anew_in_between(void **state) {
    (void)state;
    for (uint32_t ctx_switch = 0; ctx_switch <= 250; ctx_switch += 250) {
        g_tiny.model->plan.ctx_switch = ctx_switch; /* after 50 of 90 tokens */
        sl_runner *r = plain_runner();
        job *j = fill(r, ctx_switch == 0 ? 0 : 1, 200, 90);
        memcpy(j->prompt, g_jobs[0].prompt, sizeof(j->prompt));
        assert_int_equal(run(r, j), SL_FINISH_LENGTH);
        assert_int_equal(n_out_of(j), 90);
        const sl_runner_stats *stats = sl_runner_stats_of(r);
        assert_int_equal(atomic_load(&stats->prompt_tokens), 200);
        assert_int_equal(atomic_load(&stats->generated_tokens), 90);
        /* The prompt and 89 tokens; then once more the 251 that were known at the switch, but for
         * its last row, which is no extra one. */
        assert_int_equal(atomic_load(&stats->step_rows), 289 + ctx_switch);
        sl_runner_release(r, j->handle);
        stop(r);
    }
    g_tiny.model->plan.ctx_switch = 0;
    assert_memory_equal(g_jobs[0].out, g_jobs[1].out, 90 * sizeof(int32_t));
    assert_memory_equal(g_jobs[0].logprobs, g_jobs[1].logprobs, 90 * sizeof(float));
}

static void test_stop_and_eos(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    job *j = fill(r, 0, 10, 24);
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    int32_t plain[24];
    memcpy(plain, j->out, sizeof(plain));
    sl_runner_release(r, j->handle);
    uint32_t first = 7; /* the first place of the token that comes eighth */
    for (uint32_t i = 7; i-- > 0;) {
        first = plain[i] == plain[7] ? i : first;
    }
    j = fill(r, 0, 10, 24);
    const int32_t stops[] = {-5, 1000000, plain[7]};
    j->request->stop_ids = stops;
    j->request->n_stop_ids = 3;
    j->request->ignore_eos = true; /* stop ids count all the same */
    assert_int_equal(run(r, j), SL_FINISH_STOP);
    assert_int_equal(n_out_of(j), first + 1);
    assert_int_equal(j->out[first], plain[7]);
    sl_runner_release(r, j->handle);
    stop(r);

    const int32_t eog[] = {-1, TINY_N_VOCAB, plain[7]};
    r = runner_of(&(sl_runner_options){.eog_ids = eog, .n_eog_ids = 3});
    j = fill(r, 0, 10, 24);
    assert_int_equal(run(r, j), SL_FINISH_STOP);
    assert_int_equal(n_out_of(j), first + 1);
    sl_runner_release(r, j->handle);
    j = fill(r, 0, 10, 24);
    j->request->ignore_eos = true;
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    assert_memory_equal(j->out, plain, sizeof(plain));
    sl_runner_release(r, j->handle);
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->finished_stop), 1);
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->finished_length), 1);
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->requests), 2);
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->prompt_tokens), 20);
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->generated_tokens), first + 1 + 24);
    stop(r);
}

static void test_seed_choice_and_position(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    int32_t first[32];
    for (uint32_t i = 0; i < 4; i++) {
        job *j = fill(r, 0, 10, 32);
        j->request->sample = sl_sample_options_default();
        j->request->sample.seed = i == 2 ? 99 : 42;
        j->request->choice = i == 3;
        assert_int_equal(run(r, j), SL_FINISH_LENGTH);
        if (i == 0) {
            memcpy(first, j->out, sizeof(first));
        } else if (i == 1) {
            assert_memory_equal(j->out, first, sizeof(first));
        } else {
            assert_memory_not_equal(j->out, first, sizeof(first));
        }
        sl_runner_release(r, j->handle);
    }
    stop(r);
}

/* Penalties see what was generated: with a hard one no token comes twice, or comes from the prompt.
 */
static void test_penalties_need_history(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    sl_error err = {0};
    job *j = fill(r, 0, 10, 60);
    j->request->sample.frequency_penalty = 2.0f;
    assert_int_equal(sl_runner_submit(r, j->handle, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "history"));
    j->request->sample.frequency_penalty = 0.0f;
    j->request->sample.repetition_penalty = 100.0f;
    void *memory = sl_alloc(sl_sample_history_bytes(70));
    sl_sample_history history;
    sl_sample_history_init(&history, memory, 70);
    sl_sample_history_add_prompt(&history, j->prompt, 10);
    j->request->history = &history;
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    for (uint32_t i = 0; i < 60; i++) {
        for (uint32_t k = 0; k < i + 10; k++) {
            assert_int_not_equal(j->out[i], k < 10 ? j->prompt[k] : j->out[k - 10]);
        }
    }
    sl_free(memory);
    stop(r);
}

static void test_whole_context(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    const uint32_t ctx = sl_runner_ctx_max(r);
    assert_int_equal(ctx, 2048);
    job *j = fill(r, 0, ctx - 1, 1);
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    assert_int_equal(n_out_of(j), 1);
    sl_runner_release(r, j->handle);
    stop(r);
}

/* --- refusals --- */

static void expect_refused(sl_runner *r, job *j, sl_status code, const char *text) {
    sl_error err = {0};
    assert_int_equal(sl_runner_submit(r, j->handle, &err), code);
    if (strstr(err.message, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    }
    sl_runner_release(r, j->handle);
}

static void test_refused(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    expect_refused(r, fill(r, 0, 2000, 49), SL_ERR_ARGUMENT, "the context is 2048 tokens");
    expect_refused(r, fill(r, 0, 0, 5), SL_ERR_ARGUMENT, "at least one");
    expect_refused(r, fill(r, 0, 5, 0), SL_ERR_ARGUMENT, "at least one");
    job *j = fill(r, 0, 5, 5);
    j->prompt[3] = TINY_N_VOCAB;
    expect_refused(r, j, SL_ERR_ARGUMENT, "token 300 at place 3");
    j = fill(r, 0, 5, 5);
    j->prompt[4] = -1;
    expect_refused(r, j, SL_ERR_ARGUMENT, "token -1 at place 4");
    j = fill(r, 0, 5, 5);
    j->request->n_top = SL_TOP_LOGPROBS_MAX + 1;
    j->request->out_top = j->top;
    expect_refused(r, j, SL_ERR_ARGUMENT, "log-probs");
    j = fill(r, 0, 5, 5);
    j->request->n_stop_ids = SL_STOP_IDS_MAX + 1;
    j->request->stop_ids = j->prompt;
    expect_refused(r, j, SL_ERR_ARGUMENT, "stop tokens");
    j = fill(r, 0, 5, 5);
    j->request->out_ids = NULL;
    expect_refused(r, j, SL_ERR_ARGUMENT, "a place for its tokens");
    j = fill(r, 0, 5, 5);
    j->request->sample.temperature = -1.0f;
    expect_refused(r, j, SL_ERR_ARGUMENT, "temperature");
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->rejected), 9);
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->requests), 0);
    sl_error err;
    sl_handle h;
    assert_int_equal(sl_runner_acquire(r, 1, &h, &err), SL_ERR_ARGUMENT); /* no such owner */
    stop(r);
}

static void test_pool_too_small(void **state) {
    (void)state;
    sl_error err;
    tiny_engine t;
    const tiny_model_options model = {.seed = 1};
    const sl_engine_options engine = {.n_threads = 1, .ctx_max = 2048}; /* more than the pool */
    assert_int_equal(tiny_engine_open(&t, NULL, &model, &engine, 4, &err), SL_OK);
    sl_runner *r = NULL;
    assert_int_equal(sl_runner_create(t.engine, &(sl_runner_options){0}, &r, &err), SL_OK);
    expect_refused(r, fill(r, 0, 100, 29), SL_ERR_ARGUMENT, "the whole pool has 4");
    job *j = fill(r, 0, 100, 28);
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    stop(r);
    tiny_engine_close(&t);
}

/* A runner on an engine of its own that runs one request at a time: others wait. */
static sl_runner *one_at_a_time(tiny_engine *t, const sl_runner_options *options) {
    sl_error err;
    const tiny_model_options model = {.seed = 7};
    const sl_engine_options engine = {.n_threads = 1, .rows_max = 128, .runs_max = 1};
    sl_runner *r = NULL;
    assert_int_equal(tiny_engine_open(t, NULL, &model, &engine, PAGES, &err), SL_OK);
    assert_int_equal(sl_runner_create(t->engine, options, &r, &err), SL_OK);
    return r;
}

static void test_queue_bounds(void **state) {
    (void)state;
    tiny_engine t;
    sl_runner *r = one_at_a_time(
        &t, &(sl_runner_options){.n_slots = 4, .queue_max = 2, .queue_tokens_max = 3000});
    sl_error err;
    job *big = fill(r, 0, 100, 1948);
    big->request->ignore_eos = true;
    submit(r, big);
    await(r, big, 1); /* started: not in the queue any more */
    job *a = fill(r, 1, 10, 10), *b = fill(r, 2, 1000, 1000), *c = fill(r, 3, 10, 10);
    sl_handle h;
    assert_int_equal(sl_runner_acquire(r, 0, &h, &err), SL_AGAIN); /* no slot left */
    submit(r, a);
    submit(r, b);
    assert_int_equal(sl_runner_submit(r, c->handle, &err), SL_AGAIN); /* two wait */
    sl_runner_cancel(r, b->handle);
    await(r, b, UINT32_MAX);
    assert_int_equal(finish_of(b), SL_FINISH_CANCELLED);
    assert_int_equal(n_out_of(b), 0);
    assert_int_equal(finish_of(a), SL_FINISH_NONE); /* still waiting */
    submit(r, c);                                   /* its place is free, at once */
    sl_runner_cancel(r, c->handle);
    await(r, c, UINT32_MAX);
    sl_runner_release(r, b->handle);
    b = fill(r, 2, 1000, 1000);
    b->request->max_tokens = 1048;
    submit(r, b);
    sl_runner_release(r, c->handle);
    sl_runner_cancel(r, big->handle);
    await(r, a, UINT32_MAX);
    await(r, b, 1);
    assert_int_equal(finish_of(a), SL_FINISH_LENGTH);
    c = fill(r, 3, 1000, 1000); /* 2000 tokens wait, b runs */
    submit(r, c);
    assert_true(sl_runner_request(r, big->handle) != NULL);
    await(r, big, UINT32_MAX);
    sl_runner_release(r, big->handle);
    big = fill(r, 0, 500, 501);
    assert_int_equal(sl_runner_submit(r, big->handle, &err), SL_AGAIN); /* 3001 > 3000 */
    big->request->max_tokens = 500;
    submit(r, big);
    sl_runner_cancel(r, big->handle);
    sl_runner_cancel(r, b->handle);
    sl_runner_cancel(r, c->handle);
    await(r, big, UINT32_MAX);
    await(r, b, UINT32_MAX);
    await(r, c, UINT32_MAX);
    stop(r);
    tiny_engine_close(&t);
}

static uint32_t queue_n(const sl_runner *r) {
    uint32_t n;
    uint64_t n_tokens;
    sl_runner_queue(r, &n, &n_tokens);
    assert_true((n == 0) == (n_tokens == 0));
    return n;
}

/* A group takes all its places or none, and is refused for good only for what can never be. */
static void test_groups(void **state) {
    (void)state;
    tiny_engine t;
    sl_runner *r = one_at_a_time(
        &t, &(sl_runner_options){.n_slots = 4, .queue_max = 3, .queue_tokens_max = 100});
    assert_int_equal(sl_runner_group_max(r), 3);
    sl_error err;
    sl_handle h[4];
    job *j[4];
    for (uint32_t i = 0; i < 4; i++) {
        j[i] = fill(r, i, 100, 100); /* more tokens than may wait, but nothing waits */
        h[i] = j[i]->handle;
    }
    assert_int_equal(sl_runner_submit_all(r, h, 4, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "at most 3"));
    const sl_handle twice[] = {h[0], h[1], h[0]};
    assert_int_equal(sl_runner_submit_all(r, twice, 3, &err), SL_ERR_ARGUMENT);
    j[2]->prompt[7] = -1;
    assert_int_equal(sl_runner_submit_all(r, h, 3, &err), SL_ERR_ARGUMENT);
    j[2]->prompt[7] = 1;
    assert_int_equal(queue_n(r), 0);
    assert_int_equal(sl_runner_submit_all(r, h, 3, &err), SL_OK);
    for (uint32_t i = 0; i < 3; i++) {
        await(r, j[i], UINT32_MAX);
        assert_int_equal(finish_of(j[i]), SL_FINISH_LENGTH);
        sl_runner_release(r, h[i]);
    }
    sl_runner_release(r, h[3]);
    job *big = fill(r, 0, 100, 1948); /* who comes now waits */
    big->request->ignore_eos = true;
    submit(r, big);
    await(r, big, 1);
    for (uint32_t i = 1; i < 4; i++) {
        j[i] = fill(r, i, 10, 10);
        h[i] = j[i]->handle;
    }
    submit(r, j[1]);
    sl_handle again[] = {h[2], h[3], h[1]};
    assert_int_equal(sl_runner_submit_all(r, again, 3, &err), SL_ERR_ARGUMENT); /* one waits */
    assert_int_equal(queue_n(r), 1);
    sl_runner_cancel(r, h[2]); /* not submitted: ignored */
    sl_runner_release(r, h[3]);
    j[3] = fill(r, 3, 500, 10);
    again[1] = j[3]->handle;
    assert_int_equal(sl_runner_submit_all(r, again, 2, &err), SL_AGAIN); /* too many tokens */
    assert_int_equal(queue_n(r), 1); /* the refused two hold no place */
    submit(r, j[2]);
    assert_int_equal(queue_n(r), 2);
    sl_runner_cancel(r, big->handle);
    await(r, big, UINT32_MAX);
    await(r, j[1], UINT32_MAX);
    await(r, j[2], UINT32_MAX);
    assert_int_equal(finish_of(j[2]), SL_FINISH_LENGTH);
    assert_int_equal(queue_n(r), 0);
    stop(r);
    tiny_engine_close(&t);
}

/* Twice the pages needed than there are: everybody finishes, with the text of an empty machine. */
static void test_pages_run_out(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    static int32_t alone[4][N_OUT_MAX];
    sl_handle h[4];
    sl_error err;
    for (uint32_t i = 0; i < 4; i++) {
        job *j = fill(r, i, 300, 700);
        j->request->ignore_eos = true;
        assert_int_equal(run(r, j), SL_FINISH_LENGTH);
        memcpy(alone[i], j->out, sizeof(alone[i]));
        sl_runner_release(r, j->handle);
    }
    for (uint32_t i = 0; i < 4; i++) {
        job *j = fill(r, i, 300, 700);
        j->request->ignore_eos = true;
        j->request->shares = i % 2 == 0;
        h[i] = j->handle;
    }
    assert_int_equal(sl_runner_submit_all(r, h, 4, &err), SL_OK);
    for (uint32_t i = 0; i < 4; i++) {
        await(r, &g_jobs[i], UINT32_MAX);
        assert_int_equal(finish_of(&g_jobs[i]), SL_FINISH_LENGTH);
        assert_memory_equal(g_jobs[i].out, alone[i], 700 * sizeof(int32_t));
    }
    const sl_runner_stats *stats = sl_runner_stats_of(r);
    assert_true(atomic_load(&stats->holds) >= 1);
    assert_int_equal(atomic_load(&stats->pages_used), 0);
    assert_int_equal(atomic_load(&stats->n_on_hold), 0);
    stop(r);
}

/* The second of two prompts that begin alike finds what the first one left, and says so; the text
 * is the same; other salts and those that don't share compute all of theirs. */
static void test_prefixes(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    static const struct {
        bool shares;
        uint64_t salt;
        uint32_t n_cached;
    } cases[] = {{true, 1, 0}, {true, 1, 192}, {true, 2, 0}, {false, 1, 0}, {true, 1, 192}};
    int32_t first[50];
    for (uint32_t i = 0; i < 5; i++) {
        job *j = fill(r, 0, 200, 50);
        j->request->ignore_eos = true;
        j->request->shares = cases[i].shares;
        j->request->salt = cases[i].salt;
        assert_int_equal(run(r, j), SL_FINISH_LENGTH);
        assert_int_equal(j->request->n_cached, cases[i].n_cached);
        if (i == 0) {
            memcpy(first, j->out, sizeof(first));
        }
        assert_memory_equal(j->out, first, sizeof(first));
        sl_runner_release(r, j->handle);
    }
    const sl_runner_stats *stats = sl_runner_stats_of(r);
    assert_int_equal(atomic_load(&stats->cached_tokens), 2 * 192);
    assert_int_equal(atomic_load(&stats->prompt_tokens), 3 * 200 + 2 * 8);
    assert_int_equal(atomic_load(&stats->pages_used), 0);
    assert_true(atomic_load(&stats->pages_cached) >= 2 * 6);
    stop(r);
}

/* A submitted request is in the queue, or runs, or has its last token: at every moment, also while
 * a step is being computed. */
static void test_gauges_are_true_within_steps(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    const sl_runner_stats *stats = sl_runner_stats_of(r);
    job *j = fill(r, 0, 1000, 200);
    j->request->ignore_eos = true;
    submit(r, j);
    bool seen_running = false;
    while (finish_of(j) == SL_FINISH_NONE) {
        const uint32_t n_queued = queue_n(r);
        const uint64_t n_running = atomic_load(&stats->n_running);
        seen_running = seen_running || n_running == 1;
        assert_true(n_queued + n_running >= 1 || n_out_of(j) == 200);
    }
    assert_true(seen_running);
    stop(r);
}

/* --- ends --- */

static void test_cancel_in_decode(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    job *j = fill(r, 0, 50, 1900);
    submit(r, j);
    await(r, j, 3);
    sl_runner_cancel(r, j->handle);
    await(r, j, UINT32_MAX);
    assert_int_equal(finish_of(j), SL_FINISH_CANCELLED);
    assert_in_range(n_out_of(j), 3, 1899);
    assert_int_equal(pages_used(r), 0);
    sl_runner_cancel(r, j->handle); /* after the end: ignored */
    sl_runner_release(r, j->handle);
    assert_null(sl_runner_request(r, j->handle));
    sl_runner_cancel(r, j->handle); /* stale: ignored */
    sl_runner_release(r, j->handle);
    stop(r);
}

static void test_cancel_in_prefill(void **state) {
    (void)state;
    const sl_cost cost = {.n_points = 1, .points = {{1, 1.0}}, .n_threads = 1};
    sl_runner *r = runner_of(&(sl_runner_options){.n_slots = 8, .cost = &cost});
    job *beside = fill(r, 1, 1, 1900); /* while it decodes, prompts are computed row by row */
    submit(r, beside);
    await(r, beside, 1);
    bool seen = false;
    for (uint32_t i = 0; i < 50 && !seen;
         i++) { /* the prompt takes 1,800 steps, but threads may stall */
        const uint64_t steps = atomic_load(&sl_runner_stats_of(r)->steps);
        job *j = fill(r, 0, 1800, 10);
        submit(r, j);
        while (atomic_load(&sl_runner_stats_of(r)->steps) == steps) {
            usleep(100);
        }
        sl_runner_cancel(r, j->handle);
        await(r, j, UINT32_MAX);
        seen = finish_of(j) == SL_FINISH_CANCELLED && n_out_of(j) == 0;
        sl_runner_release(r, j->handle);
    }
    assert_true(seen);
    sl_runner_cancel(r, beside->handle);
    await(r, beside, UINT32_MAX);
    sl_runner_release(r, beside->handle);
    assert_int_equal(pages_used(r), 0);
    stop(r);
}

typedef struct idle_work {
    atomic_uint n_calls, n_left; /* calls that say that there is more */
    atomic_uint n_wrong;         /* calls while pages were in use */
    atomic_bool drifts;          /* what was found out, at the last call */
} idle_work;

/* Uses the engine as it likes, allocates, and tells the runner that a step takes no time at all. */
static bool idle_fn(void *user, sl_runner *r) {
    idle_work *w = user;
    const sl_cost cost = {.n_points = 1, .points = {{1, 1e-9}}, .n_threads = 1};
    sl_free(sl_alloc_zero(1, 100));
    atomic_fetch_add(&w->n_wrong, pages_used(r) > 0);
    atomic_store(&w->drifts, sl_runner_cost_drifted(r));
    if (atomic_fetch_add(&w->n_calls, 1) == 0) {
        sl_runner_set_cost(r, &cost);
    }
    if (atomic_load(&w->n_left) == 0) {
        return false;
    }
    atomic_fetch_sub(&w->n_left, 1);
    return true;
}

static void await_calls(const idle_work *w, uint32_t n) {
    while (atomic_load(&w->n_calls) < n) {
        usleep(100);
    }
}

/* A runner with nothing to do lets its caller work, as long as there is work, and after each crowd
 * once more; steps are compared with the cost that it was told. */
static void test_idle_work(void **state) {
    (void)state;
    idle_work w = {.n_left = 5};
    sl_runner *r = runner_of(&(sl_runner_options){.n_slots = 8, .idle = idle_fn, .idle_user = &w});
    const sl_runner_stats *stats = sl_runner_stats_of(r);
    await_calls(&w, 6);
    assert_int_equal(atomic_load(&stats->cost_millis), 0); /* no step yet */
    assert_false(atomic_load(&w.drifts));
    job *j = fill(r, 0, 10, 400);
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    sl_runner_release(r, j->handle);
    await_calls(&w, 7);
    assert_int_equal(atomic_load(&w.n_wrong), 0);
    assert_int_equal(atomic_load(&stats->cost_millis), 8000); /* as far as one step may count */
    assert_true(atomic_load(&w.drifts));
    stop(r);
}

static void test_deadlines(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    job *j = fill(r, 0, 10, 10);
    j->request->deadline_ns = 1; /* long ago */
    const uint64_t steps = atomic_load(&sl_runner_stats_of(r)->steps);
    assert_int_equal(run(r, j), SL_FINISH_ERROR);
    assert_int_equal(j->request->error.code, SL_ERR_LIMIT);
    assert_non_null(strstr(j->request->error.message, "deadline"));
    assert_int_equal(atomic_load(&sl_runner_stats_of(r)->steps), steps); /* it cost nothing */
    sl_runner_release(r, j->handle);
    j = fill(r, 0, 10, 2000);
    j->request->deadline_ns = sl_clock_mono_ns() + 3 * SL_NS_PER_MS;
    assert_int_equal(run(r, j), SL_FINISH_ERROR);
    assert_int_equal(j->request->error.code, SL_ERR_LIMIT);
    assert_in_range(n_out_of(j), 0, 1999);
    sl_runner_release(r, j->handle);
    j = fill(r, 0, 10, 10);
    j->request->deadline_ns = sl_clock_mono_ns() + 600 * SL_NS_PER_S;
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    sl_runner_release(r, j->handle);
    stop(r);
}

/* A token whose embedding is not a number spoils its own request and no other. */
static void test_numeric_error_stays_alone(void **state) {
    (void)state;
    sl_error err;
    tiny_engine t;
    const tiny_model_options model = {.seed = 7, .poison_id = 1}; /* greedy never chooses token 1 */
    const sl_engine_options engine = {.n_threads = 2, .batch_invariant = true};
    assert_int_equal(tiny_engine_open(&t, NULL, &model, &engine, PAGES, &err), SL_OK);
    sl_runner *r = NULL;
    assert_int_equal(sl_runner_create(t.engine, &(sl_runner_options){0}, &r, &err), SL_OK);
    job *good = fill(r, 0, 20, 30);
    assert_int_equal(run(r, good), SL_FINISH_LENGTH);
    int32_t alone[30];
    memcpy(alone, good->out, sizeof(alone));
    sl_runner_release(r, good->handle);
    good = fill(r, 0, 20, 30);
    job *bad = fill(r, 1, 20, 30);
    bad->prompt[11] = 1;
    submit(r, good);
    submit(r, bad);
    await(r, bad, UINT32_MAX);
    await(r, good, UINT32_MAX);
    assert_int_equal(finish_of(bad), SL_FINISH_ERROR);
    assert_int_equal(bad->request->error.code, SL_ERR_NUMERIC);
    assert_int_equal(n_out_of(bad), 0);
    assert_int_equal(finish_of(good), SL_FINISH_LENGTH);
    assert_memory_equal(good->out, alone, sizeof(alone));
    assert_true(sl_runner_healthy(r, NULL));
    stop(r);
    tiny_engine_close(&t);
}

/* The model file is cut off while it is served: all requests end with the error, later ones are
 * refused. */
static void test_file_vanishes(void **state) {
    (void)state;
    sl_error err;
    tiny_engine t;
    char path[] = "/tmp/sluice-test-runner-XXXXXX";
    assert_int_equal(close(mkstemp(path)), 0);
    const tiny_model_options model = {.seed = 3};
    const sl_engine_options engine = {.n_threads = 2};
    assert_int_equal(tiny_model_write(path, &model, &err), SL_OK);
    sl_mapfile_guard_install();
    const sl_status opened = tiny_engine_open(&t, path, NULL, &engine, 128, &err);
    const int fd = open(path, O_RDWR);
    unlink(path); /* now, so that a failure leaves nothing behind */
    assert_int_equal(opened, SL_OK);
    sl_runner *r = NULL;
    assert_int_equal(sl_runner_create(t.engine, &(sl_runner_options){0}, &r, &err), SL_OK);
    job *j = fill(r, 0, 10, 1990), *k = fill(r, 1, 10, 1990);
    submit(r, j);
    submit(r, k);
    await(r, j, 2);
    assert_int_equal(ftruncate(fd, 0), 0);
    await(r, j, UINT32_MAX);
    await(r, k, UINT32_MAX);
    assert_int_equal(finish_of(j), SL_FINISH_ERROR);
    assert_int_equal(finish_of(k), SL_FINISH_ERROR);
    assert_int_equal(j->request->error.code, SL_ERR_IO);
    assert_false(sl_runner_healthy(r, &err));
    assert_non_null(strstr(err.message, path));
    assert_int_equal(pages_used(r), 0);
    expect_refused(r, fill(r, 2, 10, 10), SL_ERR_IO, path);
    stop(r);
    tiny_engine_close(&t);
    close(fd);
}

/* --- life --- */

static void test_free_while_running(void **state) {
    (void)state;
    sl_runner *r = plain_runner();
    job *j = fill(r, 0, 100, 1900);
    submit(r, j);
    await(r, j, 1);
    (void)fill(r, 1, 100, 1900);
    submit(r, &g_jobs[1]); /* still waiting for pages */
    sl_runner_free(r);
    assert_int_equal(sl_alloc_violations(), 0);
    r = plain_runner(); /* the engine is free for the next one */
    j = fill(r, 0, 10, 2);
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    stop(r);
}

static void count_wake(void *user, uint32_t owner) {
    assert_int_equal(owner, 1);
    atomic_fetch_add((atomic_uint *)user, 1);
}

/* With a callback, owners are told at most once per step. */
static void test_wake_callback(void **state) {
    (void)state;
    atomic_uint n_wakes;
    atomic_init(&n_wakes, 0);
    sl_runner *r = runner_of(
        &(sl_runner_options){.n_owners = 3, .wake = count_wake, .wake_user = &n_wakes});
    sl_handle handles[4];
    sl_error err;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(sl_runner_acquire(r, 1, &handles[i], &err), SL_OK);
        sl_request *q = sl_runner_request(r, handles[i]);
        g_jobs[i].prompt[0] = 9;
        q->prompt_ids = g_jobs[i].prompt;
        q->n_prompt = 1;
        q->max_tokens = 50;
        q->out_ids = g_jobs[i].out;
        assert_int_equal(sl_runner_submit(r, handles[i], &err), SL_OK);
    }
    uint32_t n_ended = 0;
    while (n_ended < 4) {
        sl_handle h;
        while (sl_runner_poll(r, 1, &h)) {
            sl_request *q = sl_runner_request(r, h);
            if (atomic_load_explicit(&q->finish, memory_order_acquire) != SL_FINISH_NONE) {
                assert_int_equal(atomic_load(&q->n_out), 50);
                sl_runner_release(r, h);
                n_ended++;
            }
        }
        assert_false(sl_runner_poll(r, 0, &h));
        assert_false(sl_runner_poll(r, 2, &h));
        usleep(200);
    }
    const uint64_t steps = atomic_load(&sl_runner_stats_of(r)->steps);
    sl_runner_free(r); /* joins: all wakes were given */
    assert_in_range(atomic_load(&n_wakes), 1, steps);
}

static void test_no_memory(void **state) {
    (void)state;
    sl_error err;
    uint32_t n_failed = 0;
    for (uint64_t nth = 1;; nth++) {
        sl_runner *r = NULL;
        sl_alloc_fail_nth(nth, false);
        const sl_status status = sl_runner_create(g_tiny.engine, &(sl_runner_options){0}, &r, &err);
        sl_alloc_fail_nth(0, false);
        if (status == SL_OK) {
            sl_runner_free(r);
            break;
        }
        assert_int_equal(status, SL_ERR_MEMORY);
        assert_null(r);
        n_failed++;
    }
    assert_in_range(n_failed, 15, 100);
    sl_runner *none = NULL;
    assert_int_equal(
        sl_runner_create(g_tiny.engine, &(sl_runner_options){.n_slots = 65536}, &none, &err),
        SL_ERR_ARGUMENT);
}

/* The tokens of one request with guesses from its text, or without. */
static void run_guessed(sl_runner *r, uint32_t which, const sl_sample_options *options,
                        void *memory, uint64_t *n_drafted, uint64_t *n_accepted) {
    const uint32_t n_prompt = 60, n_out = 200;
    job *j = fill(r, which, n_prompt, n_out);
    for (uint32_t i = 0; i < n_prompt; i++) {
        j->prompt[i] = (int32_t)(3 + (i % 20) * 7);
    }
    j->request->sample = *options;
    sl_ngram g;
    if (memory != NULL) {
        const sl_ngram_text text = {j->prompt, j->out, n_prompt};
        sl_ngram_init(&g, memory, n_prompt + n_out);
        sl_ngram_grow(&g, &text, n_prompt);
        j->request->ngram = &g;
    }
    assert_int_equal(run(r, j), SL_FINISH_LENGTH);
    assert_int_equal(n_out_of(j), n_out);
    *n_drafted += atomic_load(&j->request->n_drafted);
    *n_accepted += atomic_load(&j->request->n_accepted);
    sl_runner_release(r, j->handle);
}

/* Guesses change no token and no log-probability, and save steps where they come true. 10,000 draws
 * in all: each is the one of its seed, choice and position, so the distribution is the same too. */
static void test_guesses_change_nothing(void **state) {
    (void)state;
    void *memory = malloc(sl_ngram_bytes(260));
    sl_runner *r = plain_runner();
    const sl_runner_stats *stats = sl_runner_stats_of(r);
    uint64_t none = 0, n_drafted = 0, n_accepted = 0;
    uint64_t n_steps[2] = {0};
    for (uint64_t seed = 0; seed < 50; seed++) {
        sl_sample_options options = sl_sample_options_default();
        options.seed = seed;
        options.temperature = 0.05f * (float)(seed % 10); /* from greedy on */
        options.top_k = seed % 3 == 0 ? 40 : 0;           /* from the largest logits, or from all */
        for (uint32_t guessed = 0; guessed < 2; guessed++) {
            const uint64_t before = atomic_load(&stats->steps);
            run_guessed(r, guessed, &options, guessed == 1 ? memory : NULL,
                        guessed == 1 ? &n_drafted : &none, guessed == 1 ? &n_accepted : &none);
            n_steps[guessed] += atomic_load(&stats->steps) - before;
        }
        assert_memory_equal(g_jobs[0].out, g_jobs[1].out, 200 * sizeof(int32_t));
        assert_memory_equal(g_jobs[0].logprobs, g_jobs[1].logprobs, 200 * sizeof(float));
    }
    assert_int_equal(none, 0);
    assert_in_range(n_accepted, 200, n_drafted - 200);
    assert_int_equal(n_steps[0] - n_steps[1], n_accepted);
    assert_int_equal(atomic_load(&stats->drafted_tokens), n_drafted);
    assert_int_equal(atomic_load(&stats->accepted_tokens), n_accepted);
    stop(r);
    free(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses_change_nothing),
        cmocka_unit_test(test_greedy_is_the_argmax),
        cmocka_unit_test(test_draws_are_the_samplers),
        cmocka_unit_test(test_computed_anew_in_between),
        cmocka_unit_test(test_stop_and_eos),
        cmocka_unit_test(test_seed_choice_and_position),
        cmocka_unit_test(test_penalties_need_history),
        cmocka_unit_test(test_whole_context),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_pool_too_small),
        cmocka_unit_test(test_queue_bounds),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_pages_run_out),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_gauges_are_true_within_steps),
        cmocka_unit_test(test_cancel_in_decode),
        cmocka_unit_test(test_cancel_in_prefill),
        cmocka_unit_test(test_idle_work),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_numeric_error_stays_alone),
        cmocka_unit_test(test_file_vanishes),
        cmocka_unit_test(test_free_while_running),
        cmocka_unit_test(test_wake_callback),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, start_engine, stop_engine);
}
