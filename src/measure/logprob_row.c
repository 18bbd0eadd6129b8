#include "measure/logprob_row.h"

#include <math.h>
#include <string.h>

#define ROW_HEAD 24u
#define ROW_DEPTH 32.0f /* nats below the likeliest token that are told apart */
#define ROW_STEPS 65535.0f
/* A logit that is minus infinity (a token that is masked out) stands this far below the largest:
 * the base gives it e^-32 of the likeliest at most, so its part stays below 1e-10. */
#define BELOW_MAX 1e4

typedef struct row_head {
    uint32_t top_id;
    float top, step, target;
    uint64_t check;
} row_head;
_Static_assert(sizeof(row_head) == ROW_HEAD, "the head of a stored row has no gaps");

/* --- the check -------------------------------------------------------------------------------- */

static uint64_t check_word(uint64_t h, uint64_t word) {
    h = (h ^ word) * 0x9E3779B97F4A7C15ull;
    return h ^ (h >> 29);
}

uint64_t sl_logprob_check(uint64_t seed, const void *data, size_t n) {
    const uint8_t *p = data;
    uint64_t h = check_word(seed, n), word;
    for (; n >= sizeof(word); n -= sizeof(word), p += sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        h = check_word(h, word);
    }
    word = 0;
    if (n > 0) {
        memcpy(&word, p, n);
    }
    return check_word(h, word);
}

static uint64_t row_check(const row_head *head, const uint8_t *row, uint32_t n_vocab) {
    uint64_t h = sl_logprob_check(0, head, offsetof(row_head, check));
    return sl_logprob_check(h, row + ROW_HEAD, sl_logprob_row_bytes(n_vocab) - ROW_HEAD);
}

/* --- scoring ---------------------------------------------------------------------------------- */

void sl_logprob_score_row(const sl_kernels *k, const float *logits, uint32_t n_vocab,
                          uint32_t target, sl_logprob_score *out) {
    *out = (sl_logprob_score){.max_id = k->argmax(logits, n_vocab)};
    if (out->max_id < n_vocab) {
        out->max = logits[out->max_id];
        out->lse = (double)out->max + log(k->sum_exp(logits, n_vocab, out->max, 1.0f));
        out->nll = out->lse - (double)logits[target];
    }
    if (!isfinite(out->nll)) {
        out->max_id = UINT32_MAX;
    }
}

/* --- the stored row --------------------------------------------------------------------------- */

size_t sl_logprob_row_bytes(uint32_t n_vocab) {
    return ROW_HEAD + ((size_t)n_vocab * sizeof(uint16_t) + 7) / 8 * 8;
}

void sl_logprob_row_encode(const float *logits, uint32_t n_vocab, const sl_logprob_score *score,
                           uint8_t *row) {
    float min = score->max;
    for (uint32_t i = 0; i < n_vocab; i++) {
        min = logits[i] < min ? logits[i] : min;
    }
    float depth = score->max - min < ROW_DEPTH ? score->max - min : ROW_DEPTH;
    float per_unit = depth > 0.0f ? ROW_STEPS / depth : 0.0f;
    row_head head = {.top_id = score->max_id,
                     .top = (float)((double)score->max - score->lse),
                     .step = depth / ROW_STEPS,
                     .target = (float)-score->nll};
    uint16_t *q = (uint16_t *)(void *)(row + ROW_HEAD);
    for (uint32_t i = 0; i < n_vocab; i++) {
        float below = score->max - logits[i];
        below = below < depth ? below : depth;
        q[i] = (uint16_t)(below * per_unit + 0.5f);
    }
    size_t used = ROW_HEAD + (size_t)n_vocab * sizeof(*q);
    memset(row + used, 0, sl_logprob_row_bytes(n_vocab) - used);
    head.check = row_check(&head, row, n_vocab);
    memcpy(row, &head, sizeof(head));
}

/* exp(-q * step) is the product of one entry for the upper and one for the lower byte of q. */
typedef struct row_powers {
    double upper[256], lower[256];
} row_powers;

static void row_fill_powers(row_powers *t, double step) {
    for (int i = 0; i < 256; i++) {
        t->upper[i] = exp(-256.0 * step * i);
        t->lower[i] = exp(-step * i);
    }
}

bool sl_logprob_row_compare(const uint8_t *row, const float *logits, uint32_t n_vocab,
                            const sl_logprob_score *score, sl_logprob_difference *out) {
    row_head head;
    memcpy(&head, row, sizeof(head));
    if (head.check != row_check(&head, row, n_vocab)) {
        return false;
    }
    row_powers t;
    row_fill_powers(&t, (double)head.step);
    /* With w = p_base / p_base(top) and d = log w - (logit - max): both distributions in terms of
     * their likeliest token, so that what is summed up is small where they agree. */
    const uint16_t *q = (const uint16_t *)(const void *)(row + ROW_HEAD);
    double mass = 0.0, sum = 0.0, step = (double)head.step, max = (double)score->max;
    for (uint32_t i = 0; i < n_vocab; i++) {
        double w = t.upper[q[i] >> 8] * t.lower[q[i] & 255];
        double below = max - (double)logits[i];
        mass += w;
        sum += w * ((below < BELOW_MAX ? below : BELOW_MAX) - step * q[i]);
    }
    /* The stored probabilities are divided by their own sum. */
    double kl = sum / mass - log(mass) + (score->lse - max);
    out->kl = kl > 0.0 ? kl : 0.0;
    out->delta_p = exp(-score->nll) - exp((double)head.target);
    out->base_nll = -(double)head.target;
    out->same_top = head.top_id == score->max_id;
    return true;
}
