/* The scheduler on small, fully known cases: what each step holds, who is admitted, who is refused.
 * The crowd under accidents is in tests/sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "sched/sched.h"

#define T SL_PAGE_TOKENS
#define N_IDS 4096

typedef struct fixture {
    sl_kv *kv;
    sl_sched *sched;
    int32_t prompt[N_IDS], out[N_IDS];
} fixture;

static const sl_sched_options BASE = {.n_slots = 16,
                                      .rows_max = 64,
                                      .runs_max = 8,
                                      .chunk_rows = 32,
                                      .ctx_max = 1024,
                                      .queue_max = 4,
                                      .queue_tokens_max = 10000};

/* A step is as long as a chunk beside decodes. */
static sl_sched_options short_steps(void) {
    sl_sched_options options = BASE;
    options.rows_max = options.chunk_rows;
    return options;
}

static fixture *start_groups(sl_sched_options options, uint32_t n_pages, sl_kv_groups groups) {
    static fixture f;
    sl_error err;
    groups.rows_max = options.rows_max;
    const sl_kv_options kv_options = {
        .n_pages = n_pages, .n_seqs_max = 8, .n_tokens_max = options.ctx_max, .groups = groups};
    assert_int_equal(sl_kv_create(&kv_options, &f.kv, &err), SL_OK);
    assert_int_equal(sl_sched_create(&options, f.kv, &f.sched, &err), SL_OK);
    for (int32_t i = 0; i < N_IDS; i++) {
        f.prompt[i] = i;
        f.out[i] = 100000 + i;
    }
    return &f;
}

static fixture *start(sl_sched_options options, uint32_t n_pages) {
    return start_groups(options, n_pages, (sl_kv_groups){.n = 1});
}

static void stop(fixture *f) {
    sl_sched_free(f->sched);
    assert_int_equal(sl_kv_n_used(f->kv), 0);
    sl_kv_free(f->kv);
}

static sl_sched_request request_of(const fixture *f, uint32_t n_prompt, uint32_t max_tokens) {
    return (sl_sched_request){
        .prompt_ids = f->prompt, .n_prompt = n_prompt, .out_ids = f->out, .max_tokens = max_tokens};
}

static sl_status add(fixture *f, uint32_t slot, uint32_t n_prompt, uint32_t max_tokens,
                     uint64_t deadline_ns) {
    sl_sched_request r = request_of(f, n_prompt, max_tokens);
    r.deadline_ns = deadline_ns;
    sl_error err;
    return sl_sched_add(f->sched, slot, &r, &err);
}

static const sl_step *plan(fixture *f, uint32_t n_runs, uint32_t n_rows, uint32_t n_logits) {
    sl_error err;
    const sl_step *step = sl_sched_plan(f->sched, 0);
    assert_non_null(step);
    assert_int_equal(step->n_runs, n_runs);
    assert_int_equal(step->n_rows, n_rows);
    assert_int_equal(step->n_logits, n_logits);
    if (sl_sched_verify(f->sched, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    return step;
}

static void check_run(const sl_step *step, uint32_t i, uint32_t owner, uint32_t pos0,
                      uint32_t n_rows, uint32_t n_logits) {
    assert_int_equal(step->runs[i].owner, owner);
    assert_int_equal(step->runs[i].pos0, pos0);
    assert_int_equal(step->runs[i].n_rows, n_rows);
    assert_int_equal(step->runs[i].n_logits, n_logits);
}

static void test_chunks_then_decodes(void **state) {
    (void)state;
    fixture *f = start(short_steps(), 100);
    assert_null(sl_sched_plan(f->sched, 0));
    assert_int_equal(add(f, 3, 70, 5, 0), SL_OK);
    assert_int_equal(add(f, 1, 10, 5, 0), SL_OK);
    check_run(plan(f, 1, 32, 0), 0, 3, 0, 32, 0);
    sl_sched_commit(f->sched);
    const sl_step *step = plan(f, 1, 32, 0);
    check_run(step, 0, 3, 32, 32, 0);
    assert_int_equal(step->ids[0], 32);
    sl_sched_commit(f->sched);
    step = plan(f, 2, 16, 2); /* the prompt's rest, and the next one's start beside it */
    check_run(step, 0, 3, 64, 6, 1);
    check_run(step, 1, 1, 0, 10, 1);
    assert_int_equal(step->runs[1].row_begin, 6);
    assert_int_equal(step->ids[6], 0);
    uint32_t n;
    assert_int_equal(sl_sched_admitted(f->sched, &n)[0], 1);
    assert_int_equal(n, 1);
    assert_int_equal(sl_sched_append(f->sched, 3), SL_ERR_ARGUMENT); /* not computed yet */
    sl_sched_commit(f->sched);
    assert_int_equal(sl_sched_append(f->sched, 3), SL_OK);
    assert_int_equal(sl_sched_append(f->sched, 3), SL_ERR_ARGUMENT); /* one at a time */
    assert_int_equal(sl_sched_append(f->sched, 1), SL_OK);
    step = plan(f, 2, 2, 2);
    check_run(step, 0, 3, 70, 1, 1);
    check_run(step, 1, 1, 10, 1, 1);
    assert_int_equal(step->ids[0], 100000);
    sl_sched_abandon(f->sched); /* the step failed: the same rows come again */
    step = plan(f, 2, 2, 2);
    check_run(step, 0, 3, 70, 1, 1);
    sl_sched_commit(f->sched);
    stop(f);
}

static void test_decodes_go_before_prefill(void **state) {
    (void)state;
    fixture *f = start(BASE, 100);
    assert_int_equal(add(f, 2, 100, 9, 0), SL_OK);
    plan(f, 1, 64, 0); /* nobody waits for a token: a whole step of it */
    sl_sched_end(f->sched, 2);
    assert_int_equal(add(f, 0, 4, 9, 0), SL_OK);
    plan(f, 1, 4, 1);
    sl_sched_commit(f->sched);
    assert_int_equal(add(f, 1, 200, 9, 0), SL_OK);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(sl_sched_append(f->sched, 0), SL_OK);
        const sl_step *step = plan(f, 2, 33, 1);
        check_run(step, 0, 0, 4 + i, 1, 1);
        check_run(step, 1, 1, 32 * i, 32, 0);
        sl_sched_commit(f->sched);
    }
    assert_int_equal(add(f, 2, 200, 9, 0), SL_OK);
    stop(f);
}

/* With a known cost a step takes as much of a prompt as it may be longer than its decodes. */
static void test_rows_by_cost(void **state) {
    (void)state;
    /* 1 ms, and another for each row beyond 10; 100 us for 1,000 tokens attended by a prompt */
    const sl_cost cost = {
        .n_points = 2, .points = {{10, 1e-3}, {1010, 1.001}}, .prefill_s = 1e-7, .n_threads = 1};
    const sl_plan model = {.n_groups = 1, .groups = {{.n_layers = 1}}};
    sl_sched_options options = BASE;
    for (int i = 0; i < 3; i++) {
        options.step_ns = i == 0 ? 0 : i == 1 ? 20000000 : 1; /* twice, 20 ms, never */
        fixture *f = start(options, 100);
        sl_sched_set_cost(f->sched, &model, &cost);
        assert_int_equal(add(f, 0, 4, 9, 0), SL_OK);
        plan(f, 1, 4, 1);
        sl_sched_commit(f->sched);
        assert_int_equal(sl_sched_append(f->sched, 0), SL_OK);
        assert_int_equal(add(f, 1, 1000, 9, 0), SL_OK);
        const uint32_t n = i == 0 ? 9 : i == 1 ? 27 : 1; /* at least 1 */
        check_run(plan(f, 2, 1 + n, 1), 1, 1, 0, n, 0);
        sl_sched_abandon(f->sched);
        sl_sched_set_cost_ratio(f->sched, 2.0); /* steps take twice as long as it says */
        check_run(plan(f, 2, i == 1 ? 1 + 17 : 1 + n, 1), 1, 1, 0, i == 1 ? 17 : n, 0);
        sl_sched_commit(f->sched);
        stop(f);
    }
}

static void test_first_come_first_served(void **state) {
    (void)state;
    fixture *f = start(short_steps(), 10);
    assert_int_equal(add(f, 0, 6 * T - 1, 1, 0), SL_OK);
    assert_int_equal(add(f, 1, 5 * T - 1, 1, 0), SL_OK); /* 6 + 5 > 10: waits */
    assert_int_equal(add(f, 2, 1, 1, 0), SL_OK);         /* would fit, does not overtake */
    plan(f, 1, 32, 0);
    sl_sched_commit(f->sched);
    assert_int_equal(sl_sched_n_waiting(f->sched), 2);
    assert_int_equal(sl_sched_waiting_tokens(f->sched), 5 * T + 2);
    sl_sched_end(f->sched, 0); /* pages are there at the very next step */
    check_run(plan(f, 1, 32, 0), 0, 1, 0, 32, 0);
    sl_sched_commit(f->sched);
    sl_sched_end(f->sched, 1);
    check_run(plan(f, 1, 1, 1), 0, 2, 0, 1, 1);
    stop(f);
}

static void test_refused(void **state) {
    (void)state;
    fixture *f = start(BASE, 10);
    sl_error err;
    assert_int_equal(add(f, 0, 1000, 25, 0), SL_ERR_ARGUMENT);
    assert_int_equal(sl_sched_check(f->sched, 1000, 25, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "1024"));
    assert_int_equal(sl_sched_check(f->sched, 10 * T, 1, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "the whole pool has 10"));
    assert_int_equal(sl_sched_check(f->sched, 10 * T - 1, 1, &err), SL_OK);
    assert_int_equal(sl_sched_check(f->sched, 0, 1, &err), SL_ERR_ARGUMENT);
    assert_int_equal(sl_sched_check(f->sched, 1, 0, &err), SL_ERR_ARGUMENT);
    assert_int_equal(sl_sched_check(f->sched, UINT32_MAX, UINT32_MAX, &err), SL_ERR_ARGUMENT);
    assert_int_equal(add(f, 16, 1, 1, 0), SL_ERR_ARGUMENT); /* no such slot */
    assert_int_equal(add(f, 0, 1, 1, 0), SL_OK);
    assert_int_equal(add(f, 0, 1, 1, 0), SL_ERR_ARGUMENT); /* slot in use */
    stop(f);
}

static void test_queue_is_bounded(void **state) {
    (void)state;
    fixture *f = start(short_steps(), 100);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(add(f, i, 10, 10, 0), SL_OK);
    }
    assert_int_equal(add(f, 4, 10, 10, 0), SL_AGAIN);
    sl_sched_end(f->sched, 2); /* cancelled while waiting */
    assert_int_equal(add(f, 4, 10, 10, 0), SL_OK);
    stop(f);

    sl_sched_options options = short_steps();
    options.queue_tokens_max = 100;
    f = start(options, 100);
    assert_int_equal(add(f, 0, 200, 10, 0), SL_OK); /* alone it may exceed the bound */
    assert_int_equal(add(f, 1, 1, 1, 0), SL_AGAIN);
    plan(f, 1, 32, 0);
    sl_sched_commit(f->sched);
    assert_int_equal(add(f, 1, 50, 49, 0), SL_OK);
    assert_int_equal(add(f, 2, 1, 1, 0), SL_AGAIN);
    stop(f);
}

static void test_max_tokens(void **state) {
    (void)state;
    fixture *f = start(BASE, 100);
    assert_int_equal(add(f, 0, 1, 2, 0), SL_OK);
    for (uint32_t i = 0; i < 3; i++) {
        plan(f, 1, 1, 1);
        sl_sched_commit(f->sched);
        assert_int_equal(sl_sched_append(f->sched, 0), i < 2 ? SL_OK : SL_ERR_LIMIT);
    }
    assert_null(sl_sched_plan(f->sched, 0)); /* nothing left to compute, until it is ended */
    stop(f);
}

static void test_deadlines(void **state) {
    (void)state;
    fixture *f = start(short_steps(), 6);
    uint32_t slot;
    assert_int_equal(add(f, 0, 100, 60, 5000), SL_OK);
    assert_int_equal(add(f, 1, 100, 60, 3000), SL_OK);
    assert_int_equal(add(f, 2, 100, 60, 0), SL_OK);
    plan(f, 1, 32, 0);
    sl_sched_commit(f->sched);
    assert_false(sl_sched_expired(f->sched, 2999, &slot));
    assert_true(sl_sched_expired(f->sched, 3000, &slot));
    assert_int_equal(slot, 1); /* still waiting */
    sl_sched_end(f->sched, 1);
    assert_false(sl_sched_expired(f->sched, 3000, &slot));
    assert_true(sl_sched_expired(f->sched, UINT64_MAX, &slot));
    assert_int_equal(slot, 0);
    sl_sched_end(f->sched, 0);
    assert_false(sl_sched_expired(f->sched, UINT64_MAX, &slot));
    assert_true(sl_sched_any(f->sched, &slot));
    assert_int_equal(slot, 2);
    sl_sched_end(f->sched, 2);
    assert_false(sl_sched_any(f->sched, &slot));
    sl_sched_end(f->sched, 2); /* ignored */
    stop(f);
}

/* A slot that ends and is used again between plan and commit must not inherit the old rows. */
static void test_end_during_step(void **state) {
    (void)state;
    fixture *f = start(BASE, 100);
    assert_int_equal(add(f, 0, 20, 5, 0), SL_OK);
    plan(f, 1, 20, 1);
    sl_sched_end(f->sched, 0);
    assert_int_equal(add(f, 0, 8, 5, 0), SL_OK);
    sl_sched_commit(f->sched);
    check_run(plan(f, 1, 8, 1), 0, 0, 0, 8, 1);
    stop(f);
}

static void test_no_memory(void **state) {
    (void)state;
    fixture *f = start(BASE, 4);
    sl_error err;
    uint32_t n_failed = 0;
    for (uint64_t nth = 1;; nth++) {
        sl_sched *sched = NULL;
        sl_alloc_fail_nth(nth, false);
        const sl_status status = sl_sched_create(&BASE, f->kv, &sched, &err);
        sl_alloc_fail_nth(0, false);
        if (status == SL_OK) {
            sl_sched_free(sched);
            break;
        }
        assert_int_equal(status, SL_ERR_MEMORY);
        assert_null(sched);
        n_failed++;
    }
    assert_int_equal(n_failed, 6);
    sl_sched_options bad = BASE;
    bad.ctx_max = 4096; /* more than the tables hold */
    sl_sched *none = NULL;
    assert_int_equal(sl_sched_create(&bad, f->kv, &none, &err), SL_ERR_ARGUMENT);
    bad = BASE;
    bad.rows_max = 0;
    assert_int_equal(sl_sched_create(&bad, f->kv, &none, &err), SL_ERR_ARGUMENT);
    bad.rows_max = BASE.rows_max + 1; /* longer runs than the tables reserve for */
    assert_int_equal(sl_sched_create(&bad, f->kv, &none, &err), SL_ERR_ARGUMENT);
    stop(f);
}

/* A long prompt over a window: the pages that no row sees any more are there for others, and the
 * sizes of requests are judged over all groups. */
static void test_windows(void **state) {
    (void)state;
    sl_sched_options options = BASE;
    options.rows_max = 32;
    const sl_kv_groups groups = {.n = 3, .window = {0, 40, 0}};
    fixture *f = start_groups(options, 25, groups); /* 4 pages for 40 - 1 + 32 positions */
    sl_error err;
    assert_int_equal(sl_sched_check(f->sched, 11 * T, 1, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "need 28 KV pages")); /* 12 + 4 + 12 */
    assert_non_null(strstr(err.message, "320 tokens"));       /* 10 + 4 + 10 pages */
    assert_int_equal(add(f, 0, 10 * T - 1, 1, 0), SL_OK);
    for (uint32_t i = 0; i < 10; i++) {
        const sl_step *step = plan(f, 1, i < 9 ? 32 : 31, i == 9);
        const int32_t *const *tables = step->runs[0].tables;
        assert_int_equal(step->runs[0].n_known, 10 * T - 1); /* in every chunk */
        assert_true(tables[0] != tables[1] && tables[1] != tables[2]);
        assert_true(tables[0][0] >= 0 && tables[2][0] >= 0 && tables[1][i] >= 0);
        assert_int_equal(tables[1][0] >= 0, i < 3); /* row 96 sees 57 .. 96 */
        sl_sched_commit(f->sched);
    }
    assert_int_equal(sl_kv_n_used(f->kv), 10 + 3 + 10);
    stop(f);
}

static void test_beyond_ctx_switch(void **state) {
    (void)state;
    sl_sched_options options = short_steps();
    options.ctx_switch = 70;
    fixture *f = start_groups(options, 100, (sl_kv_groups){.n = 2, .window = {0, 16}});
    assert_int_equal(add(f, 0, 65, 20, 0), SL_OK);
    plan(f, 1, 32, 0);
    sl_sched_commit(f->sched);
    plan(f, 1, 32, 0);
    sl_sched_commit(f->sched);
    for (uint32_t i = 0; i < 6; i++) { /* rows 64 .. 69: 70 tokens are known at the last one */
        const sl_step *step = plan(f, 1, 1, 1);
        check_run(step, 0, 0, 64 + i, 1, 1);
        assert_int_equal(step->runs[0].n_known, 65 + i);
        sl_sched_commit(f->sched);
        assert_int_equal(sl_sched_append(f->sched, 0), SL_OK);
    }
    /* 71 are: all anew, in chunks, before the next prompt; then it goes on. */
    assert_int_equal(add(f, 1, 3, 9, 0), SL_OK);
    for (uint32_t i = 0; i < 3; i++) {
        const sl_step *step = plan(f, i < 2 ? 1 : 2, i < 2 ? 32 : 10, i < 2 ? 0 : 2);
        check_run(step, 0, 0, 32 * i, i < 2 ? 32 : 7, i == 2);
        assert_int_equal(step->runs[0].n_known, 71);
        assert_int_equal(step->ids[0], 32 * i);
        sl_sched_commit(f->sched);
    }
    assert_int_equal(sl_sched_append(f->sched, 0), SL_OK);
    const sl_step *step = plan(f, 1, 1, 1);
    check_run(step, 0, 0, 71, 1, 1);
    assert_int_equal(step->ids[0], 100006);
    sl_sched_commit(f->sched);
    /* A prompt that is longer already is computed once. */
    assert_int_equal(add(f, 2, 71, 9, 0), SL_OK);
    for (uint32_t i = 0; i < 3; i++) {
        step = plan(f, 1, i < 2 ? 32 : 7, i == 2);
        check_run(step, 0, 2, 32 * i, i < 2 ? 32 : 7, i == 2);
        assert_int_equal(step->runs[0].n_known, 71);
        sl_sched_commit(f->sched);
    }
    assert_int_equal(sl_sched_append(f->sched, 2), SL_OK);
    check_run(plan(f, 1, 1, 1), 0, 2, 71, 1, 1);
    stop(f);
}

static void add_sharing(fixture *f, uint32_t slot, uint32_t n_prompt, uint32_t max_tokens,
                        uint64_t key) {
    sl_sched_request r = request_of(f, n_prompt, max_tokens);
    r.shares = true;
    r.salt = key;
    sl_error err;
    assert_int_equal(sl_sched_add(f->sched, slot, &r, &err), SL_OK);
}

/* The second of two with the same beginning waits while the first one computes it, then goes on
 * behind it; another key computes all of its own. */
static void test_shared_prompts(void **state) {
    (void)state;
    sl_sched_options options = BASE;
    options.rows_max = options.chunk_rows = 3 * T + 20;
    fixture *f = start(options, 100);
    add_sharing(f, 0, 3 * T + 7, 5, 1);
    add_sharing(f, 1, 3 * T + 10, 5, 1);
    add_sharing(f, 2, 3 * T + 7, 5, 2);
    const sl_step *step = plan(f, 2, 3 * T + 20, 1);
    check_run(step, 0, 0, 0, 3 * T + 7, 1);
    check_run(step, 1, 2, 0, 13, 0); /* 1 waits, 2 does not */
    sl_sched_commit(f->sched);
    assert_int_equal(sl_sched_append(f->sched, 0), SL_OK);
    step = plan(f, 3, 1 + 10 + 3 * T - 6, 3);
    check_run(step, 0, 0, 3 * T + 7, 1, 1);
    check_run(step, 1, 1, 3 * T, 10, 1);
    check_run(step, 2, 2, 13, 3 * T - 6, 1);
    sl_sched_commit(f->sched);
    assert_int_equal(sl_sched_story_of(f->sched, 0).n_cached, 0);
    assert_int_equal(sl_sched_story_of(f->sched, 1).n_cached, 3 * T);
    assert_int_equal(sl_sched_story_of(f->sched, 2).n_cached, 0);
    assert_int_equal(sl_kv_n_used(f->kv), 4 + 1 + 4);
    stop(f);
}

/* If the one that computes a page leaves, the one that waits for it computes it. */
static void test_leader_leaves(void **state) {
    (void)state;
    fixture *f = start(short_steps(), 100); /* steps of 32 rows */
    add_sharing(f, 0, 5, 5, 9);
    plan(f, 1, 5, 1);
    sl_sched_commit(f->sched);
    sl_sched_end(f->sched, 0);
    add_sharing(f, 0, 4 * T, 5, 1);
    check_run(plan(f, 1, 32, 0), 0, 0, 0, 32, 0);
    sl_sched_commit(f->sched);
    add_sharing(f, 1, 4 * T, 5, 1);
    check_run(plan(f, 1, 32, 0), 0, 0, T, 32, 0); /* no row is left for 1 */
    sl_sched_abandon(f->sched);
    sl_sched_end(f->sched, 0);
    check_run(plan(f, 1, 32, 0), 0, 1, T, 32, 0);
    sl_sched_commit(f->sched);
    stop(f);
}

/* One step in which slots 0 .. n - 1 decode; then each has one token more. */
static void decode_all(fixture *f, uint32_t n) {
    plan(f, n, n, n);
    sl_sched_commit(f->sched);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(sl_sched_append(f->sched, i), SL_OK);
    }
}

/* Pages run out: the youngest is put on hold and the oldest goes on; when there is room again it is
 * computed anew, but for what is left of its pages, before any that waited. */
static void test_hold(void **state) {
    (void)state;
    for (int shares = 0; shares < 2; shares++) {
        fixture *f = start(BASE, 8);
        for (uint32_t i = 0; i < 2; i++) {
            sl_sched_request r = request_of(f, T, 6 * T);
            r.prompt_ids += 1000 * i;
            r.shares = shares == 1;
            sl_error err;
            assert_int_equal(sl_sched_add(f->sched, i, &r, &err), SL_OK);
        }
        plan(f, 2, 2 * T, 2);
        sl_sched_commit(f->sched);
        assert_int_equal(sl_sched_append(f->sched, 0), SL_OK);
        assert_int_equal(sl_sched_append(f->sched, 1), SL_OK);
        for (uint32_t i = 0; i < 3 * T; i++) {
            decode_all(f, 2);
        }
        /* Four pages each, and both need the fifth. */
        check_run(plan(f, 1, 1, 1), 0, 0, 4 * T, 1, 1);
        sl_sched_commit(f->sched);
        assert_int_equal(sl_sched_n_on_hold(f->sched), 1);
        assert_int_equal(sl_sched_story_of(f->sched, 1).n_holds, 1);
        assert_int_equal(add(f, 2, 1, 1, 0), SL_OK); /* would fit, does not overtake */
        assert_int_equal(sl_sched_append(f->sched, 0), SL_OK);
        check_run(plan(f, 1, 1, 1), 0, 0, 4 * T + 1, 1, 1);
        sl_sched_commit(f->sched);
        sl_sched_end(f->sched, 0);
        const sl_step *step = sl_sched_plan(f->sched, 0);
        assert_non_null(step);
        uint32_t n;
        assert_int_equal(sl_sched_admitted(f->sched, &n)[0], 1);
        /* Of its four pages the last one was taken. */
        check_run(step, 0, 1, shares ? 3 * T : 0, shares ? T + 1 : 64, shares);
        assert_int_equal(step->runs[0].n_known, 4 * T + 1);
        assert_int_equal(sl_sched_story_of(f->sched, 1).n_cached, 0); /* its own */
        sl_sched_commit(f->sched);
        stop(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_then_decodes),
        cmocka_unit_test(test_decodes_go_before_prefill),
        cmocka_unit_test(test_rows_by_cost),
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_max_tokens),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_end_during_step),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_beyond_ctx_switch),
        cmocka_unit_test(test_shared_prompts),
        cmocka_unit_test(test_leader_leaves),
        cmocka_unit_test(test_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
