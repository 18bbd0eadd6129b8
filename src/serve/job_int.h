/* One generation request while it is being answered, and its choices. Private to src/serve: job.c
 * (life), job_admit.c (refusals), job_prompt.c (what goes in), job_reply.c (what comes out).
 *
 * A job belongs to its io thread. It answers one exchange; when the client is gone, or the answer
 * was given early, it lives on without one until the runner has let go of its requests, because
 * these point into its memory. */
#ifndef SL_SERVE_JOB_INT_H
#define SL_SERVE_JOB_INT_H

#include "serve/service_int.h"

/* What the runner tells of a request, as of now. */
typedef struct serve_story {
    uint64_t submit_ns, first_ns, end_ns; /* 0: not yet */
    uint32_t n_out, n_events;
    sl_event events[SL_EVENTS_MAX];
} serve_story;

typedef struct serve_choice {
    serve_job *job;
    uint32_t index, i_prompt;
    sl_handle handle;    /* SL_HANDLE_NONE: the runner does not know it (any more) */
    sl_request *request; /* valid while handle is */
    bool ended;
    bool announced;                 /* its first event was written */
    sl_finish finish;               /* valid once ended: STOP or LENGTH */
    uint32_t n_seen;                /* tokens of request->out_ids that are part of the answer */
    uint32_t n_told;                /* of these, told to the client */
    uint32_t n_cached;              /* prompt tokens that were there already */
    uint32_t n_drafted, n_accepted; /* guesses that were computed; that came true */
    sl_detokenizer detok;
    sl_buf text;                         /* certain, not yet told */
    uint64_t text_offset;                /* characters, for the log-probs of completions */
    uint64_t last_token_ns, gap_most_ns; /* between tokens */
    serve_story story;                   /* of its request, once that was released */
    int32_t *out_ids;
    float *out_logprobs;
    sl_sample_top *out_top;
    sl_sample_history history;
    void *history_memory;
    sl_ngram ngram;
    void *ngram_memory;
} serve_choice;

struct serve_job {
    serve_loop *loop;
    serve_job *prev, *next;
    sl_http_exchange *x; /* NULL: nobody waits for an answer */
    bool canary;
    bool submitted;       /* not refused */
    bool streaming;       /* the head of the stream is out */
    bool timed_out;       /* --request-timeout, or its own deadline */
    uint64_t deadline_ns; /* the sooner of both; 0: none */
    bool closed; /* no answer is owed any more; freed when the runner holds nothing of it */
    sl_api_params params;
    bool has_params;
    bool shares; /* the beginning of its prompts, with jobs of this salt */
    uint64_t salt;
    uint32_t weight; /* of the tenant */
    uint32_t tenant;
    sl_ids *prompts; /* [n_prompts] */
    size_t n_prompts;
    serve_choice *choices; /* [n_choices], index = prompt * best_of + number */
    uint32_t n_choices;
    uint32_t n_ended, n_held; /* choices whose answer is complete; that the runner holds */
    char id[40];
    int64_t created_s;
    uint64_t begin_ns, told_ns; /* first byte of the request; last time something was sent */
    sl_buf head;                /* what every event of a stream begins with */
};

/* --- explain.c ------------------------------------------------------------------------------- */
void sl_serve_story_take(serve_story *story, const sl_request *q);
/* Keeps what there is to say of a request that ends. */
void sl_serve_explain_keep(const serve_job *j, const char *status);

/* --- job_admit.c ----------------------------------------------------------------------------- */
/* Cheap reasons to refuse, before a body is parsed and a prompt tokenised. */
SL_NODISCARD sl_status sl_job_admit(serve_job *j, sl_api_error *e);
/* Refuses at once what would wait for too long, or miss its deadline; sets the deadline. */
SL_NODISCARD sl_status sl_job_foresee(serve_job *j, sl_api_error *e);
SL_NODISCARD sl_status sl_job_busy(serve_job *j, sl_api_error *e); /* 429 */

/* --- job_prompt.c ---------------------------------------------------------------------------- */
/* Fills params, prompts: reads the body, renders, tokenises. */
SL_NODISCARD sl_status sl_job_read(serve_job *j, sl_api_kind kind, sl_api_error *e);
/* The text of a completion's prompt becomes the beginning of the answer's. */
SL_NODISCARD sl_status sl_job_echo(serve_choice *c, sl_api_error *e);

/* --- job_reply.c ----------------------------------------------------------------------------- */
SL_NODISCARD sl_status sl_job_reply_head(serve_job *j); /* SL_ERR_MEMORY */
/* Stream: what is new of one choice. SL_ERR_MEMORY: nothing was sent. */
SL_NODISCARD sl_status sl_job_reply_events(serve_choice *c, sl_error *err);
/* Each of these ends the exchange: j->x is NULL afterwards. */
void sl_job_reply_end(serve_job *j); /* all choices have ended: the rest of the answer */
void sl_job_reply_error(serve_job *j, const sl_api_error *e); /* instead of the rest */
void sl_job_reply_heartbeat(serve_job *j);

#endif
