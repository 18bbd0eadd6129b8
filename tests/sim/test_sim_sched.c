/* Scheduler and KV tables under a virtual clock, a fake engine and seeded accidents.
 *
 * Every seed draws limits (slots, rows, runs, pages, queue), layer groups with and without windows,
 * a length from which sequences are computed anew, and a crowd of requests with random lengths,
 * early ends, cancels and deadlines; many begin like others do, under the same key or another. The
 * fake engine keeps a store that remembers for each page slot what was written last: for which key,
 * group and rope tables, and after which tokens. So a page that is lost, shared by mistake, reused
 * or given back too early is seen at the next row that would attend to it, and a request whose rows
 * all find what they should gives what it would give alone. Drafts, right and wrong ones, are rows
 * like others, but what a wrong one wrote must not be found. A shadow of every request is kept
 * beside the scheduler and compared after each step. Links base, plan, kv and sched alone.
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

#define N_SEEDS 10000   /* unless SLUICE_SIM_SEEDS says another number */
#define VERIFY_EVERY 16 /* steps, but in every 16th seed each one is verified */
#define N_REQUESTS 48
#define SLOTS_MAX 48
#define CTX_MAX 640
#define GROUPS_MAX 4
#define GROUP_PAGES_MAX 160
#define PAGES_MAX (GROUPS_MAX * GROUP_PAGES_MAX)
#define ROWS_MAX 96
#define N_FAMILIES 4 /* of beginnings */
#define N_TENANTS 3

typedef enum sim_state { SIM_NEW, SIM_WAITING, SIM_RUNNING, SIM_ON_HOLD, SIM_DONE } sim_state;

/* What the simulation knows of a request, independent of the scheduler. */
typedef struct sim_request {
    sim_state state;
    uint32_t slot, n_prompt, max_tokens, n_until_eog;
    uint32_t family, n_common; /* its first n_common tokens are the family's */
    bool shares;
    uint64_t salt;
    uint32_t n_computed, n_out, n_restarts, n_holds;
    uint32_t n_draft, n_right; /* drafts behind the output, of which the first are right */
    uint64_t arrival_ns, deadline_ns, order; /* order: of its submission */
    int32_t priority;
    uint32_t tenant;
    int32_t prompt[CTX_MAX], out[CTX_MAX];
    uint32_t content[2 * CTX_MAX]; /* hash of key and tokens up to a position */
    int32_t tables[GROUPS_MAX][CTX_MAX / SL_PAGE_TOKENS]; /* as last seen, -1: never */
} sim_request;

typedef struct sim {
    uint64_t rng, now_ns, trace;
    uint32_t calm; /* accidents are so many times rarer */
    bool paused;
    bool crowded; /* many at once, few pages, and some answers much longer than most */
    sl_sched_options options;
    sl_kv_groups groups;
    uint32_t window_pages[GROUPS_MAX]; /* most that a run of rows_max rows touches */
    uint32_t n_pages;
    sl_kv *kv;
    sl_sched *sched;
    uint32_t next_arrival, n_done, n_refused, n_restarts, n_holds;
    uint64_t n_cached, n_submitted;
    uint32_t queue[N_REQUESTS]; /* waiting requests by arrival */
    uint32_t n_queue;
    uint32_t n_decodes; /* before the plan */
    uint32_t n_drafts;  /* in the step */
    uint64_t n_accepted;
    int32_t slot_request[SLOTS_MAX]; /* request in the slot, -1: free */
    sim_request requests[N_REQUESTS];
    uint32_t store[PAGES_MAX][SL_PAGE_TOKENS];              /* sim_mark of what was written last */
    uint64_t page_read[PAGES_MAX], page_written[PAGES_MAX]; /* the last steps that did */
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

static int32_t sim_token(const sim *m, uint32_t request, uint32_t pos) {
    const sim_request *r = &m->requests[request];
    const uint32_t source = pos < r->n_common ? r->family : N_FAMILIES + request;
    return (int32_t)((source * 2654435761u + pos * 40503u) & 0x7FFFFFFF);
}

static void sim_draw_content(sim *m, uint32_t request) {
    sim_request *r = &m->requests[request];
    uint64_t h = r->shares ? r->salt : 1000 + request;
    for (uint32_t p = 0; p < 2 * CTX_MAX; p++) {
        h = (h ^ (uint32_t)sim_token(m, request, p)) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
        r->content[p] = (uint32_t)(h >> 20);
    }
}

/* Rows made before and after the restart differ. */
static uint32_t sim_mark(const sim *m, uint32_t request, uint32_t group, uint32_t pos) {
    const sim_request *r = &m->requests[request];
    const bool other_tables = m->options.ctx_switch != 0 &&
                              r->n_prompt + r->n_out > m->options.ctx_switch;
    return r->content[pos] * 16 + group * 2 + other_tables;
}

/* What a row writes; that of a wrong draft is like nothing else. */
static uint32_t sim_mark_written(const sim *m, uint32_t request, uint32_t group, uint32_t pos) {
    const sim_request *r = &m->requests[request];
    const bool wrong = pos >= r->n_prompt + r->n_out + r->n_right;
    return sim_mark(m, request, group, pos) ^ (wrong ? 8u : 0);
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

/* Pages that a request of n_tokens may take. */
static uint64_t sim_pages(const sim *m, uint64_t n_tokens) {
    const uint64_t all = (n_tokens + SL_PAGE_TOKENS - 1) / SL_PAGE_TOKENS;
    uint64_t n = 0;
    for (uint32_t g = 0; g < m->groups.n; g++) {
        n += all < m->window_pages[g] ? all : m->window_pages[g];
    }
    return n;
}

static void sim_draw_requests(sim *m) {
    const uint32_t gap_ns = 1u << sim_between(m, 4,
                                              m->crowded ? 18 : 22); /* from a flood to a trickle */
    const uint32_t longest = m->crowded ? m->options.ctx_max
                                        : sim_between(m, 4, m->options.ctx_max);
    uint64_t t = 0;
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        sim_request *r = &m->requests[i];
        t += sim_between(m, 0, 7) == 0 ? 20u * (uint64_t)gap_ns : sim_random(m) % gap_ns;
        r->arrival_ns = t;
        r->n_prompt = sim_between(m, 1, m->crowded ? longest / 8 + 1 : longest);
        r->max_tokens = sim_between(m, 1, longest / 2 + 1);
        r->n_until_eog = sim_between(m, 1, 2 * r->max_tokens);
        if (m->crowded) {
            r->max_tokens = longest / 2 + 1;
            r->n_until_eog = sim_between(m, 1, sim_between(m, 0, 1) == 0 ? 4 : longest);
        }
        r->deadline_ns = sim_between(m, 0, 5 * m->calm) == 0 ? t + sim_random(m) % 200000000u + 1
                                                             : 0;
        r->family = sim_between(m, 0, N_FAMILIES - 1);
        r->n_common = sim_between(m, 0, 2) == 0 ? 0 : sim_between(m, 0, longest);
        r->shares = sim_between(m, 0, 5) != 0;
        r->salt = sim_between(m, 0, 4) == 0;
        r->priority = (int32_t)sim_between(m, 0, 4) - 2;
        r->tenant = sim_between(m, 0, N_TENANTS - 1);
        memset(r->tables, 0xFF, sizeof(r->tables));
        for (uint32_t p = 0; p < r->n_prompt; p++) {
            r->prompt[p] = sim_token(m, i, p);
        }
        sim_draw_content(m, i);
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
    m->calm = sim_between(m, 0, 2) == 0 ? 1 : 40;
    m->crowded = sim_between(m, 0, 1) == 0;
    m->options.policy = (sl_sched_policy)(sim_between(m, 0, 1) * sim_between(m, 0, 3));
    m->options.age_ns = 1 + sim_random(m) % 100000000u;
    m->options.n_tenants = N_TENANTS;
    m->options.batching = (sl_sched_batching)(sim_between(m, 0, 7) == 0 ? sim_between(m, 1, 2) : 0);
    m->options.batch_max = sim_between(m, 1, 16);
    m->options.window_ns = sim_random(m) % 5000000u;
    if (m->crowded) {
        m->options.n_slots = SLOTS_MAX;
        m->options.rows_max = sim_between(m, 16, ROWS_MAX);
        m->options.runs_max = sim_between(m, 8, 32);
        m->options.queue_max = SLOTS_MAX;
        m->options.queue_tokens_max = UINT32_MAX;
    }
    m->options.chunk_rows = sim_between(m, 0, m->options.rows_max);
    sim_draw_groups(m);
    m->n_pages = sim_between(m, m->groups.n, GROUP_PAGES_MAX * m->groups.n);
    if (m->crowded) {
        m->n_pages = (uint32_t)sim_pages(m, m->options.ctx_max) + sim_between(m, 0, 16);
    }
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

static void sim_end(sim *m, uint32_t request) {
    sim_request *r = &m->requests[request];
    if (r->state == SIM_WAITING) {
        sim_unqueue(m, request);
    }
    m->n_cached += sl_sched_story_of(m->sched, r->slot).n_cached;
    sl_sched_end(m->sched, r->slot);
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
                                   .deadline_ns = r->deadline_ns,
                                   .arrival_ns = m->now_ns,
                                   .priority = r->priority,
                                   .tenant = r->tenant,
                                   .shares = r->shares,
                                   .salt = r->salt};
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
    r->order = ++m->n_submitted;
    r->arrival_ns = m->now_ns;
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
        if (r->state != SIM_NEW && r->state != SIM_DONE) {
            assert_true(r->deadline_ns == 0 || r->deadline_ns > m->now_ns);
            if (sim_between(m, 0, 600 * m->calm) == 0) {
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

/* Drafts for some of those that decode. */
static void sim_draw_drafts(sim *m) {
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        sim_request *r = &m->requests[i];
        r->n_draft = r->n_right = 0;
        if (r->state != SIM_RUNNING || sim_between(m, 0, 2) != 0) {
            continue;
        }
        const uint32_t most = sl_sched_draft_max(m->sched, r->slot);
        assert_true(most == 0 || (sim_decodes(r) && r->n_out + most < r->max_tokens));
        r->n_draft = sim_between(m, 0, most < 40 ? most : 40);
        r->n_right = sim_between(m, 0, r->n_draft);
        for (uint32_t k = 0; k < r->n_draft; k++) {
            r->out[r->n_out + k] = sim_token(m, i, r->n_prompt + r->n_out + k) ^ (k >= r->n_right);
        }
        sl_sched_draft(m->sched, r->slot, r->n_draft);
    }
}

/* Drafts among the rows of a run, before it is committed. */
static uint32_t sim_n_drafts(const sim *m, const sl_step_run *run) {
    const int32_t request = m->slot_request[run->owner];
    return request >= 0 && sim_decodes(&m->requests[request]) ? run->n_rows - 1 : 0;
}

/* Who was put on hold loses its pages: they may be others' when it goes on. */
static void sim_note_holds(sim *m) {
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        sim_request *r = &m->requests[i];
        if (r->state == SIM_RUNNING && sl_sched_story_of(m->sched, r->slot).n_holds > r->n_holds) {
            r->n_holds++;
            r->state = SIM_ON_HOLD;
            r->n_computed = 0;
            memset(r->tables, 0xFF, sizeof(r->tables));
            m->n_holds++;
        }
    }
}

/* Where the policy puts a request: the lower the sooner. */
static int64_t sim_rank(const sim *m, const sim_request *r) {
    switch (m->options.policy) {
    case SL_SCHED_PRIORITY:
        return (int64_t)r->arrival_ns + r->priority * (int64_t)m->options.age_ns;
    case SL_SCHED_SHORTEST:
        return (int64_t)(r->arrival_ns + (r->n_prompt + r->max_tokens) * 5000000ull);
    default:
        return 0;
    }
}

static bool sim_before(const sim *m, const sim_request *a, const sim_request *b) {
    const int64_t rank_a = sim_rank(m, a), rank_b = sim_rank(m, b);
    return rank_a < rank_b || (rank_a == rank_b && a->order < b->order);
}

/* The first of a state by the policy, but for fair shares; NULL: none. */
static const sim_request *sim_first(const sim *m, sim_state state) {
    const sim_request *first = NULL;
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        const sim_request *r = &m->requests[i];
        if (r->state == state && (first == NULL || sim_before(m, r, first))) {
            first = r;
        }
    }
    return first;
}

/* First come, first served: those that run are older than those on hold, and these than those that
 * wait. By other policies whoever begins comes before all that wait. */
static void sim_check_order(const sim *m) {
    uint64_t low[SIM_DONE + 1], high[SIM_DONE + 1] = {0};
    memset(low, 0xFF, sizeof(low));
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        const sim_request *r = &m->requests[i];
        low[r->state] = r->order < low[r->state] ? r->order : low[r->state];
        high[r->state] = r->order > high[r->state] ? r->order : high[r->state];
    }
    if (m->options.policy == SL_SCHED_FIFO) {
        assert_true(high[SIM_RUNNING] < low[SIM_ON_HOLD] && high[SIM_RUNNING] < low[SIM_WAITING]);
        assert_true(high[SIM_ON_HOLD] < low[SIM_WAITING]);
    }
}

/* n_before: that ran before the plan. */
static void sim_check_begins(const sim *m, const sim_request *r, uint32_t n_before) {
    if (m->options.batching != SL_SCHED_CONTINUOUS && r->state == SIM_WAITING) {
        assert_int_equal(n_before, 0); /* none joins a batch that runs */
    }
    if (m->options.policy != SL_SCHED_FAIR) {
        assert_ptr_equal(r, sim_first(m, r->state));
    }
}

/* Where requests begin at any step, whoever waits has a reason: rows or runs are used up, somebody
 * was just put on hold, or not all would find pages who run. */
static void sim_check_reason(const sim *m, const sl_step *step, uint32_t n_running,
                             bool just_held) {
    const sim_request *held = sim_first(m, SIM_ON_HOLD), *next = sim_first(m, SIM_WAITING);
    next = next == NULL || (held != NULL && sim_before(m, held, next)) ? held : next;
    /* With fair shares it is not known here which of them is next. */
    if (next == NULL || just_held || m->paused || m->options.batching != SL_SCHED_CONTINUOUS ||
        m->options.policy == SL_SCHED_FAIR) {
        return;
    }
    uint64_t need = sim_pages(m, sim_tokens(next));
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        need += m->requests[i].state == SIM_RUNNING ? sim_pages(m, sim_tokens(&m->requests[i])) : 0;
    }
    const bool cut = m->options.chunk_rows != 0 && m->n_decodes > 0;
    const uint32_t chunk = cut ? m->options.chunk_rows : m->options.rows_max;
    const uint32_t n_rows = step == NULL ? 0 : step->n_rows;
    assert_true(need > m->n_pages || n_rows == m->options.rows_max ||
                n_rows - m->n_decodes - m->n_drafts == chunk || n_running == m->options.runs_max ||
                n_running == m->options.rows_max);
    assert_true(n_running > 0); /* alone it has all pages */
}

static void sim_check_admissions(sim *m, const sl_step *step) {
    uint32_t n = 0, n_running = 0;
    const uint32_t n_held_before = m->n_holds;
    uint32_t n_before = 0;
    m->n_decodes = m->n_drafts = 0;
    for (uint32_t i = 0; step != NULL && i < step->n_runs; i++) {
        m->n_drafts += sim_n_drafts(m, &step->runs[i]);
    }
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        n_before += m->requests[i].state == SIM_RUNNING;
        m->n_decodes += sim_decodes(&m->requests[i]);
    }
    sim_note_holds(m);
    const uint32_t *admitted = sl_sched_admitted(m->sched, &n);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t request = (uint32_t)m->slot_request[admitted[i]];
        sim_request *r = &m->requests[request];
        sim_check_begins(m, r, n_before);
        if (r->state == SIM_WAITING) {
            assert_false(m->paused);
            sim_unqueue(m, request);
        } else {
            assert_int_equal(r->state, SIM_ON_HOLD);
        }
        r->state = SIM_RUNNING;
        sim_note(m, request << 1);
    }
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        n_running += m->requests[i].state == SIM_RUNNING;
    }
    assert_int_equal(n_running, sl_sched_n_running(m->sched));
    if (m->options.batching != SL_SCHED_CONTINUOUS) {
        assert_true(n_running <= m->options.batch_max);
    }
    assert_int_equal(m->n_queue, sl_sched_n_waiting(m->sched));
    sim_check_order(m);
    sim_check_reason(m, step, n_running, m->n_holds > n_held_before);
}

/* One group's block table of a run: what its rows see is there and was written after the same
 * tokens, what it writes is nobody else's in this step; everything else is gone. Then "computes".
 */
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
        assert_true(m->page_written[page] != m->n_steps);
        if (i * SL_PAGE_TOKENS + SL_PAGE_TOKENS > run->pos0) {
            assert_true(m->page_read[page] != m->n_steps);
            m->page_written[page] = m->n_steps;
        }
        m->page_read[page] = m->n_steps;
        assert_true(r->tables[g][i] == page || r->tables[g][i] == -1); /* never moves */
        r->tables[g][i] = page;
    }
    for (uint32_t p = first; p < end; p++) {
        uint32_t *mark = &m->store[run->tables[g][p / SL_PAGE_TOKENS]][p % SL_PAGE_TOKENS];
        if (p < run->pos0 && *mark != sim_mark(m, request, g, p)) {
            fail_msg("request %u: position %u of group %u was overwritten", request, p, g);
        }
        *mark = sim_mark_written(m, request, g, p);
    }
}

static void sim_check_run(sim *m, const sl_step *step, const sl_step_run *run) {
    const uint32_t request = (uint32_t)m->slot_request[run->owner];
    sim_request *r = &m->requests[request];
    const uint32_t n_draft = sim_n_drafts(m, run), n_given = r->n_prompt + r->n_out;
    const uint32_t end = run->pos0 + run->n_rows, known = n_given + n_draft;
    assert_int_equal(r->state, SIM_RUNNING);
    assert_int_equal(run->pos0, r->n_computed);
    assert_true(run->n_rows > 0 && end <= known);
    assert_true(n_draft <= r->n_draft);
    assert_int_equal(run->n_logits, end == known ? 1 + n_draft : 0);
    assert_int_equal(run->n_known, known);
    for (uint32_t i = 0; i < run->n_rows; i++) {
        const uint32_t pos = run->pos0 + i;
        assert_int_equal(step->ids[run->row_begin + i],
                         pos < n_given ? sim_token(m, request, pos) : r->out[pos - r->n_prompt]);
    }
    for (uint32_t g = 0; g < m->groups.n; g++) {
        sim_check_table(m, request, run, g);
    }
    sim_note(m, (uint64_t)request << 32 | run->n_rows << 16 | run->pos0);
}

/* A run may begin later than the last one ended: others computed what lies between. */
static void sim_note_reuse(sim *m, const sl_step_run *run) {
    sim_request *r = &m->requests[m->slot_request[run->owner]];
    if (run->pos0 != r->n_computed) {
        assert_true(r->shares && run->pos0 > r->n_computed);
        assert_int_equal(run->pos0 % SL_PAGE_TOKENS, 0);
        assert_int_equal(r->n_computed % SL_PAGE_TOKENS, 0);
        r->n_computed = run->pos0;
    }
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
        sim_note_reuse(m, run);
        const bool decode = sim_decodes(&m->requests[m->slot_request[run->owner]]);
        assert_true(!decode || n_prefill_rows == 0); /* decodes come first */
        *(decode ? &n_decode_rows : &n_prefill_rows) += run->n_rows - sim_n_drafts(m, run);
        sim_check_run(m, step, run);
    }
    assert_int_equal(n_rows, step->n_rows);
    assert_int_equal(n_logits, step->n_logits);
    assert_true(n_logits <= m->options.runs_max);
    if (m->options.chunk_rows != 0 && m->n_decodes > 0) {
        assert_true(n_prefill_rows <= m->options.chunk_rows);
    }
    /* No decode waits for a step unless pages ran out, and the oldest request never does. */
    uint32_t n_decoding = 0;
    for (uint32_t i = 0; i < m->next_arrival; i++) {
        n_decoding += sim_decodes(&m->requests[i]);
    }
    assert_true(n_decoding == n_decode_rows || sl_kv_n_there(m->kv) < m->groups.n);
    if (m->options.policy == SL_SCHED_FAIR) {
        return;
    }
    const uint32_t first = sim_first(m, SIM_RUNNING)->slot;
    bool has_run = false;
    for (uint32_t i = 0; i < step->n_runs; i++) {
        has_run = has_run || step->runs[i].owner == first;
    }
    assert_true(has_run || n_prefill_rows == 0);
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

/* The tokens that a run gave: one, and one more for each draft that was right. */
static void sim_give(sim *m, uint32_t request, uint32_t n_draft) {
    sim_request *r = &m->requests[request];
    const uint32_t n_right = r->n_right < n_draft ? r->n_right : n_draft;
    for (uint32_t i = 0;; i++) {
        r->out[r->n_out] = sim_token(m, request, r->n_prompt + r->n_out);
        r->n_out++;
        if (r->n_out == r->n_until_eog || r->n_out == r->max_tokens) {
            sim_end(m, request);
            return;
        }
        if (i == n_right) {
            break;
        }
        assert_int_equal(sl_sched_accept(m->sched, r->slot), SL_OK);
        r->n_computed++;
        m->n_accepted++;
    }
    if (n_right == n_draft) {
        assert_int_equal(sl_sched_accept(m->sched, r->slot), SL_ERR_ARGUMENT);
    }
    assert_int_equal(sl_sched_append(m->sched, r->slot), SL_OK);
    sim_after_append(m, r);
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
        const uint32_t n_draft = sim_n_drafts(m, run);
        r->n_computed += run->n_rows - n_draft;
        if (run->n_logits == 0) {
            assert_int_equal(sl_sched_append(m->sched, run->owner), SL_ERR_ARGUMENT);
            continue;
        }
        sim_give(m, request, n_draft);
    }
}

static uint64_t sim_run(sim *m, uint64_t seed) {
    sl_error err;
    sim_start(m, seed);
    const uint64_t n_steps_max = (uint64_t)N_REQUESTS * 3 * CTX_MAX;
    while (m->n_done < N_REQUESTS) {
        sim_arrivals(m);
        sim_accidents(m);
        sim_draw_drafts(m);
        m->paused = m->paused ? sim_between(m, 0, 9) != 0 : sim_between(m, 0, 199) == 0;
        sl_sched_pause(m->sched, m->paused);
        const sl_step *step = sl_sched_plan(m->sched, m->now_ns);
        sim_check_admissions(m, step);
        const bool verify = seed % VERIFY_EVERY == 0 || m->n_steps % VERIFY_EVERY == 0;
        if (verify) {
            sim_ok(sl_sched_verify(m->sched, &err), &err);
        }
        if (step == NULL) {
            uint32_t slot;
            if (m->paused) {
                m->now_ns += 100000;
                continue;
            }
            if (sl_sched_any(m->sched, &slot)) { /* a batch that waits for its window */
                assert_int_equal(m->options.batching, SL_SCHED_WINDOW);
                assert_true(sl_sched_wake_ns(m->sched) > m->now_ns);
                m->now_ns = sl_sched_wake_ns(m->sched);
                continue;
            }
            if (m->next_arrival < N_REQUESTS &&
                m->requests[m->next_arrival].arrival_ns > m->now_ns) {
                m->now_ns = m->requests[m->next_arrival].arrival_ns;
            }
            continue;
        }
        sim_check_step(m, step);
        m->now_ns += 300000 + 20000ull * step->n_rows; /* the engine's cost model */
        if (sim_between(m, 0, 20 * m->calm) == 0) { /* somebody leaves in the middle of the step */
            sim_end(
                m,
                (uint32_t)m->slot_request[step->runs[sim_between(m, 0, step->n_runs - 1)].owner]);
        }
        if (sim_between(m, 0, 29) == 0) { /* the step failed */
            sl_sched_abandon(m->sched);
        } else {
            sim_finish_step(m, step);
        }
        if (verify) {
            sim_ok(sl_sched_verify(m->sched, &err), &err);
        }
        assert_true(m->n_steps < n_steps_max);
    }
    assert_int_equal(sl_kv_n_used(m->kv), 0);
    assert_int_equal(sl_sched_n_on_hold(m->sched), 0);
    assert_int_equal(sl_sched_waiting_tokens(m->sched), 0);
    const uint64_t trace = m->trace;
    sim_stop(m);
    return trace;
}

static void test_seeds(void **state) {
    (void)state;
    const char *asked = getenv("SLUICE_SIM_SEEDS");
    const uint64_t n_seeds = asked != NULL ? strtoull(asked, NULL, 10) : N_SEEDS;
    uint64_t n_refused = 0, n_restarts = 0, n_holds = 0, n_cached = 0, n_accepted = 0, n_all = 0;
    for (uint64_t seed = 1; seed <= n_seeds; seed++) {
        sim_run(&g_sim, seed);
        n_refused += g_sim.n_refused;
        n_restarts += g_sim.n_restarts;
        n_holds += g_sim.n_holds;
        n_cached += g_sim.n_cached;
        n_accepted += g_sim.n_accepted;
        n_all += N_REQUESTS;
    }
    /* The crowd must neither be refused as a whole nor never meet a limit. */
    assert_in_range(n_refused, n_all / 20, n_all * 3 / 4);
    assert_true(n_restarts > n_all / 100);
    assert_true(n_holds > n_all / 100);
    assert_true(n_cached > n_all);
    assert_true(n_accepted > n_all);
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
