/* Feeds a fixed set of sequences straight into an engine, step by step, without a scheduler: what
 * `logits`, `bench` and `eval` need. Owned by one thread, which owns the engine too. */
#ifndef SL_MEASURE_FEED_H
#define SL_MEASURE_FEED_H

#include "engine/engine.h"
#include "kv/kv.h"

typedef enum sl_feed_logits { SL_FEED_NONE, SL_FEED_LAST, SL_FEED_ALL } sl_feed_logits;

typedef struct sl_feed {
    sl_engine *engine;
    uint32_t n_seq;    /* that are fed: the first ones; may be lowered for a while */
    sl_kv *kv;         /* its sequences are 0 .. n_seq - 1 */
    int32_t *ids;      /* [rows_max] of the step being built */
    sl_step_run *runs; /* [runs_max] */
    sl_step_top *tops; /* [runs_max] */
} sl_feed;

/* Room for n_seq sequences of at most tokens_max tokens. SL_ERR_ARGUMENT if the pool is too
 * small. */
SL_NODISCARD sl_status sl_feed_init(sl_feed *f, sl_engine *engine, uint32_t n_seq,
                                    uint32_t tokens_max, sl_error *err);
void sl_feed_deinit(sl_feed *f);

/* Feeds tokens [pos0, pos0 + n) of every sequence; ids[s * n + i] is token i of sequence s, and
 * pos0 + n tokens count as known from the first step on. As many rows per step as the engine takes;
 * rows of several sequences share a step. fn sees the logits that were asked for, in the order of
 * the sequences and positions. pos0 0 begins anew; pos0 may go back as far as sl_feed_holds
 * says. */
SL_NODISCARD sl_status sl_feed_tokens(sl_feed *f, const int32_t *ids, uint32_t n, uint32_t pos0,
                                      sl_feed_logits logits, sl_logits_fn fn, void *user,
                                      sl_error *err);

/* The same without logits rows: next[s] becomes the likeliest token after those of sequence s. */
SL_NODISCARD sl_status sl_feed_greedy(sl_feed *f, const int32_t *ids, uint32_t n, uint32_t pos0,
                                      int32_t *next, sl_error *err);

/* For steps that a caller fills itself: gives the run, whose pos0 and n_rows are set, the pages and
 * block tables of sequence s. pos0 0 begins the sequence anew. Once per sequence and step, in the
 * order of the positions. */
SL_NODISCARD sl_status sl_feed_bind(sl_feed *f, uint32_t s, sl_step_run *run, sl_error *err);

/* Whether every sequence still holds what a row at position n sees: layers with a window give back
 * what they have left behind. */
bool sl_feed_holds(const sl_feed *f, uint32_t n);

/* Begins the other sequences with the keys and values of the first n tokens of sequence 0. */
SL_NODISCARD sl_status sl_feed_share(sl_feed *f, uint32_t n, sl_error *err);

#endif
