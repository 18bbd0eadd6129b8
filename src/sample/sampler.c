/* The sampler (sampler.h). Owner: one worker thread per sl_sampler; rows of different requests
 * follow each other.
 *
 * What is fast and why. Greedy rows cost one pass of the argmax kernel. All others first take the
 * maximum of every block of 128 logits; the blocks that a threshold excludes are then never looked
 * at again: top-k: the k-th largest block maximum is not above the k-th largest logit, so
 * candidates come from k blocks; top-p: candidates within d * temperature of the maximum, d
 * doubling until their mass reaches p of the whole row's (one pass of the sum_exp kernel); min-p:
 * the threshold is known at once. Candidates stay in order of ids through all filters, and the draw
 * walks them in that order, so a filter that removes nothing changes nothing. Nothing is sorted but
 * the few tokens of the log-probabilities. */
#include "sample/sampler.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "sample/sample_select.h"

#define SAMPLE_BLOCK 128u      /* logits that share a maximum */
#define SAMPLE_SUM_BLOCK 1024u /* logits that share a partial sum in an unfiltered draw */
#define SAMPLE_GREEDY_BELOW 1e-5f
#define SAMPLE_DEPTH_MAX 128.0f /* exp(-128) is 0 in float32: deeper logits weigh nothing */

typedef struct sample_saved {
    int32_t id;
    float logit; /* before anything was changed */
} sample_saved;

struct sl_sampler {
    const sl_kernels *k;
    uint32_t n_vocab, n_blocks, n_sum_blocks;
    /* Of the present row. */
    float max;
    uint32_t n_saved;
    float *block_max;    /* [n_blocks] */
    double *block_sum;   /* [n_sum_blocks] */
    sample_saved *saved; /* [n_vocab + SL_SAMPLE_BIAS_MAX] */
    /* Candidates, in rising order of ids. */
    size_t n;
    uint64_t *keys;         /* [n_vocab] by logit */
    float *weights;         /* [n_vocab] exp((logit - max) / temperature) */
    uint64_t *keys_typical; /* [n_vocab] */
    uint64_t *select_keys;  /* [n_vocab] scratch of sl_sample_cut */
    float *select_weights;  /* [n_vocab] */
    void *memory;
    size_t memory_bytes;
};

/* --- life --- */

/* Places `n` items of `item_bytes` at *offset, 64-byte aligned. With base NULL only counts. */
static void *sampler_place(char *base, size_t *offset, size_t n, size_t item_bytes) {
    size_t at = *offset;
    *offset = at + ((n * item_bytes + 63) & ~(size_t)63);
    return base == NULL ? NULL : base + at;
}

static size_t sampler_layout(sl_sampler *s, char *base) {
    size_t n = s->n_vocab, used = 0;
    s->block_max = sampler_place(base, &used, s->n_blocks, sizeof(*s->block_max));
    s->block_sum = sampler_place(base, &used, s->n_sum_blocks, sizeof(*s->block_sum));
    s->saved = sampler_place(base, &used, n + SL_SAMPLE_BIAS_MAX, sizeof(*s->saved));
    s->keys = sampler_place(base, &used, n, sizeof(*s->keys));
    s->weights = sampler_place(base, &used, n, sizeof(*s->weights));
    s->keys_typical = sampler_place(base, &used, n, sizeof(*s->keys_typical));
    s->select_keys = sampler_place(base, &used, n, sizeof(*s->select_keys));
    s->select_weights = sampler_place(base, &used, n, sizeof(*s->select_weights));
    return used;
}

sl_status sl_sampler_create(const sl_kernels *k, uint32_t n_vocab, sl_sampler **out,
                            sl_error *err) {
    if (n_vocab == 0 || n_vocab > INT32_MAX) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "a vocabulary of %" PRIu32 " tokens cannot be sampled from", n_vocab);
    }
    sl_sampler *s = sl_alloc_zero(1, sizeof(*s));
    if (s != NULL) {
        s->k = k;
        s->n_vocab = n_vocab;
        s->n_blocks = (n_vocab + SAMPLE_BLOCK - 1) / SAMPLE_BLOCK;
        s->n_sum_blocks = (n_vocab + SAMPLE_SUM_BLOCK - 1) / SAMPLE_SUM_BLOCK;
        s->memory_bytes = sampler_layout(s, NULL);
        s->memory = sl_pages_map(s->memory_bytes, false);
    }
    if (s == NULL || s->memory == NULL) {
        sl_free(s);
        return SL_FAIL(err, SL_ERR_MEMORY,
                       "no memory for sampling from a vocabulary of %" PRIu32 " tokens", n_vocab);
    }
    (void)sampler_layout(s, s->memory);
    *out = s;
    return SL_OK;
}

void sl_sampler_free(sl_sampler *s) {
    if (s != NULL) {
        sl_pages_unmap(s->memory, s->memory_bytes);
        sl_free(s);
    }
}

/* --- the row --- */

static sl_status sampler_numeric(uint64_t position, sl_error *err) {
    return SL_FAIL(err, SL_ERR_NUMERIC,
                   "the logits for position %" PRIu64
                   " hold NaN or infinity; the model's weights or their "
                   "computation are broken",
                   position);
}

/* Maxima of all blocks and of the row. False if the row cannot be sampled from. */
static bool sampler_scan(sl_sampler *s, const float *logits) {
    float max = -INFINITY;
    for (uint32_t b = 0; b < s->n_blocks; b++) {
        uint32_t begin = b * SAMPLE_BLOCK, left = s->n_vocab - begin;
        uint32_t i = s->k->argmax(logits + begin, left < SAMPLE_BLOCK ? left : SAMPLE_BLOCK);
        if (i == UINT32_MAX) {
            return false;
        }
        s->block_max[b] = logits[begin + i];
        max = s->block_max[b] > max ? s->block_max[b] : max;
    }
    s->max = max;
    return isfinite(max);
}

static void sampler_save(sl_sampler *s, int32_t id, float logit) {
    s->saved[s->n_saved++] = (sample_saved){id, logit};
}

/* The logit as the model gave it. */
static float sampler_original(const sl_sampler *s, const float *logits, int32_t id) {
    for (uint32_t i = 0; i < s->n_saved; i++) {
        if (s->saved[i].id == id) {
            return s->saved[i].logit;
        }
    }
    return logits[id];
}

/* Bias, then the penalties, in place. Touches the tokens that they name and no others. */
static void sampler_modify(sl_sampler *s, float *logits, const sl_sample_options *o,
                           const sl_sample_history *h) {
    s->n_saved = 0;
    for (uint32_t i = 0; i < o->n_bias; i++) {
        float *x = &logits[o->bias[i].id];
        sampler_save(s, o->bias[i].id, *x);
        *x += o->bias[i].bias;
    }
    if (h == NULL || !sl_sample_needs_history(o)) {
        return;
    }
    float r = o->repetition_penalty == 0 ? 1 : o->repetition_penalty;
    for (uint32_t i = 0; i < h->n; i++) {
        const sl_sample_seen *e = &h->seen[i];
        if (e->id < 0 || (uint32_t)e->id >= s->n_vocab) {
            continue;
        }
        float x = logits[e->id];
        sampler_save(s, e->id, x);
        x = x > 0 ? x / r : x * r;
        if (e->n_output > 0) {
            x -= o->presence_penalty + o->frequency_penalty * (float)e->n_output;
        }
        logits[e->id] = x;
    }
}

/* --- candidates --- */

/* All logits >= least (a finite number) become the candidates. */
static void sampler_collect(sl_sampler *s, const float *logits, float least) {
    size_t n = 0;
    for (uint32_t b = 0; b < s->n_blocks; b++) {
        if (!(s->block_max[b] >= least)) {
            continue;
        }
        uint32_t begin = b * SAMPLE_BLOCK, left = s->n_vocab - begin;
        uint32_t end = begin + (left < SAMPLE_BLOCK ? left : SAMPLE_BLOCK);
        for (uint32_t i = begin; i < end; i++) {
            if (logits[i] >= least) {
                s->keys[n++] = sl_top_key(logits[i], i);
            }
        }
    }
    s->n = n;
}

/* The k largest logits (fewer if fewer are possible). */
static void sampler_collect_top(sl_sampler *s, const float *logits, uint32_t k) {
    float least = -FLT_MAX;
    if (k <= s->n_blocks) {
        for (uint32_t b = 0; b < s->n_blocks; b++) {
            s->keys[b] = sl_top_key(s->block_max[b], b);
        }
        uint64_t cut = sl_sample_cut(s->keys, NULL, s->n_blocks, k, s->select_keys,
                                     s->select_weights);
        float kth = s->block_max[sl_top_key_id(cut)];
        least = kth > least ? kth : least;
    }
    sampler_collect(s, logits, least);
    if (s->n <= k) {
        return;
    }
    uint64_t cut = sl_sample_cut(s->keys, NULL, s->n, k, s->select_keys, s->select_weights);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->keys[i] >= cut) {
            s->keys[n++] = s->keys[i];
        }
    }
    s->n = n;
}

/* Gives the candidates their weights, relative to the row's maximum; returns the sum. */
static double sampler_weigh(sl_sampler *s, float inv_t) {
    double sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->weights[i] = expf((sl_top_key_logit(s->keys[i]) - s->max) * inv_t);
        sum += s->weights[i];
    }
    return sum;
}

/* Keeps the candidates whose order key (of the i-th: order[i]) is >= cut; returns the sum of their
 * weights. */
static double sampler_keep(sl_sampler *s, const uint64_t *order, uint64_t cut) {
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (order[i] >= cut) {
            s->keys[n] = s->keys[i];
            s->weights[n] = s->weights[i];
            sum += s->weights[n];
            n++;
        }
    }
    s->n = n;
    return sum;
}

/* Candidates that hold at least the mass top_p of the row, and little more; returns the mass of the
 * whole row. */
static double sampler_collect_mass(sl_sampler *s, const float *logits, float inv_t, float top_p) {
    double whole = s->k->sum_exp(logits, s->n_vocab, s->max, inv_t);
    for (float depth = 4;; depth *= 2) {
        float least = s->max - depth / inv_t;
        sampler_collect(s, logits, least > -FLT_MAX ? least : -FLT_MAX);
        if (sampler_weigh(s, inv_t) >= (double)top_p * whole || depth >= SAMPLE_DEPTH_MAX) {
            return whole;
        }
    }
}

/* Locally typical: the tokens whose surprise is nearest to the mean surprise, up to the mass `p`.
 * `sum`: of all weights; returns that of the survivors. */
static double sampler_typical(sl_sampler *s, float inv_t, float p, double sum) {
    double mean =
        0; /* of (logit - max) / T; the entropy is log(sum) - mean, the surprise log(sum) - that */
    for (size_t i = 0; i < s->n; i++) {
        if (s->weights[i] > 0) {
            mean += s->weights[i] * (double)((sl_top_key_logit(s->keys[i]) - s->max) * inv_t);
        }
    }
    mean /= sum;
    for (size_t i = 0; i < s->n; i++) {
        double off = (double)((sl_top_key_logit(s->keys[i]) - s->max) * inv_t) - mean;
        s->keys_typical[i] = sl_top_key((float)-fabs(off), sl_top_key_id(s->keys[i]));
    }
    uint64_t cut = sl_sample_cut(s->keys_typical, s->weights, s->n, (double)p * sum, s->select_keys,
                                 s->select_weights);
    return sampler_keep(s, s->keys_typical, cut);
}

static void sampler_min_p(sl_sampler *s, float min_p) {
    float max = 0;
    for (size_t i = 0; i < s->n; i++) {
        max = s->weights[i] > max ? s->weights[i] : max;
    }
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->weights[i] >= min_p * max) {
            s->keys[n] = s->keys[i];
            s->weights[n++] = s->weights[i];
        }
    }
    s->n = n;
}

/* --- the draw --- */

/* From all tokens of the row, u in [0, 1): partial sums by the kernel, then a walk inside one
 * block. */
static uint32_t sampler_draw_row(sl_sampler *s, const float *logits, float inv_t, double u) {
    double sum = 0, below = 0;
    for (uint32_t b = 0; b < s->n_sum_blocks; b++) {
        uint32_t begin = b * SAMPLE_SUM_BLOCK, left = s->n_vocab - begin;
        s->block_sum[b] = s->k->sum_exp(
            logits + begin, left < SAMPLE_SUM_BLOCK ? left : SAMPLE_SUM_BLOCK, s->max, inv_t);
        sum += s->block_sum[b];
    }
    /* Rounding may leave the target just unreached: then the last block and the last token with any
     * weight. */
    double target = u * sum, acc = 0;
    uint32_t found = 0;
    for (uint32_t b = 0; b < s->n_sum_blocks && below <= target; b++) {
        if (s->block_sum[b] > 0) {
            found = b;
            acc = below;
            below += s->block_sum[b];
        }
    }
    uint32_t begin = found * SAMPLE_SUM_BLOCK, left = s->n_vocab - begin;
    uint32_t n = left < SAMPLE_SUM_BLOCK ? left : SAMPLE_SUM_BLOCK;
    uint32_t id = begin + s->k->argmax(logits + begin, n);
    for (uint32_t i = begin; i < begin + n && acc <= target; i++) {
        float w = expf((logits[i] - s->max) * inv_t);
        acc += w;
        id = w > 0 ? i : id;
    }
    return id;
}

/* From the candidates. */
static uint32_t sampler_draw_candidates(const sl_sampler *s, double u) {
    double sum = 0, acc = 0;
    for (size_t i = 0; i < s->n; i++) {
        sum += s->weights[i];
    }
    double target = u * sum;
    uint32_t id = sl_top_key_id(s->keys[0]);
    for (size_t i = 0; i < s->n && acc <= target; i++) {
        acc += s->weights[i];
        id = s->weights[i] > 0 ? sl_top_key_id(s->keys[i]) : id;
    }
    return id;
}

static bool options_by_k(const sl_sample_options *o, uint32_t n_vocab) {
    return o->top_k > 0 && o->top_k < n_vocab;
}

static bool options_by_typical(const sl_sample_options *o) {
    return o->typical_p > 0 && o->typical_p < 1;
}

/* The filters behind top-k and the draw, from candidates whose weights sum to `sum`. */
static uint32_t sampler_draw_filtered(sl_sampler *s, const sl_sample_options *o, double sum,
                                      double u) {
    if (options_by_typical(o)) {
        sum = sampler_typical(s, 1 / o->temperature, o->typical_p, sum);
    }
    if (o->top_p < 1) {
        (void)sampler_keep(s, s->keys,
                           sl_sample_cut(s->keys, s->weights, s->n, (double)o->top_p * sum,
                                         s->select_keys, s->select_weights));
    }
    if (o->min_p > 0) {
        sampler_min_p(s, o->min_p);
    }
    return sampler_draw_candidates(s, u);
}

/* Filters and draw. The row is scanned. */
static uint32_t sampler_draw(sl_sampler *s, const float *logits, const sl_sample_options *o,
                             double u) {
    const float inv_t = 1 / o->temperature;
    const bool by_k = options_by_k(o, s->n_vocab);
    const bool by_typical = options_by_typical(o);
    const bool by_p = o->top_p < 1;
    if (!by_k && !by_typical && !by_p && o->min_p <= 0) {
        return sampler_draw_row(s, logits, inv_t, u);
    }
    double sum;
    if (by_k) {
        sampler_collect_top(s, logits, o->top_k);
        sum = sampler_weigh(s, inv_t);
    } else if (by_typical) {
        sampler_collect(s, logits, -FLT_MAX);
        sum = sampler_weigh(s, inv_t);
    } else if (by_p) {
        sum = sampler_collect_mass(s, logits, inv_t, o->top_p);
    } else { /* a little deeper than needed; the weights decide */
        float least = s->max + (logf(o->min_p) - 0.01f) / inv_t;
        sampler_collect(s, logits, least > -FLT_MAX ? least : -FLT_MAX);
        sum = sampler_weigh(s, inv_t);
    }
    return sampler_draw_filtered(s, o, sum, u);
}

/* --- log-probabilities --- */

/* Logarithm of the sum of exponentials of the row. */
static double sampler_log_sum(const sl_sampler *s, const float *logits) {
    sl_exp_sum sum = SL_EXP_SUM_NONE;
    for (uint32_t i = 0; i < s->n_vocab; i += SL_TOP_BLOCK) {
        const uint32_t n = s->n_vocab - i < SL_TOP_BLOCK ? s->n_vocab - i : SL_TOP_BLOCK;
        sl_exp_sum_add(&sum, sl_exp_sum_of(s->k, logits + i, n));
    }
    return sl_exp_sum_log(sum);
}

/* Of the keys, likeliest first. */
static void list_top(const uint64_t *keys, size_t n, double log_sum, sl_sample_out *out) {
    out->n_top = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        out->top[i] = (sl_sample_top){(int32_t)sl_top_key_id(keys[i]),
                                      (float)((double)sl_top_key_logit(keys[i]) - log_sum)};
    }
}

static void sampler_list_top(sl_sampler *s, const float *logits, uint32_t n_top, double log_sum,
                             sl_sample_out *out) {
    sampler_collect_top(s, logits, n_top);
    sl_sample_sort(s->keys, s->n);
    list_top(s->keys, s->n, log_sum, out);
}

sl_status sl_sample_row(sl_sampler *s, float *logits, const sl_sample_options *o,
                        const sl_sample_history *h, uint32_t choice, uint64_t position,
                        sl_sample_out *out, sl_error *err) {
    const bool greedy = o->temperature < SAMPLE_GREEDY_BELOW;
    const bool wanted = o->want_logprob || o->n_top > 0;
    sl_sample_out result = {.id = -1};
    double log_sum = 0;
    bool scanned = false;
    if (wanted) {
        if (!sampler_scan(s, logits)) {
            return sampler_numeric(position, err);
        }
        scanned = true;
        log_sum = sampler_log_sum(s, logits);
        if (o->n_top > 0) {
            sampler_list_top(s, logits, o->n_top, log_sum, &result);
        }
    }
    sampler_modify(s, logits, o, h);
    if (greedy) {
        uint32_t id = s->k->argmax(logits, s->n_vocab);
        if (id == UINT32_MAX || !isfinite(logits[id])) {
            return sampler_numeric(position, err);
        }
        result.id = (int32_t)id;
    } else {
        if ((!scanned || s->n_saved > 0) && !sampler_scan(s, logits)) {
            return sampler_numeric(position, err);
        }
        result.id = (int32_t)sampler_draw(s, logits, o, sl_rng_double(o->seed, choice, position));
    }
    if (wanted) {
        result.logprob = (float)((double)sampler_original(s, logits, result.id) - log_sum);
    }
    *out = result;
    return SL_OK;
}

/* --- from the largest logits alone --- */

uint32_t sl_sample_n_largest(const sl_sample_options *o, uint32_t n_vocab) {
    if (o->n_bias > 0 || sl_sample_needs_history(o)) {
        return 0;
    }
    const bool greedy = o->temperature < SAMPLE_GREEDY_BELOW;
    if (!greedy && (!options_by_k(o, n_vocab) || o->top_k > SL_TOP_MAX)) {
        return 0;
    }
    const uint32_t n = greedy ? 1 : o->top_k;
    return n > o->n_top ? n : o->n_top;
}

/* The candidates are the top_k largest, in the order of their ids. */
static void sampler_take_largest(sl_sampler *s, const sl_top *largest, uint32_t top_k) {
    s->n = largest->n < top_k ? largest->n : top_k;
    for (size_t i = 0; i < s->n; i++) {
        const uint64_t key = largest->keys[i];
        size_t j = i;
        for (; j > 0 && sl_top_key_id(s->keys[j - 1]) > sl_top_key_id(key); j--) {
            s->keys[j] = s->keys[j - 1];
        }
        s->keys[j] = key;
    }
}

sl_status sl_sample_largest(sl_sampler *s, const sl_top *largest, double log_sum,
                            const sl_sample_options *o, uint32_t choice, uint64_t position,
                            sl_sample_out *out, sl_error *err) {
    if (largest->has_nan || largest->n == 0 || !isfinite(sl_top_key_logit(largest->keys[0]))) {
        return sampler_numeric(position, err);
    }
    sl_sample_out result = {.id = (int32_t)sl_top_key_id(largest->keys[0])};
    if (o->temperature >= SAMPLE_GREEDY_BELOW) {
        s->max = sl_top_key_logit(largest->keys[0]);
        sampler_take_largest(s, largest, o->top_k);
        const double sum = sampler_weigh(s, 1 / o->temperature);
        result.id = (int32_t)sampler_draw_filtered(s, o, sum,
                                                   sl_rng_double(o->seed, choice, position));
    }
    if (o->want_logprob || o->n_top > 0) {
        list_top(largest->keys, largest->n < o->n_top ? largest->n : o->n_top, log_sum, &result);
        uint32_t i = 0;
        while ((int32_t)sl_top_key_id(largest->keys[i]) != result.id) {
            i++; /* it is one of them */
        }
        result.logprob = (float)((double)sl_top_key_logit(largest->keys[i]) - log_sum);
    }
    *out = result;
    return SL_OK;
}
