/* Inside of the scheduler: what its files share. Private to src/sched. */
#ifndef SL_SCHED_SCHED_INT_H
#define SL_SCHED_SCHED_INT_H

#include "sched/sched.h"

#define SCHED_NONE UINT32_MAX

typedef enum sched_state {
    SCHED_FREE = 0,
    SCHED_WAITING,
    SCHED_RUNNING,
    SCHED_ON_HOLD,
    SCHED_STATES
} sched_state;

/* The numbers of tokens that requests generate: what is expected before the first one ended, and
 * how many of them count most in the mean. */
#define SCHED_OUT_EXPECTED 64
#define SCHED_OUT_WEIGHT 16

typedef struct sched_seq {
    sched_state state;
    uint32_t prev, next; /* slots in the list of its state, SCHED_NONE at the ends */
    sl_sched_request request;
    int64_t rank;        /* by the policy: the lower the sooner, */
    uint64_t order;      /* and among equals as they came */
    uint32_t n_out;      /* tokens in out_ids */
    uint32_t n_computed; /* tokens whose keys and values are in the pages */
    uint32_t n_planned;  /* rows in the present step, */
    uint32_t n_draft;    /* the last of which are drafts; before the plan: drafts that there are */
    uint32_t n_ahead;    /* drafts that the last step computed, and nobody accepted yet */
    uint32_t kv_seq;
    sl_sched_story story;
} sched_seq;

/* A doubly linked list through sched_seq, by rank and order. */
typedef struct sched_list {
    uint32_t head, tail, n;
} sched_list;

typedef struct sched_tenant {
    uint64_t work; /* in 1/SL_SCHED_WEIGHT_MAX of a token, divided by the weight */
    uint32_t weight, n_requests;
} sched_tenant;

struct sl_sched {
    sl_sched_options options;
    sl_kv *kv;
    sched_seq *seqs;                /* [n_slots] */
    sched_list lists[SCHED_STATES]; /* of each state but free */
    sched_tenant *tenants;          /* [n_tenants] */
    uint64_t work_now;              /* of the tenant that was served last: where new ones begin */
    uint64_t n_added, n_started;
    uint64_t waiting_tokens;
    uint32_t mean_out;    /* tokens that requests generated of late, in 1/SCHED_OUT_WEIGHT */
    uint32_t n_deadlines; /* requests that have one */
    uint32_t running_max;
    bool paused;
    const sl_plan *plan; /* of the cost */
    sl_cost cost;
    double cost_ratio;

    sl_step step;
    int32_t *ids;       /* [rows_max] */
    sl_step_run *runs;  /* [runs_max] */
    uint32_t *admitted; /* [runs_max] */
    uint32_t n_admitted;
    uint32_t n_held; /* by the last plan, because pages ran out */
};

static inline uint64_t sched_tokens_max(const sl_sched_request *r) {
    return (uint64_t)r->n_prompt + r->max_tokens;
}
static inline uint32_t sched_n_known(const sched_seq *q) {
    return q->request.n_prompt + q->n_out;
}
static inline uint32_t sched_rows_left(const sched_seq *q) {
    return sched_n_known(q) - q->n_computed;
}
/* Only its newest token is left to compute; the last row of a prompt is still prefill. */
static inline bool sched_decodes(const sched_seq *q) {
    return q->n_computed >= q->request.n_prompt && sched_rows_left(q) == 1;
}
static inline sl_kv_text sched_text(const sched_seq *q) {
    return (sl_kv_text){.prompt_ids = q->request.prompt_ids,
                        .out_ids = q->request.out_ids,
                        .n_prompt = q->request.n_prompt,
                        .n_known = sched_n_known(q)};
}
static inline bool sched_before(const sched_seq *a, const sched_seq *b) {
    return a->rank < b->rank || (a->rank == b->rank && a->order < b->order);
}
static inline uint32_t sched_min(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* --- sched.c --- */
/* Of a sequence without pages: whose it may use. */
void sl_sched_share(sl_sched *s, const sched_seq *q);

/* --- sched_plan.c --- */
/* Pages that a request takes from now on if it generates as many tokens as others did of late. */
uint64_t sl_sched_growth(const sl_sched *s, const sched_seq *q);

/* --- sched_order.c --- */
/* Where a request stands among others when it comes, and when it begins. */
void sl_sched_rank_new(sl_sched *s, uint32_t slot);
void sl_sched_rank_started(sl_sched *s, uint32_t slot);
/* To the list of another state. */
void sl_sched_move(sl_sched *s, uint32_t slot, sched_state state);
/* Who begins, or goes on after a hold, next; SCHED_NONE: nobody may now. */
uint32_t sl_sched_next(const sl_sched *s, uint64_t now_ns);
/* A running request whose place `slot` may take; SCHED_NONE: nobody's. */
uint32_t sl_sched_outranked(const sl_sched *s, uint32_t slot);
/* A planned run was computed. */
void sl_sched_charge(sl_sched *s, const sched_seq *q, const sl_step_run *run);
void sl_sched_leave(sl_sched *s, const sched_seq *q);

#endif
