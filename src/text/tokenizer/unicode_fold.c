/* Look-ups in the tables of unicode_folds.c, by bisection. Any thread. */
#include "text/tokenizer/unicode_fold.h"

#define HANGUL_FIRST 0xAC00u
#define HANGUL_LAST 0xD7A3u
#define HANGUL_LEAD 0x1100u  /* the first leading consonant */
#define HANGUL_PER_LEAD 588u /* syllables that begin with one */

static uint32_t fold_map(const sl_unicode_run *runs, size_t n, uint32_t code) {
    size_t low = 0, high = n; /* the first run that ends at or after the code */
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (runs[mid].last < code) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == n || runs[low].first > code || (code - runs[low].first) % runs[low].step != 0) {
        return code;
    }
    return code + (uint32_t)runs[low].delta;
}

uint32_t sl_unicode_base(uint32_t code) {
    if (code < 0x80) {
        return code;
    }
    if (code >= HANGUL_FIRST && code <= HANGUL_LAST) {
        return HANGUL_LEAD + (code - HANGUL_FIRST) / HANGUL_PER_LEAD;
    }
    return fold_map(sl_unicode_base_runs, sl_unicode_n_base_runs, code);
}

uint32_t sl_unicode_lower(uint32_t code) {
    if (code < 0x80) {
        return code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code;
    }
    return fold_map(sl_unicode_lower_runs, sl_unicode_n_lower_runs, code);
}

bool sl_unicode_is_silent(uint32_t code) {
    size_t low = 0, high = sl_unicode_n_silent_ranges;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (sl_unicode_silent_ranges[mid][1] < code) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < sl_unicode_n_silent_ranges && sl_unicode_silent_ranges[low][0] <= code;
}
