/* Every invariant of the README, for tests. */
#include "base/error.h"
#include "sched/sched_int.h"

/* The list of a state is well linked and holds what is in it; adds up their tokens. */
static sl_status sched_verify_list(const sl_sched *s, sched_state state, uint64_t *n_tokens,
                                   sl_error *err) {
    const sched_list *list = &s->lists[state];
    uint32_t n = 0, prev = SCHED_NONE;
    for (uint32_t slot = list->head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        const sched_seq *q = &s->seqs[slot];
        const bool sorted = prev == SCHED_NONE || sched_before(&s->seqs[prev], q);
        if (q->state != state || q->prev != prev || !sorted || ++n > list->n) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "slot %u breaks the list of state %d", slot,
                           (int)state);
        }
        *n_tokens += sched_tokens_max(&q->request);
        prev = slot;
    }
    if (n != list->n || prev != list->tail) {
        return SL_FAIL(err, SL_ERR_INTERNAL, "the list of state %d holds %u slots, not %u",
                       (int)state, n, list->n);
    }
    return SL_OK;
}

static sl_status sched_verify_running(const sl_sched *s, sl_error *err) {
    uint64_t n_pages = 0;
    for (uint32_t slot = s->lists[SCHED_RUNNING].head; slot != SCHED_NONE;
         slot = s->seqs[slot].next) {
        const sched_seq *q = &s->seqs[slot];
        const uint32_t end = q->n_computed + q->n_planned;
        if (q->n_out + q->n_draft > q->request.max_tokens || end > sched_n_known(q) + q->n_draft ||
            sl_kv_seq_n_published(s->kv, q->kv_seq) > q->n_computed ||
            !sl_kv_seq_holds(s->kv, q->kv_seq, q->n_computed, end)) {
            return SL_FAIL(err, SL_ERR_INTERNAL,
                           "slot %u: %u computed and %u planned of %u tokens, %u pages held", slot,
                           q->n_computed, q->n_planned, sched_n_known(q),
                           sl_kv_seq_n_pages(s->kv, q->kv_seq));
        }
        n_pages += sl_kv_seq_n_pages(s->kv, q->kv_seq);
    }
    if (n_pages < sl_kv_n_used(s->kv)) { /* shared ones count more than once */
        return SL_FAIL(err, SL_ERR_INTERNAL, "running requests hold %llu pages, %u are used",
                       (unsigned long long)n_pages, sl_kv_n_used(s->kv));
    }
    return SL_OK;
}

sl_status sl_sched_verify(const sl_sched *s, sl_error *err) {
    uint64_t n_tokens[SCHED_STATES] = {0};
    uint32_t n_listed = 0, n_used = 0, n_deadlines = 0;
    for (int state = SCHED_WAITING; state < SCHED_STATES; state++) {
        SL_TRY(sched_verify_list(s, (sched_state)state, &n_tokens[state], err));
        n_listed += s->lists[state].n;
    }
    for (uint32_t i = 0; i < s->options.n_slots; i++) {
        n_used += s->seqs[i].state != SCHED_FREE;
        n_deadlines += s->seqs[i].state != SCHED_FREE && s->seqs[i].request.deadline_ns != 0;
    }
    if (n_tokens[SCHED_WAITING] != s->waiting_tokens || n_deadlines != s->n_deadlines ||
        n_used != n_listed || s->lists[SCHED_WAITING].n > s->options.queue_max ||
        s->lists[SCHED_RUNNING].n > s->running_max) {
        return SL_FAIL(
            err, SL_ERR_INTERNAL,
            "scheduler totals: %u of %u slots in lists, %u waiting and %u running, %llu waiting "
            "tokens (counted %llu), %u deadlines (counted %u)",
            n_listed, n_used, s->lists[SCHED_WAITING].n, s->lists[SCHED_RUNNING].n,
            (unsigned long long)s->waiting_tokens, (unsigned long long)n_tokens[SCHED_WAITING],
            s->n_deadlines, n_deadlines);
    }
    SL_TRY(sched_verify_running(s, err));
    return sl_kv_verify(s->kv, err);
}
