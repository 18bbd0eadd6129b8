/* One row of logits -> the score of a token, and a compact form of all its log-probabilities, which
 * another model's row can be compared with. Pure functions; any thread.
 *
 * The compact form (little-endian; sl_logprob_row_bytes() bytes, a multiple of 8):
 *
 *     0  u32  id of the largest logit (lowest on ties)
 *     4  f32  its log-probability, `top`
 *     8  f32  `step` = min(top - smallest log-probability, 32) / 65535
 *    12  f32  log-probability of the token that really followed
 *    16  u64  check over all other bytes of the row
 *    24  u16  q[n_vocab]; zeros up to a multiple of 8
 *
 * stands for log p[i] = top - q[i] * step. The error is at most step / 2 <= 2.5e-4 in log p, the
 * same for likely and unlikely tokens; what is less likely than e^-32 times the likeliest token is
 * stored as that (a mass below 4e-9 in the largest vocabularies). A distribution against its own
 * compact form has a Kullback-Leibler divergence of about step^2 / 24 <= 1e-8. */
#ifndef SL_MEASURE_LOGPROB_ROW_H
#define SL_MEASURE_LOGPROB_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

typedef struct sl_logprob_score {
    float max;       /* largest logit */
    uint32_t max_id; /* n_vocab or more: the logits are not numbers */
    double lse;      /* log of the sum of exponentials of the logits */
    double nll;      /* -log p(target), natural logarithm */
} sl_logprob_score;

/* target < n_vocab. */
void sl_logprob_score_row(const sl_kernels *k, const float *logits, uint32_t n_vocab,
                          uint32_t target, sl_logprob_score *out);

size_t sl_logprob_row_bytes(uint32_t n_vocab);
/* row: 8-byte aligned, sl_logprob_row_bytes(n_vocab) bytes. */
void sl_logprob_row_encode(const float *logits, uint32_t n_vocab, const sl_logprob_score *score,
                           uint8_t *row);

typedef struct sl_logprob_difference {
    double kl;      /* sum of p_base * log(p_base / p), nats; never negative */
    double delta_p; /* p(target) - p_base(target) */
    double base_nll;
    bool same_top; /* both find the same token likeliest */
} sl_logprob_difference;

/* The logits and their score against a stored row. False if the row's bytes are not what was
 * written. */
bool sl_logprob_row_compare(const uint8_t *row, const float *logits, uint32_t n_vocab,
                            const sl_logprob_score *score, sl_logprob_difference *out);

/* A stable 64-bit check of `n` bytes (it may be stored), beginning from `seed`. Finds damage, not
 * malice. */
uint64_t sl_logprob_check(uint64_t seed, const void *data, size_t n);

#endif
