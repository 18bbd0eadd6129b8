/* Scheduler and KV tables under a virtual clock, a fake engine and seeded accidents.
 *
 * Every seed draws limits (slots, rows, runs, pages, queue), layer groups with and without windows,
 * a length from which sequences are computed anew, and a crowd of requests with random lengths,
 * early ends, cancels and deadlines. The fake engine keeps a store that remembers for each page
 * slot which request, group and position were written last, and whether before or after the
 * restart, so a page that is lost, shared by mistake, reused or given back too early is seen at the
 * next row that would attend to it. A shadow of every request is kept beside the scheduler and
 * compared after each step. Links base, plan, kv and sched alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/kv.h"
#include "sched/sched.h"

#define N_SEEDS 1000
#define N_REQUESTS 90
#define SLOTS_MAX 48
#define CTX_MAX 640
#define GROUPS_MAX 4
#define GROUP_PAGES_MAX 160
#define PAGES_MAX (GROUPS_MAX * GROUP_PAGES_MAX)
#define ROWS_MAX 96

typedef enum sim_state { SIM_NEW, SIM_WAITING, SIM_RUNNING, SIM_DONE } sim_state;

/* What the simulation knows of a request, independent of the scheduler. */
typedef struct sim_request {
    sim_state state;
    uint32_t slot, n_prompt, max_tokens, n_until_eog;
    uint32_t n_computed, n_out, n_restarts;
    uint64_t arrival_ns, deadline_ns;
    int32_t prompt[CTX_MAX], out[CTX_MAX];
    int32_t tables[GROUPS_MAX][CTX_MAX / SL_PAGE_TOKENS]; /* as last seen, -1: never */
} sim_request;

typedef struct sim {
    uint64_t rng, now_ns, trace;
    sl_sched_options options;
    sl_kv_groups groups;
    uint32_t window_pages[GROUPS_MAX]; /* most that a run of rows_max rows touches */
    uint32_t n_pages;
    sl_kv *kv;
    sl_sched *sched;
    uint32_t next_arrival, n_done, n_refused, n_restarts;
    uint32_t queue[N_REQUESTS]; /* waiting requests by arrival */
    uint32_t n_queue;
    int32_t slot_request[SLOTS_MAX]; /* request in the slot, -1: free */
    sim_request requests[N_REQUESTS];
    uint32_t store[PAGES_MAX][SL_PAGE_TOKENS]; /* sim_mark of what was written last */
    uint64_t page_step[PAGES_MAX];             /* step that saw the page last */
    uint64_t n_steps;
} sim;

static sim g_sim; /* too large for a stack frame */

static uint64_t sim_random(sim *m) { /* splitmix64 */
    uint64_t z = (m->rng += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint32_t sim_between(sim *m, uint32_t low, uint32_t high) {
    return low + (uint32_t)(sim_random(m) % (high - low + 1));
}

static int32_t sim_token(uint32_t request, uint32_t pos) {
    return (int32_t)((request * 2654435761u + pos * 40503u) & 0x7FFFFFFF);
}

/* Rows made before and after the restart differ. */
static uint32_t sim_mark(const sim *m, uint32_t request, uint32_t group, uint32_t pos) {
    return (request << 16 | group << 12 | (m->requests[request].n_restarts & 1) << 11 | pos) + 1;
}

static void sim_note(sim *m, uint64_t value) {
    m->trace = (m->trace ^ value) * 0x100000001B3u;
}

static void sim_ok(sl_status status, const sl_error *err) {
    if (status != SL_OK) {
        fail_msg("%s", err->message);
    }
}

static void sim_draw_groups(sim *m) {
    m->groups = (sl_kv_groups){.n = sim_between(m, 1, GROUPS_MAX), .rows_max = m->options.rows_max};
    for (uint32_t g = 0; g < m->groups.n; g++) {
        const uint32_t window = sim_between(m, 0, 2) == 0 ? 0 : sim_between(m, 1, 200);
        m->groups.window[g] = window;
        m->window_pages[g] = window == 0 ? UINT32_MAX : 0;
        for (uint32_t at = 0; window > 0 && at < SL_PAGE_TOKENS; at++) {
            const uint32_t last = (at + window - 1 + m->options.rows_max - 1) / SL_PAGE_TOKENS;
            m->window_pages[g] = last + 1 > m->window_pages[g] ? last + 1 : m->window_pages[g];
        }
    }
}

static void sim_draw_requests(sim *m) {
    const uint32_t gap_ns = 1u << sim_between(m, 4, 22); /* from a flood to a trickle */
    const uint32_t longest = sim_between(m, 4, CTX_MAX);
    uint64_t t = 0;
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        sim_request *r = &m->requests[i];
        t += sim_between(m, 0, 7) == 0 ? 20u * (uint64_t)gap_ns : sim_random(m) % gap_ns;
        r->arrival_ns = t;
        r->n_prompt = sim_between(m, 1, longest);
        r->max_tokens = sim_between(m, 1, longest / 2 + 1);
        r->n_until_eog = sim_between(m, 1, 2 * r->max_tokens);
        r->deadline_ns = sim_between(m, 0, 5) == 0 ? t + sim_random(m) % 200000000u + 1 : 0;
        memset(r->tables, 0xFF, sizeof(r->tables));
        for (uint32_t p = 0; p < r->n_prompt; p++) {
            r->prompt[p] = sim_token(i, p);
        }
    }
}

static void sim_start(sim *m, uint64_t seed) {
    sl_error err;
    memset(m, 0, sizeof(*m));
    m->rng = seed * 0xD1342543DE82EF95u + 1;
    m->options = (sl_sched_options){
        .n_slots = sim_between(m, 1, SLOTS_MAX),
        .rows_max = sim_between(m, 1, ROWS_MAX),
        .runs_max = sim_between(m, 1, 32),
        .ctx_max = sim_between(m, 8, CTX_MAX),
        .ctx_switch = sim_between(m, 0, 2) == 0 ? 0 : sim_between(m, 1, CTX_MAX / 4),
        .queue_max = sim_between(m, 1, 24),
        .queue_tokens_max = sim_between(m, 16, 8 * CTX_MAX),
    };
    m->options.chunk_rows = sim_between(m, 0, m->options.rows_max);
    sim_draw_groups(m);
    m->n_pages = sim_between(m, m->groups.n, GROUP_PAGES_MAX * m->groups.n);
    const sl_kv_options kv_options = {
        .n_pages = m->n_pages,
        .n_seqs_max = sl_sched_running_max(m->options.rows_max, m->options.runs_max),
        .n_tokens_max = m->options.ctx_max,
        .groups = m->groups};
    sim_ok(sl_kv_create(&kv_options, &m->kv, &err), &err);
    sim_ok(sl_sched_create(&m->options, m->kv, &m->sched, &err), &err);
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        m->slot_request[i] = -1;
    }
    sim_draw_requests(m);
}

static void sim_stop(sim *m) {
    sl_sched_free(m->sched);
    sl_kv_free(m->kv);
}

static void sim_unqueue(sim *m, uint32_t request) {
    for (uint32_t i = 0; i < m->n_queue; i++) {
        if (m->queue[i] == request) {
            memmove(&m->queue[i], &m->queue[i + 1], (--m->n_queue - i) * sizeof(m->queue[0]));
            return;
        }
    }
    fail_msg("request %u is not in the queue", request);
}

/* First position of group g that a row at `pos` sees. */
static uint32_t sim_first_seen(const sim *m, uint32_t g, uint32_t pos) {
    const uint32_t window = m->groups.window[g];
    return window == 0 || pos + 1 < window ? 0 : pos + 1 - window;
}

/* Pages that a request of n_tokens must be promised. */
static uint64_t sim_pages(const sim *m, uint64_t n_tokens) {
    const uint64_t all = (n_tokens + SL_PAGE_TOKENS - 1) / SL_PAGE_TOKENS;
    uint64_t n = 0;
    for (uint32_t g = 0; g < m->groups.n; g++) {
        n += all < m->window_pages[g] ? all : m->window_pages[g];
    }
    return n;
}

/* Pages that the next row of a request will see: those at least are held. */
static uint32_t sim_held(const sim *m, const sim_request *r) {
    uint32_t n = 0;
    for (uint32_t g = 0; g < m->groups.n && r->state == SIM_RUNNING; g++) {
        for (uint32_t p = sim_first_seen(m, g, r->n_computed); p < r->n_computed;
             p = p / SL_PAGE_TOKENS * SL_PAGE_TOKENS + SL_PAGE_TOKENS) {
            n++;
        }
    }
    return n;
}

static void sim_end(sim *m, uint32_t request) {
    sim_request *r = &m->requests[request];
    const uint32_t held = sim_held(m, r);
    const uint32_t used = sl_kv_n_used(m->kv);
    if (r->state == SIM_WAITING) {
        sim_unqueue(m, request);
    }
    sl_sched_end(m->sched, r->slot);
    assert_true(sl_kv_n_used(m->kv) <= used - held); /* free at once */
    m->slot_request[r->slot] = -1;
    r->state = SIM_DONE;
    m->n_done++;
    sim_note(m, request ^ m->now_ns << 8);
}

static uint64_t sim_tokens(const sim_request *r) {
    return (uint64_t)r->n_prompt + r->max_tokens;
}

/* Hands in one request; it must be refused exactly when the rules say so. */
static void sim_submit(sim *m, uint32_t request, uint32_t slot) {
    sim_request *r = &m->requests[request];
    const bool never = sim_tokens(r) > m->options.ctx_max ||
                       sim_pages(m, sim_tokens(r)) > m->n_pages;
    uint64_t waiting_tokens = 0;
    for (uint32_t i = 0; i < m->n_queue; i++) {
        waiting_tokens += sim_tokens(&m->requests[m->queue[i]]);
    }
    assert_int_equal(waiting_tokens, sl_sched_waiting_tokens(m->sched));
    const bool full = m->n_queue >= m->options.queue_max ||
                      (m->n_queue > 0 &&
                       waiting_tokens + sim_tokens(r) > m->options.queue_tokens_max);
    const sl_sched_request sent = {.prompt_ids = r->prompt,
                                   .n_prompt = r->n_prompt,
                                   .out_ids = r->out,
                                   .max_tokens = r->max_tokens,
                                   .deadline_ns = r->deadline_ns};
    sl_error err;
    const sl_status status = sl_sched_add(m->sched, slot, &sent, &err);
    assert_int_equal(status, never ? SL_ERR_ARGUMENT : full ? SL_AGAIN : SL_OK);
    if (status != SL_OK) {
        r->state = SIM_DONE;
        m->n_done++;
        m->n_refused++;
        return;
    }
    r->state = SIM_WAITING;
    r->slot = slot;
    m->slot_request[slot] = (int32_t)request;
    m->queue[m->n_queue++] = request;
}

static void sim_arrivals(sim *m) {
    while (m->next_arrival < N_REQUESTS && m->requests[m->next_arrival].arrival_ns <= m->now_ns) {
        uint32_t slot = 0;
        while (slot < m->options.n_slots && m->slot_request[slot] >= 0) {
            slot++;
        }
        if (slot == m->options.n_slots) {
            return; /* its owner waits for a slot */
        }
        sim_submit(m, m->next_arrival++, slot);
    }
}

static void sim_accidents(sim *m) {
    uint32_t slot;
    while (sl_sched_expired(m->sched, m->now_ns, &slot)) {
        const sim_request *r = &m->requests[m->slot_request[slot]];
        assert_true(r->deadline_ns != 0 && r->deadline_ns <= m->now_ns);
        sim_end(m, (uint32_t)m->slot_request[slot]);
    }
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        const sim_request *r = &m->requests[i];
        if (r->state == SIM_WAITING || r->state == SIM_RUNNING) {
            assert_true(r->deadline_ns == 0 || r->deadline_ns > m->now_ns);
            if (sim_between(m, 0, 599) == 0) {
                sim_end(m, i);
            }
        }
    }
}

/* Only the newest token is left to compute; a request that began anew has more. */
static bool sim_decodes(const sim_request *r) {
    return r->state == SIM_RUNNING && r->n_computed >= r->n_prompt &&
           r->n_computed + 1 == r->n_prompt + r->n_out;
}

/* Requests leave the queue from its head only. */
static void sim_check_admissions(sim *m, const sl_step *step) {
    uint32_t n = 0;
    const uint32_t *admitted = sl_sched_admitted(m->sched, &n);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t request = (uint32_t)m->slot_request[admitted[i]];
        assert_int_equal(request, m->queue[0]);
        sim_unqueue(m, request);
        m->requests[request].state = SIM_RUNNING;
        sim_note(m, request << 1);
    }
    uint32_t n_running = 0, n_decodes = 0;
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        n_running += m->requests[i].state == SIM_RUNNING;
        n_decodes += sim_decodes(&m->requests[i]);
    }
    assert_int_equal(n_running, sl_sched_n_running(m->sched));
    assert_int_equal(m->n_queue, sl_sched_n_waiting(m->sched));
    if (m->n_queue > 0) { /* whoever waits has a reason to */
        const bool cut = m->options.chunk_rows != 0 && n_decodes > 0;
        const uint32_t chunk = cut ? m->options.chunk_rows : m->options.rows_max;
        const uint64_t need = sim_pages(m, sim_tokens(&m->requests[m->queue[0]]));
        const uint64_t there = m->n_pages - sl_kv_n_used(m->kv) - sl_kv_n_promised(m->kv);
        const uint32_t n_rows = step == NULL ? 0 : step->n_rows;
        assert_true(need > there || n_rows == m->options.rows_max || n_rows - n_decodes == chunk ||
                    n_running == m->options.runs_max || n_running == m->options.rows_max);
    }
}

/* One group's block table of a run: what its rows see is there, was written by the same request for
 * the same position and is nobody else's in this step; everything else is gone. Then "computes". */
static void sim_check_table(sim *m, uint32_t request, const sl_step_run *run, uint32_t g) {
    sim_request *r = &m->requests[request];
    const uint32_t end = run->pos0 + run->n_rows, first = sim_first_seen(m, g, run->pos0);
    for (uint32_t i = 0; i < sl_page_count(sim_tokens(r)); i++) {
        const int32_t page = run->tables[g][i];
        if (i * SL_PAGE_TOKENS >= end) { /* a longer run may have failed before */
            assert_int_equal(page, r->tables[g][i]);
            continue;
        }
        if (i * SL_PAGE_TOKENS + SL_PAGE_TOKENS <= first) {
            assert_int_equal(page, -1);
            continue;
        }
        assert_true(page >= 0 && (uint32_t)page < m->n_pages);
        assert_true(m->page_step[page] != m->n_steps);
        m->page_step[page] = m->n_steps;
        assert_true(r->tables[g][i] == page || r->tables[g][i] == -1); /* never moves */
        r->tables[g][i] = page;
    }
    for (uint32_t p = first; p < end; p++) {
        uint32_t *mark = &m->store[run->tables[g][p / SL_PAGE_TOKENS]][p % SL_PAGE_TOKENS];
        if (p < run->pos0 && *mark != sim_mark(m, request, g, p)) {
            fail_msg("request %u: position %u of group %u was overwritten", request, p, g);
        }
        *mark = sim_mark(m, request, g, p);
    }
}

static void sim_check_run(sim *m, const sl_step *step, const sl_step_run *run) {
    const uint32_t request = (uint32_t)m->slot_request[run->owner];
    sim_request *r = &m->requests[request];
    const uint32_t end = run->pos0 + run->n_rows, known = r->n_prompt + r->n_out;
    assert_int_equal(r->state, SIM_RUNNING);
    assert_int_equal(run->pos0, r->n_computed);
    assert_true(run->n_rows > 0 && end <= known);
    assert_int_equal(run->n_logits, end == known);
    assert_int_equal(run->n_known, known);
    for (uint32_t i = 0; i < run->n_rows; i++) {
        assert_int_equal(step->ids[run->row_begin + i], sim_token(request, run->pos0 + i));
    }
    for (uint32_t g = 0; g < m->groups.n; g++) {
        sim_check_table(m, request, run, g);
    }
    sim_note(m, (uint64_t)request << 32 | run->n_rows << 16 | run->pos0);
}

static void sim_check_step(sim *m, const sl_step *step) {
    uint32_t n_rows = 0, n_logits = 0, n_decode_rows = 0, n_prefill_rows = 0;
    m->n_steps++;
    assert_true(step->n_rows > 0 && step->n_rows <= m->options.rows_max);
    assert_true(step->n_runs > 0 && step->n_runs <= m->options.runs_max);
    for (uint32_t i = 0; i < step->n_runs; i++) {
        const sl_step_run *run = &step->runs[i];
        assert_int_equal(run->row_begin, n_rows);
        n_rows += run->n_rows;
        n_logits += run->n_logits;
        const bool decode = sim_decodes(&m->requests[m->slot_request[run->owner]]);
        assert_true(!decode || n_prefill_rows == 0); /* decodes come first */
        *(decode ? &n_decode_rows : &n_prefill_rows) += run->n_rows;
        sim_check_run(m, step, run);
    }
    assert_int_equal(n_rows, step->n_rows);
    assert_int_equal(n_logits, step->n_logits);
    if (m->options.chunk_rows != 0 && n_decode_rows > 0) {
        assert_true(n_prefill_rows <= m->options.chunk_rows);
    }
    uint32_t n_decoding = 0; /* no decode ever waits for a step */
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        n_decoding += sim_decodes(&m->requests[i]);
    }
    assert_int_equal(n_decoding, n_decode_rows);
}

/* Crossing ctx_switch happens once in a request's life, and only to those that began below. */
static void sim_after_append(sim *m, sim_request *r) {
    if (m->options.ctx_switch != 0 && r->n_prompt <= m->options.ctx_switch &&
        r->n_prompt + r->n_out > m->options.ctx_switch && r->n_restarts == 0) {
        r->n_restarts = 1;
        r->n_computed = 0;
        memset(r->tables, 0xFF, sizeof(r->tables));
        m->n_restarts++;
    }
}

static void sim_finish_step(sim *m, const sl_step *step) {
    /* The runs stay readable after commit: only plan overwrites them. */
    sl_sched_commit(m->sched);
    for (uint32_t i = 0; i < step->n_runs; i++) {
        const sl_step_run *run = &step->runs[i];
        if (m->slot_request[run->owner] < 0) {
            continue; /* cancelled while the step ran */
        }
        const uint32_t request = (uint32_t)m->slot_request[run->owner];
        sim_request *r = &m->requests[request];
        r->n_computed += run->n_rows;
        if (run->n_logits == 0) {
            assert_int_equal(sl_sched_append(m->sched, run->owner), SL_ERR_ARGUMENT);
            continue;
        }
        r->out[r->n_out] = sim_token(request, r->n_prompt + r->n_out);
        r->n_out++;
        if (r->n_out == r->n_until_eog || r->n_out == r->max_tokens) {
            sim_end(m, request);
        } else {
            assert_int_equal(sl_sched_append(m->sched, run->owner), SL_OK);
            sim_after_append(m, r);
        }
    }
}

static uint64_t sim_run(sim *m, uint64_t seed) {
    sl_error err;
    sim_start(m, seed);
    const uint64_t n_steps_max = (uint64_t)N_REQUESTS * 3 * CTX_MAX;
    while (m->n_done < N_REQUESTS) {
        sim_arrivals(m);
        sim_accidents(m);
        const sl_step *step = sl_sched_plan(m->sched);
        sim_check_admissions(m, step);
        sim_ok(sl_sched_verify(m->sched, &err), &err);
        if (step == NULL) {
            assert_int_equal(sl_sched_n_running(m->sched) + sl_sched_n_waiting(m->sched), 0);
            if (m->next_arrival < N_REQUESTS &&
                m->requests[m->next_arrival].arrival_ns > m->now_ns) {
                m->now_ns = m->requests[m->next_arrival].arrival_ns;
            }
            continue;
        }
        sim_check_step(m, step);
        m->now_ns += 300000 + 20000ull * step->n_rows; /* the engine's cost model */
        if (sim_between(m, 0, 19) == 0) { /* somebody leaves in the middle of the step */
            sim_end(
                m,
                (uint32_t)m->slot_request[step->runs[sim_between(m, 0, step->n_runs - 1)].owner]);
        }
        if (sim_between(m, 0, 29) == 0) { /* the step failed */
            sl_sched_abandon(m->sched);
        } else {
            sim_finish_step(m, step);
        }
        sim_ok(sl_sched_verify(m->sched, &err), &err);
        assert_true(m->n_steps < n_steps_max);
    }
    assert_int_equal(sl_kv_n_used(m->kv), 0);
    assert_int_equal(sl_kv_n_promised(m->kv), 0);
    assert_int_equal(sl_sched_waiting_tokens(m->sched), 0);
    const uint64_t trace = m->trace;
    sim_stop(m);
    return trace;
}

static void test_seeds(void **state) {
    (void)state;
    uint64_t n_refused = 0, n_restarts = 0, n_all = 0;
    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        sim_run(&g_sim, seed);
        n_refused += g_sim.n_refused;
        n_restarts += g_sim.n_restarts;
        n_all += N_REQUESTS;
    }
    /* The crowd must neither be refused as a whole nor never meet a limit. */
    assert_in_range(n_refused, n_all / 20, n_all * 3 / 4);
    assert_true(n_restarts > n_all / 100);
}

static void test_same_seed_same_run(void **state) {
    (void)state;
    uint64_t last = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        const uint64_t trace = sim_run(&g_sim, seed);
        assert_true(trace == sim_run(&g_sim, seed));
        assert_true(trace != last);
        last = trace;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_same_seed_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
