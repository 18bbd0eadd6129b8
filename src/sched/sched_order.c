/* Who comes first: ranks, lists kept in their order, and what tenants had. See sched.h. */
#include "sched/sched_int.h"

/* SL_SCHED_SHORTEST: so much later than it came a request stands for each of its tokens; several
 * times what a token takes. */
#define SHORTEST_TOKEN_NS 5000000

void sl_sched_rank_new(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    const sl_sched_request *r = &q->request;
    sched_tenant *t = &s->tenants[r->tenant];
    q->order = s->n_added++;
    if (s->options.policy == SL_SCHED_PRIORITY) {
        q->rank = (int64_t)r->arrival_ns + r->priority * (int64_t)s->options.age_ns;
    } else if (s->options.policy == SL_SCHED_SHORTEST) {
        q->rank = (int64_t)(r->arrival_ns + sched_tokens_max(r) * SHORTEST_TOKEN_NS);
    }
    if (t->n_requests++ == 0 && t->work < s->work_now) {
        t->work = s->work_now; /* what it did not ask for in the meantime is not owed to it */
    }
}

/* Fair shares: who began later gives way first, whenever it came. */
void sl_sched_rank_started(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    if (s->options.policy == SL_SCHED_FAIR) {
        q->rank = (int64_t)++s->n_started;
        s->work_now = s->tenants[q->request.tenant].work;
    }
}

void sl_sched_leave(sl_sched *s, const sched_seq *q) {
    s->tenants[q->request.tenant].n_requests--;
}

void sl_sched_charge(sl_sched *s, const sched_seq *q, const sl_step_run *run) {
    const bool decode = run->n_rows - q->n_draft == 1 && run->pos0 >= q->request.n_prompt;
    const uint64_t work = decode ? SL_SCHED_DECODE_COST + q->n_draft : run->n_rows;
    sched_tenant *t = &s->tenants[q->request.tenant];
    t->work += work * SL_SCHED_WEIGHT_MAX / t->weight;
}

void sl_sched_set_weight(sl_sched *s, uint32_t tenant, uint32_t weight) {
    s->tenants[tenant].weight = weight;
}

/* --- lists --- */

static void sched_link(sched_seq *seqs, sched_list *list, uint32_t slot, uint32_t prev,
                       uint32_t next) {
    seqs[slot].prev = prev;
    seqs[slot].next = next;
    *(prev != SCHED_NONE ? &seqs[prev].next : &list->head) = slot;
    *(next != SCHED_NONE ? &seqs[next].prev : &list->tail) = slot;
    list->n++;
}

static void sched_unlink(sched_seq *seqs, sched_list *list, uint32_t slot) {
    const sched_seq *q = &seqs[slot];
    *(q->prev != SCHED_NONE ? &seqs[q->prev].next : &list->head) = q->next;
    *(q->next != SCHED_NONE ? &seqs[q->next].prev : &list->tail) = q->prev;
    list->n--;
}

void sl_sched_move(sl_sched *s, uint32_t slot, sched_state state) {
    sched_seq *q = &s->seqs[slot];
    if (q->state != SCHED_FREE) {
        sched_unlink(s->seqs, &s->lists[q->state], slot);
    }
    q->state = state;
    if (state == SCHED_FREE) {
        return;
    }
    sched_list *list = &s->lists[state];
    uint32_t prev = list->tail; /* most are the last ones */
    while (prev != SCHED_NONE && sched_before(q, &s->seqs[prev])) {
        prev = s->seqs[prev].prev;
    }
    sched_link(s->seqs, list, slot, prev, prev == SCHED_NONE ? list->head : s->seqs[prev].next);
}

/* --- who is next --- */

/* The oldest of the tenant that had least. */
static uint32_t order_fairest(const sl_sched *s) {
    uint32_t best = SCHED_NONE;
    uint64_t least = UINT64_MAX;
    for (uint32_t slot = s->lists[SCHED_WAITING].head; slot != SCHED_NONE;
         slot = s->seqs[slot].next) {
        const uint64_t work = s->tenants[s->seqs[slot].request.tenant].work;
        if (work < least) {
            least = work;
            best = slot;
        }
    }
    return best;
}

/* Of SL_SCHED_WINDOW: when the batch that waits may begin. */
static uint64_t order_window_end(const sl_sched *s) {
    const sched_list *waiting = &s->lists[SCHED_WAITING];
    if (s->options.batching != SL_SCHED_WINDOW || waiting->n == 0 ||
        waiting->n >= s->options.batch_max || s->n_admitted > 0) {
        return 0;
    }
    return s->seqs[waiting->head].request.arrival_ns + s->options.window_ns;
}

uint64_t sl_sched_wake_ns(const sl_sched *s) {
    const bool none = s->paused || s->lists[SCHED_RUNNING].n > 0;
    const uint64_t end_ns = none ? 0 : order_window_end(s);
    uint64_t wake_ns = end_ns == 0 ? UINT64_MAX : end_ns;
    for (uint32_t slot = s->n_deadlines == 0 ? SCHED_NONE : s->lists[SCHED_WAITING].head;
         slot != SCHED_NONE; slot = s->seqs[slot].next) {
        const uint64_t deadline_ns = s->seqs[slot].request.deadline_ns;
        wake_ns = deadline_ns != 0 && deadline_ns < wake_ns ? deadline_ns : wake_ns;
    }
    return wake_ns;
}

uint32_t sl_sched_next(const sl_sched *s, uint64_t now_ns) {
    const uint32_t held = s->lists[SCHED_ON_HOLD].head;
    const uint32_t waiting = s->lists[SCHED_WAITING].head;
    if (waiting == SCHED_NONE || s->paused || order_window_end(s) > now_ns) {
        return held;
    }
    if (s->options.policy == SL_SCHED_FAIR) {
        return held != SCHED_NONE ? held : order_fairest(s);
    }
    return held != SCHED_NONE && sched_before(&s->seqs[held], &s->seqs[waiting]) ? held : waiting;
}

uint32_t sl_sched_outranked(const sl_sched *s, uint32_t slot) {
    const uint32_t last = s->lists[SCHED_RUNNING].tail;
    const bool is_urgent = s->options.policy == SL_SCHED_PRIORITY && last != SCHED_NONE &&
                           s->seqs[slot].request.priority < s->seqs[last].request.priority &&
                           sched_before(&s->seqs[slot], &s->seqs[last]);
    return is_urgent ? last : SCHED_NONE;
}
