/* What the policies promise over a long time, under a virtual clock: fair shares of the work within
 * 2 %, nobody starved by those that are more urgent, batches that begin together. The tenants and
 * the lengths of their requests are drawn from seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kv/kv.h"
#include "sched/sched.h"

#define N_SLOTS 96
#define N_TENANTS 4
#define CTX 512
#define WAITING_EACH 12 /* requests that each tenant has in the queue at any time */

typedef struct shares_slot {
    bool used;
    uint32_t tenant, n_prompt, n_out, max_tokens, n_until_end;
} shares_slot;

typedef struct shares {
    uint64_t rng, now_ns;
    sl_kv *kv;
    sl_sched *sched;
    uint32_t n_tenants, weight[N_TENANTS], n_waiting[N_TENANTS];
    uint32_t prompt_max[N_TENANTS], out_max[N_TENANTS]; /* of a tenant's requests */
    uint64_t work[N_TENANTS];                           /* as the policy counts it, kept here */
    shares_slot slots[N_SLOTS];
    int32_t ids[CTX];
} shares;

static uint32_t shares_between(shares *m, uint32_t low, uint32_t high) {
    m->rng = m->rng * 6364136223846793005u + 1442695040888963407u;
    return low + (uint32_t)((m->rng >> 33) % (high - low + 1));
}

static void shares_start(shares *m, uint64_t seed, sl_sched_options options) {
    sl_error err;
    *m = (shares){.rng = seed};
    options.n_slots = options.queue_max = N_SLOTS;
    options.rows_max = 64;
    options.runs_max = 16;
    options.chunk_rows = 32;
    options.ctx_max = CTX;
    options.queue_tokens_max = UINT64_MAX;
    options.n_tenants = N_TENANTS;
    const sl_kv_options kv = {
        .n_pages = 100, .n_seqs_max = 16, .n_tokens_max = CTX, .groups = {.n = 1, .rows_max = 64}};
    assert_int_equal(sl_kv_create(&kv, &m->kv, &err), SL_OK);
    assert_int_equal(sl_sched_create(&options, m->kv, &m->sched, &err), SL_OK);
}

static void shares_stop(shares *m) {
    sl_sched_free(m->sched);
    sl_kv_free(m->kv);
}

static uint32_t shares_add(shares *m, uint32_t tenant, uint32_t n_prompt, uint32_t max_tokens,
                           int32_t priority) {
    uint32_t slot = 0;
    while (m->slots[slot].used) {
        slot++;
    }
    const sl_sched_request r = {.prompt_ids = m->ids,
                                .n_prompt = n_prompt,
                                .out_ids = m->ids,
                                .max_tokens = max_tokens,
                                .arrival_ns = m->now_ns,
                                .tenant = tenant,
                                .priority = priority};
    sl_error err;
    assert_int_equal(sl_sched_add(m->sched, slot, &r, &err), SL_OK);
    m->slots[slot] = (shares_slot){.used = true,
                                   .tenant = tenant,
                                   .n_prompt = n_prompt,
                                   .max_tokens = max_tokens,
                                   .n_until_end = shares_between(m, 1, max_tokens)};
    m->n_waiting[tenant]++;
    return slot;
}

/* One step; each request that gets a token ends where it was drawn to. */
static void shares_step(shares *m) {
    const sl_step *step = sl_sched_plan(m->sched, m->now_ns);
    assert_non_null(step);
    uint32_t n;
    const uint32_t *admitted = sl_sched_admitted(m->sched, &n);
    for (uint32_t i = 0; i < n; i++) {
        m->n_waiting[m->slots[admitted[i]].tenant] -=
            sl_sched_story_of(m->sched, admitted[i]).n_holds == 0;
    }
    sl_sched_commit(m->sched);
    for (uint32_t i = 0; i < step->n_runs; i++) {
        const sl_step_run *run = &step->runs[i];
        shares_slot *s = &m->slots[run->owner];
        m->work[s->tenant] += run->n_rows == 1 && run->pos0 >= s->n_prompt ? 2 : run->n_rows;
        if (run->n_logits == 0) {
            continue;
        }
        if (++s->n_out == s->n_until_end) {
            sl_sched_end(m->sched, run->owner);
            s->used = false;
        } else {
            assert_int_equal(sl_sched_append(m->sched, run->owner), SL_OK);
        }
    }
    m->now_ns += 1000000 + 100000ull * step->n_rows;
}

static void shares_keep_asking(shares *m) {
    for (uint32_t t = 0; t < m->n_tenants; t++) {
        while (m->n_waiting[t] < WAITING_EACH) {
            const uint32_t n_prompt = shares_between(m, 1, m->prompt_max[t]);
            (void)shares_add(m, t, n_prompt, shares_between(m, 1, m->out_max[t]), 0);
        }
    }
}

static void test_fair_shares(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        shares m;
        shares_start(&m, seed, (sl_sched_options){.policy = SL_SCHED_FAIR});
        m.n_tenants = shares_between(&m, 2, N_TENANTS);
        uint32_t weights = 0;
        for (uint32_t t = 0; t < m.n_tenants; t++) {
            m.prompt_max[t] = shares_between(&m, 20, 200);
            m.out_max[t] = shares_between(&m, 20, 200);
            m.weight[t] = shares_between(&m, 1, 4);
            weights += m.weight[t];
            sl_sched_set_weight(m.sched, t, m.weight[t]);
        }
        uint64_t all = 0;
        for (uint32_t i = 0; i < 30000; i++) {
            shares_keep_asking(&m);
            shares_step(&m);
        }
        for (uint32_t t = 0; t < m.n_tenants; t++) {
            all += m.work[t];
        }
        for (uint32_t t = 0; t < m.n_tenants; t++) {
            const double share = (double)m.work[t] / (double)all;
            const double due = (double)m.weight[t] / weights;
            if (share < due - 0.02 || share > due + 0.02) {
                fail_msg("seed %d: tenant %u has %.3f of the work, %.3f are due", (int)seed, t,
                         share, due);
            }
        }
        shares_stop(&m);
    }
}

/* Who was away is not owed what it did not ask for. */
static void test_comes_back(void **state) {
    (void)state;
    shares m;
    shares_start(&m, 7, (sl_sched_options){.policy = SL_SCHED_FAIR});
    m.prompt_max[0] = m.prompt_max[1] = m.out_max[0] = m.out_max[1] = 100;
    m.n_tenants = 1;
    for (uint32_t i = 0; i < 3000; i++) {
        shares_keep_asking(&m);
        shares_step(&m);
    }
    m.n_tenants = 2;
    const uint64_t before = m.work[0];
    for (uint32_t i = 0; i < 3000; i++) {
        shares_keep_asking(&m);
        shares_step(&m);
    }
    const double more = (double)(m.work[0] - before), other = (double)m.work[1];
    assert_true(more > 0.9 * other && more < 1.1 * other);
    shares_stop(&m);
}

/* A flood of urgent requests holds another one up as long as its priority says, not for ever. */
static void test_nobody_starves(void **state) {
    (void)state;
    const uint64_t age_ns = 50000000;
    shares m;
    shares_start(&m, 3, (sl_sched_options){.policy = SL_SCHED_PRIORITY, .age_ns = age_ns});
    m.n_tenants = 1;
    m.prompt_max[0] = m.out_max[0] = 60;
    for (uint32_t i = 0; i < 50; i++) {
        shares_keep_asking(&m);
        shares_step(&m);
    }
    const uint64_t begin_ns = m.now_ns;
    (void)shares_add(&m, 1, 20, 5, 6);
    bool begun = false;
    while (!begun) {
        shares_keep_asking(&m);
        shares_step(&m);
        begun = m.n_waiting[1] == 0;
        assert_true(m.now_ns < begin_ns + 6 * age_ns + 500000000);
    }
    assert_true(m.now_ns > begin_ns + 5 * age_ns); /* the urgent ones went first */
    shares_stop(&m);
}

/* An urgent request takes the place of one that is less so, an equal one does not. */
static void test_urgent_takes_a_place(void **state) {
    (void)state;
    shares m;
    shares_start(&m, 3, (sl_sched_options){.policy = SL_SCHED_PRIORITY});
    for (uint32_t i = 0; i < 16; i++) { /* as many as may run */
        m.slots[shares_add(&m, 0, 4, 100, 1)].n_until_end = 100;
    }
    for (uint32_t i = 0; i < 3; i++) {
        shares_step(&m);
    }
    assert_int_equal(sl_sched_n_running(m.sched), 16);
    (void)shares_add(&m, 1, 4, 100, 1);
    shares_step(&m);
    assert_int_equal(m.n_waiting[1], 1);
    (void)shares_add(&m, 2, 4, 100, 0);
    shares_step(&m);
    assert_int_equal(m.n_waiting[2], 0);
    assert_int_equal(m.n_waiting[1], 1);
    assert_int_equal(sl_sched_n_running(m.sched), 16);
    assert_int_equal(sl_sched_n_on_hold(m.sched), 1);
    shares_stop(&m);
}

static void test_batches(void **state) {
    (void)state;
    for (int window = 0; window < 2; window++) {
        shares m;
        shares_start(&m, 5,
                     (sl_sched_options){.batching = window ? SL_SCHED_WINDOW : SL_SCHED_STATIC,
                                        .batch_max = 4,
                                        .window_ns = 1000});
        m.now_ns = 5000;
        (void)shares_add(&m, 0, 10, 50, 0);
        if (window) {
            assert_null(sl_sched_plan(m.sched, m.now_ns));
            assert_true(sl_sched_wake_ns(m.sched) == 6000);
            m.now_ns = 6000;
        }
        for (uint32_t i = 0; i < 5; i++) {
            (void)shares_add(&m, 0, 10, 50, 0);
        }
        shares_step(&m);
        assert_int_equal(sl_sched_n_running(m.sched), 4);
        while (sl_sched_n_running(m.sched) > 0) { /* the others wait for the last one */
            assert_int_equal(m.n_waiting[0], 2);
            shares_step(&m);
        }
        m.now_ns += 1000;
        shares_step(&m);
        assert_int_equal(m.n_waiting[0], 0);
        shares_stop(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fair_shares),    cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_nobody_starves), cmocka_unit_test(test_urgent_takes_a_place),
        cmocka_unit_test(test_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
