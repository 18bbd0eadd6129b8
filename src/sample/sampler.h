/* From a row of logits to the next token: options, penalties, filters, the draw, log-probabilities.
 *
 * Order: bias -> repetition (prompt + output) -> presence, frequency (output) -> temperature ->
 * top-k -> typical
 * -> top-p -> min-p; each filter works on what the one before left, with probabilities that sum to
 * 1 again. Ties go to the lowest id. Log-probabilities are those of the unmodified logits. The draw
 * is a pure function of (seed, choice, position): it does not depend on the batch, preemption or
 * speculation.
 *
 * Logits: -infinity means that a token is impossible (a mask); NaN, +infinity, or a row of nothing
 * but -infinity is SL_ERR_NUMERIC.
 *
 * Sources: top-p: Holtzman et al., arXiv 1904.09751; typical: Meister et al., arXiv 2202.00666;
 * min-p: Nguyen et al., arXiv 2407.01082; repetition: Keskar et al., arXiv 1909.05858; presence,
 * frequency: OpenAI's API reference.
 */
#ifndef SL_SAMPLE_SAMPLER_H
#define SL_SAMPLE_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#include "kernels/top.h"

#define SL_SAMPLE_BIAS_MAX 1024
#define SL_SAMPLE_TOP_MAX 20

typedef struct sl_logit_bias {
    int32_t id;
    float bias; /* added to the logit, -100 to 100 */
} sl_logit_bias;

/* Everything zero is valid and means greedy. */
typedef struct sl_sample_options {
    float temperature; /* 0 to 100; below 0.00001: greedy, the filters and the seed do not matter */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* 0 to 1; 1: off; 0 keeps one token */
    float min_p; /* 0 to 1; 0: off; keeps what is at least min_p times as likely as the likeliest */
    float typical_p;          /* 0 to 1; 0 and 1: off */
    float repetition_penalty; /* 0.01 to 100; 0 and 1: off */
    float presence_penalty;   /* -2 to 2; 0: off */
    float frequency_penalty;  /* -2 to 2; 0: off */
    uint64_t seed;
    const sl_logit_bias *bias; /* borrowed; [n_bias] */
    uint32_t n_bias;           /* at most SL_SAMPLE_BIAS_MAX */
    uint32_t n_top;            /* log-probs of the n_top likeliest tokens, 0 to SL_SAMPLE_TOP_MAX */
    bool want_logprob;         /* of the chosen token; implied by n_top > 0 */
} sl_sample_options;

/* temperature 1, nothing else: the model's own distribution. */
sl_sample_options sl_sample_options_default(void);
/* SL_ERR_ARGUMENT names the field and its value, in the words of the API ("top_p is 1.5; ..."). */
SL_NODISCARD sl_status sl_sample_options_check(const sl_sample_options *o, uint32_t n_vocab,
                                               sl_error *err);
/* True if the penalties need a history: the caller then keeps one, otherwise it may pass NULL. */
bool sl_sample_needs_history(const sl_sample_options *o);

/* How often each token of one request occurred: in the prompt (yes or no) and in the output
 * (count). Lives in memory of the caller; all operations take constant time and allocate nothing.
 * One owner at a time. */
typedef struct sl_sample_seen {
    int32_t id;
    uint32_t in_prompt : 1, n_output : 31;
} sl_sample_seen;

typedef struct sl_sample_history {
    sl_sample_seen *seen; /* [n], in order of first occurrence */
    uint32_t *slots;      /* [mask + 1] hash table: index into seen + 1, or 0 */
    uint32_t n, mask, n_max;
} sl_sample_history;

/* Bytes for n_tokens_max tokens of prompt and output together. */
size_t sl_sample_history_bytes(uint32_t n_tokens_max);
/* memory: 8-byte aligned, that many bytes, the caller's; any contents. */
void sl_sample_history_init(sl_sample_history *h, void *memory, uint32_t n_tokens_max);
/* Tokens beyond n_tokens_max distinct ones are left out. */
void sl_sample_history_add_prompt(sl_sample_history *h, const int32_t *ids, size_t n);
void sl_sample_history_add_output(sl_sample_history *h, int32_t id);

typedef struct sl_sample_top {
    int32_t id;
    float logprob;
} sl_sample_top;

typedef struct sl_sample_out {
    int32_t id;
    float logprob; /* natural logarithm; 0 unless wanted */
    uint32_t n_top;
    sl_sample_top top[SL_SAMPLE_TOP_MAX]; /* likeliest first; impossible tokens are not listed */
} sl_sample_out;

/* Scratch of one worker thread. Address space for about 40 bytes per token of the vocabulary, of
 * which only what is used becomes memory. */
typedef struct sl_sampler sl_sampler;

/* `k` is borrowed for the sampler's life. */
SL_NODISCARD sl_status sl_sampler_create(const sl_kernels *k, uint32_t n_vocab, sl_sampler **out,
                                         sl_error *err);
void sl_sampler_free(sl_sampler *s); /* NULL is fine */

/* Chooses the token that stands at `position` of the sequence (prompt included), for the choice-th
 * answer to one request. `logits` [n_vocab] may be changed. Options must have passed the check. `h`
 * is the history up to position - 1; the caller adds the chosen token itself. Allocates nothing. */
SL_NODISCARD sl_status sl_sample_row(sl_sampler *s, float *logits, const sl_sample_options *o,
                                     const sl_sample_history *h, uint32_t choice, uint64_t position,
                                     sl_sample_out *out, sl_error *err);

/* How many of a row's largest logits are enough to sample by these options; 0: the row is needed.
 * No row is for greedy choices and for those among the top_k likeliest, unless bias or penalties
 * change logits. */
uint32_t sl_sample_n_largest(const sl_sample_options *o, uint32_t n_vocab);
/* The same token and log-probabilities as from the whole row, from as many of its largest logits
 * as sl_sample_n_largest says, or all. log_sum: logarithm of the sum of the row's exponentials
 * (top.h); only looked at where log-probabilities are wanted. */
SL_NODISCARD sl_status sl_sample_largest(sl_sampler *s, const sl_top *largest, double log_sum,
                                         const sl_sample_options *o, uint32_t choice,
                                         uint64_t position, sl_sample_out *out, sl_error *err);

#endif
