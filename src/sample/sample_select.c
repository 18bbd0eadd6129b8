/* Radix selection (sample_select.h): the weight of each value of the key's first byte, then the one
 * value in which the target is reached is looked at by its next byte, and so on. At most eight
 * passes over shrinking sets, whatever the numbers are: logits come from files that nobody vouches
 * for. No state. */
#include "sample/sample_select.h"

#include <stdbool.h>

#define SELECT_SMALL 24 /* sets of up to this size are sorted instead */

/* Sorts keys (and their weights) by insertion, largest first. */
static void select_sort(uint64_t *keys, float *weights, size_t n) {
    for (size_t i = 1; i < n; i++) {
        uint64_t key = keys[i];
        float weight = weights == NULL ? 0 : weights[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] < key; j--) {
            keys[j] = keys[j - 1];
            if (weights != NULL) {
                weights[j] = weights[j - 1];
            }
        }
        keys[j] = key;
        if (weights != NULL) {
            weights[j] = weight;
        }
    }
}

void sl_sample_sort(uint64_t *keys, size_t n) {
    select_sort(keys, NULL, n);
}

typedef struct select_bins {
    double mass[256];
    uint32_t count[256];
} select_bins;

static void select_fill(select_bins *b, const uint64_t *keys, const float *weights, size_t n,
                        int shift) {
    *b = (select_bins){.mass = {0}};
    for (size_t i = 0; i < n; i++) {
        uint32_t d = keys[i] >> shift & 0xFF;
        b->count[d]++;
        b->mass[d] += weights == NULL ? 1.0 : (double)weights[i];
    }
}

/* The bin, from the top, in which *acc plus the masses reaches target; the lowest filled bin if
 * none does. *acc becomes the mass above it. */
static uint32_t select_bin(const select_bins *b, double target, double *acc) {
    uint32_t found = 0;
    double above = *acc;
    for (uint32_t d = 256; d-- > 0;) {
        if (b->count[d] == 0) {
            continue;
        }
        found = d;
        *acc = above;
        above += b->mass[d];
        if (above >= target) {
            break;
        }
    }
    return found;
}

uint64_t sl_sample_cut(const uint64_t *keys, const float *weights, size_t n, double target,
                       uint64_t *scratch_keys, float *scratch_weights) {
    double acc = 0;
    bool in_scratch = false;
    for (int shift = 56; shift >= 0 && n > SELECT_SMALL; shift -= 8) {
        select_bins bins;
        select_fill(&bins, keys, weights, n, shift);
        uint32_t d = select_bin(&bins, target, &acc);
        if (bins.count[d] == n) {
            continue;
        }
        size_t m = 0; /* compacting in place is fine: m never passes i */
        for (size_t i = 0; i < n; i++) {
            if ((keys[i] >> shift & 0xFF) == d) {
                scratch_keys[m] = keys[i];
                if (weights != NULL) {
                    scratch_weights[m] = weights[i];
                }
                m++;
            }
        }
        keys = scratch_keys;
        weights = weights == NULL ? NULL : scratch_weights;
        n = m;
        in_scratch = true;
    }
    if (!in_scratch) {
        memcpy(scratch_keys, keys, n * sizeof(*keys));
        if (weights != NULL) {
            memcpy(scratch_weights, weights, n * sizeof(*weights));
        }
    }
    select_sort(scratch_keys, weights == NULL ? NULL : scratch_weights, n);
    size_t i = 0;
    for (; i + 1 < n; i++) {
        acc += weights == NULL ? 1.0 : (double)scratch_weights[i];
        if (acc >= target) {
            break;
        }
    }
    return scratch_keys[i];
}
