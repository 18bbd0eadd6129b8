/* How well a model predicts a text: perplexity, and how far its distributions are from those that
 * another run saved. The text's ids are cut into pieces of ctx tokens (a last part is dropped),
 * which are independent sequences; the first id of each is replaced by BOS where the model adds
 * one; the positions ctx/2 .. ctx-2 of each are scored on the token that follows. This is how
 * llama-perplexity does it, so that figures can be compared.
 *
 * The result depends neither on how many pieces share a step nor on the threads: rows of logits do
 * not, and their scores are added up in the order of the text. Logits are looked at in blocks as
 * they come. Owned by one thread, which owns the engine too. */
#ifndef SL_MEASURE_EVAL_H
#define SL_MEASURE_EVAL_H

#include "engine/engine.h"
#include "measure/logprob_file.h"

#define SL_EVAL_CTX_MIN 4u

typedef struct sl_eval_progress {
    uint32_t n_done, n_pieces; /* whole pieces, those of an earlier run included */
    uint32_t n_resumed;        /* of these from an earlier run */
    double ppl;                /* so far; 0 before the first piece is whole */
} sl_eval_progress;

typedef struct sl_eval_options {
    uint32_t ctx;      /* tokens of a piece, SL_EVAL_CTX_MIN .. the engine's ctx_max */
    uint32_t n_pieces; /* 1 .. number of ids / ctx */
    int32_t bos;       /* stands over the first id of each piece; -1: nothing does */
    /* What another run over the same ids saved, or NULL; borrowed (sl_eval_base_open). */
    const sl_logprob_base *base;
    /* Files, or NULL. save: takes every log-probability (logprob_file.h); that of a run that failed
     * is removed, unless it can be resumed. resume: what is done is kept there piece by piece, and
     * found by a later call that is the same but for threads and pieces per step. */
    const char *save_path, *resume_path;
    uint64_t model_check; /* sl_eval_model_check of what the engine runs; for resume */
    /* Asked at least once per block of logits; false ends the run with SL_ERR_CANCELLED. May be
     * NULL. */
    bool (*go_on)(void *user, const sl_eval_progress *progress);
    void *user;
} sl_eval_options;

typedef struct sl_eval_spread {
    double mean, p99, max;
} sl_eval_spread;

typedef struct sl_eval_result {
    uint64_t n_scored; /* tokens */
    uint32_t n_resumed;
    double nll;        /* mean of -log p(token), nats */
    double nll_stderr; /* of that mean */
    double ppl;        /* exp(nll) */
    /* With a base: KL divergence of this model from it in nats, |p(token) - p_base(token)|, the
     * part of the positions where both find the same token likeliest, and the base's own mean. */
    bool has_base;
    sl_eval_spread kl, delta_p;
    double same_top, base_nll;
} sl_eval_result;

/* ids[0 .. n_pieces * ctx), each within the model's vocabulary. */
SL_NODISCARD sl_status sl_eval_run(sl_engine *e, const sl_eval_options *o, const int32_t *ids,
                                   sl_eval_result *out, sl_error *err);

/* Tells model files apart: names, shapes and samples of all tensors. */
uint64_t sl_eval_model_check(const sl_gguf *file);

/* Opens a file that save_path gave, for the ctx, n_pieces and bos of `o`. SL_ERR_ARGUMENT if it is
 * for other ids, another vocabulary or fewer pieces. */
SL_NODISCARD sl_status sl_eval_base_open(const char *path, const sl_eval_options *o,
                                         const int32_t *ids, uint32_t n_vocab, sl_logprob_base *out,
                                         sl_error *err);

#endif
