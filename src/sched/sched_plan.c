/* The next step: who computes what, who begins, who gives way. See sched.h. */
#include "sched/sched_int.h"

/* Adds the planned rows of a running request to the step. */
static void sched_add_run(sl_sched *s, uint32_t slot) {
    const sched_seq *q = &s->seqs[slot];
    const uint32_t end = q->n_computed + q->n_planned, n_known = sched_n_known(q) + q->n_draft;
    sl_step_run *run = &s->runs[s->step.n_runs++];
    *run = (sl_step_run){.row_begin = s->step.n_rows,
                         .n_rows = q->n_planned,
                         .pos0 = q->n_computed,
                         .n_logits = end == n_known ? 1 + q->n_draft : 0,
                         .n_known = n_known,
                         .owner = slot};
    for (uint32_t g = 0; g < sl_kv_groups_of(s->kv)->n; g++) {
        run->tables[g] = sl_kv_seq_table(s->kv, q->kv_seq, g);
    }
    const sl_kv_text text = sched_text(q);
    sl_kv_text_copy(&text, q->n_computed, q->n_planned, s->ids + s->step.n_rows);
    s->step.n_rows += q->n_planned;
    s->step.n_logits += run->n_logits;
}

/* Its pages go; what was published of them may still be there when it goes on. */
static void sched_hold(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    sl_kv_seq_close(s->kv, q->kv_seq);
    q->kv_seq = SL_KV_SEQ_NONE;
    q->n_computed = q->n_planned = q->n_draft = 0;
    q->story.n_holds++;
    sl_sched_move(s, slot, SCHED_ON_HOLD);
}

/* Pages for the next n rows of a running request, or for as many of them as there are pages for.
 * Where there is none, those after it make room. */
static uint32_t sched_claim(sl_sched *s, uint32_t slot, uint32_t n) {
    const sched_seq *q = &s->seqs[slot];
    while (n > 0 && sl_kv_seq_extend(s->kv, q->kv_seq, q->n_computed, q->n_computed + n) != SL_OK) {
        const uint32_t room = sl_kv_seq_room(s->kv, q->kv_seq);
        if (room > q->n_computed && room - q->n_computed < n) {
            n = room - q->n_computed;
            continue;
        }
        const uint32_t last = s->lists[SCHED_RUNNING].tail;
        if (last == slot) {
            return 0; /* until one before it ends */
        }
        sched_hold(s, last);
        s->n_held++;
    }
    return n;
}

/* Others computed what is before n_done. What it had itself before a hold is not told as theirs. */
static void sched_skip_to(sched_seq *q, uint32_t n_done) {
    if (q->n_out == 0 && q->story.n_holds == 0) {
        q->story.n_cached += n_done - q->n_computed;
    }
    q->n_computed = n_done;
}

/* Whether one before it computes, in this step, what this one would compute next. */
static bool sched_follows(const sl_sched *s, uint32_t slot) {
    const sched_seq *q = &s->seqs[slot];
    const sl_kv_text text = sched_text(q);
    if (!q->request.shares) {
        return false;
    }
    for (uint32_t other = s->lists[SCHED_RUNNING].head; other != slot;
         other = s->seqs[other].next) {
        const sched_seq *o = &s->seqs[other];
        if (o->n_planned > 0) {
            const sl_kv_text other_text = sched_text(o);
            if (sl_kv_seq_follows(s->kv, q->kv_seq, &text, q->n_computed, o->kv_seq, &other_text)) {
                return true;
            }
        }
    }
    return false;
}

/* Gives a request that does not decode up to n_prefill rows of the step; returns how many. */
static uint32_t sched_plan_prefill(sl_sched *s, uint32_t slot, uint32_t n_prefill) {
    sched_seq *q = &s->seqs[slot];
    if (sched_rows_left(q) == 0 || n_prefill == 0) {
        return 0;
    }
    const sl_kv_text text = sched_text(q);
    sched_skip_to(q, sl_kv_seq_reuse(s->kv, q->kv_seq, &text, q->n_computed));
    if (sched_follows(s, slot)) {
        return 0;
    }
    q->n_planned = sched_claim(s, slot, sched_min(n_prefill, sched_rows_left(q)));
    return q->n_planned;
}

uint64_t sl_sched_growth(const sl_sched *s, const sched_seq *q) {
    const uint32_t expected = s->mean_out / SCHED_OUT_WEIGHT, most = q->request.max_tokens;
    /* Who is longer than expected already goes on for a while. */
    const uint32_t n_more = q->n_out + SL_PAGE_TOKENS > expected ? SL_PAGE_TOKENS
                                                                 : expected - q->n_out;
    const uint64_t n_tokens = sched_n_known(q) + (uint64_t)sched_min(n_more, most - q->n_out);
    const uint64_t n_pages = sl_kv_groups_pages(sl_kv_groups_of(s->kv), n_tokens);
    const uint64_t n_held = q->kv_seq == SL_KV_SEQ_NONE ? 0 : sl_kv_seq_n_pages(s->kv, q->kv_seq);
    return n_pages > n_held ? n_pages - n_held : 0;
}

/* Opens the sequence of a request that is not running, with what is cached of it. False, and
 * nothing happened, if those that run need the pages. */
static bool sched_start(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    const sched_list *running = &s->lists[SCHED_RUNNING];
    if (sl_kv_seq_open(s->kv, (uint32_t)sched_tokens_max(&q->request), &q->kv_seq) != SL_OK) {
        return false;
    }
    sl_sched_share(s, q);
    const sl_kv_text text = sched_text(q);
    const uint32_t n_done = sl_kv_seq_reuse(s->kv, q->kv_seq, &text, 0);
    uint64_t n_needed = sl_sched_growth(s, q);
    for (uint32_t i = running->head; i != SCHED_NONE; i = s->seqs[i].next) {
        n_needed += sl_sched_growth(s, &s->seqs[i]);
    }
    if (running->n > 0 && n_needed > sl_kv_n_there(s->kv)) {
        sl_kv_seq_close(s->kv, q->kv_seq);
        q->kv_seq = SL_KV_SEQ_NONE;
        return false;
    }
    sched_skip_to(q, n_done);
    return true;
}

/* Begins the request, or takes the place of one that it outranks. */
static bool sched_admit(sl_sched *s, uint32_t slot) {
    if (s->lists[SCHED_RUNNING].n < s->running_max && sched_start(s, slot)) {
        return true;
    }
    const uint32_t outranked = sl_sched_outranked(s, slot);
    if (outranked == SCHED_NONE) {
        return false;
    }
    sched_hold(s, outranked);
    return sched_start(s, slot);
}

/* Moves requests into the step, first ones first, until rows, runs or pages end. Whoever can't
 * begin now is not overtaken. */
static void sched_plan_admissions(sl_sched *s, uint32_t n_prefill, uint64_t now_ns) {
    const bool in_batches = s->options.batching != SL_SCHED_CONTINUOUS;
    const bool batch_runs = in_batches && s->lists[SCHED_RUNNING].n > 0;
    while (n_prefill > 0 && s->n_held == 0 && s->n_admitted < s->options.runs_max &&
           !(in_batches && s->lists[SCHED_RUNNING].n >= s->options.batch_max)) {
        const uint32_t slot = sl_sched_next(s, now_ns);
        sched_seq *q = &s->seqs[slot == SCHED_NONE ? 0 : slot];
        if (slot == SCHED_NONE || (batch_runs && q->state == SCHED_WAITING) ||
            !sched_admit(s, slot)) {
            return;
        }
        if (q->state == SCHED_WAITING) {
            s->waiting_tokens -= sched_tokens_max(&q->request);
            sl_sched_rank_started(s, slot);
        }
        sl_sched_move(s, slot, SCHED_RUNNING);
        s->admitted[s->n_admitted++] = slot;
        n_prefill -= sched_plan_prefill(s, slot, n_prefill);
    }
}

/* Rows of prompts that a step may hold beside these decodes. */
static uint32_t sched_prefill_most(const sl_sched *s, const sl_cost_work *decodes) {
    uint32_t most = s->options.rows_max - decodes->n_rows;
    if (decodes->n_rows == 0) { /* nobody waits for the next token */
        return most;
    }
    if (s->cost.n_points == 0) {
        return sched_min(most, s->options.chunk_rows);
    }
    const double alone_s = sl_cost_seconds(&s->cost, decodes);
    const double most_s = s->options.step_ns == 0
                              ? 2.0 * alone_s
                              : 1e-9 * (double)s->options.step_ns / s->cost_ratio;
    uint32_t pos = 0; /* of the first prompt that goes on */
    for (uint32_t slot = s->lists[SCHED_RUNNING].head; slot != SCHED_NONE && pos == 0;
         slot = s->seqs[slot].next) {
        pos = sched_decodes(&s->seqs[slot]) ? 0 : s->seqs[slot].n_computed;
    }
    uint32_t least = sched_min(most, 1);
    while (least < most) {
        const uint32_t n = most - (most - least) / 2;
        sl_cost_work work = *decodes;
        work.n_rows += n;
        work.prefill_tokens += sl_cost_attended(s->plan, pos, n);
        if (sl_cost_seconds(&s->cost, &work) <= most_s) {
            least = n;
        } else {
            most = n - 1;
        }
    }
    return least;
}

/* Drafts get what nobody else needs: no page is taken from anybody for one. */
static void sched_plan_drafts(sl_sched *s) {
    const uint32_t head = s->lists[SCHED_RUNNING].head;
    uint32_t n_rows = 0, n_runs = 0;
    for (uint32_t slot = head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        n_rows += s->seqs[slot].n_planned;
        n_runs += s->seqs[slot].n_planned > 0; /* each may have a row of logits */
    }
    uint32_t n_left = sched_min(s->options.rows_max - n_rows, s->options.runs_max - n_runs);
    for (uint32_t slot = head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        sched_seq *q = &s->seqs[slot];
        uint32_t n = q->n_planned > 0 && sched_decodes(q) ? sched_min(q->n_draft, n_left) : 0;
        const uint32_t end = q->n_computed + 1;
        if (n > 0 && sl_kv_seq_extend(s->kv, q->kv_seq, q->n_computed, end + n) != SL_OK) {
            const uint32_t room = sl_kv_seq_room(s->kv, q->kv_seq);
            n = room > end ? sched_min(n, room - end) : 0;
            n = n > 0 && sl_kv_seq_extend(s->kv, q->kv_seq, q->n_computed, end + n) == SL_OK ? n
                                                                                             : 0;
        }
        q->n_draft = n;
        q->n_planned += n;
        n_left -= n;
    }
}

/* Decodes first. */
static void sched_build_step(sl_sched *s) {
    s->step.n_rows = s->step.n_runs = s->step.n_logits = 0;
    for (int decodes = 1; decodes >= 0; decodes--) {
        for (uint32_t slot = s->lists[SCHED_RUNNING].head; slot != SCHED_NONE;
             slot = s->seqs[slot].next) {
            const sched_seq *q = &s->seqs[slot];
            if (q->n_planned > 0 && sched_decodes(q) == (decodes == 1)) {
                sched_add_run(s, slot);
            }
        }
    }
}

const sl_step *sl_sched_plan(sl_sched *s, uint64_t now_ns) {
    const sched_list *running = &s->lists[SCHED_RUNNING];
    sl_cost_work decodes = {0};
    s->n_admitted = s->n_held = 0;
    for (uint32_t slot = running->head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        sched_seq *q = &s->seqs[slot];
        q->n_planned = q->n_ahead = 0;
        if (sched_decodes(q)) {
            decodes.n_rows++;
            decodes.n_logits++;
            decodes.decode_tokens += s->plan == NULL ? 0.0
                                                     : sl_cost_attended(s->plan, q->n_computed, 1);
        }
    }
    uint32_t n_prefill = sched_prefill_most(s, &decodes);
    for (uint32_t slot = running->head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        if (sched_decodes(&s->seqs[slot])) {
            s->seqs[slot].n_planned = sched_claim(s, slot, 1);
        } else {
            n_prefill -= sched_plan_prefill(s, slot, n_prefill);
        }
    }
    sched_plan_admissions(s, n_prefill, now_ns);
    sched_plan_drafts(s);
    sched_build_step(s);
    return s->step.n_rows > 0 ? &s->step : NULL;
}

/* Slots that ended since the plan, and perhaps hold another request now, have no planned rows. */
void sl_sched_commit(sl_sched *s) {
    for (uint32_t i = 0; i < s->step.n_runs; i++) {
        sched_seq *q = &s->seqs[s->runs[i].owner];
        if (q->n_planned > 0) {
            const sl_kv_text text = sched_text(q);
            sl_sched_charge(s, q, &s->runs[i]);
            q->n_computed += q->n_planned - q->n_draft;
            q->n_ahead = q->n_draft;
            q->n_planned = q->n_draft = 0;
            sl_kv_seq_publish(s->kv, q->kv_seq, &text, q->n_computed);
        }
    }
}

void sl_sched_abandon(sl_sched *s) {
    for (uint32_t i = 0; i < s->step.n_runs; i++) {
        s->seqs[s->runs[i].owner].n_planned = s->seqs[s->runs[i].owner].n_draft = 0;
    }
}
