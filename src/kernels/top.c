/* The largest logits and the sum of exponentials, piece by piece: see top.h. No state. */
#include "kernels/top.h"

#include <float.h>
#include <math.h>

static void top_insert(sl_top *t, uint64_t key) {
    if (t->n == t->n_wanted) {
        if (key <= t->keys[t->n - 1]) {
            return;
        }
        t->n--;
    }
    uint32_t i = t->n++;
    for (; i > 0 && t->keys[i - 1] < key; i--) {
        t->keys[i] = t->keys[i - 1];
    }
    t->keys[i] = key;
}

/* No smaller one gets in. */
static float top_least(const sl_top *t) {
    return t->n < t->n_wanted ? -FLT_MAX : sl_top_key_logit(t->keys[t->n - 1]);
}

void sl_top_look(const sl_kernels *k, sl_top *t, const float *x, uint32_t n, uint32_t first) {
    uint32_t i = k->not_below(x, n, top_least(t));
    while (i < n) {
        if (isnan(x[i])) {
            t->has_nan = true;
            return;
        }
        top_insert(t, sl_top_key(x[i], first + i));
        i++;
        i += k->not_below(x + i, n - i, top_least(t));
    }
}

void sl_top_merge(sl_top *t, const sl_top *from) {
    t->has_nan |= from->has_nan;
    for (uint32_t i = 0; i < from->n; i++) {
        top_insert(t, from->keys[i]);
    }
}

sl_exp_sum sl_exp_sum_of(const sl_kernels *k, const float *x, uint32_t n) {
    const uint32_t i = k->argmax(x, n);
    if (i == UINT32_MAX) {
        return (sl_exp_sum){.max = NAN, .sum = NAN};
    }
    if (x[i] == -INFINITY) {
        return SL_EXP_SUM_NONE;
    }
    return (sl_exp_sum){.max = x[i], .sum = k->sum_exp(x, n, x[i], 1.0f)};
}

void sl_exp_sum_add(sl_exp_sum *total, sl_exp_sum block) {
    if (block.sum == 0) {
        return;
    }
    if (block.max > total->max) {
        const sl_exp_sum before = *total;
        *total = block;
        total->sum += before.sum == 0 ? 0
                                      : before.sum * exp((double)before.max - (double)block.max);
    } else {
        total->sum += block.sum * exp((double)block.max - (double)total->max);
    }
}

void sl_exp_sum_change(sl_exp_sum *sum, float from, float to) {
    sum->sum += exp((double)to - (double)sum->max) - exp((double)from - (double)sum->max);
}

double sl_exp_sum_log(sl_exp_sum total) {
    return (double)total.max + log(total.sum);
}
